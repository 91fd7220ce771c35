//! The program as a user meets it: golden text, exit codes, and what goes to which stream. Over 400 lines: one list of
//! cases over one fixture.

mod cancelled;
mod checked;
mod describe;
mod errors;
mod examples;
mod files;
mod itself;
mod pipeline;
mod places;
mod printed;
mod prompt;
mod reports;
mod users;

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// A folder whose `s` is the store, and the program started in it.
struct Shell(TempDir);

/// What a finished program said.
#[derive(Debug)]
struct Said {
    code: Option<i32>,
    out: String,
    err: String,
}

impl From<Output> for Said {
    fn from(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).expect("UTF-8 output");
        Said {
            code: output.status.code(),
            out: text(output.stdout),
            err: text(output.stderr),
        }
    }
}

impl Said {
    #[track_caller]
    fn prints(&self, out: &str) {
        assert_eq!((self.code, self.err.as_str()), (Some(0), ""), "{self:?}");
        assert_eq!(self.out, out);
    }

    #[track_caller]
    fn fails(&self, code: i32, err: &str) {
        assert_eq!(self.code, Some(code), "{self:?}");
        assert!(self.err.contains(err), "{:?} says {err:?}", self.err);
    }
}

impl Shell {
    fn new() -> Self {
        Shell(tempfile::tempdir().expect("a writable folder"))
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_polysema"));
        command
            .args(["--store", "s"])
            .args(arguments)
            .current_dir(self.0.path())
            .stdin(Stdio::null());
        command
    }

    fn run(&self, arguments: &[&str]) -> Said {
        let output = self.command(arguments).output();
        output.expect("the program starts").into()
    }

    /// Runs the program with this on standard input.
    fn given(&self, arguments: &[&str], input: &[u8]) -> Said {
        let mut command = self.command(arguments);
        let command = command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.stderr(Stdio::piped()).spawn().expect("a child");
        let mut stdin = child.stdin.take().expect("a pipe");
        stdin.write_all(input).expect("a reading child");
        drop(stdin);
        ended(child)
    }

    fn spawn(&self, arguments: &[&str]) -> Child {
        let mut command = self.command(arguments);
        let command = command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().expect("the program starts")
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.0.path().join(name), text).expect("a writable folder");
    }
}

fn demo_data(name: &str) -> String {
    let folder: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/demo");
    folder.join(name).display().to_string()
}

