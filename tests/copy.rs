//! COPY and INSERT put files into place when all of them are written, or leave what was there.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::database::Db;

/// Every file below a folder, hidden ones too, with its bytes.
fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder).into_iter().flatten() {
        let path = entry.expect("an entry").path();
        let within = files(&path);
        // What is hidden may go meanwhile.
        found.insert(path.clone(), fs::read(&path).unwrap_or_default());
        found.extend(within);
    }
    found
}

const KINDS: [&str; 4] = ["parquet", "csv", "json", "arrow"];
/// Fails in the last of its many batches.
const FAILING: &str = "SELECT CAST(CASE WHEN v = 200000 THEN 'x' ELSE '1' END AS INT) AS x, v % 3 AS part \
                       FROM generate_series(1, 200000) t(v)";
const ENDLESS: &str = "SELECT a.v AS x, a.v % 3 AS part FROM generate_series(1, 100000) a(v), generate_series(1, 100000) b(v)";

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_query_leaves_the_old_file() {
    let db = Db::new().await;
    for kind in KINDS {
        let folder = db.folder().join(kind);
        fs::create_dir(&folder).expect("writable");
        let (one, many, parts) = (
            folder.join(format!("x.{kind}")),
            folder.join("many/"),
            folder.join("parts/"),
        );
        let stored = format!("STORED AS {kind}");
        let copies = [
            format!("'{}' {stored}", one.display()),
            format!("'{}' {stored}", many.display()),
            format!("'{}' {stored} PARTITIONED BY (part)", parts.display()),
        ];
        for (i, to) in copies.iter().enumerate() {
            db.query(&format!("COPY (SELECT 7 AS x, {i} AS part) TO {to}"))
                .await;
        }
        assert_eq!(fs::read_dir(&folder).expect("a folder").count(), 3);
        let before = files(&folder);
        for to in &copies {
            let message = db.refused(&format!("COPY ({FAILING}) TO {to}")).await;
            assert!(message.contains("Cannot cast string 'x'"), "{message}");
            assert_eq!(files(&folder), before, "{to}");
            let message = db
                .refused(&format!("EXPLAIN ANALYZE COPY ({FAILING}) TO {to}"))
                .await;
            assert!(message.contains("Cannot cast string 'x'"), "{message}");
            assert_eq!(files(&folder), before, "{to}");
        }
        // A new name appears whole or not at all.
        let fresh = folder.join(format!("fresh.{kind}"));
        db.refused(&format!(
            "COPY ({FAILING}) TO '{}' {stored}",
            fresh.display()
        ))
        .await;
        assert_eq!(files(&folder), before);
        db.query(&format!(
            "COPY (SELECT 8 AS x) TO '{}' {stored}",
            one.display()
        ))
        .await;
        assert_ne!(files(&folder)[&one], before[&one]);
    }
}

