//! The program as a step of a pipeline: where results go and in which form, what is said beside them, and how it ends.

use super::*;

/// The names in the folder of a shell but its store, hidden ones too.
fn left(shell: &Shell) -> Vec<String> {
    let entries = fs::read_dir(shell.0.path()).expect("a folder");
    let names = entries.map(|entry| entry.expect("an entry").file_name());
    let mut names: Vec<_> = names
        .map(|name| name.to_string_lossy().into_owned())
        .filter(|name| name != "s")
        .collect();
    names.sort();
    names
}

fn read(shell: &Shell, name: &str) -> String {
    fs::read_to_string(shell.0.path().join(name)).expect(name)
}

const ROWS: &str = "SELECT * FROM (VALUES (0.1, 'a,\"b\"', [1.5, NULL]), (-0.0, '', NULL), (1e-300, NULL, []), \
                    ('NaN'::double, 'two\nlines', [0.1, 'inf'::double])) AS v(x, word, list)";
/// Their differences, of which there are none, by text: lists and NaN have no order.
const SAME: &str = "SELECT count(*) AS n FROM (SELECT x::text, coalesce(word, 'NULL'), coalesce(list::text, 'NULL') FROM a \
                    EXCEPT SELECT x::text, coalesce(word, 'NULL'), coalesce(list::text, 'NULL') FROM 'FILE')";

#[test]
fn every_form_that_keeps_all_is_read_back() {
    let shell = Shell::new();
    for name in ["a.parquet", "a.arrow", "A.PARQUET"] {
        let script = format!(
            "CREATE TABLE a AS {ROWS};\n\\o {name}\nSELECT * FROM a;\n\\o\n{};\nSELECT count(*) AS n FROM '{name}';",
            SAME.replace("FILE", name)
        );
        shell
            .given(&["--format", "csv"], script.as_bytes())
            .prints("n\n0\nn\n4\n");
    }
    // As files, so through a pipe.
    for (format, start) in [
        ("parquet", &b"PAR1"[..]),
        ("arrow", b"ARROW1\0\0"),
        ("arrows", b"\xff\xff\xff\xff"),
        ("xlsx", b"PK\x03\x04"),
    ] {
        let output = shell.command(&["--format", format, "-c", ROWS]).output();
        let output = output.expect("the program starts");
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        assert!(output.stdout.starts_with(start), "{format}");
        let name = format!("piped.{format}");
        fs::write(shell.0.path().join(&name), &output.stdout).expect("a writable folder");
        if matches!(format, "parquet" | "arrow") {
            let count = format!("SELECT count(*) AS n FROM '{name}'");
            shell
                .run(&["--format", "csv", "-c", &count])
                .prints("n\n4\n");
        }
    }
    let none = "SELECT 1 AS a, 'x' AS b WHERE false";
    shell.run(&["-c", none, "-o", "none.parquet"]).prints("");
    shell
        .run(&["--format", "csv", "-c", "SELECT b FROM 'none.parquet'"])
        .prints("b\n");
}

/// CSV keeps every float to its last bit, lists as JSON, and NULL apart from an empty text.
#[test]
fn csv_is_read_back() {
    let shell = Shell::new();
    shell.run(&["-c", ROWS, "-o", "a.csv"]).prints("");
    let text = "x,word,list\n0.1,\"a,\"\"b\"\"\",\"[1.5,null]\"\n-0.0,\"\",\n1e-300,,[]\nNaN,\"two\nlines\",\"[0.1,\"\"Infinity\"\"]\"\n";
    assert_eq!(read(&shell, "a.csv"), text);
    // The quoted newline, the lists and the floats come back; polysema reads an empty text as NULL.
    let again = "SELECT * FROM 'a.csv'";
    let said = shell.run(&["--format", "csv", "-c", again]);
    said.prints(&text.replace(",\"\",", ",,"));
    let floats =
        "SELECT value, 1.0 / value AS x, (1.0 / value)::real AS y FROM generate_series(1, 2000)";
    let script = format!(
        "CREATE TABLE f AS {floats};\n\\o f.csv\nSELECT * FROM f;\n\\o\n\
         SELECT count(*) AS n FROM f JOIN 'f.csv' g ON f.value = g.value WHERE f.x = g.x AND f.y = g.y::real;"
    );
    shell
        .given(&["--format", "csv"], script.as_bytes())
        .prints("n\n2000\n");
    // A list of numbers is one again.
    let list = "SELECT arrow_cast(string_to_array(btrim(list, '[]'), ','), 'List(Float64)')[2] AS second FROM 'b.csv'";
    let script = format!("\\o b.csv\nSELECT [0.5, 0.1] AS list;\n\\o\n{list};");
    shell
        .given(&["--format", "csv"], script.as_bytes())
        .prints("second\n0.1\n");
    shell
        .run(&["-c", "SELECT 1 AS a, 'x' AS b", "-o", "c.tsv"])
        .prints("");
    assert_eq!(read(&shell, "c.tsv"), "a\tb\n1\tx\n");
}