/// A shell on a store with a small run `demo`.
fn with_run() -> Shell {
    let shell = Shell::new();
    let (model, corpus) = (demo_data("model"), demo_data("corpus.jsonl"));
    let said = shell.run(&["ingest", "demo", &model, &corpus, "max_documents=8"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    shell
}

/// Ends as soon as the program does; the deadline is only there to fail instead of hanging.
fn ended(mut child: Child) -> Said {
    let deadline = Instant::now() + Duration::from_secs(60);
    while child.try_wait().expect("a child").is_none() {
        if Instant::now() > deadline {
            child.kill().expect("a child");
            panic!("the program did not end");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    child.wait_with_output().expect("a child").into()
}

fn interrupt(child: &Child) {
    signal(child, "-INT");
}

fn signal(child: &Child, name: &str) {
    let status = Command::new("kill")
        .args([name, &child.id().to_string()])
        .status();
    assert!(status.expect("kill").success());
}

const VALUES: &str = "SELECT [1, 2, 3] AS list, {a: 1, 'b c': NULL} AS pair, NULL AS nothing,
       'he said \"hi\", it''s' AS quotes, 'two
lines' AS newline, 'a|b' AS pipe, 0.1 + 0.2 AS sum, ['x', NULL] AS texts";

#[test]
fn every_format() {
    let shell = Shell::new();
    let printed = |format: &str| shell.run(&["--format", format, "-c", VALUES]);
    printed("table").prints(
        r#" list      | pair              | nothing | quotes             | newline    | pipe | sum | texts
-----------+-------------------+---------+--------------------+------------+------+-----+-----------
 [1, 2, 3] | {a: 1, b c: NULL} | NULL    | he said "hi", it's | two\nlines | a|b  | 0.3 | [x, NULL]
"#,
    );
    printed("csv").prints(
        r#"list,pair,nothing,quotes,newline,pipe,sum,texts
"[1,2,3]","{""a"":1,""b c"":null}",,"he said ""hi"", it's","two
lines",a|b,0.30000000000000004,"[""x"",null]"
"#,
    );
    let object = r#"{"list":[1,2,3],"pair":{"a":1,"b c":null},"nothing":null,"quotes":"he said \"hi\", it's","newline":"two\nlines","pipe":"a|b","sum":0.30000000000000004,"texts":["x",null]}"#;
    printed("json").prints(&format!("[\n{object}\n]\n"));
    printed("ndjson").prints(&format!("{object}\n"));
    printed("markdown").prints(
        r#"| list | pair | nothing | quotes | newline | pipe | sum | texts |
| --- | --- | --- | --- | --- | --- | ---: | --- |
| [1, 2, 3] | {a: 1, b c: NULL} | NULL | he said "hi", it's | two\nlines | a\|b | 0.3 | [x, NULL] |
"#,
    );
}

#[test]
fn formats_for_programs_lose_nothing() {
    let shell = Shell::new();
    let printed = |format: &str, sql: &str| shell.run(&["--format", format, "-c", sql]);
    printed("csv", "SELECT '' AS empty, NULL AS none, 'a' AS \"b,c\"")
        .prints("empty,none,\"b,c\"\n\"\",,a\n");
    let numbers =
        "SELECT 'NaN'::double AS a, [1.5::real, '-inf'::real, NULL] AS b, 'inf'::double AS c";
    printed("ndjson", numbers)
        .prints("{\"a\":\"NaN\",\"b\":[1.5,\"-Infinity\",null],\"c\":\"Infinity\"}\n");
    let join = "SELECT * FROM (SELECT 1 AS a, 2 AS a_1) x JOIN (SELECT 1 AS a) y ON x.a = y.a";
    printed("ndjson", join).prints("{\"a\":1,\"a_1\":2,\"a_2\":1}\n");
}

#[test]
fn no_rows_are_still_a_result() {
    let shell = Shell::new();
    let none = "SELECT 1 AS a, 'x' AS b WHERE false";
    for (format, text) in [
        ("table", " a | b\n---+---\n"),
        ("csv", "a,b\n"),
        ("json", "[]\n"),
        ("ndjson", ""),
        ("markdown", "| a | b |\n| ---: | --- |\n"),
    ] {
        shell.run(&["--format", format, "-c", none]).prints(text);
    }
    // A name that is a newline does not break the line it is in.
    shell
        .run(&["-c", "SELECT 1 AS \"a\nb\""])
        .prints(" a\\nb\n------\n    1\n");
    // A statement without columns has no result at all.
    let set = "SET polysema.threshold = 0.4";
    shell.run(&["--format", "json", "-c", set]).prints("");
}

#[test]
fn floats_have_six_digits_in_a_table() {
    let shell = Shell::new();
    let floats = "SELECT column1 AS x FROM (VALUES (0.71), (1.0 / 3.0), (123456.789), (1.5e-9))";
    shell
        .run(&["-c", floats])
        .prints("        x\n----------\n     0.71\n 0.333333\n 123457.0\n   1.5e-9\n");
}

#[test]
fn inputs_run_in_order_up_to_the_first_error() {
    let shell = Shell::new();
    shell.write("two.sql", "-- a comment; here\nSELECT 2 AS b;\n");
    shell.write(
        "bad.sql",
        "SELECT 3 AS c;\n\n-- ;\nSELECT\n  nope;\nSELECT 4 AS d;",
    );
    let csv = ["--format", "csv", "-c", "SELECT 1 AS a"];
    let said = shell.run(&[&csv[..], &["-f", "two.sql", "-c", "SELECT 3 AS c"]].concat());
    said.prints("a\n1\nb\n2\nc\n3\n");
    let said = shell.run(&[&csv[..], &["-f", "bad.sql", "-c", "SELECT 5 AS e"]].concat());
    said.fails(1, "bad.sql:4: error: a column is required, got nope");
    assert_eq!(said.out, "a\n1\nc\n3\n");
    let said = shell.run(&["-c", "SELECT 1 AS a;\n\nSELEC 2"]);
    said.fails(1, "line 3: error: syntax: ");
    assert!(said.err.contains("at line 3, column 1"), "{}", said.err);
}

#[test]
fn a_wrong_command_line_is_2() {
    let shell = Shell::new();
    let required = "a name of letters, digits and underscores is required, got \"1a\"";
    shell.run(&["--bogus"]).fails(2, "'--bogus'");
    shell.run(&["--format", "xml"]).fails(
        2,
        "[possible values: table, csv, tsv, json, ndjson, markdown, parquet, arrow, arrows, xlsx]",
    );
    shell.run(&["--var", "1a=2"]).fails(2, required);
    shell.run(&["ingest", "r"]).fails(2, "<MODEL>");
    let help = shell.run(&["--help"]);
    assert_eq!(help.code, Some(0));
    assert!(help.out.contains("Exit codes: 0 done, 1 "), "{}", help.out);
}

#[test]
fn a_script_from_stdin() {
    let shell = Shell::new();
    let said = |script: &[u8]| shell.given(&["--format", "csv"], script);
    said(b"SELECT 1 AS a;\n\\format json\nSELECT 2 AS b").prints("a\n1\n[\n{\"b\":2}\n]\n");
    said(b"").prints("");
    said(b"SELECT 1 AS a;\n  oops;").fails(1, "stdin:2: error: syntax: ");
    said(b"\xff").fails(1, "stdin: error: UTF-8 text is required");
}

#[test]
fn variables_in_three_spellings() {
    let shell = Shell::new();
    let use_all = "SELECT :n + 1 AS a, :'who' AS :\"who\", ':n' AS b, {c: :n} AS d";
    let arguments = [
        "--format",
        "csv",
        "--var",
        "n=3",
        "--var",
        "who=O'Brien, \"B\"",
    ];
    shell
        .run(&[&arguments[..], &["-c", use_all]].concat())
        .prints("a,\"O'Brien, \"\"B\"\"\",b,d\n4,\"O'Brien, \"\"B\"\"\",:n,\"{\"\"c\"\":3}\"\n");
    shell.run(&["-c", "SELECT 1;\nSELECT\n :m"]).fails(
        1,
        "line 3: error: variable: a variable that is set is required, got :m",
    );
}

#[test]
fn statements_end_at_semicolons_outside_text() {
    let shell = Shell::new();
    let script = ";;\nSELECT ';' AS a, 'it''s;' AS b -- ; no\n; /* ; /* ; */ */ SELECT 1 AS \"c;d\";;\n\
                  SELECT $$;$$ AS e\n-- end";
    shell
        .run(&["--format", "csv", "-c", script])
        .prints("a,b\n;,it's;\nc;d\n1\ne\n;\n");
    shell.run(&["-c", ""]).prints("");
    let quit = "SELECT 1 AS a;\n\\q\nSELECT 2";
    shell
        .run(&["--format", "csv", "-c", quit, "-c", "SELECT 3"])
        .prints("a\n1\n");
}

#[test]
fn a_reader_that_leaves_is_no_error() {
    let shell = Shell::new();
    let endless = "SELECT value FROM generate_series(1, 100000000)";
    // Statements that did not run are told of as by SIGPIPE.
    for (more, code) in [(&[][..], 0), (&["-c", "COPY (SELECT 1) TO 'a.csv'"], 141)] {
        let mut child = shell.spawn(&[&["--format", "csv", "-c", endless], more].concat());
        let mut out = BufReader::new(child.stdout.take().expect("a pipe"));
        let mut line = String::new();
        out.read_line(&mut line).expect("a first line");
        drop(out);
        let said = ended(child);
        assert_eq!(
            (line.as_str(), said.code, said.err.as_str()),
            ("value\n", Some(code), "")
        );
    }
}

#[test]
fn an_interrupted_query_is_130() {
    let shell = Shell::new();
    let numbers = "generate_series(1, 1000000)";
    let long = format!("SELECT count(*) FROM {numbers} a, {numbers} b, {numbers} c");
    let mut child = shell.spawn(&["-c", "SELECT 1 AS ready", "-c", &long, "-c", "SELECT 2"]);
    // The first result says that Ctrl-C is listened to.
    let mut out = BufReader::new(child.stdout.take().expect("a pipe")).lines();
    assert_eq!(out.next().expect("a line").expect("UTF-8"), " ready");
    interrupt(&child);
    let said = ended(child);
    assert_eq!((said.code, said.err.as_str()), (Some(130), "cancelled\n"));
    assert_eq!(
        out.map_while(Result::ok).last().as_deref(),
        Some("     1"),
        "nothing after it ran"
    );
}

#[test]
fn ingest_is_a_command() {
    let shell = Shell::new();
    let (model, corpus) = (demo_data("model"), demo_data("corpus.jsonl"));
    let ingest = |run: &str, more: &[&str]| {
        let arguments = [
            "ingest",
            run,
            model.as_str(),
            corpus.as_str(),
            "max_documents=20",
        ];
        shell.run(&[&arguments[..], more].concat())
    };
    let said = ingest("few", &["context=64"]);
    assert_eq!((said.code, said.err.as_str()), (Some(0), ""));
    // Header, rule and the closing row: the rows before it told how far it was.
    assert_eq!(said.out.lines().count(), 3, "{}", said.out);
    assert!(
        said.out.contains(" done  |        20 |              20 | "),
        "{}",
        said.out
    );
    let documents = "SELECT count(*) AS n, max(n_tokens) AS most FROM documents";
    let csv = |sql: &str| shell.run(&["--format", "csv", "-c", sql]);
    csv(documents).prints("n,most\n20,64\n");
    csv("SELECT DISTINCT layer FROM feature_clusters(3, 7)").prints("layer\n3\n");
    ingest("few", &[]).fails(1, "a new run name is required, got 'few'");
    ingest("b", &["contxt=64"]).fails(1, "got 'contxt' (is 'context' meant?); options: context, ");
    ingest("b", &["context"]).fails(1, "options as key=value are required, got \"context\"");
    let every_row = ingest("few", &["replace=true", "--format", "ndjson"]);
    assert!(every_row.out.lines().count() > 3, "{}", every_row.out);
    csv("SELECT run FROM info.runs").prints("run\nfew\n");
}

#[test]
fn an_interrupted_ingest_leaves_nothing() {
    let shell = Shell::new();
    let (model, corpus) = (demo_data("model"), demo_data("corpus.jsonl"));
    let mut child = shell.spawn(&["--format", "ndjson", "ingest", "r", &model, &corpus]);
    let mut out = BufReader::new(child.stdout.take().expect("a pipe")).lines();
    let forward = out.find(|row| {
        row.as_ref()
            .is_ok_and(|row| row.contains("\"phase\":\"forward\""))
    });
    assert!(forward.is_some(), "the forward pass is reported");
    interrupt(&child);
    // Its rows must be read for it to end.
    assert!(
        out.map_while(Result::ok)
            .all(|row| !row.contains("\"phase\":\"done\""))
    );
    let said = ended(child);
    assert_eq!(said.code, Some(130), "{said:?}");
    assert!(
        said.err.starts_with("ingest: cancelled in phase ")
            && said.err.ends_with("; nothing was kept\n"),
        "{said:?}"
    );
    let runs = shell.run(&["--format", "csv", "-c", "SELECT run FROM info.runs"]);
    runs.prints("run\n");
    let left = fs::read_dir(shell.0.path().join("s/runs")).expect("the store");
    assert_eq!(left.count(), 0, "no half-written run");
}

#[test]
fn the_demo_answers_three_questions_twice() {
    let shell = Shell::new();
    let first = shell.run(&["demo"]);
    let second = shell.run(&["demo"]);
    for said in [&first, &second] {
        assert_eq!((said.code, said.err.as_str()), (Some(0), ""));
        for part in [
            "1. Which neurons respond to several unrelated things?",
            " layer | neuron | n_examples | n_clusters | mean_distance | intra_cluster_distance | inter_cluster_distance\n",
            "2. What are the separate behaviours of layer ",
            " cluster | example | activation | context\n",
            "3. How do they hang together?",
            "  distance\n",
            "The store is s. Next, try:",
        ] {
            assert!(said.out.contains(part), "{part}: {}", said.out);
        }
        assert!(
            said.out.matches('«').count() > 5 && said.out.contains('┐'),
            "{}",
            said.out
        );
    }
    assert!(first.out.contains(" done  | "), "{}", first.out);
    assert!(
        !first.out.contains(" forward"),
        "only the closing row: {}",
        first.out
    );
    assert!(
        second
            .out
            .contains("The store s has the run 'demo' already."),
        "{}",
        second.out
    );
    let answers = |said: &Said| {
        said.out
            .split_once("1. Which")
            .expect("answers")
            .1
            .to_string()
    };
    assert_eq!(answers(&first), answers(&second));
    reports_and_views(&shell);
}

/// On the demo's store, which takes seconds to make.
fn reports_and_views(shell: &Shell) {
    let said = shell.run(&["report", "--format", "csv"]);
    assert!(
        said.out.starts_with("report,question,variables\n"),
        "{said:?}"
    );
    assert!(said.out.contains("\ntable1,"), "{said:?}");
    let table1 = |variables: &[&str]| {
        let fixed = ["report", "table1", "--format", "csv"];
        shell.run(&[fixed.as_slice(), variables].concat())
    };
    let said = table1(&["--var", "run=demo", "--var", "n_clusters=3"]);
    assert_eq!(
        (said.code, said.out.lines().count()),
        (Some(0), 11),
        "{said:?}"
    );
    assert!(
        said.out.contains("\n3 clusters,n_clusters,3.0,3.0,"),
        "{said:?}"
    );
    table1(&["--var", "run=none"]).fails(1, "SET: polysema.run must be one of demo, got 'none'");
    table1(&["--var", "threshold=1"]).fails(
        1,
        "report: variables of table1 are run, n_clusters, got 'threshold'",
    );
    shell.run(&["report", "table4"]).fails(
        1,
        "report: a report is required, got 'table4' (is 'table1' meant?); reports: image_neuron, neuron, \
         polysemantic_neurons, sae_compare, sae_language_model, scc_agreement, senses, summary, table1, table2, table3",
    );
    let sums = "SELECT (SELECT count(*) FROM polysemantic_neurons)
                     + (SELECT count(*) FROM monosemantic_neurons)
                     + (SELECT count(*) FROM neuron_polysemanticity() WHERE n_examples < 2) AS neurons,
                       (SELECT sum(n_neurons) FROM layer_summary) AS of_layers,
                       (SELECT sum(n_without_examples) FROM layer_summary)
                     - (SELECT count(*) FROM dead_neurons) AS dead,
                       (SELECT round(sum(share)) FROM cluster_sizes) AS shares";
    shell
        .run(&["--format", "csv", "-c", sums])
        .prints("neurons,of_layers,dead,shares\n2048,2048,0,2048.0\n");
    let said = shell.run(&["--format", "csv", "-c", "\\d"]);
    assert!(said.out.contains("layer_summary"), "{said:?}");
}

/// What is too deep is refused in words; the process used to end with a stack overflow.
#[test]
fn deep_statements_are_refused() {
    let shell = Shell::new();
    let chain = |what: &str, n: usize, by: &str| vec![what; n].join(by);
    let one = "FROM (VALUES (1)) t(x)";
    for (i, statement) in [
        format!("SELECT {}", chain("1", 10_000, "+")),
        format!("SELECT {} {one}", chain("x", 10_000, "+")),
        format!("SELECT {} {one}", chain("x = 1", 10_000, " OR ")),
        chain("SELECT 1", 5_000, " UNION ALL "),
        format!("SELECT {}1{}", "(".repeat(10_000), ")".repeat(10_000)),
        format!("{}1{}", "SELECT (".repeat(10_000), ")".repeat(10_000)),
        format!(
            "SELECT {}1 {}",
            "CASE WHEN 1 = 1 THEN ".repeat(10_000),
            "END ".repeat(10_000)
        ),
        format!("SELECT {}true", "NOT ".repeat(10_000)),
        format!("SELECT {}1", "- ".repeat(10_000)),
        format!("SELECT x{} {one}", "::INT".repeat(10_000)),
        format!("SELECT x{} {one}", "[1]".repeat(10_000)),
        format!("SELECT {}1{}", "abs(".repeat(10_000), ")".repeat(10_000)),
        format!("SELECT {}1{}", "[".repeat(10_000), "]".repeat(10_000)),
        format!(
            "SELECT 1 {one} {}",
            "CROSS JOIN (VALUES (1)) u(y) ".repeat(10_000)
        ),
        format!("SELECT x{} {one}", " IS NULL".repeat(10_000)),
    ]
    .iter()
    .enumerate()
    {
        shell.write("deep.sql", statement);
        let said = shell.run(&["-f", "deep.sql"]);
        assert_eq!(said.code, Some(1), "statement {i}: {}", said.err);
        let word = ["required", "recursion limit"].map(|word| said.err.contains(word));
        assert!(word.contains(&true), "statement {i}: {}", said.err);
    }
    // Wide ones are taken.
    let (rows, list) = (chain("(1)", 10_000, ","), chain("1", 10_000, ","));
    let wide = format!("SELECT count(*) AS n FROM (VALUES {rows}) t(x) WHERE x IN ({list})");
    shell.write("wide.sql", &wide);
    shell
        .run(&["--format", "csv", "-f", "wide.sql"])
        .prints("n\n10000\n");
}