/// However it ends and when: what is being written runs to its end, and the last of it leaves nothing.
/// A reader takes one of two columns of a name, or fails.
#[tokio::test(flavor = "multi_thread")]
async fn two_columns_of_a_name_are_not_written() {
    let db = Db::new().await;
    let rows = "SELECT a.v, b.v FROM (VALUES (1)) a(v), (VALUES (2)) b(v)";
    for kind in ["parquet", "csv", "arrow"] {
        let path = db.folder().join(format!("twice.{kind}"));
        let copy = format!("COPY ({rows}) TO '{}'", path.display());
        let message = db.refused(&copy).await;
        let expected = "COPY: columns of different names are required, got 'v' twice: give one another name with v AS";
        assert!(message.contains(expected), "{kind}: {message}");
        assert!(!path.exists());
    }
    let path = db.folder().join("twice.json");
    db.query(&format!("COPY ({rows}) TO '{}'", path.display()))
        .await;
    let text = fs::read_to_string(&path).expect("a file");
    assert_eq!(text, "{\"v\":1,\"v_1\":2}\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_query_leaves_the_old_file() {
    let db = Db::new().await;
    let folder = db.folder().join("out");
    fs::create_dir(&folder).expect("writable");
    let to = folder.join("x.csv");
    db.query(&format!("COPY (SELECT 7 AS x) TO '{}'", to.display()))
        .await;
    let before = files(&folder);
    let copies = [
        format!("'{}'", to.display()),
        format!("'{}' STORED AS PARQUET", to.display()),
        format!(
            "'{}/many/' STORED AS JSON PARTITIONED BY (part)",
            folder.display()
        ),
    ];
    for milliseconds in [0, 1, 3, 10, 30, 100, 300, 700] {
        for to in &copies {
            let copy = format!("COPY ({ENDLESS}) TO {to}");
            let running = db.try_query(&copy);
            let running = tokio::time::timeout(Duration::from_millis(milliseconds), running).await;
            assert!(running.is_err(), "it is still running");
            for _ in 0..100 {
                if files(&folder) == before {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            assert!(files(&folder) == before, "{to} after {milliseconds} ms");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn files_go_into_a_folder() {
    let db = Db::new().await;
    let folder = db.folder().join("x.csv");
    fs::create_dir(&folder).expect("writable");
    fs::write(folder.join("mine"), b"text").expect("writable");
    // Files go into it, beside what is there.
    for (slash, n) in [("", 2), ("/", 3)] {
        let to = format!("'{}{slash}' STORED AS CSV", folder.display());
        db.query(&format!("COPY (SELECT 7 AS x) TO {to}")).await;
        let after = files(&folder);
        assert_eq!(after.len(), n);
        assert_eq!(after[&folder.join("mine")], b"text");
    }
    // Folders on the way are made, and the name may be any.
    let odd = db.folder().join("new folder/a b%20ü.csv");
    db.query(&format!("COPY (SELECT 7 AS x) TO '{}'", odd.display()))
        .await;
    assert_eq!(fs::read_to_string(&odd).expect("the file"), "x\n7\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_insert_adds_nothing() {
    let db = Db::new().await;
    let folder = db.folder().join("table");
    fs::create_dir(&folder).expect("writable");
    let create = format!(
        "CREATE EXTERNAL TABLE t (x INT, part BIGINT) STORED AS CSV LOCATION '{}/' OPTIONS ('format.has_header' 'true')",
        folder.display()
    );
    db.query(&create).await;
    db.query("INSERT INTO t VALUES (1, 2)").await;
    assert_eq!(db.integer("SELECT count(*) FROM t").await, 1);
    let before = files(&folder);
    db.refused(&format!("INSERT INTO t {FAILING}")).await;
    assert_eq!(files(&folder), before);
    assert_eq!(db.integer("SELECT count(*) FROM t").await, 1);
}

/// A file may be read and replaced in one statement.
#[tokio::test(flavor = "multi_thread")]
async fn a_file_is_made_of_itself() {
    let db = Db::new().await;
    let file = db.folder().join("t.csv");
    fs::write(&file, "x\n1\n2\n").expect("writable");
    let create = format!(
        "CREATE EXTERNAL TABLE t STORED AS CSV LOCATION '{}' OPTIONS ('format.has_header' 'true')",
        file.display()
    );
    db.query(&create).await;
    let copy = format!(
        "COPY (SELECT x + 1 AS x FROM t ORDER BY x) TO '{}'",
        file.display()
    );
    db.query(&copy).await;
    assert_eq!(fs::read_to_string(&file).expect("the file"), "x\n2\n3\n");
}

/// As psql and DuckDB write it, and as the shell prints it.
#[tokio::test(flavor = "multi_thread")]
async fn text_files_lose_nothing() {
    let db = Db::new().await;
    let file = |name: &str| db.folder().join(name);
    let copied = async |query: &str, name: &str| {
        let copy = format!("COPY ({query}) TO '{}'", file(name).display());
        db.query(&copy).await;
        fs::read_to_string(file(name)).expect("the file")
    };
    let values = "SELECT 1 AS x, '' AS empty, NULL AS none, 'a\"' AS \"b,c\", [1.5, NULL] AS list";
    let text = "x,empty,none,\"b,c\",list\n1,\"\",,\"a\"\"\",\"[1.5,null]\"\n";
    assert_eq!(copied(values, "values.csv").await, text);
    let numbers = "SELECT 'NaN'::double AS a, [1.5::real, '-inf'::real, NULL] AS b, 'inf'::double AS c, NULL AS d";
    let text = "{\"a\":\"NaN\",\"b\":[1.5,\"-Infinity\",null],\"c\":\"Infinity\",\"d\":null}\n";
    assert_eq!(copied(numbers, "numbers.json").await, text);
    assert_eq!(copied("SELECT 1 AS a WHERE false", "none.csv").await, "a\n");
    assert_eq!(copied("SELECT 1 AS a WHERE false", "none.json").await, "");
    // One head, however many batches.
    let many = copied("SELECT v FROM generate_series(1, 30000) t(v)", "many.csv").await;
    let lines: Vec<_> = many.lines().collect();
    assert_eq!((lines.len(), lines[0], lines[30000]), (30001, "v", "30000"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_csv_file_is_read_back() {
    let db = Db::new().await;
    let file = db.folder().join("x.csv");
    let path = file.display();
    let values = "VALUES ('a;b', 1, [1.5, 2]), (NULL, 2, NULL), ('-', 3, [])";
    let options =
        "OPTIONS ('format.null_value' '-', 'format.delimiter' ';', 'format.has_header' 'false')";
    db.query(&format!("COPY ({values}) TO '{path}' {options}"))
        .await;
    let text = fs::read_to_string(&file).expect("the file");
    assert_eq!(text, "\"a;b\";1;[1.5,2.0]\n-;2;-\n\"-\";3;[]\n");
    db.query(&format!("COPY ({values}) TO '{path}'")).await;
    db.query(&format!(
        "CREATE EXTERNAL TABLE t (a TEXT, n BIGINT, list TEXT) STORED AS CSV LOCATION '{path}' \
         OPTIONS ('format.has_header' 'true')"
    ))
    .await;
    for condition in [
        "a = 'a;b' AND n = 1 AND list = '[1.5,2.0]'",
        "a IS NULL AND n = 2 AND list IS NULL",
        "a = '-' AND n = 3 AND list = '[]'",
    ] {
        let count = format!("SELECT count(*) FROM t WHERE {condition}");
        assert_eq!(db.integer(&count).await, 1, "{condition}");
    }
    // Rows that are added are written as those of COPY.
    let folder = db.folder().join("more");
    fs::create_dir(&folder).expect("writable");
    let folder = folder.display();
    db.query(&format!(
        "CREATE EXTERNAL TABLE more (a TEXT, n BIGINT) STORED AS CSV LOCATION '{folder}/' OPTIONS ('format.has_header' 'true')"
    ))
    .await;
    db.query("INSERT INTO more VALUES ('', 1), (NULL, 2)").await;
    let written = files(&db.folder().join("more")).into_values().next();
    assert_eq!(written.expect("a file"), b"a,n\n\"\",1\n,2\n");
}

/// DataFusion's writer has other options of CSV, and no lists: that is said before a file is begun.
#[tokio::test(flavor = "multi_thread")]
async fn other_dialects_are_written_without_lists() {
    let db = Db::new().await;
    let to = db.folder().join("x.csv");
    let options = "OPTIONS ('format.quote_style' 'Always')";
    let copy = |query: &str| format!("COPY ({query}) TO '{}' {options}", to.display());
    let message = db.refused(&copy("SELECT [1.5] AS v")).await;
    assert!(
        message.contains("columns without lists are required with these options of CSV, got 'v'"),
        "{message}"
    );
    assert!(!to.exists());
    db.query(&copy("SELECT 1 AS a")).await;
    assert_eq!(fs::read_to_string(&to).expect("the file"), "\"a\"\n\"1\"\n");
}