#[test]
fn a_file_is_whole_or_not_there() {
    let shell = Shell::new();
    let failing = "SELECT CAST(CASE WHEN value = 100000 THEN 'x' ELSE '1' END AS INT) AS x FROM generate_series(1, 100000)";
    for name in ["a.csv", "a.parquet", "a.arrow", "a.txt"] {
        let script = format!("\\o {name}\n{failing}");
        shell
            .run(&["-c", &script])
            .fails(1, "line 2: error: Cast error: Cannot cast string 'x'");
        assert_eq!(left(&shell), Vec::<String>::new(), "{name}");
        shell.write(name, "old");
        shell
            .run(&["-c", failing, "-o", name])
            .fails(1, "Cannot cast string 'x'");
        // Also where another statement fails.
        shell
            .run(&["-c", "SELECT 1 AS a", "-c", "SELECT nope", "-o", name])
            .fails(1, "nope");
        assert_eq!(read(&shell, name), "old");
        shell.run(&["-c", "SELECT 1 AS a", "-o", name]).prints("");
        assert_ne!(fs::read(shell.0.path().join(name)).expect("a file"), b"old");
        assert_eq!(left(&shell), [name]);
        fs::remove_file(shell.0.path().join(name)).expect("a file");
    }
    // What was closed before is there.
    let script = "\\o a.csv\nSELECT 1 AS a;\n\\o b.csv\nSELECT 2 AS b;\nSELECT nope;";
    shell.run(&["-c", script]).fails(1, "line 5: error: ");
    assert_eq!(left(&shell), ["a.csv"]);
}

#[test]
fn what_ends_the_program_leaves_no_part_of_a_file() {
    let shell = Shell::new();
    let numbers = "generate_series(1, 1000000)";
    let long = format!("SELECT a.value FROM {numbers} a, {numbers} b, {numbers} c");
    for (name, code) in [("-INT", 130), ("-TERM", 143)] {
        let child = shell.spawn(&["-c", &long, "-o", "a.parquet"]);
        let deadline = Instant::now() + Duration::from_secs(60);
        while left(&shell).is_empty() {
            assert!(Instant::now() < deadline, "it begins a file");
            std::thread::sleep(Duration::from_millis(20));
        }
        signal(&child, name);
        assert_eq!(ended(child).code, Some(code));
        assert_eq!(left(&shell), Vec::<String>::new(), "{name}");
    }
}

#[test]
fn a_form_for_one_result_takes_one() {
    let shell = Shell::new();
    let two = ["-c", "SELECT 1 AS a", "-c", "SELECT 2 AS a"];
    let second = "error: one result is required in a.parquet as parquet, got a second: \\o FILE before it begins another file";
    shell
        .run(&[&two[..], &["-o", "a.parquet"]].concat())
        .fails(1, second);
    assert_eq!(left(&shell), Vec::<String>::new());
    let output = shell.command(&two).args(["--format", "arrow"]).output();
    let output = output.expect("the program starts");
    let said = String::from_utf8_lossy(&output.stderr);
    let second = "one result is required in stdout as arrow, got a second";
    assert!(
        output.status.code() == Some(1) && said.contains(second),
        "{said}"
    );
    shell
        .run(&["-c", "SET threshold = 0.4", "-o", "a.arrow"])
        .fails(
            1,
            "error: \\o: a result is required in a.arrow as arrow, got none",
        );
    shell
        .run(&[
            "-c",
            "SELECT a.v, b.v FROM (VALUES (1)) a(v), (VALUES (2)) b(v)",
            "-o",
            "a.arrow",
        ])
        .fails(1, "columns of different names are required, got 'v' twice");
    // Text goes on, and a statement without columns is no result.
    let script = "\\o b.parquet\nSET threshold = 0.4;\nSELECT 1 AS a;\n\\o c.txt\nSELECT 1 AS a;\n\\format csv\nSELECT 2 AS a;";
    shell.run(&["-c", script]).prints("");
    assert_eq!(read(&shell, "c.txt"), " a\n---\n 1\na\n2\n");
    assert_eq!(left(&shell), ["b.parquet", "c.txt"]);
}

