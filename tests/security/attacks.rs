//! Statements that neither a reader nor an analyst may run, nor a session of [`Policy::nothing`]: each is refused by each way
//! there is, no file is made or changed, and no answer tells what stands in one, or where one lies.

use futures::TryStreamExt;
use polysema::policy::Policy;
use polysema::serve::users::Role;
use polysema::session::Session;

use super::place::{Place, Way};
use super::server::conversation;

/// What reads or writes a file, runs a job, changes the store or the server; `{}` is a folder of files.
const FORBIDDEN: &[&str] = &[
    // Files by name.
    "SELECT * FROM '{}/canary.csv'",
    "SELECT * FROM \"{}/canary.csv\"",
    "SELECT * FROM '{}/table/'",
    "SELECT * FROM '{}/*.json'",
    "SELECT * FROM '{}/store/../canary.csv'",
    "SELECT * FROM '../../../../../../../../etc/passwd'",
    "SELECT * FROM '/etc/passwd'",
    "SELECT * FROM 'file:///etc/passwd'",
    "SELECT * FROM 'file://{}/canary.csv'",
    "SELECT * FROM 'http://127.0.0.1:1/x.csv'",
    "SELECT * FROM 'https://example.com/x.parquet'",
    "SELECT * FROM 's3://bucket/x.parquet'",
    "SELECT * FROM 'hf:openai-community/gpt2'",
    "SELECT * FROM 'hf:datasets/x/y/z.parquet'",
    "SELECT (SELECT count(*) FROM '{}/canary.csv')",
    "SELECT 1 UNION ALL SELECT count(*) FROM '{}/canary.csv'",
    "SELECT * FROM demo.layers WHERE EXISTS (SELECT 1 FROM '{}/canary.csv')",
    "SELECT * FROM demo.layers WHERE layer IN (SELECT 1 FROM '{}/canary.csv')",
    "SELECT * FROM demo.layers, LATERAL (SELECT * FROM '{}/canary.csv') AS t",
    "WITH t AS (SELECT * FROM '{}/canary.csv') SELECT * FROM t",
    "WITH RECURSIVE t AS (SELECT 1 AS a UNION ALL SELECT 2 FROM '{}/canary.csv') SELECT * FROM t",
    "SELECT * FROM (VALUES (1)) v JOIN '{}/canary.csv' f ON true",
    "TABLE \"{}/canary.csv\"",
    "DESCRIBE '{}/canary.csv'",
    "EXPLAIN SELECT * FROM '{}/canary.csv'",
    "EXPLAIN VERBOSE SELECT * FROM '{}/canary.csv'",
    "EXPLAIN ANALYZE SELECT * FROM '{}/canary.csv'",
    "SHOW COLUMNS FROM '{}/canary.csv'",
    // Functions of other engines that open files.
    "SELECT pg_read_file('/etc/passwd')",
    "SELECT pg_read_binary_file('/etc/passwd')",
    "SELECT * FROM pg_ls_dir('/')",
    "SELECT lo_import('/etc/passwd')",
    "SELECT lo_export(1, '{}/new')",
    "SELECT * FROM read_csv('{}/canary.csv')",
    "SELECT * FROM read_parquet('{}/canary.csv')",
    "SELECT * FROM parquet_metadata('{}/canary.csv')",
    "SELECT * FROM glob('{}/*')",
    "SELECT * FROM dblink('dbname=x', 'SELECT 1')",
    // External tables.
    "CREATE EXTERNAL TABLE e STORED AS CSV LOCATION '{}/canary.csv'",
    "CREATE EXTERNAL TABLE e STORED AS JSON LOCATION '{}/canary.json'",
    "CREATE EXTERNAL TABLE e STORED AS PARQUET LOCATION '{}/table/'",
    "CREATE EXTERNAL TABLE e STORED AS ARROW LOCATION '{}/store/'",
    "CREATE EXTERNAL TABLE e (x VARCHAR) STORED AS CSV LOCATION '{}/new/'",
    "CREATE EXTERNAL TABLE IF NOT EXISTS e (x VARCHAR) STORED AS CSV LOCATION '/etc/passwd'",
    "CREATE OR REPLACE EXTERNAL TABLE e STORED AS CSV LOCATION 'http://127.0.0.1:1/x.csv'",
    "CREATE UNBOUNDED EXTERNAL TABLE e (x VARCHAR) STORED AS CSV LOCATION '{}/canary.csv'",
    "CREATE EXTERNAL TABLE e (x VARCHAR) STORED AS CSV PARTITIONED BY (x) LOCATION '{}/table/'",
    "CREATE TABLE e AS SELECT * FROM '{}/canary.csv'",
    "CREATE VIEW e AS SELECT * FROM '{}/canary.csv'",
    // COPY, however it is hidden.
    "COPY demo.layers TO '{}/new.csv'",
    "COPY (SELECT 1 AS a) TO '{}/new.parquet'",
    "COPY (SELECT 1 AS a) TO '{}/canary.csv' STORED AS CSV",
    "COPY (SELECT 1 AS a) TO '{}/table/' STORED AS CSV PARTITIONED BY (a)",
    "COPY (SELECT * FROM '{}/canary.csv') TO STDOUT",
    "COPY '{}/canary.csv' TO STDOUT",
    "COPY demo.layers FROM '/etc/passwd'",
    "COPY demo.layers FROM STDIN",
    "COPY demo.layers TO PROGRAM 'touch {}/new'",
    "COPY demo.layers FROM PROGRAM 'cat /etc/passwd'",
    "EXPLAIN ANALYZE COPY (SELECT 1 AS a) TO '{}/new.csv'",
    "/* SELECT 1 */ COPY (SELECT 1 AS a) TO '{}/new.csv'",
    "COPY (SELECT 1 AS a) TO 'http://127.0.0.1:1/new.csv'",
    "COPY (SELECT 1 AS a) TO 's3://bucket/new.csv'",
    "SELECT 1; COPY (SELECT 1 AS a) TO '{}/new.csv'",
    "BEGIN; COPY (SELECT 1 AS a) TO '{}/new.csv'; COMMIT",
    "DECLARE c CURSOR FOR SELECT * FROM '{}/canary.csv'",
    // The store.
    "INSERT INTO demo.layers SELECT * FROM demo.layers",
    "INSERT INTO info.runs SELECT * FROM info.runs",
    "INSERT INTO pg_catalog.pg_class SELECT * FROM pg_catalog.pg_class",
    "INSERT INTO information_schema.tables SELECT * FROM information_schema.tables",
    "EXPLAIN ANALYZE INSERT INTO demo.layers SELECT * FROM demo.layers",
    "WITH t AS (SELECT 1) INSERT INTO demo.layers SELECT * FROM demo.layers",
    "UPDATE demo.layers SET name = 'x'",
    "DELETE FROM demo.layers",
    "TRUNCATE demo.layers",
    "MERGE INTO demo.layers a USING demo.layers b ON a.layer = b.layer WHEN MATCHED THEN DELETE",
    "DROP TABLE demo.layers",
    "DROP VIEW demo.dead_neurons",
    "DROP SCHEMA demo CASCADE",
    "ALTER TABLE demo.layers RENAME TO l",
    "CREATE SCHEMA s",
    "CREATE TABLE notes.kept AS SELECT 1 AS a",
    "CREATE OR REPLACE TABLE notes.kept AS SELECT 1 AS a",
    "CREATE TABLE info.mine AS SELECT 1 AS a",
    "CREATE TABLE pg_catalog.mine AS SELECT 1 AS a",
    "EXPLAIN ANALYZE CREATE TABLE notes.kept AS SELECT 1 AS a",
    // Jobs; those of every function of the catalogue are in `catalogue.rs`.
    "CALL ingest('r', 'tests/data/demo/model', '{}/canary.jsonl')",
    "CALL ingest('r', 'tests/data/demo/model', '{}/canary.jsonl', {detach: true})",
    "SELECT * FROM ingest('../r', 'tests/data/demo/model', '{}/canary.jsonl')",
    "EXPLAIN ANALYZE SELECT * FROM train_sae('s', 0)",
    "SELECT (SELECT count(*) FROM drop_run('demo'))",
    "SELECT * FROM demo.layers, drop_run('demo')",
    "CREATE TABLE t AS SELECT * FROM drop_run('demo')",
    // The server, and other engines' ways to more.
    "LOAD 'x.so'",
    "CREATE EXTENSION plpython3u",
    "CREATE FUNCTION f() RETURNS INT LANGUAGE C AS '/lib/libc.so', 'system'",
    "CREATE FUNCTION f(INT) RETURNS INT RETURN $1 + 1",
    "DO $$ BEGIN PERFORM 1; END $$",
    "CREATE ROLE x SUPERUSER",
    "ALTER ROLE reader SUPERUSER",
    "ALTER USER reader WITH PASSWORD 'x'",
    "ALTER SYSTEM SET work_mem = '1GB'",
    "GRANT ALL ON demo.layers TO reader",
    "ATTACH '{}/canary.csv' AS x",
    "INSTALL httpfs",
    "PRAGMA database_list",
    "SET ROLE owner",
    "SET SESSION AUTHORIZATION owner",
    "SET LOCAL SESSION AUTHORIZATION owner",
    "SET session_authorization = owner",
    "SET session_authorization TO 'owner'",
    "SET is_superuser = on",
    "SELECT set_config('is_superuser', 'on', false)",
    "SELECT set_config('session_authorization', 'owner', true)",
];

