//! The prompt on a terminal of its own.

use std::fs::File;
use std::io::Read;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use nix::pty::{Winsize, openpty};

use super::*;

/// The program at a terminal, and what the terminal shows.
struct Terminal {
    child: Child,
    keys: File,
    shown: Arc<Mutex<Vec<u8>>>,
    /// Ends with the program.
    reader: Option<JoinHandle<()>>,
}

impl Terminal {
    fn new(shell: &Shell, columns: u16, arguments: &[&str]) -> Self {
        Self::with_colours(shell, columns, arguments, "1")
    }

    /// One whose NO_COLOR is this.
    fn with_colours(shell: &Shell, columns: u16, arguments: &[&str], no_color: &str) -> Self {
        let size = Winsize {
            ws_row: 24,
            ws_col: columns,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        let pair = openpty(Some(&size), None).expect("a terminal");
        let side = || Stdio::from(pair.slave.try_clone().expect("a terminal"));
        let mut command = shell.command(arguments);
        let home = shell.0.path();
        command.stdin(side()).stdout(side()).stderr(side());
        command.envs([("TERM", "xterm"), ("NO_COLOR", no_color)]);
        command.env("HOME", home).env_remove("PAGER");
        let child = command.spawn().expect("the program starts");
        drop(command);
        let (keys, shown) = (File::from(pair.master), Arc::<Mutex<Vec<u8>>>::default());
        let (mut screen, seen) = (keys.try_clone().expect("a terminal"), Arc::clone(&shown));
        let reader = std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            // The terminal ends with its program.
            while let Ok(n) = screen.read(&mut bytes) {
                seen.lock().expect("no panic").extend(&bytes[..n]);
            }
        });
        Self {
            child,
            keys,
            shown,
            reader: Some(reader),
        }
    }

    /// What was shown until now, without what moves the cursor.
    fn text(&self) -> String {
        let shown = self.shown.lock().expect("no panic").clone();
        let text = String::from_utf8_lossy(&shown).replace('\r', "");
        let mut pieces = text.split("\u{1b}[");
        let first = pieces.next().unwrap_or_default().to_string();
        pieces.fold(first, |text, piece| {
            let end = piece.find(|c: char| c.is_ascii_alphabetic());
            text + end.map_or("", |end| &piece[end + 1..])
        })
    }

    fn press(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).expect("a terminal");
    }

    /// Waits until something is shown; the deadline is only there to fail instead of hanging.
    #[track_caller]
    fn shows(&self, part: &str) {
        let deadline = Instant::now() + Duration::from_secs(60);
        while !self.text().contains(part) {
            assert!(Instant::now() < deadline, "{part:?} in {}", self.text());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits for the end of the program.
    fn ends(mut self) -> String {
        let deadline = Instant::now() + Duration::from_secs(60);
        while self.child.try_wait().expect("a child").is_none() {
            assert!(Instant::now() < deadline, "{}", self.text());
            std::thread::sleep(Duration::from_millis(20));
        }
        // What it wrote last is read, too.
        if let Some(reader) = self.reader.take() {
            reader.join().expect("no panic");
        }
        self.text()
    }
}

#[test]
fn lines_that_are_typed_ahead_are_run_one_after_the_other() {
    let shell = Shell::new();
    let mut terminal = Terminal::new(&shell, 80, &[]);
    terminal.press("SELECT 41 + 1 AS n;\rSELECT\r1 AS one;\rSELECT 'a\rquit\rb' AS text;\r\\q\r");
    let text = terminal.ends();
    for part in [
        "polysema> ",
        " n\n----\n 42\n(1 row)\n",
        " one\n-----\n   1\n(1 row)\n",
        "'> ",
        "' is still open: end it, or Ctrl-C drops the statement",
        " a\\nquit\\nb\n(1 row)\n",
    ] {
        assert!(text.contains(part), "{part:?} in {text}");
    }
}

#[test]
fn prose_is_wrapped_at_words_and_a_long_line_is_cut_around_its_fault() {
    let shell = Shell::new();
    let mut terminal = Terminal::new(&shell, 60, &[]);
    terminal.press("\\?\r\\d sae_metrics\r");
    terminal.shows("\nexample\n");
    terminal.press(&format!(
        "SELECT nope AS a{} FROM (SELECT 1 AS b);\r\\q\r",
        ", 1".repeat(40)
    ));
    let text = terminal.ends();
    // The second column goes on under itself.
    let under = format!("without FILE to the\n{}terminal again\n", " ".repeat(22));
    assert!(text.contains(&under), "{text}");
    let at = text
        .find("a column is required, got nope")
        .expect("an error");
    let line = text[at..]
        .lines()
        .find(|line| line.starts_with("  SELECT nope"));
    let line = line.expect("the line is shown");
    assert!(line.ends_with('…') && line.chars().count() == 60, "{line}");
    let listed = text.lines().skip_while(|line| !line.starts_with("options"));
    let listed = listed.take_while(|line| !line.starts_with("example"));
    for line in listed {
        assert!(line.chars().count() <= 60, "{line}");
    }
}

#[test]
fn an_open_statement_says_how_it_is_left() {
    let shell = Shell::new();
    let mut terminal = Terminal::new(&shell, 80, &[]);
    terminal.press("SELECT\rexit\r");
    terminal.shows("\\q leaves; this is a part of the statement, which Ctrl-C drops");
    terminal.press("\u{3}");
    terminal.shows("-> \npolysema> ");
    terminal.press("exit\r");
    terminal.ends();
}

#[test]
fn what_does_not_fit_goes_on_below_or_is_said_to_be_cut() {
    let shell = Shell::new();
    let mut terminal = Terminal::new(&shell, 60, &[]);
    terminal.press("\\df vector_norm\r");
    terminal.shows("(1 row)");
    let keyed = format!("{}«key» after", "before ".repeat(20));
    terminal.press(&format!("SELECT '{keyed}' AS context;\r"));
    terminal.shows(": \\x shows them whole");
    terminal.press("\\o out.csv\rSELECT 1 AS a;\r\\q\r");
    let text = terminal.ends();
    assert!(text.contains("the store s has no run yet: "), "{text}");
    let of = |begin: &str, end: &str| {
        let (_, after) = text.split_once(begin).expect("the beginning");
        after.split_once(end).expect("the end").0.to_string()
    };
    let listed = of("\\df vector_norm\n", "(1 row)");
    assert!(
        listed.lines().count() > 3 && !listed.contains('…'),
        "{listed}"
    );
    let words = "The Euclidean length of a vector.";
    assert!(
        words.split(' ').all(|word| listed.contains(word)),
        "{listed}"
    );
    assert!(
        of(" context\n", "(1 row)").contains("before «key» after"),
        "{text}"
    );
    assert!(text.contains("(1 row to out.csv)"), "{text}");
}

#[test]
fn a_password_is_asked_for_twice_and_not_shown() {
    let shell = Shell::new();
    let add = |shell: &Shell| Terminal::new(shell, 80, &["user", "add", "ana"]);
    let mut terminal = add(&shell);
    terminal.shows("password of ana: ");
    terminal.press("s3cret\r");
    terminal.shows("once more: ");
    terminal.press("s3cre\x7fet\r");
    let text = terminal.ends();
    assert!(text.contains("reader 'ana' may log in"), "{text}");
    assert!(!text.contains("s3cre"), "{text}");
    let mut terminal = add(&shell);
    terminal.shows("password of ana: ");
    terminal.press("one\r");
    terminal.shows("once more: ");
    terminal.press("two\r");
    let text = terminal.ends();
    assert!(
        text.contains("the same password twice is required"),
        "{text}"
    );
    let mut terminal = add(&shell);
    terminal.shows("password of ana: ");
    terminal.press("one\x03");
    let text = terminal.ends();
    assert!(text.contains("cancelled"), "{text}");
}

#[test]
fn a_dendrogram_has_colours_at_a_terminal_that_wants_them() {
    let shell = Shell::new();
    let images = demo_data("../mnist-tiny");
    let classifier = demo_data("../mnist-tiny/mlp.safetensors");
    shell.run(&["ingest", "digits", &classifier, &images, "--quiet"]);
    let drawn = ["-c", "\\dendrogram 0 2"];
    let plain = shell.run(&drawn).out;
    assert!(
        plain.contains("distance") && !plain.contains('\u{1b}'),
        "{plain:?}"
    );
    for (no_color, is_coloured) in [("", true), ("1", false)] {
        let terminal = Terminal::with_colours(&shell, 120, &drawn, no_color);
        let shown = Arc::clone(&terminal.shown);
        assert_eq!(terminal.ends(), plain, "the same but for colours");
        let shown = String::from_utf8(shown.lock().expect("no panic").clone()).expect("UTF-8");
        assert_eq!(shown.contains("\u{1b}[94m  0 ("), is_coloured, "{shown:?}");
        assert_eq!(shown.contains('\u{1b}'), is_coloured, "{shown:?}");
    }
}
