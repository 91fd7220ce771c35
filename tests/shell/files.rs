//! Files queried by name.

use super::*;

/// What a statement prints as CSV.
#[track_caller]
fn csv(shell: &Shell, sql: &str, printed: &str) {
    shell.run(&["--format", "csv", "-c", sql]).prints(printed);
}

#[track_caller]
fn refused(shell: &Shell, sql: &str, message: &str) {
    shell.run(&["-c", sql]).fails(1, message);
}

#[test]
fn a_file_is_a_table_by_its_name() {
    let shell = Shell::new();
    shell.write("a.csv", "x,word\n1,one\n2,two\n");
    shell.write("a.tsv", "x\tword\n1\tone\n2\ttwo\n");
    shell.write(
        "a.json",
        "{\"x\": 1, \"word\": \"one\"}\n{\"x\": 2, \"word\": \"two\"}\n",
    );
    shell.write(
        "array.json",
        "\n [{\"x\": 1, \"word\": \"one\"}, {\"x\": 2, \"word\": \"two\"}]",
    );
    let json = fs::read_to_string(shell.0.path().join("a.json")).expect("a file");
    shell.write("a.jsonl", &json);
    shell.write("a.ndjson", &json);
    shell.write("UPPER.CSV", "x,word\n1,one\n2,two\n");
    shell.write("odd [1]*.csv", "x,word\n1,one\n2,two\n");
    shell.run(&[
        "-c",
        "COPY (SELECT * FROM 'a.csv') TO 'a.parquet'; COPY (SELECT * FROM 'a.csv') TO 'a.arrow'",
    ]);
    let absolute = shell.0.path().join("a.csv").display().to_string();
    for file in [
        "a.csv",
        "a.tsv",
        "a.json",
        "array.json",
        "a.jsonl",
        "a.ndjson",
        "a.parquet",
        "a.arrow",
        "UPPER.CSV",
        "odd [1]*.csv",
        "./a.csv",
        &absolute,
    ] {
        csv(
            &shell,
            &format!("SELECT x, word FROM '{file}' ORDER BY x"),
            "x,word\n1,one\n2,two\n",
        );
    }
    // In double quotes, under an alias, in a subquery, and twice in a statement.
    let joined = "SELECT a.word, (SELECT max(x) FROM 'a.parquet') AS most FROM 'a.csv' a JOIN \"a.parquet\" b USING (x) \
                  WHERE a.x IN (SELECT x FROM 'a.json') ORDER BY a.x";
    csv(&shell, joined, "word,most\none,2\ntwo,2\n");
    csv(
        &shell,
        "PREPARE p AS SELECT count(*) AS n FROM 'a.csv' WHERE x > $1; EXECUTE p(1)",
        "n\n1\n",
    );
    csv(
        &shell,
        "DESCRIBE 'a.csv'",
        "column_name,data_type,is_nullable\nx,Int64,YES\nword,Utf8,YES\n",
    );
    csv(
        &shell,
        "SELECT vector_norm(v) AS norm FROM nearest((SELECT x, [x, 0.0] AS v FROM 'a.csv'), 'v', [1.0, 0.0], 1)",
        "norm\n1.0\n",
    );
}

#[test]
fn a_table_of_that_name_comes_first() {
    let shell = Shell::new();
    shell.write("a.csv", "x\n1\n");
    let own = "CREATE TABLE \"a.csv\" AS SELECT 7 AS x; SELECT x FROM 'a.csv'";
    let said = shell.run(&["--format", "csv", "-c", own]);
    assert_eq!(said.out, "x\n7\n", "{said:?}");
    csv(
        &shell,
        "WITH \"none.csv\" AS (SELECT 8 AS x) SELECT x FROM 'none.csv'",
        "x\n8\n",
    );
}

#[test]
fn folders_and_patterns_are_tables_of_their_files() {
    let shell = Shell::new();
    fs::create_dir(shell.0.path().join("parts")).expect("a writable folder");
    let count = "SELECT count(*) AS n, sum(x) AS sum FROM";
    for x in [1, 2] {
        let made = format!("COPY (SELECT {x} AS x) TO 'parts/{x}.parquet'");
        assert_eq!(shell.run(&["-c", &made]).code, Some(0));
        shell.write(&format!("parts/{x}.csv"), &format!("x\n{x}\n"));
    }
    for files in [
        "parts/",
        "./parts",
        "parts/*.parquet",
        "parts/*.csv",
        "parts/[12].csv",
    ] {
        csv(&shell, &format!("{count} '{files}'"), "n,sum\n2,3\n");
    }
    // What is put there is there at once.
    let seen =
        format!("{count} 'parts/'; COPY (SELECT 3 AS x) TO 'parts/3.parquet'; {count} 'parts/'");
    let said = shell.run(&["--format", "csv", "-c", &seen]);
    assert!(
        said.out.starts_with("n,sum\n2,3\n") && said.out.ends_with("n,sum\n3,6\n"),
        "{said:?}"
    );
    fs::create_dir(shell.0.path().join("empty.d")).expect("a writable folder");
    refused(
        &shell,
        "SELECT * FROM 'empty.d'",
        "FROM: a file that ends in .parquet is required, got none in 'empty.d'",
    );
    refused(
        &shell,
        "SELECT * FROM 'parts/*.json'",
        "FROM: a file that ends in .json is required, got none in 'parts/*.json'",
    );
}