#[test]
fn results_go_to_commands() {
    let shell = Shell::new();
    let csv = |script: &str| shell.run(&["--format", "csv", "-c", script]);
    let numbers = "SELECT value FROM generate_series(1, 3)";
    csv(&format!(
        "\\o | sort -r; echo end\n{numbers};\n\\o\nSELECT 4 AS a"
    ))
    .prints("value\n3\n2\n1\nend\na\n4\n");
    shell
        .run(&["--format", "csv", "-c", numbers, "-o", "| gzip > a.csv.gz"])
        .prints("");
    csv(&format!("\\o | exit 3\n{numbers};\n\\o\nSELECT 4 AS a")).fails(
        1,
        "line 3: error: \\o: a command that succeeds is required, got | exit 3 (exit status: 3)",
    );
    shell.run(&["-c", numbers, "-o", "| cat; false"]).fails(
        1,
        "error: \\o: a command that succeeds is required, got | cat; false (exit status: 1)",
    );
    // One that has read enough ends its statement, and no more.
    csv("\\o | head -n 1\nSELECT value FROM generate_series(1, 100000000);\n\\o\nSELECT 4 AS a")
        .prints("value\na\n4\n");
    // One whose script failed does not take a part for all.
    let failing = "SELECT CAST(CASE WHEN value = 100000 THEN 'x' ELSE '1' END AS INT) AS x FROM generate_series(1, 100000)";
    csv(&format!(
        "\\o | cat > part.csv && mv part.csv all.csv\n{failing}"
    ))
    .fails(1, "Cannot cast string 'x'");
    assert!(
        !left(&shell).contains(&"all.csv".to_string()),
        "{:?}",
        left(&shell)
    );
    csv("\\o |").fails(
        1,
        "line 1: error: \\o: a command is required behind |, got none",
    );
}

#[test]
fn a_script_names_its_files_by_variables() {
    let shell = Shell::new();
    shell.write("rows.sql", "SELECT :n AS n;\n");
    shell.write(
        "report.sql",
        "\\o :folder/rows_:n.csv\n\\i :'script'\n\\o 'two words.csv'\n\\i rows.sql\n",
    );
    fs::create_dir(shell.0.path().join("out")).expect("a writable folder");
    let variables = ["-v", "folder=out", "--var", "n=7", "-v", "script=rows.sql"];
    shell
        .run(&[&["-f", "report.sql"][..], &variables].concat())
        .prints("");
    assert_eq!(read(&shell, "out/rows_7.csv"), "n\n7\n");
    assert_eq!(read(&shell, "two words.csv"), "n\n7\n");
    shell.run(&["-f", "report.sql", "-v", "folder=out"]).fails(
        1,
        "report.sql:1: error: variable: a variable that is set is required, got :n (set: folder; ",
    );
    shell
        .run(&["-c", "SELECT 1 AS a", "-v", "day=mon", "-o", "day_:day.csv"])
        .prints("");
    assert_eq!(read(&shell, "day_mon.csv"), "a\n1\n");
}

#[test]
fn a_script_is_standard_input() {
    let shell = Shell::new();
    let csv = |more: &[&str], input: &str| {
        shell.given(&[&["--format", "csv"], more].concat(), input.as_bytes())
    };
    csv(&["-f", "-"], "SELECT 1 AS a").prints("a\n1\n");
    csv(
        &["-c", "SELECT 1 AS a", "-f", "-", "-c", "SELECT 3 AS c"],
        "SELECT 2 AS b",
    )
    .prints("a\n1\nb\n2\nc\n3\n");
    csv(&["-f", "-"], "SELECT 1 AS a;\n  oops;").fails(1, "stdin:2: error: syntax: ");
    csv(&["-f", "-", "-f", "-"], "").fails(
        2,
        "-f - reads standard input to its end and can be given once",
    );
    // Ctrl-C is heard while it is waited for.
    let mut command = shell.command(&["-c", "SELECT 1 AS ready", "-f", "-"]);
    let command = command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.stderr(Stdio::piped()).spawn().expect("a child");
    let stdin = child.stdin.take();
    let mut out = BufReader::new(child.stdout.take().expect("a pipe")).lines();
    assert_eq!(out.next().expect("a line").expect("UTF-8"), " ready");
    interrupt(&child);
    let said = ended(child);
    assert_eq!((said.code, said.err.as_str()), (Some(130), "cancelled\n"));
    drop(stdin);
}

