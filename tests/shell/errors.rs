//! What errors say, and where they point.

use super::*;

#[test]
fn errors_name_their_place() {
    let shell = Shell::new();
    shell.write("open.sql", "SELECT 1;\nSELECT 'abc\n");
    let said = shell.run(&["-f", "open.sql"]);
    said.fails(1, "open.sql:2: error: syntax: Unterminated string literal");
    assert_eq!(said.out, "", "nothing ran");
    shell
        .run(&["-f", "missing.sql"])
        .fails(1, "error: a readable file is required, got missing.sql");
    fs::write(shell.0.path().join("bytes.sql"), [0xff]).expect("a writable folder");
    shell.run(&["-f", "bytes.sql"]).fails(1, "valid UTF-8");
    shell
        .run(&["-c", "SELECT 1 / 0"])
        .fails(1, "line 1: error: Divide by zero error");
    shell.write("i.sql", "\n\\i i.sql\n");
    shell
        .run(&["-f", "i.sql"])
        .fails(1, "i.sql:2: error: \\i: at most 16 files");
    shell.run(&["-c", "\\nosuch"]).fails(
        1,
        "line 1: error: a command is required, got \\nosuch; commands: \\d",
    );
}

#[test]
fn errors_show_their_place_and_what_was_meant() {
    let shell = Shell::new();
    shell
        .run(&["-c", "SELECT 1;\n  SELECT a FROM\n (SELECT 1 AS b)"])
        .fails(1, "at line 2, column 10\n  SELECT a FROM\n         ^");
    shell
        .run(&["-c", "SELECT 1 FROM {run}"])
        .fails(1, "column 15\n  SELECT 1 FROM {run}\n                ^");
    shell
        .run(&["-c", "SELECT b = \" the\" FROM (SELECT 'a' AS b)"])
        .fails(1, "got \" the\": text stands in single quotes, ' the'");
    shell
        .run(&["-c", "CREATE TABLE thing AS SELECT 1; SELECT * FROM thin"])
        .fails(1, "got 'thin' (is 'thing' meant?)");
    shell.run(&["-c", "SELECT * FROM feature_clusters"]).fails(
        1,
        "got the function 'feature_clusters': write feature_clusters(...)",
    );
    shell.run(&["-c", "SELECT feature_clusters(3, 417)"]).fails(
        1,
        "feature_clusters: a place in FROM is required, since it gives rows, got one of a value",
    );
    shell
        .run(&["-c", "SELECT * FROM cosine_distance([1.0], [2.0])"])
        .fails(
            1,
            "got cosine_distance, which gives a value: SELECT cosine_distance(...)",
        );
    shell
        .run(&["ingest", "a", "b", "c", "contxt=12"])
        .fails(1, "error: ingest: an option is required, got 'contxt' (is 'context' meant?); options: context, ");
    shell
        .run(&[
            "-c",
            "SELECT * FROM feature_clusters(3, 417, {threshold: '0.4'})",
        ])
        .fails(1, "threshold must be a number, got '0.4'");
    shell
        .run(&["ingest", "a", "b", "c", "--max-documents", "64"])
        .fails(2, "as max_documents=..., got '--max-documents'");
    shell.write("bom.sql", "\u{feff}SELECT 1 AS a;");
    shell
        .run(&["--format", "csv", "-f", "bom.sql"])
        .prints("a\n1\n");
}