#[test]
fn what_is_no_table_of_a_file_is_refused() {
    let shell = Shell::new();
    shell.write("a.xlsx", "x");
    shell.write("broken.parquet", "no parquet");
    shell.write("a.csv", "x\n1\n");
    refused(
        &shell,
        "SELECT * FROM 'none.csv'",
        "FROM: an existing file is required, got 'none.csv', which ",
    );
    refused(
        &shell,
        "SELECT * FROM 'a.xlsx'",
        "FROM: a table of public, a folder of .parquet files or a file that ends in .parquet, .csv, .tsv, .json, .jsonl, \
         .ndjson or .arrow is required, got 'a.xlsx'",
    );
    refused(
        &shell,
        "SELECT * FROM 'broken.parquet'",
        "FROM: a .parquet file that can be read is required, got 'broken.parquet': ",
    );
    // A name without a dot is a table's, and so is the target of a statement.
    refused(
        &shell,
        "SELECT * FROM 'a'",
        "session: a table of public is required, got 'a'",
    );
    refused(
        &shell,
        "INSERT INTO 'a.csv' VALUES (1)",
        "session: a table of public is required, got 'a.csv'",
    );
    refused(&shell, "SELECT y FROM 'a.csv'", "y");
    assert_eq!(
        fs::read_to_string(shell.0.path().join("a.csv")).expect("a file"),
        "x\n1\n"
    );
}

#[test]
fn the_ending_says_the_format_of_a_copy() {
    let shell = Shell::new();
    let rows = "(SELECT 1 AS x, 'one' AS word)";
    for (file, text) in [
        ("a.jsonl", "{\"x\":1,\"word\":\"one\"}\n"),
        ("a.ndjson", "{\"x\":1,\"word\":\"one\"}\n"),
        ("a.tsv", "x\tword\n1\tone\n"),
        ("A.CSV", "x,word\n1,one\n"),
    ] {
        let copy = format!("COPY {rows} TO '{file}'; SELECT x, word FROM '{file}'");
        let said = shell.run(&["--format", "csv", "-c", &copy]);
        assert!(said.out.ends_with("x,word\n1,one\n"), "{said:?}");
        let written = fs::read_to_string(shell.0.path().join(file));
        assert_eq!(written.expect("a file"), text);
    }
    let own = format!("COPY {rows} TO 'b.tsv' OPTIONS ('format.delimiter' ';')");
    assert_eq!(shell.run(&["-c", &own]).code, Some(0));
    let written = fs::read_to_string(shell.0.path().join("b.tsv"));
    assert_eq!(written.expect("a file"), "x;word\n1;one\n");
    for file in ["a.xlsx", "a", "out/", "a.csv.gz"] {
        refused(
            &shell,
            &format!("COPY {rows} TO '{file}'"),
            &format!(
                "COPY: a file that ends in .parquet, .csv, .tsv, .json, .jsonl, .ndjson or .arrow, or STORED AS and a \
                 format, is required, got '{file}'"
            ),
        );
    }
    refused(
        &shell,
        &format!("COPY {rows} TO clusters.csv"),
        "a file in single quotes is required after TO, got clusters.csv: write TO 'clusters.csv' at line 1, column 40",
    );
}

#[test]
fn a_bad_file_is_named_with_its_line() {
    let shell = Shell::new();
    fs::create_dir(shell.0.path().join("parts")).expect("a writable folder");
    shell.write("parts/1.csv", "x\n1\n");
    shell.write("parts/2.csv", "x,y\n1\n\"");
    shell.write("parts/1.jsonl", "{\"text\": \"one\"}\n");
    shell.write("parts/2.jsonl", "{\"text\": \"one\"}\n\n{bad}\n");
    refused(&shell, "SELECT * FROM 'parts/*.csv'", "/parts/2.csv': ");
    refused(
        &shell,
        "SELECT * FROM 'parts/*.jsonl'",
        "/parts/2.jsonl': line 3: key must be a string at column 2\n",
    );
    refused(
        &shell,
        "SELECT * FROM 'parts/2.jsonl'",
        "got 'parts/2.jsonl': line 3: key must be a string at column 2\n",
    );
    shell.write("parts/1.tsv", "x\n1\n");
    shell.write("parts/2.tsv", "x\none\n");
    refused(
        &shell,
        "SELECT * FROM 'parts/*.tsv'",
        "FROM: files of the same columns are required, got 'parts/*.tsv': ",
    );
    let model = demo_data("model");
    shell.run(&["ingest", "r", &model, "parts/2.jsonl"]).fails(
        1,
        "parts/2.jsonl line 3: a JSON object is required, got key must be a string at column 2\n",
    );
}