/// The number of rows that a statement wrote is no result: a pipe sees data only.
#[test]
fn counts_go_to_stderr() {
    let shell = Shell::new();
    let script = "COPY (SELECT * FROM generate_series(1, 3)) TO 'a.csv'; CREATE TABLE notes.t (a BIGINT); \
                  INSERT INTO notes.t VALUES (1); UPDATE notes.t SET a = 2; DELETE FROM notes.t; SELECT 1 AS a";
    let said = shell.run(&["--format", "csv", "-c", script]);
    assert_eq!(said.out, "a\n1\n", "{said:?}");
    assert_eq!(
        said.err,
        "COPY: 3 rows\nINSERT: 1 row\nUPDATE: 1 row\nDELETE: 1 row\n"
    );
    let script = script.replace("CREATE TABLE notes.t (a BIGINT); ", "");
    shell
        .run(&["--format", "csv", "--quiet", "-c", &script])
        .prints("a\n1\n");
    // An EXPLAIN and a column of that name are results.
    let explain = "EXPLAIN COPY (SELECT 1 AS a) TO 'b.csv'; SELECT 5 AS count";
    let said = shell.run(&["--format", "csv", "-c", explain]);
    assert!(
        said.err.is_empty() && said.out.ends_with("count\n5\n"),
        "{said:?}"
    );
}

#[test]
fn quiet_says_results_and_errors() {
    let shell = Shell::new();
    let script = "\\timing on\nCREATE TABLE t AS SELECT 1 AS a;\n\\x on\n\\x off\nSELECT * FROM t;\n\\rows 3\n\\pager off\nSELECT nope";
    let loud = shell.run(&["--format", "csv", "-c", script]);
    for notice in [
        "timing: on\n",
        "time: ",
        "table t lives in this session only",
        "expanded: on\n",
        "pager: off\n",
    ] {
        assert!(loud.err.contains(notice), "{notice}: {loud:?}");
    }
    let quiet = shell.run(&["-q", "--format", "csv", "-c", script]);
    assert_eq!((quiet.code, quiet.out.as_str()), (Some(1), "a\n1\n"));
    assert!(
        quiet
            .err
            .starts_with("line 8: error: a column is required, got nope"),
        "{quiet:?}"
    );
}

#[test]
fn words_that_contradict_each_other_are_refused() {
    let shell = Shell::new();
    let one = ["-c", "SELECT 1 AS a"];
    let run = |more: &[&str]| shell.run(&[&one[..], more].concat());
    run(&["--format", "json", "-o", "a.csv"])
        .fails(2, "one form is required, got --format json and -o a.csv");
    run(&["--format", "csv", "-o", "a.csv"]).prints("");
    run(&["--format", "json", "-o", "a.txt"]).prints("");
    assert_eq!(read(&shell, "a.txt"), "[\n{\"a\":1}\n]\n");
    run(&["-o", "b.csv.gz"]).fails(
        1,
        "error: \\o: a form that is written is required (.csv, .tsv, ",
    );
    run(&["-o", "b.csv.gz"]).fails(1, "got .gz (\\o | gzip > FILE compresses)");
    fs::create_dir(shell.0.path().join("folder")).expect("a writable folder");
    run(&["-o", "folder"]).fails(
        1,
        "\\o: a file that can be written is required, got folder (a folder)",
    );
    run(&["--var", "n"]).fails(2, "NAME=VALUE is required");
    run(&["--var"]).fails(2, "--var");
    run(&["-v", "ON_ERROR_STOP=1"]).fails(0, "");
    run(&["-v", "ON_ERROR_STOP=off"]).fails(1, "ON_ERROR_STOP: on is required, got off");
    for words in [
        &["user", "list", "-o", "a.csv"][..],
        &["demo", "-o", "a.csv"],
        &["man", "-q"],
        &["--run", "x", "demo"],
        &["--run", "x", "publish", "demo", "--out", "folder"],
    ] {
        shell
            .run(words)
            .fails(2, "is for statements, report, ingest and jobs");
    }
    assert_eq!(left(&shell), ["a.csv", "a.txt", "folder"]);
}

/// A device has nothing that could be put in its place, and a link is followed.
#[cfg(unix)]
#[test]
fn devices_and_links_stay_what_they_are() {
    let shell = Shell::new();
    shell
        .run(&["-c", "SELECT 1 AS a", "-o", "/dev/null"])
        .prints("");
    shell
        .run(&["-c", "SELECT 1 AS a", "-o", "/dev/full"])
        .fails(
            1,
            "error: output: a writable output is required, got /dev/full: No space left on device",
        );
    shell.write("real.csv", "old");
    std::os::unix::fs::symlink("real.csv", shell.0.path().join("link.csv")).expect("a link");
    shell
        .run(&["-c", "SELECT 1 AS a", "-o", "link.csv"])
        .prints("");
    assert_eq!(read(&shell, "real.csv"), "a\n1\n");
    let link = fs::symlink_metadata(shell.0.path().join("link.csv")).expect("a link");
    assert!(link.file_type().is_symlink());
    let full = fs::OpenOptions::new()
        .write(true)
        .open("/dev/full")
        .expect("a device");
    let said = shell
        .command(&["-c", "SELECT 1 AS a"])
        .stdout(full)
        .output();
    Said::from(said.expect("the program starts")).fails(1, "a writable output is required");
}
