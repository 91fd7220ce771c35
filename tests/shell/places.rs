//! Where the shell takes its run from and where results go.

use super::*;

#[test]
fn a_run_is_selected_from_outside() {
    let shell = Shell::new();
    let (model, corpus) = (demo_data("model"), demo_data("corpus.jsonl"));
    for run in ["a", "b"] {
        let said = shell.run(&["ingest", run, &model, &corpus, "max_documents=4"]);
        assert_eq!(said.code, Some(0), "{said:?}");
    }
    let asked = ["--format", "csv", "-c", "SHOW polysema.run"];
    let printed = |value: &str| format!("name,value\npolysema.run,{value}\n");
    shell
        .run(&[&["--run", "b"], &asked[..]].concat())
        .prints(&printed("b"));
    let output = shell.command(&asked).env("POLYSEMA_RUN", "a").output();
    Said::from(output.expect("the program starts")).prints(&printed("a"));
    shell.write("init.sql", "SET run = 'b';\nSET threshold = 0.25;");
    let asked = "SELECT name, value FROM information_schema.df_settings WHERE name IN ('polysema.run', \
                 'polysema.threshold') ORDER BY name";
    shell
        .run(&["--init", "init.sql", "--format", "csv", "-c", asked])
        .prints("name,value\npolysema.run,b\npolysema.threshold,0.25\n");
    // A run that was just made is the one that is asked next.
    let made = format!(
        "CALL ingest('c', '{model}', '{corpus}', {{max_documents: 3}}); SELECT count(*) AS n FROM documents"
    );
    let said = shell.run(&["--run", "a", "--format", "csv", "-c", &made]);
    assert!(said.out.ends_with("\nn\n3\n"), "{said:?}");
    shell.run(&["report", "senses"]).fails(
        1,
        "report: a run is required, got none of a, b, c: choose one with --var run=a",
    );
    shell
        .run(&["--run", "d", "-c", "SELECT 1"])
        .fails(1, "polysema.run must be one of a, b, c, got 'd'");
    shell
        .run(&["--init", "none.sql", "-c", "SELECT 1"])
        .fails(1, "a readable file is required, got none.sql");
}

#[test]
fn results_go_to_a_file_and_expand() {
    let shell = Shell::new();
    let script = "\\x\nSELECT 1 AS a, 'two\nlines' AS long_name;\n\\x off\n\\o out.csv\n\\format csv\nSELECT 1 AS a;\n\
                  SELECT 2 AS b;\n\\o\nSELECT 3 AS c;\n\\rows 0";
    let said = shell.run(&["-c", script]);
    said.fails(1, "a number above 0 or all is required, got 0");
    assert_eq!(
        said.out,
        "-[ 1 ]---------\na         | 1\nlong_name | two\\nlines\nc\n3\n"
    );
    let file = fs::read_to_string(shell.0.path().join("out.csv"));
    assert_eq!(file.expect("a file"), "a\n1\nb\n2\n");
    // The ending says the form; one that names none leaves it.
    let script =
        "\\o a.csv\nSELECT 1 AS a;\n\\o a.jsonl\nSELECT 1 AS a;\n\\o a.txt\nSELECT 1 AS a;";
    shell.run(&["-c", script]).prints("");
    for (name, text) in [
        ("a.csv", "a\n1\n"),
        ("a.jsonl", "{\"a\":1}\n"),
        ("a.txt", " a\n---\n 1\n"),
    ] {
        let file = fs::read_to_string(shell.0.path().join(name));
        assert_eq!(file.expect("a file"), text);
    }
    shell.run(&["-c", "\\o nowhere/out.csv"]).fails(
        1,
        "\\o: a file that can be written is required, got nowhere/out.csv",
    );
}

/// Who makes a table hears how long it lasts.
#[test]
fn a_new_table_says_how_long_it_lasts() {
    let shell = Shell::new();
    let said = shell.run(&["-c", "CREATE TABLE t AS SELECT 1 AS a"]);
    let session =
        "table t lives in this session only; one of a schema lasts: CREATE TABLE notes.t ...\n";
    assert_eq!((said.code, said.err.as_str()), (Some(0), session));
    shell
        .run(&[
            "-c",
            "CREATE TABLE notes.t AS SELECT 1 AS a; CREATE SCHEMA more",
        ])
        .prints("");
    shell
        .run(&["--format", "csv", "-c", "SELECT * FROM notes.t"])
        .prints("a\n1\n");
    let listed = shell.run(&[
        "--format",
        "csv",
        "-c",
        "CREATE VIEW v AS SELECT 1 AS a; \\d",
    ]);
    assert!(
        listed.out.ends_with("\nnotes,t,table,store\n"),
        "{listed:?}"
    );
    assert!(listed.out.contains("\npublic,v,view,session\n"));
    assert_eq!(listed.err, "view v lives in this session only\n");
}
