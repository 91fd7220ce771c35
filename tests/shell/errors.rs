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
    shell
        .run(&["-c", "\\dt"])
        .fails(1, "line 1: error: a command out of \\d \\dendrogram \\df");
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
        .fails(1, "error: ingest: options are context, ");
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
