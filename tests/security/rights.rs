//! The table of rights, a cell at a time: what each role may do is done, and what it may not is refused by name.

use polysema::serve::users::Role;

use super::place::{CANARY, Place, Way};
use super::server::conversation;

const READER: &[Role] = &[Role::Reader, Role::Analyst, Role::Owner];
const ANALYST: &[Role] = &[Role::Analyst, Role::Owner];
const OWNER: &[Role] = &[Role::Owner];

/// Statements, one after the other, and who may run them.
const RIGHTS: &[(&[Role], &str)] = &[
    (READER, "SELECT count(*) FROM demo.layers"),
    (READER, "SELECT count(*) FROM feature_clusters(0, 0)"),
    (READER, "SELECT count(*) FROM info.runs"),
    (READER, "SET polysema.threshold = 0.4"),
    (READER, "RESET polysema.threshold"),
    (READER, "SET polysema.run = 'demo'"),
    (READER, "SET statement_timeout = '60s'"),
    (READER, "EXPLAIN SELECT * FROM demo.layers"),
    (ANALYST, "CREATE TABLE mine AS SELECT 1 AS a"),
    (ANALYST, "CREATE TEMP TABLE yours AS SELECT 1 AS a"),
    (ANALYST, "INSERT INTO mine VALUES (2)"),
    (ANALYST, "CREATE VIEW seen AS SELECT * FROM mine"),
    (ANALYST, "DROP VIEW seen"),
    (ANALYST, "DROP TABLE mine"),
    (OWNER, "SELECT * FROM '{}/canary.csv'"),
    (OWNER, "COPY (SELECT 1 AS a) TO '{}/out.csv'"),
    (
        OWNER,
        "CREATE EXTERNAL TABLE e STORED AS CSV LOCATION '{}/canary.csv'",
    ),
    (OWNER, "CREATE TABLE notes.kept AS SELECT 1 AS a"),
    (OWNER, "INSERT INTO notes.kept VALUES (2)"),
    (OWNER, "UPDATE notes.kept SET a = 3 WHERE a = 2"),
    (OWNER, "DELETE FROM notes.kept WHERE a = 3"),
    (OWNER, "DROP TABLE notes.kept"),
    (OWNER, "SET datafusion.execution.batch_size = 4096"),
    (
        OWNER,
        "CALL train_sae('s', 0, {d_sae: 8, epochs: 1, replace: true})",
    ),
    (OWNER, "CALL drop_sae('s')"),
];

#[test]
fn each_role_may_what_the_table_says_and_no_more() {
    let place = Place::new();
    conversation(place.options(), |server| async move {
        for role in Role::ALL {
            let ways = Way::all(&server, role).await;
            for (who, statement) in RIGHTS {
                let statement = place.fill(statement);
                for way in &ways {
                    // Each request has a session of its own, without what the one before has made.
                    let before = match statement.as_str() {
                        "INSERT INTO mine VALUES (2)"
                        | "DROP TABLE mine"
                        | "CREATE VIEW seen AS SELECT * FROM mine" => {
                            "CREATE TABLE mine AS SELECT 1 AS a; "
                        }
                        "DROP VIEW seen" => "CREATE VIEW seen AS SELECT 1 AS a; ",
                        _ => "",
                    };
                    let statement = match way {
                        Way::Http(_) => format!("{before}{statement}"),
                        _ => statement.clone(),
                    };
                    // What lasts is made and dropped by one.
                    let lasts = statement.contains("notes.kept") || statement.contains("drop_sae");
                    // Settings of PostgreSQL are its protocol's.
                    let of_postgres = statement.contains("statement_timeout");
                    if lasts && way.name() != "simple" || of_postgres && way.name() == "http" {
                        continue;
                    }
                    let asked = format!("{} by {}: {statement}", role.name(), way.name());
                    let told = way.ask(&server, &statement).await;
                    match (who.contains(&role), told) {
                        (true, told) => drop(told.unwrap_or_else(|told| panic!("{asked}: {told}"))),
                        (false, Ok(told)) => panic!("{asked}: {told}"),
                        (false, Err(told)) => assert!(
                            [
                                "a session that may",
                                "a setting that this session may change",
                                "not found",
                                "doesn't exist",
                                "is required"
                            ]
                            .iter()
                            .any(|words| told.contains(words)),
                            "{asked}: {told}"
                        ),
                    }
                }
            }
        }
        server.stop().await;
    });
}

