//! Reports as PDF: what a browser prints, whole or not at all.
#![cfg(unix)]

use std::os::unix::fs::PermissionsExt;

use super::*;

/// What stands in place of a browser: a script that is told as one is. `$pdf` is where it prints to, `$page` what.
fn stand_in(shell: &Shell, script: &str) -> PathBuf {
    let place = shell.0.path().join("browser.sh");
    let text = format!(
        "#!/bin/sh\nfor word; do case \"$word\" in\n--print-to-pdf=*) pdf=\"${{word#*=}}\" ;;\n\
         file://*) page=\"${{word#file://}}\" ;;\nesac; done\n{script}\n"
    );
    fs::write(&place, text).expect("a writable folder");
    fs::set_permissions(&place, fs::Permissions::from_mode(0o755)).expect("a program");
    place
}

fn report<'c>(command: &'c mut Command, browser: &Path) -> &'c mut Command {
    command.env("POLYSEMA_BROWSER", browser).env("TMPDIR", ".")
}

const ASKED: [&str; 4] = ["report", "summary", "--out", "a.pdf"];
const WHOLE: &str = "{ printf '%%PDF-1.4\\n'; cat \"$page\"; printf '%%%%EOF\\n'; } > \"$pdf\"";

/// What is left of printing: what the store, the stand-in and the test itself have is not.
fn left(shell: &Shell) -> Vec<String> {
    let entries = fs::read_dir(shell.0.path()).expect("a folder");
    let names = entries.map(|entry| entry.expect("an entry").file_name());
    let names = names.map(|name| name.to_string_lossy().into_owned());
    names
        .filter(|name| !["s", "browser.sh", "pid"].contains(&name.as_str()))
        .collect()
}

#[test]
fn what_the_browser_prints_takes_its_place_when_it_is_whole() {
    let shell = with_run();
    let print = |script: &str| {
        let browser = stand_in(&shell, script);
        let said = report(&mut shell.command(&ASKED), &browser).output();
        Said::from(said.expect("the program starts"))
    };
    let said = print(WHOLE);
    assert_eq!(
        (said.code, said.err.as_str()),
        (Some(0), "a.pdf is written\n")
    );
    let printed = fs::read_to_string(shell.0.path().join("a.pdf")).expect("a file");
    let html = shell.run(&["-q", "report", "summary", "--out", "a.html"]);
    assert_eq!(html.code, Some(0), "{html:?}");
    let html = fs::read_to_string(shell.0.path().join("a.html")).expect("a file");
    assert_eq!(printed, format!("%PDF-1.4\n{html}%%EOF\n"));
    fs::remove_file(shell.0.path().join("a.html")).expect("a file");
    assert_eq!(left(&shell), ["a.pdf"]);
    // What was there stays where nothing whole comes.
    for (script, why) in [
        (
            "echo first >&2; echo 'no display' >&2; exit 3",
            "no display",
        ),
        ("printf '%%PDF-1.4 half' > \"$pdf\"", "it said nothing"),
        ("exit 0", "a page that is printed is required"),
    ] {
        print(script).fails(1, why);
        let kept = fs::read_to_string(shell.0.path().join("a.pdf")).expect("a file");
        assert_eq!(kept, printed, "{script}");
        assert_eq!(left(&shell), ["a.pdf"], "{script}");
    }
}

#[test]
fn ctrl_c_ends_the_browser_and_leaves_nothing() {
    let shell = with_run();
    let browser = stand_in(&shell, "echo $$ > pid.new; mv pid.new pid; exec sleep 600");
    let mut command = shell.command(&ASKED);
    let command = report(&mut command, &browser);
    let command = command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.spawn().expect("the program starts");
    let place = shell.0.path().join("pid");
    let deadline = Instant::now() + Duration::from_secs(60);
    while !place.exists() {
        assert!(Instant::now() < deadline, "no browser was started");
        std::thread::sleep(Duration::from_millis(20));
    }
    interrupt(&child);
    let said = ended(child);
    assert_eq!(said.code, Some(130), "{said:?}");
    let pid = fs::read_to_string(place).expect("a file");
    let asked = Command::new("kill")
        .args(["-0", pid.trim()])
        .stderr(Stdio::null())
        .status();
    assert!(!asked.expect("kill").success(), "the browser goes on");
    assert!(left(&shell).is_empty(), "{:?}", left(&shell));
}

#[test]
fn without_a_browser_it_is_refused_before_anything_is_asked() {
    let shell = with_run();
    let mut command = shell.command(&ASKED);
    command
        .env("PATH", "/nowhere")
        .env_remove("POLYSEMA_BROWSER");
    let said = Said::from(command.output().expect("the program starts"));
    said.fails(
        1,
        "--out: a browser is required for a file that ends in .pdf, chromium, chromium-browser, google-chrome, \
         google-chrome-stable, chrome on PATH or another Chromium in POLYSEMA_BROWSER, got none",
    );
    let said = report(&mut shell.command(&ASKED), Path::new("/nowhere/chromium")).output();
    Said::from(said.expect("the program starts")).fails(
        1,
        "a program, Chromium or Chrome, is required in POLYSEMA_BROWSER, got '/nowhere/chromium'",
    );
    assert!(left(&shell).is_empty());
}

#[test]
fn a_real_browser_prints_pages() {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let names = [
        "chromium",
        "chromium-browser",
        "google-chrome",
        "google-chrome-stable",
        "chrome",
    ];
    let mut folders = std::env::split_paths(&path);
    if !folders.any(|folder| names.iter().any(|name| folder.join(name).is_file())) {
        println!("left out: this machine has no Chromium");
        return;
    }
    let shell = with_run();
    let said = shell.run(&ASKED);
    assert_eq!(
        (said.code, said.err.as_str()),
        (Some(0), "a.pdf is written\n"),
        "{said:?}"
    );
    let printed = fs::read(shell.0.path().join("a.pdf")).expect("a file");
    let has = |text: &[u8]| printed.windows(text.len()).any(|part| part == text);
    assert!(printed.starts_with(b"%PDF-") && has(b"/Type /Page"));
    assert_eq!(left(&shell), ["a.pdf"]);
}
