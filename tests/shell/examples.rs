//! The examples of the pages that others than polysema run: a line of a crontab, and a Makefile.

use super::*;

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/examples");

/// A folder with a store of the run `demo`, and the examples in `reports`.
fn place() -> Shell {
    let shell = Shell::new();
    let (model, corpus) = (demo_data("model"), demo_data("corpus.jsonl"));
    let ingest = ["ingest", "demo", &model, &corpus, "max_documents=40"];
    let said = shell.run(&ingest);
    assert_eq!(said.code, Some(0), "{said:?}");
    let (store, named) = (
        shell.0.path().join("s"),
        shell.0.path().join("polysema.store"),
    );
    fs::rename(store, named).expect("a writable folder");
    fs::create_dir(shell.0.path().join("reports")).expect("a writable folder");
    for entry in fs::read_dir(FOLDER).expect("the examples") {
        let path = entry.expect("an entry").path();
        if path.is_file() {
            let name = path.file_name().expect("a name");
            let to = shell.0.path().join("reports").join(name);
            fs::copy(&path, to).expect("a writable folder");
        }
    }
    shell
}

/// Runs a line of a shell, in which `polysema` is the program.
fn shell_line(shell: &Shell, folder: &str, line: &str) -> Said {
    let program = Path::new(env!("CARGO_BIN_EXE_polysema"));
    let mut path = program.parent().expect("a folder").as_os_str().to_owned();
    path.push(":");
    path.push(std::env::var_os("PATH").unwrap_or_default());
    let mut command = Command::new("sh");
    let command = command
        .args(["-c", line])
        .env("PATH", path)
        .env("LC_ALL", "C");
    let output = command.current_dir(shell.0.path().join(folder)).output();
    output.expect("a shell").into()
}

fn rows(shell: &Shell, file: &str) -> String {
    let count = format!("SELECT count(*) > 0 AS found FROM '{file}'");
    shell.run(&["--format", "csv", "-c", &count]).out
}

#[test]
fn the_line_of_the_crontab_writes_the_reports() {
    let shell = place();
    let crontab = fs::read_to_string(format!("{FOLDER}/crontab")).expect("a crontab");
    let line = crontab.lines().find(|line| !line.starts_with('#'));
    let fields: Vec<&str> = line.expect("a line").splitn(6, ' ').collect();
    assert_eq!(fields.len(), 6, "five fields and a command");
    let command = fields[5].replace("\\%", "%");
    assert!(fields[5].contains("\\%"), "a % of cron ends the line");
    shell_line(&shell, "", &command).prints("");
    let written = fs::read_dir(shell.0.path().join("reports")).expect("a folder");
    let names = written.map(|entry| entry.expect("an entry").file_name());
    let names: Vec<_> = names.map(|n| n.to_string_lossy().into_owned()).collect();
    let of_day = |end: &str| names.iter().find(|name| name.ends_with(end));
    for end in ["-neurons.parquet", "-neurons.xlsx", "-layers.md"] {
        let name = of_day(end).unwrap_or_else(|| panic!("{end} in {names:?}"));
        assert!(name.starts_with("20"), "{name} begins with the day");
    }
    let parquet = of_day("-neurons.parquet").expect("a file");
    assert_eq!(rows(&shell, &format!("reports/{parquet}")), "found\ntrue\n");
}

#[test]
fn the_makefile_makes_what_is_old() {
    let shell = place();
    let make = || shell_line(&shell, "reports", "make store=../polysema.store");
    let first = make();
    assert_eq!((first.code, first.err.as_str()), (Some(0), ""), "{first:?}");
    for name in ["neurons.parquet", "neurons.csv"] {
        assert_eq!(rows(&shell, &format!("reports/{name}")), "found\ntrue\n");
    }
    assert!(shell.0.path().join("reports/layers.xlsx").exists());
    let again = make();
    assert!(again.out.contains("Nothing to be done"), "{again:?}");
    // One that fails leaves the old file, and is made again.
    let csv = shell.0.path().join("reports/neurons.csv");
    let before = fs::read(&csv).expect("a file");
    let sql = fs::read_to_string(shell.0.path().join("reports/neurons.sql")).expect("a file");
    std::thread::sleep(Duration::from_millis(1100));
    shell.write(
        "reports/neurons.sql",
        &sql.replace("n_clusters DESC", "nope"),
    );
    for _ in 0..2 {
        make().fails(2, "neurons.sql:3: error: a column is required, got nope");
    }
    assert_eq!(fs::read(&csv).expect("a file"), before);
    shell.write("reports/neurons.sql", &sql);
    assert_eq!(make().code, Some(0));
    assert_eq!(fs::read(&csv).expect("a file"), before);
}