/// Whoever may not read files learns from no table of a catalogue where one lies, or what another session has made.
#[test]
fn catalogues_tell_neither_folders_nor_what_others_have() {
    let place = Place::new();
    conversation(place.options(), |server| async move {
        let [owner, ..] = Way::all(&server, Role::Owner).await;
        let [analyst, ..] = Way::all(&server, Role::Analyst).await;
        let secret = format!("CREATE TABLE {CANARY} AS SELECT 1 AS {CANARY}");
        analyst.ask(&server, &secret).await.expect("a table");
        let view = format!("CREATE VIEW {CANARY}_view AS SELECT {CANARY} FROM {CANARY}");
        analyst.ask(&server, &view).await.expect("a view");
        // Runs, autoencoders and jobs of files of this folder; one of the jobs fails, one run is broken.
        let model = place.path("model");
        super::place::copy_folder("tests/data/demo/model".as_ref(), &model);
        std::fs::copy("tests/data/demo/corpus.jsonl", place.path("corpus.jsonl")).expect("a copy");
        for statement in [
            "CALL ingest('theirs', '{}/model', '{}/corpus.jsonl', {max_documents: 2, max_examples: 2})",
            "CALL train_sae('t', 0, {d_sae: 8, epochs: 1})",
            "CREATE TABLE notes.broken AS SELECT 1 AS a",
        ] {
            let done = owner.ask(&server, &place.fill(statement)).await;
            done.unwrap_or_else(|told| panic!("{statement}: {told}"));
        }
        let fails = place.fill("CALL ingest('other', '{}/nowhere', '{}/corpus.jsonl')");
        owner.ask(&server, &fails).await.expect_err("no model");
        let broken = place.path("store/runs/broken");
        std::fs::create_dir(&broken).expect("writable");
        std::fs::write(broken.join("manifest.json"), "{").expect("writable");
        std::fs::write(place.path("store/tables/notes/broken/table.json"), "{").expect("writable");

        let tables =
            "SELECT table_schema || '.' || table_name || ';' FROM information_schema.tables";
        let shown = owner
            .ask(&server, "SELECT model FROM info.runs WHERE run = 'theirs'")
            .await;
        assert!(
            place.tells(&shown.expect("a row")),
            "an owner sees where a model lies"
        );
        for role in [Role::Reader, Role::Analyst] {
            let [simple, _, http] = Way::all(&server, role).await;
            let listed = simple.ask(&server, tables).await.expect("tables");
            assert!(!listed.contains(CANARY), "{listed}");
            let mut asked = 0;
            for table in listed
                .split(';')
                .map(str::trim)
                .filter(|table| !table.is_empty())
            {
                let schema = table.split('.').next().unwrap_or_default();
                if !["info", "information_schema", "pg_catalog"].contains(&schema) {
                    continue;
                }
                for way in [&simple, &http] {
                    let told = way.ask(&server, &format!("SELECT * FROM {table}")).await;
                    let told = told.unwrap_or_else(|told| told);
                    assert!(!place.tells(&told), "{table}: {told}");
                    asked += 1;
                }
            }
            assert!(asked > 20, "{asked}: {listed}");
            for statement in [
                "SHOW ALL",
                "SHOW TABLES",
                "SHOW COLUMNS FROM info.runs",
                "SHOW FUNCTIONS",
            ] {
                let told = simple
                    .ask(&server, statement)
                    .await
                    .unwrap_or_else(|told| told);
                assert!(!place.tells(&told), "{statement}: {told}");
            }
            let names = "SELECT model || ' ' || corpus FROM info.runs WHERE run = 'theirs'";
            let told = simple.ask(&server, names).await.expect("a row");
            assert_eq!(told.trim(), "model corpus.jsonl");
        }
        server.stop().await;
    });
}

/// Who may do everything is told what is required in the place of an address.
#[test]
fn nothing_is_read_from_or_written_to_an_address() {
    let place = Place::new();
    conversation(place.options(), |server| async move {
        for way in Way::all(&server, Role::Owner).await {
            for (statement, scheme) in [
                ("SELECT * FROM 'http://127.0.0.1:1/x.csv'", "http"),
                ("SELECT * FROM 's3://bucket/x.parquet'", "s3"),
                (
                    "COPY (SELECT 1 AS a) TO 'https://127.0.0.1:1/x.csv'",
                    "https",
                ),
                (
                    "CREATE EXTERNAL TABLE e STORED AS CSV LOCATION 'http://127.0.0.1:1/x.csv'",
                    "http",
                ),
            ] {
                let told = way.ask(&server, statement).await.expect_err(statement);
                assert!(
                    told.contains("a file of this machine, by its path, is required, got ")
                        && told.contains(&format!("{scheme}: addresses"))
                        && !told.contains("internal error"),
                    "{statement}: {told}"
                );
            }
        }
        server.stop().await;
    });
}