/// Every way of a setting that neither may change.
const SETTINGS: &[&str] = &[
    "SET datafusion.execution.batch_size = 1",
    "SET datafusion.execution.batch_size TO 1",
    "SET datafusion.execution.batch_size = '1'",
    "SET \"datafusion.execution.batch_size\" = 1",
    "set DataFusion.Execution.Batch_Size = 1",
    "SET SESSION datafusion.execution.batch_size = 1",
    "SET LOCAL datafusion.execution.batch_size = 1",
    "SET GLOBAL datafusion.execution.batch_size = 1",
    "SET (datafusion.execution.batch_size) = (1)",
    "SET @@datafusion.execution.batch_size = 1",
    "SET VARIABLE datafusion.execution.batch_size = 1",
    "/**/SET/**/datafusion.execution.batch_size/**/=/**/1",
    "RESET datafusion.execution.batch_size",
    "SET datafusion.execution.batch_size TO DEFAULT",
    "SELECT set_config('datafusion.execution.batch_size', '1', false)",
    "SELECT set_config('datafusion.execution.batch_size', '1', true)",
    "SELECT 1; SET datafusion.execution.batch_size = 1",
    "BEGIN; SET datafusion.execution.batch_size = 1",
    "EXPLAIN ANALYZE SELECT set_config('datafusion.execution.batch_size', '1', false)",
    "SET datafusion.runtime.temp_directory = '{}'",
    "SET datafusion.runtime.memory_limit = '1G'",
    "SET datafusion.sql_parser.dialect = 'mysql'",
    "SET datafusion.catalog.default_schema = 'info'",
    "SET datafusion.catalog.location = '{}/table/'",
    "SET datafusion.catalog.format = 'CSV'",
];

