//! Workers that are processes, and are killed.

use std::time::Duration;

use super::*;

const QUESTION: &str = "SELECT * FROM neuron_polysemanticity()";

fn three(store: &Path) -> Vec<Process> {
    (0..3).map(|_| Process::start(store, &[])).collect()
}

fn run(store: &Path, words: &[&str]) -> (bool, String, String) {
    let done = Command::new(env!("CARGO_BIN_EXE_polysema"))
        .arg("--store")
        .arg(store)
        .args(words)
        .stdin(Stdio::null())
        .output()
        .expect("the program runs");
    let text = |bytes| String::from_utf8(bytes).expect("text");
    (done.status.success(), text(done.stdout), text(done.stderr))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_program_asks_worker_processes() {
    let db = demo("max_documents: 8").await;
    let store = db.session.store().root();
    let workers = three(store);
    let addresses = Process::addresses(&workers).join(",");
    for sql in [
        QUESTION,
        "SELECT layer, count(*) FROM feature_clusters() GROUP BY layer ORDER BY layer",
    ] {
        let here = run(store, &["-c", sql]);
        assert!(here.0, "{}", here.2);
        assert_eq!(
            run(store, &["--workers", &addresses, "-c", sql]),
            here,
            "{sql}"
        );
    }
    let plan = run(
        store,
        &[
            "--workers",
            &addresses,
            "-c",
            &format!("EXPLAIN {QUESTION}"),
        ],
    );
    assert!(
        plan.1.contains("WorkersExec: workers=3, ranges=12"),
        "{}",
        plan.1
    );
    let report = run(store, &["report", "summary"]);
    assert_eq!(
        run(store, &["report", "summary", "--workers", &addresses]),
        report
    );
}

/// Whenever one of three is killed, the others do its ranges, and the rows are the same.
#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_is_killed_is_replaced() {
    let db = demo("max_documents: 64").await;
    let store = db.session.store().root();
    let expected = text(&db.session, QUESTION).await;
    for delay in [0, 20, 80, 200] {
        let mut workers = three(store);
        let session = asking(store, &Process::addresses(&workers), None)
            .await
            .expect("workers");
        let asked = tokio::spawn(async move { text(&session, QUESTION).await });
        tokio::time::sleep(Duration::from_millis(delay)).await;
        workers[1].kill();
        assert_eq!(
            asked.await.expect("an answer"),
            expected,
            "after {delay} ms"
        );
    }
}

/// It is known what was done again, and that a worker is asked again once it is back.
#[tokio::test(flavor = "multi_thread")]
async fn ranges_are_redone_and_counted() {
    let db = demo("max_documents: 16").await;
    let store = db.session.store().root();
    let expected = text(&db.session, QUESTION).await;
    let mut workers = three(store);
    let addresses = Process::addresses(&workers);
    let session = asking(store, &addresses, None).await.expect("workers");
    workers[0].kill();
    let analyzed = text(&session, &format!("EXPLAIN ANALYZE {QUESTION}")).await;
    let redone = analyzed.split("ranges_redone=").nth(1).expect(&analyzed);
    let redone: String = redone.chars().take_while(char::is_ascii_digit).collect();
    assert!(redone.parse::<usize>().expect("a number") > 0, "{analyzed}");
    assert_eq!(text(&session, QUESTION).await, expected);
    workers[1].kill();
    workers[2].kill();
    let error = rows(&session, QUESTION).await.expect_err("nobody is left");
    let said = error.strip_backtrace();
    assert!(said.contains("every one was lost"), "{said}");
    for address in &addresses {
        assert!(said.contains(address), "{said}");
    }
    let port = addresses[2].clone();
    workers[2] = Process::at(store, &port, &[]);
    let mut tries = 0;
    while text_of(rows(&session, QUESTION).await) != Some(expected.clone()) {
        tries += 1;
        assert!(tries < 50, "a worker that is back is asked");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

fn text_of(rows: Result<Vec<RecordBatch>>) -> Option<String> {
    let rows = rows.ok()?;
    Some(pretty_format_batches(&rows).expect("printable").to_string())
}