/// A store with the run `demo` of a few documents.
fn with_run() -> Shell {
    let shell = Shell::new();
    let (model, corpus) = (demo_data("model"), demo_data("corpus.jsonl"));
    let said = shell.run(&["ingest", "demo", &model, &corpus, "max_documents=4"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    shell
}

#[test]
fn a_column_that_is_not_there_is_marked() {
    let shell = with_run();
    // The place, its mark, and then the columns there are.
    shell.run(&["-c", "SELECT doc_id\nFROM tokens WHERE tokn = 'a'"]).fails(
        1,
        "got tokn (is 'token' meant?) at line 2, column 19\n  FROM tokens WHERE tokn = 'a'\n                    ^\n\
         columns: doc_id, pos, token_id, token\n",
    );
    shell
        .run(&["-c", "SELECT * FROM tokens WHERE token = the"])
        .fails(1, "got the (text stands in single quotes, 'the') at line 1");
    shell
        .run(&["-c", "SELECT layr FROM neurons n, feature_clusters() f"])
        .fails(1, "columns: n.layer, n.neuron, ");
}

#[test]
fn tables_of_a_run_are_read_only() {
    let shell = with_run();
    for (statement, of) in [
        ("DROP TABLE examples", "DROP TABLE"),
        ("DROP TABLE demo.tokens", "DROP TABLE"),
        ("DROP VIEW layer_summary", "DROP VIEW"),
        ("DELETE FROM examples", "DELETE"),
        ("DELETE FROM documents WHERE doc_id = 0", "DELETE"),
        ("UPDATE tokens SET pos = 0", "UPDATE"),
        ("INSERT INTO tokens VALUES (1, 1, 1, 'a')", "INSERT"),
    ] {
        let said = shell.run(&["-c", statement]);
        said.fails(
            1,
            &format!("error: {of}: a table of your own is required, got demo."),
        );
        said.fails(
            1,
            "the tables of a run are read only (SELECT * FROM drop_run('demo') removes the run)",
        );
    }
    shell
        .run(&["-c", "DROP TABLE info.runs"])
        .fails(1, "got info.runs, which is read only");
    // One's own of a name that a run has not.
    let own = "CREATE OR REPLACE VIEW layer_summary AS SELECT 1 AS a; DROP VIEW layer_summary; SELECT 2 AS b";
    let said = shell.run(&["--format", "csv", "-c", own]);
    assert_eq!(
        (said.code, said.out.as_str()),
        (Some(0), "b\n2\n"),
        "{said:?}"
    );
}

#[test]
fn habits_of_other_shells_are_understood_or_answered() {
    let shell = with_run();
    let csv = |sql: &str| shell.run(&["--format", "csv", "-c", sql]);
    csv("USE public; SHOW run").prints("name,value\npolysema.run,public\n");
    csv("USE demo; SHOW polysema.run").prints("name,value\npolysema.run,demo\n");
    csv("SET threshold = 0.25; SHOW threshold; SET threshold TO DEFAULT; SHOW Threshold; RESET threshold")
        .prints("name,value\npolysema.threshold,0.25\nname,value\npolysema.threshold,0.5\n");
    csv("USE demp").fails(1, "SET: polysema.run must be one of demo, got 'demp'");
    csv("SELECT * FROM runs").fails(1, "got 'runs' (is 'info.runs' meant?)");
    csv("SELECT * FROM nosuch.tokens").fails(
        1,
        "got 'nosuch'; runs: demo at line 1, column 15\n  SELECT * FROM nosuch.tokens\n                ^",
    );
    csv("SELECT * FROM mine.jsonl").fails(1, "got mine.jsonl without: write FROM 'mine.jsonl'");
    csv("\\dt").fails(0, "");
    csv("\\l").fails(1, "got \\l: write SELECT * FROM info.runs");
    csv("\\d train_sea").fails(1, "got train_sea (is 'train_sae' meant?)");
    shell.run(&["report", "tabel1"]).fails(
        1,
        "got 'tabel1' (is 'table1' meant?); reports: image_neuron, ",
    );
}

#[test]
fn what_was_left_out_is_written_out() {
    let shell = with_run();
    let fails = |sql: &str, message: &str| shell.run(&["-c", sql]).fails(1, message);
    fails(
        "SELECT * FROM feature_clusters(2, 4, {linkage: avg})",
        "linkage must be a literal, got the column avg (text stands in single quotes: 'avg')",
    );
    fails(
        "SELECT * FROM ingest('x', m1, 'c.txt')",
        "model must be a literal, got the column m1 (text stands in single quotes: 'm1')",
    );
    fails(
        "SELECT * FROM feature_clusters(2, 4, threshold = 0.4)",
        "got 3 arguments (write threshold => 0.4)",
    );
    fails(
        "SELECT * FROM feature_clusters(2, 4, 0.4)",
        "got 3 arguments (options stand by name, as threshold => 0.4)",
    );
    fails(
        "SELECT * FROM feature_clusters(2, 4, 'complete')",
        "got 3 arguments (options stand by name, as linkage => 'complete')",
    );
    fails(
        "SELECT * FROM similar_features(2, 4, k = 3)",
        "(write k => 3)",
    );
    fails(
        "SELECT * FROM feature_cluster(2, 4)",
        "a table function is required, got 'feature_cluster' (is 'feature_clusters' meant?); functions: ",
    );
    fails(
        "SELECT 1,\n x FROM nosuch(2)",
        "at line 2, column 9\n   x FROM nosuch(2)\n          ^",
    );
    fails(
        "SELECT * FROM feature_clusters({threshhold: 0.4})",
        "an option is required, got 'threshhold' (is 'threshold' meant?); options: threshold, ",
    );
    fails(
        "SELECT * FROM demp.feature_clusters(2, 4)",
        "run must be one of demo, got 'demp' (is 'demo' meant?)",
    );
}

#[test]
fn a_store_without_what_is_asked_says_so() {
    let shell = Shell::new();
    shell.run(&["-c", "SELECT * FROM feature_clusters(1, 2)"]).fails(
        1,
        "got none in 'public' (the store s has no run yet: make one with ingest(...), or open another store)",
    );
    let model = demo_data("model");
    shell.write(
        "c.jsonl",
        "{\"text\": \"one two three\", \"topic\": \"numbers\"}\n",
    );
    let said = shell.run(&["ingest", "r", &model, "c.jsonl"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    shell.run(&["report", "senses"]).fails(
        1,
        "senses requires a run whose documents have the columns word, sense, got r, whose have doc_id, ",
    );
}