/// Statements that are prepared, and what they are may be found out only when they run.
const PREPARED: &[&str] = &[
    "COPY (SELECT 1 AS a) TO '{}/new.csv'",
    "INSERT INTO demo.layers SELECT * FROM demo.layers",
    "DROP SCHEMA demo CASCADE",
    "CREATE TABLE notes.kept AS SELECT 1 AS a",
    "SET datafusion.execution.batch_size = 1",
    "SELECT * FROM '{}/canary.csv'",
    "SELECT * FROM train_sae('s', 0)",
    "SELECT * FROM drop_run('demo')",
];

const BATCH_SIZE: &str = "SELECT value FROM information_schema.df_settings WHERE name = 'datafusion.execution.batch_size'";

#[test]
fn a_reader_and_an_analyst_reach_no_file_no_job_and_no_setting_of_the_engine() {
    let place = Place::new();
    conversation(place.options(), |server| async move {
        let mut ways = vec![];
        for role in [Role::Reader, Role::Analyst] {
            for way in Way::all(&server, role).await {
                ways.push((role, way));
            }
        }
        let before = place.files();
        let all = [FORBIDDEN, SETTINGS].concat();
        for statement in all.iter().map(|statement| place.fill(statement)) {
            for (role, way) in &ways {
                let asked = format!("{} by {}: {statement}", role.name(), way.name());
                let told = way.ask(&server, &statement).await.expect_err(&asked);
                // A message may say again what the statement has said.
                let told = match statement.contains(&place.fill("{}")) {
                    true => told.replace(&place.fill("{}"), ""),
                    false => told,
                };
                assert!(!place.tells(&told), "{asked}: {told}");
                if let Way::Simple(_) | Way::Extended(_) = way {
                    // One of them has begun a transaction.
                    let _ = way.ask(&server, "ROLLBACK").await;
                    let size = way.ask(&server, BATCH_SIZE).await;
                    assert!(
                        size.as_ref().is_ok_and(|size| size.contains("8192")),
                        "{asked}: {size:?}"
                    );
                }
            }
            assert!(place.files() == before, "{statement}");
        }
        // A statement is prepared with what it may not do, and refused at the latest when it runs.
        for (at, statement) in PREPARED.iter().enumerate() {
            for (role, way) in &ways {
                let prepare = place.fill(&format!("PREPARE p{at} AS {statement}"));
                let both = match way {
                    Way::Extended(_) => {
                        let _ = way.ask(&server, &prepare).await;
                        way.ask(&server, &format!("EXECUTE p{at}")).await
                    }
                    _ => way.ask(&server, &format!("{prepare}; EXECUTE p{at}")).await,
                };
                let asked = format!("{} by {}: {prepare}", role.name(), way.name());
                let told = both.expect_err(&asked).replace(&place.fill("{}"), "");
                assert!(!place.tells(&told), "{asked}: {told}");
            }
            assert!(place.files() == before, "{statement}");
        }
        server.stop().await;
    });
}

