//! What is refused: strangers, other stores, other plans.

use std::sync::Arc;

use datafusion::execution::TaskContext;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::prelude::{CsvReadOptions, SessionConfig, SessionContext};
use datafusion_distributed::{
    DistributedConfig, ExecuteTaskRequest, MaybeEncoded, ProducerHead, SetPlanRequest, TaskKey,
    WorkerChannel, grpc,
};
use futures::{StreamExt, stream};

use super::*;

fn certificates(ca: &str) -> TlsFiles {
    let file = |name: &str| root("tests/data/tls").join(name);
    TlsFiles {
        ca: file(ca),
        cert: file("server.pem"),
        key: file("server.key"),
    }
}

fn words(tls: &TlsFiles) -> Vec<String> {
    let word = |name: &str, path: &Path| [name.to_string(), path.display().to_string()];
    [
        word("--worker-ca", &tls.ca),
        word("--worker-cert", &tls.cert),
        word("--worker-key", &tls.key),
    ]
    .concat()
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_are_refused_by_their_certificates() {
    let db = demo("max_documents: 4").await;
    let store = db.session.store().root();
    let own = certificates("ca.pem");
    let options = words(&own);
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    let worker = [Process::start(store, &options)];
    let addresses = Process::addresses(&worker);
    let sql = "SELECT * FROM feature_clusters()";
    let session = asking(store, &addresses, Some(&own))
        .await
        .expect("a known one");
    assert_eq!(text(&session, sql).await, text(&db.session, sql).await);
    // One that says nothing of itself, one that believes others, and others at the worker.
    for (tls, workers) in [
        (None, &addresses),
        (Some(certificates("other.pem")), &addresses),
    ] {
        let refused = asking(store, workers, tls.as_ref()).await;
        let said = refused.err().expect("a stranger").strip_backtrace();
        assert!(said.contains("a worker that answers is required"), "{said}");
    }
    let other = words(&certificates("other.pem"));
    let other: Vec<&str> = other.iter().map(String::as_str).collect();
    let distrusting = [Process::start(store, &other)];
    let refused = asking(store, &Process::addresses(&distrusting), Some(&own)).await;
    let said = refused
        .err()
        .expect("a worker that does not know us")
        .strip_backtrace();
    assert!(said.contains("a worker that answers is required"), "{said}");
}

/// The address of a worker of one store, and what is said to who asks it about another.
async fn refused(of: &Db, asked: &Db) -> (String, String) {
    let worker = workers::start(of.session.store().root());
    let worker = worker.await.expect("a worker");
    let store = asked.session.store().root();
    let session = asking(store, std::slice::from_ref(&worker), None).await;
    let session = session.expect("a worker");
    let error = rows(&session, "SELECT * FROM feature_clusters()").await;
    let said = error.expect_err("another store").strip_backtrace();
    (worker, said)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_of_another_store_is_named() {
    let db = demo("max_documents: 4").await;
    let other = demo("max_documents: 5").await;
    let (worker, said) = refused(&other, &db).await;
    for part in [
        worker.as_str(),
        "run 'demo' is required in the state gen-",
        "got gen-",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    let empty = Db::new().await;
    let (worker, said) = refused(&empty, &db).await;
    assert!(said.contains(&worker) && said.contains("demo"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_answer_is_named() {
    let db = Db::new().await;
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = free.local_addr().expect("an address").to_string();
    drop(free);
    let refused = asking(
        db.session.store().root(),
        std::slice::from_ref(&address),
        None,
    )
    .await;
    let said = refused.err().expect("nobody there").strip_backtrace();
    assert!(
        said.contains(&address) && said.contains("a worker that answers is required"),
        "{said}"
    );
}

#[test]
fn a_worker_listens_beyond_this_machine_with_certificates_only() {
    let folder = tempfile::tempdir().expect("a folder");
    let run = |words: &[&str]| {
        let done = Command::new(env!("CARGO_BIN_EXE_polysema"))
            .arg("--store")
            .arg(folder.path())
            .args(words)
            .stdin(Stdio::null())
            .output()
            .expect("the program runs");
        let said = String::from_utf8(done.stderr).expect("text");
        (done.status.code(), said)
    };
    let refused = run(&["worker", "--listen", "0.0.0.0:0"]);
    assert_eq!(refused.0, Some(1), "{}", refused.1);
    assert!(
        refused
            .1
            .contains("certificates are required beyond this machine"),
        "{}",
        refused.1
    );
    let words = ["--workers", "10.0.0.1:7001", "-c", "SELECT 1"];
    let refused = run(&words);
    assert_eq!(refused.0, Some(1), "{}", refused.1);
    assert!(
        refused
            .1
            .contains("certificates are required beyond this machine"),
        "{}",
        refused.1
    );
    for (words, said) in [
        (
            &["worker", "--worker-ca", "ca.pem"][..],
            "are required together, got 1",
        ),
        (
            &["--worker-ca", "ca.pem", "-c", "SELECT 1"],
            "and with --workers",
        ),
        (
            &["demo", "--workers", "127.0.0.1:1"],
            "--workers is for statements and report",
        ),
        (
            &["worker", "--workers", "127.0.0.1:1"],
            "--workers is for statements and report",
        ),
        (&["worker", "--run", "demo"], "--run is for statements"),
    ] {
        let refused = run(words);
        assert_eq!(refused.0, Some(2), "{words:?}: {}", refused.1);
        assert!(refused.1.contains(said), "{words:?}: {}", refused.1);
    }
}

/// Who speaks the workers' protocol and is no polysema.
struct Stranger {
    client: Box<dyn WorkerChannel>,
    url: url::Url,
    task: Arc<TaskContext>,
    key: TaskKey,
}

impl Stranger {
    async fn new(address: &str) -> Self {
        let config = SessionConfig::new().with_option_extension(DistributedConfig::default());
        let url = url::Url::parse(&format!("http://{address}")).expect("an address");
        let resolver = grpc::DefaultChannelResolver::default();
        let channel = resolver.get_channel(&url).await;
        Self {
            client: grpc::create_worker_client(channel.expect("a connection")),
            url,
            task: SessionContext::new_with_config(config).task_ctx(),
            key: TaskKey {
                query_id: uuid::Uuid::new_v4(),
                stage_id: 1,
                task_number: 0,
            },
        }
    }

    /// Sends a plan; why it is refused.
    async fn send(&mut self, plan: MaybeEncoded<Arc<dyn ExecutionPlan>>) -> String {
        let plan = SetPlanRequest {
            task_key: self.key,
            task_count: 1,
            plan,
            work_unit_feed_declarations: vec![],
            target_worker_url: self.url.clone(),
            query_start_time_ns: 0,
        };
        let silent = stream::pending().boxed();
        let (headers, metrics) = (http::HeaderMap::new(), Default::default());
        let answer = self
            .client
            .coordinator_channel(headers, plan, silent, metrics, &self.task)
            .await;
        answer.err().expect("refused").strip_backtrace()
    }
}

/// A worker does not hold what no plan is, and answers on.
#[tokio::test(flavor = "multi_thread")]
async fn a_message_larger_than_plans_is_refused() {
    let db = demo("max_documents: 4").await;
    let store = db.session.store().root();
    let address = workers::start(store).await.expect("a worker");
    let mut stranger = Stranger::new(&address).await;
    let large = vec![0; 17 << 20];
    let said = stranger.send(MaybeEncoded::Encoded(large)).await;
    assert!(said.contains("message length too large"), "{said}");
    let session = asking(store, std::slice::from_ref(&address), None).await;
    let session = session.expect("a worker");
    // Such a plan of one's own is done by who asks.
    let long = "a".repeat(17 << 20);
    let all = "SELECT * FROM neuron_polysemanticity()";
    for sql in [
        all,
        &format!("{all} WHERE CAST(neuron AS VARCHAR) <> '{long}'"),
    ] {
        assert!(text(&session, sql).await == text(&db.session, sql).await);
    }
}

/// A plan that reads a file of the worker's machine: one who reaches the worker is told nothing of it.
#[tokio::test(flavor = "multi_thread")]
async fn a_plan_that_reads_files_is_not_done() {
    let db = demo("max_documents: 4").await;
    let secret = db.folder().join("secret.csv");
    std::fs::write(&secret, "a\n1\n").expect("a file");
    let address = workers::start(db.session.store().root())
        .await
        .expect("a worker");
    let context = SessionContext::new();
    let path = secret.display().to_string();
    context
        .register_csv("secret", &path, CsvReadOptions::new())
        .await
        .expect("a table");
    let reading = context.sql("SELECT * FROM secret").await.expect("a plan");
    let reading: Arc<dyn ExecutionPlan> = reading.create_physical_plan().await.expect("a plan");
    let mut stranger = Stranger::new(&address).await;
    let said = stranger.send(MaybeEncoded::Decoded(reading)).await;
    assert!(said.contains("workers do no DataSourceExec"), "{said}");
    let request = ExecuteTaskRequest {
        task_key: stranger.key,
        target_partition_start: 0,
        target_partition_end: 1,
        producer_head: ProducerHead::None,
    };
    let headers = http::HeaderMap::new();
    let rows = stranger
        .client
        .execute_task(headers, request, Default::default(), &stranger.task)
        .await;
    let first = rows.expect("streams").remove(0).next().await;
    assert!(!matches!(first, Some(Ok(_))), "no row comes");
}
