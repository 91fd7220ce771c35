//! Jobs beside their reader: detached, seen and ended by others, lost with their process; readers that leave.
#![cfg(unix)]

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use crate::database::{Db, root};
use datafusion::arrow::array::AsArray;
use polysema::jobs::is_progress;

/// An ingest that takes long enough to be met while it runs.
fn ingest(run: &str, options: &str) -> String {
    let (model, corpus) = (
        root("tests/data/demo/model"),
        root("tests/data/demo/corpus.jsonl"),
    );
    let (model, corpus) = (model.display(), corpus.display());
    format!("ingest('{run}', '{model}', '{corpus}'{options})")
}

fn shell(store: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_polysema"));
    command.arg("--store").arg(store).args(arguments);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

fn signal(child: &Child, name: &str) {
    let status = Command::new("kill")
        .args([name, &child.id().to_string()])
        .status();
    assert!(status.expect("kill").success());
}

fn ended(child: Child) -> (Option<i32>, String) {
    let output: Output = child.wait_with_output().expect("a child");
    let err = String::from_utf8(output.stderr).expect("UTF-8");
    (output.status.code(), err)
}

/// The first line that says this.
fn line(out: &mut impl BufRead, says: &str) -> String {
    let found = out
        .lines()
        .map(|line| line.expect("UTF-8"))
        .find(|line| line.contains(says));
    found.unwrap_or_else(|| panic!("no line with {says:?}"))
}

async fn text(db: &Db, sql: &str) -> String {
    let rows = db.query(sql).await;
    rows[0].column(0).as_string::<i32>().value(0).to_string()
}

/// Waits until a job is no longer running, and tells what it is then.
async fn state(db: &Db, id: &str) -> String {
    let deadline = Instant::now() + Duration::from_secs(300);
    loop {
        let sql = format!("SELECT state FROM polysema.info.jobs WHERE id = '{id}'");
        let state = text(db, &sql).await;
        if state != "running" {
            return state;
        }
        assert!(Instant::now() < deadline, "the job did not end");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_detached_job_is_seen_and_cancelled_by_another_session() {
    let db = Db::new().await;
    let few = ingest("few", ", {max_documents: 2, detach: true}");
    let done = text(&db, &format!("SELECT id FROM {few}")).await;
    let other = Db::open(&db.folder().join("s")).await;
    assert_eq!(state(&other, &done).await, "done");
    assert_eq!(other.integer("SELECT count(*) FROM info.runs").await, 1);
    let all = ingest("all", ", {detach: true}");
    let id = text(&db, &format!("SELECT id FROM {all}")).await;
    let owner = format!("SELECT owner FROM info.jobs WHERE id = '{id}' AND state = 'running'");
    let owner = text(&other, &owner).await;
    assert!(
        owner.starts_with(&format!("{}@", std::process::id())),
        "{owner}"
    );
    let cancel = format!("SELECT state FROM cancel_job('{id}')");
    assert_eq!(text(&other, &cancel).await, "cancelled");
    assert_eq!(other.integer("SELECT count(*) FROM info.runs").await, 1);
    let again = other
        .refused(&format!("SELECT * FROM cancel_job('{id}')"))
        .await;
    assert!(
        again.contains("cancel_job: a running job is required"),
        "{again}"
    );
    assert!(again.contains("which is cancelled"), "{again}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_shell_waits_for_its_jobs_which_another_process_may_end() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = folder.path().join("s");
    let detached = format!("SELECT id FROM {}", ingest("r", ", {detach: true}"));
    let start = || {
        let command = shell(&store, &["--format", "csv", "-c", &detached]).spawn();
        let mut child = command.expect("the program starts");
        let mut err = BufReader::new(child.stderr.take().expect("a pipe"));
        let waiting = line(&mut err, "waiting for detached jobs: ");
        let id = waiting
            .split_whitespace()
            .nth(4)
            .expect("an id")
            .to_string();
        (child, err, id)
    };
    let db = Db::open(&store).await;
    let (child, mut err, id) = start();
    let cancel = format!("SELECT state FROM cancel_job('{id}')");
    assert_eq!(text(&db, &cancel).await, "cancelled");
    line(&mut err, &format!("job {id}: ingest cancelled: ingest: "));
    assert_eq!(ended(child).0, Some(1));
    // As the command does, from a process of its own.
    let (child, mut err, id) = start();
    let jobs = |words: &[&str]| {
        let output = shell(&store, &[&["jobs", "--format", "ndjson"], words].concat()).output();
        let output = output.expect("the program runs");
        let lines = String::from_utf8(output.stdout).expect("text");
        let lines = lines
            .lines()
            .map(|line| serde_json::from_str(line).expect("JSON"));
        let lines: Vec<serde_json::Value> = lines.collect();
        (
            output.status.code(),
            lines,
            String::from_utf8_lossy(&output.stderr).into_owned(),
        )
    };
    let (code, listed, said) = jobs(&[]);
    assert_eq!((code, said.as_str()), (Some(0), ""));
    let states: Vec<_> = listed.iter().map(|job| job["state"].as_str()).collect();
    assert_eq!(states, [Some("cancelled"), Some("running")]);
    let running = &listed[1];
    assert_eq!(running["id"], id.as_str());
    assert_eq!(
        running["owner"]
            .as_str()
            .and_then(|owner| owner.split('@').next()),
        Some(child.id().to_string().as_str())
    );
    let (code, ended_so, _) = jobs(&["--cancel", &id]);
    assert_eq!(
        (code, &ended_so[0]["state"]),
        (Some(0), &serde_json::json!("cancelled"))
    );
    line(&mut err, &format!("job {id}: ingest cancelled: ingest: "));
    assert_eq!(ended(child).0, Some(1));
    let (code, _, said) = jobs(&["--cancel", &id]);
    assert!(
        code == Some(1) && said.contains("which is cancelled"),
        "{said}"
    );
    let (code, _, said) = jobs(&["--cancel", "nope"]);
    assert!(
        code == Some(1) && said.contains("got 'nope'; none is running"),
        "{said}"
    );
    // Ctrl-C ends what is waited for.
    let (child, mut err, id) = start();
    signal(&child, "-INT");
    line(&mut err, &format!("job {id}: ingest cancelled: "));
    assert_eq!(ended(child).0, Some(130));
    assert_eq!(state(&db, &id).await, "cancelled");
    // A process that is killed leaves a lost job, whose name is free at once.
    let (child, _, id) = start();
    signal(&child, "-KILL");
    ended(child);
    assert_eq!(state(&db, &id).await, "lost");
    assert_eq!(db.integer("SELECT count(*) FROM info.runs").await, 0);
    let few = ingest("r", ", {max_documents: 2}");
    db.query(&format!("SELECT * FROM {few}")).await;
}

#[test]
fn a_reader_that_leaves_is_told_by_the_exit_code() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = folder.path().join("s");
    let all = format!("SELECT phase, message FROM {}", ingest("r", ""));
    let command = shell(&store, &["--format", "csv", "-c", &all]).spawn();
    let mut child = command.expect("the program starts");
    let mut out = BufReader::new(child.stdout.take().expect("a pipe"));
    line(&mut out, "tokenize");
    drop(out);
    let (code, err) = ended(child);
    assert!(
        err.contains("ingest: a reader of all its rows is required, got one that left"),
        "{err}"
    );
    assert_eq!(code, Some(1));
    let limited = shell(&store, &["-c", &format!("{all} LIMIT 1")]).spawn();
    let (code, err) = ended(limited.expect("the program starts"));
    assert!(
        err.contains("got one that left; the job was cancelled"),
        "{err}"
    );
    assert_eq!(code, Some(1));
}

#[test]
fn sigterm_cleans_up_as_ctrl_c_does() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = folder.path().join("s");
    let all = format!("SELECT phase FROM {}", ingest("r", ""));
    let command = shell(&store, &["--format", "csv", "-c", &all]).spawn();
    let mut child = command.expect("the program starts");
    let mut out = BufReader::new(child.stdout.take().expect("a pipe"));
    line(&mut out, "forward");
    signal(&child, "-TERM");
    let (code, err) = ended(child);
    let said = "ingest: cancelled in phase forward; nothing was kept\n";
    assert_eq!((code, err.as_str()), (Some(143), said));
    let left: Vec<_> = walk(&store.join("runs"));
    assert!(
        left.iter().all(|path| !path.contains("vectors")),
        "{left:?}"
    );
    let state = shell(
        &store,
        &["--format", "csv", "-c", "SELECT state FROM info.jobs"],
    )
    .output();
    let state = String::from_utf8(state.expect("the program runs").stdout).expect("UTF-8");
    assert_eq!(state, "state\ncancelled\n");
}

fn walk(folder: &Path) -> Vec<String> {
    let mut found = vec![];
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        found.push(entry.path().display().to_string());
        found.extend(walk(&entry.path()));
    }
    found
}

#[test]
fn a_table_with_the_columns_of_progress_is_a_table() {
    let folder = tempfile::tempdir().expect("a folder");
    let columns =
        "7 AS documents, 9.0 AS tokens_per_second, 1.0 AS elapsed_seconds, 'x' AS message";
    let sql = format!("SELECT {columns} UNION ALL SELECT 8, 1.0, 2.0, 'y' ORDER BY documents");
    let output = shell(&folder.path().join("s"), &["-c", &sql]).output();
    let out = String::from_utf8(output.expect("the program runs").stdout).expect("UTF-8");
    // Of progress only the last row is printed.
    assert!(out.contains(" x") && out.contains(" y"), "{out}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_of_a_jobs_rows_is_not_its_progress() {
    let db = Db::new().await;
    let few = ", {max_documents: 4}";
    let progress = db
        .query(&format!("SELECT * FROM {}", ingest("a", few)))
        .await;
    assert!(is_progress(&progress[0].schema()));
    db.query(&format!(
        "CREATE TABLE kept AS SELECT * FROM {}",
        ingest("b", few)
    ))
    .await;
    let kept = db.query("SELECT * FROM public.kept").await;
    assert!(!is_progress(&kept[0].schema()));
    assert_eq!(
        kept[0].schema().fields().len(),
        progress[0].schema().fields().len()
    );
}