#[test]
fn sessions_of_a_library_reach_no_more() {
    let place = Place::new();
    super::server::RUNTIME.block_on(async {
        let roles = [Role::Reader, Role::Analyst].map(Role::policy);
        for policy in [vec![Policy::nothing()], roles.to_vec()].concat() {
            let session = place.session(policy.clone());
            run(&session, "SELECT count(*) FROM demo.layers")
                .await
                .expect("rows");
            let before = place.files();
            for statement in [FORBIDDEN, SETTINGS].concat() {
                // One statement at a time, and no settings of PostgreSQL's here.
                if statement.contains("; ") || statement.contains("set_config") {
                    continue;
                }
                let statement = place.fill(statement);
                let outcome = run(&session, &statement).await;
                assert!(outcome.is_err(), "{policy:?}: {statement}");
                assert!(place.files() == before, "{statement}");
            }
            for (at, statement) in PREPARED.iter().enumerate() {
                let statement = place.fill(statement);
                let _ = run(&session, &format!("PREPARE p{at} AS {statement}")).await;
                let outcome = run(&session, &format!("EXECUTE p{at}")).await;
                assert!(outcome.is_err(), "{policy:?}: {statement}");
                assert!(place.files() == before, "{statement}");
            }
        }
    });
}

async fn run(session: &Session, statement: &str) -> datafusion::error::Result<()> {
    let rows = session.query(statement).await?;
    rows.try_for_each(|_| async { Ok(()) }).await
}

/// What an analyst makes, wherever its name says, is of the session: no file is written, no other session sees it, and a view
/// gives no right.
#[test]
fn what_an_analyst_makes_is_of_the_session() {
    let place = Place::new();
    conversation(place.options(), |server| async move {
        let [analyst, other, http] = Way::all(&server, Role::Analyst).await;
        let before = place.files();
        for statement in [
            "CREATE TABLE demo.mine AS SELECT 1 AS a",
            "CREATE DATABASE d",
            "CREATE TABLE d.public.mine AS SELECT 1 AS a",
            "CREATE TEMP VIEW seen AS SELECT * FROM ingest('r', 'tests/data/demo/model', '{}/canary.jsonl')",
            "CREATE VIEW trained AS SELECT * FROM train_sae('s', 0)",
        ] {
            // Some are refused, as it may be.
            let _ = analyst.ask(&server, &place.fill(statement)).await;
        }
        for view in ["seen", "trained"] {
            let asked = format!("SELECT * FROM {view}");
            let told = analyst.ask(&server, &asked).await.expect_err(view);
            assert!(told.contains("a session that may"), "{told}");
        }
        for way in [&other, &http] {
            for table in ["demo.mine", "d.public.mine", "seen", "trained"] {
                let told = way.ask(&server, &format!("SELECT * FROM {table}")).await;
                assert!(told.is_err(), "{table}: {told:?}");
            }
        }
        assert!(place.files() == before);
        server.stop().await;
    });
}

/// What a client says with its name can no more than SET.
#[test]
fn a_startup_packet_gives_no_rights() {
    let place = Place::new();
    conversation(place.options(), |server| async move {
        for (name, value) in [
            ("options", "-c datafusion.execution.batch_size=1"),
            ("options", "-c is_superuser=on"),
            ("options", "-c session_authorization=owner"),
            ("options", "--session-authorization=owner"),
            ("options", "-c role=owner"),
            ("options", "-c polysema.allow_jobs=true"),
            ("session_authorization", "owner"),
            ("is_superuser", "on"),
            ("role", "owner"),
            ("datafusion.execution.batch_size", "1"),
            ("replication", "true"),
            ("replication", "database"),
        ] {
            let said = [("user", "reader"), (name, value)];
            let told = super::logins::log_in(&server, &said, "päss word").await;
            assert!(told.is_err(), "{name}={value}: {told:?}");
        }
        let told = super::logins::log_in(&server, &[("user", "reader")], "päss word").await;
        assert!(told.is_ok(), "{told:?}");
        server.stop().await;
    });
}
