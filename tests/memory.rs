//! Memory limits of long work: what a job is about to hold is reserved before it is allocated, refused in words that say
//! which part needs how much and what would need less, and given back at the end.

#[cfg(target_os = "linux")]
#[path = "../benches/process/anonymous.rs"]
mod anonymous;

use std::path::Path;
use std::time::Duration;

use datafusion::arrow::array::{Array, AsArray, RecordBatch};
use datafusion::arrow::datatypes::Int64Type;
use datafusion::error::{DataFusionError, Result};
use futures::TryStreamExt;
use polysema::session::{Session, SessionOptions};

async fn session(store: &Path, memory_limit: usize) -> Result<Session> {
    Session::open(SessionOptions {
        store: store.to_path_buf(),
        memory_limit: Some(memory_limit),
    })
    .await
}

fn data(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/data")
        .join(path);
    path.display().to_string()
}

/// The answer within a limit, and the bytes that are reserved after it.
async fn within(limit: usize, sql: &str) -> Result<(Vec<RecordBatch>, usize)> {
    let store = tempfile::tempdir()?;
    let session = session(store.path(), limit).await?;
    let rows = session.query(sql).await?.try_collect().await?;
    let pool = &session.context().runtime_env().memory_pool;
    Ok((rows, pool.reserved()))
}

/// Two tasks that hand rows out to the same partitions, and spill, would wait for each other for ever.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn groups_that_spill_come_to_an_end() -> Result<()> {
    let store = tempfile::tempdir()?;
    let session = session(store.path(), 2 << 20).await?;
    for (setting, value) in [("target_partitions", 2), ("batch_size", 64)] {
        let set = format!("SET datafusion.execution.{setting} = {value}");
        session.query(&set).await?.try_collect::<Vec<_>>().await?;
    }
    // Without what it tests, every second try never ended.
    for _ in 0..12 {
        let sql =
            "SELECT sum(n) AS n FROM (SELECT count(DISTINCT md5(CAST(value % 337 AS varchar))) AS n
            FROM generate_series(1, 40000) GROUP BY value % 13)";
        let answer = session.query(sql).await?.try_collect::<Vec<_>>();
        let rows = tokio::time::timeout(Duration::from_secs(60), answer).await;
        assert_eq!(
            last(&rows.expect("an answer within a minute")?, "n"),
            13 * 337
        );
    }
    Ok(())
}

/// The message of a limit that is too small.
async fn refused(limit: usize, sql: &str) -> String {
    let error = within(limit, sql).await.expect_err(sql);
    let root = error.find_root();
    assert!(
        matches!(root, DataFusionError::ResourcesExhausted(_)),
        "{sql}: {root}"
    );
    root.strip_backtrace()
}

fn last(rows: &[RecordBatch], column: &str) -> i64 {
    let batch = rows.last().expect("rows");
    let column = batch.column_by_name(column).expect("a column");
    column.as_primitive::<Int64Type>().value(column.len() - 1)
}

/// The demo's model: the biases and norms of 4 blocks of width 128 and of the last norm, and a tokenizer's file. Its
/// matrices lie in their file.
fn model_bytes() -> usize {
    let vectors = 4 * (4 + 3 + 1 + 4 + 1) + 2;
    let tokenizer = std::fs::metadata(data("demo/model/tokenizer.json"));
    4 * vectors * 128 + 16 * tokenizer.expect("a file").len() as usize
}

#[tokio::test(flavor = "multi_thread")]
async fn ingest() -> Result<()> {
    let (model, corpus) = (data("demo/model"), data("demo/corpus.jsonl"));
    let call =
        |options: &str| format!("SELECT * FROM ingest('a', '{model}', '{corpus}', {options})");
    let all = call("{min_tokens: 1}");
    let needed = model_bytes();
    let error = refused(needed - 1, &all).await;
    let part = format!("{needed} bytes are needed for the model in {model}, got: ");
    assert!(error.contains(&part), "{error}");
    let error = refused(needed + (1 << 20), &all).await;
    assert!(error.contains("are needed for the lines of"), "{error}");
    let error = refused(needed + (6 << 20), &all).await;
    assert!(error.contains("bytes are needed for encoding"), "{error}");
    // All documents may be examples of all neurons.
    let most = call("{batch_size: 4, activation_threshold: 0.001, max_examples: 100000}");
    let error = refused(24 << 20, &most).await;
    for part in [
        "bytes are needed for the candidates of the 512 neurons of layer",
        "(fewer max_examples, a higher activation_threshold or a smaller window need fewer)",
    ] {
        assert!(error.contains(part), "{error}");
    }
    let (rows, reserved) = within(48 << 20, &all).await?;
    assert_eq!(
        (last(&rows, "documents"), last(&rows, "tokens")),
        (540, 42_279)
    );
    // The model stays for the next statement: within a quarter of the limit, as everything loaded.
    assert_eq!(reserved, needed);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_does_not_fit_is_halved() -> Result<()> {
    let (model, corpus) = (data("demo/model"), data("demo/corpus.jsonl"));
    let sql = |batch_size: usize| {
        let options = format!("{{batch_size: {batch_size}}}");
        format!(
            "SELECT count(*) AS n, round(sum(vector_norm(vector)), 1)::text AS norms \
             FROM activations('{model}', '{corpus}', 'blocks.2.mlp.out', {options})"
        )
    };
    // A pass over 256 documents of 128 positions takes 256 MiB of values alone.
    let (halved, _) = within(64 << 20, &sql(256)).await?;
    let (single, _) = within(64 << 20, &sql(1)).await?;
    assert_eq!(last(&halved, "n"), 42_279);
    assert_eq!(halved, single);
    // 4 + 4 MiB of lines and texts leave none for a pass.
    let error = refused(model_bytes() + (9 << 20), &sql(256)).await;
    assert!(error.contains("bytes are needed for"), "{error}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn logits_that_do_not_fit_are_made_of_fewer_documents() -> Result<()> {
    let (model, corpus) = (data("demo/model"), data("demo/corpus.jsonl"));
    let sql = format!(
        "SELECT count(*) AS n, round(sum(loss), 3)::text AS losses FROM token_losses('{model}', '{corpus}')"
    );
    // Those of 16 documents of 128 positions and 4,096 tokens take 32 MiB alone.
    let (whole, _) = within(256 << 20, &sql).await?;
    let (parts, _) = within(model_bytes() + (20 << 20), &sql).await?;
    assert_eq!(last(&parts, "n"), 42_279 - 540);
    assert_eq!(parts, whole);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn train_mlp() -> Result<()> {
    let images = data("mnist-tiny");
    let call = |hidden: usize| {
        format!("SELECT * FROM train_mlp('m', '{images}', {{hidden: [{hidden}], epochs: 1}})")
    };
    // 784 inputs, 10 digits, seven copies of the weights; six values of each width for a thousand images.
    let needed = |hidden: usize| {
        let weights = 785 * hidden + (hidden + 1) * 10;
        let values = (784 + hidden + 10) * 1000;
        4 * (7 * weights + 6 * values)
    };
    let limit = 64 << 20;
    let error = refused(limit, &call(8192)).await;
    for part in [
        "bytes are needed for training layers of the widths [784, 8192, 10]",
        "(narrower hidden layers or a smaller batch_size need fewer)",
    ] {
        assert!(error.contains(part), "{error}");
    }
    let bytes = error.split(" bytes").next().expect("a number");
    let bytes: usize = bytes
        .rsplit(' ')
        .next()
        .expect("a number")
        .parse()
        .expect("a number");
    assert!(
        (needed(8192)..needed(8192) + 1024).contains(&bytes),
        "{error}"
    );
    let (rows, reserved) = within(limit, &call(16)).await?;
    assert_eq!((last(&rows, "epoch"), reserved), (1, 0));
    let error = refused(1000, &call(16)).await;
    assert!(
        error.contains("bytes are needed for the values of"),
        "{error}"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn import_run() -> Result<()> {
    let folder = data("import");
    let sql = format!(
        "SELECT * FROM import_run('imported', '{folder}', {{activation_function: 'relu'}})"
    );
    let error = refused(8, &sql).await;
    assert!(
        error.contains("bytes are needed for the documents"),
        "{error}"
    );
    let (rows, reserved) = within(32 << 20, &sql).await?;
    assert!(last(&rows, "documents") > 0);
    assert_eq!(reserved, 0);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_of_max_activations() -> Result<()> {
    let (model, corpus) = (data("demo/model"), data("demo/corpus.jsonl"));
    let store = tempfile::tempdir()?;
    let session = session(store.path(), 16 << 20).await?;
    let view = "CREATE VIEW maxima AS SELECT 0 AS layer, value AS neuron, 1.0 AS max_activation
                FROM generate_series(1, 1000000)";
    session.query(view).await?.try_collect::<Vec<_>>().await?;
    let call =
        format!("SELECT * FROM ingest('a', '{model}', '{corpus}', {{max_activations: 'maxima'}})");
    let rows = session.query(&call).await?.try_collect::<Vec<_>>().await;
    let error = rows
        .expect_err("four times 24 bytes a row")
        .strip_backtrace();
    let part = "bytes are needed for the rows of max_activations, got: ";
    assert!(error.contains(part), "{error}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn import_sae() -> Result<()> {
    let folder = data("sae/saelens-standard");
    let rows = "(SELECT [1.0, 0.0, 0.0, 2.0, 0.5, 0.25] AS vector)";
    let sql = format!("SELECT * FROM import_sae('foreign', '{folder}', {rows})");
    let error = refused(8, &sql).await;
    let part = format!("bytes are needed for reading the autoencoder in {folder}, got: ");
    assert!(error.contains(&part), "{error}");
    let (rows, reserved) = within(64 << 20, &sql).await?;
    assert_eq!((last(&rows, "documents"), reserved), (0, 0));
    Ok(())
}

/// Twenty thousand examples of 500 neurons with vectors of 768 numbers, 61 MB, as a table of the store.
const WIDE: [&str; 2] = [
    "CREATE TABLE wide.examples AS SELECT CAST(0 AS INT) AS layer, CAST(n / 40 AS INT) AS neuron, \
     CAST(n % 40 AS INT) AS example, CAST(n AS FLOAT) AS activation, \
     array_repeat(CAST(n % 11 AS FLOAT) + 1, 768) AS pre_mlp FROM generate_series(0, 19999) t(n)",
    "CREATE TABLE wide.neurons AS SELECT CAST(0 AS INT) AS layer, CAST(n AS INT) AS neuron, \
     array_repeat(CAST(1 AS FLOAT), 768) AS w_in FROM generate_series(0, 499) t(n)",
];

#[tokio::test(flavor = "multi_thread")]
async fn wide_rows_pass_in_small_batches() -> Result<()> {
    const LIMIT: usize = 64 << 20;
    let store = tempfile::tempdir()?;
    let session = session(store.path(), LIMIT).await?;
    for statement in WIDE {
        let rows: Vec<_> = session.query(statement).await?.try_collect().await?;
        assert!(rows.len() <= 1, "{statement}");
    }
    // Sorted they are more than the limit, and spill.
    for (sql, expected) in [
        (
            "SELECT * FROM wide.examples ORDER BY activation DESC",
            20_000,
        ),
        ("SELECT * FROM wide.neuron_embeddings()", 20_000),
        ("SELECT * FROM wide.cluster_centroids()", 500),
        (
            "SELECT neuron, vector_mean(pre_mlp) FROM wide.examples GROUP BY neuron",
            500,
        ),
    ] {
        let (mut n, mut widest) = (0, 0);
        let mut rows = session.query(sql).await?;
        while let Some(batch) = rows.try_next().await? {
            n += batch.num_rows();
            widest = widest.max(batch.num_rows());
        }
        assert_eq!(n, expected, "{sql}");
        assert!(widest * 768 * 4 < 10 << 20, "{sql}: {widest} rows at once");
    }
    let file = store.path().join("wide.parquet");
    let copy = format!("COPY (SELECT * FROM wide.examples) TO '{}'", file.display());
    let _: Vec<_> = session.query(&copy).await?.try_collect().await?;
    let count = format!("SELECT count(*) FROM '{}'", file.display());
    let rows: Vec<RecordBatch> = session.query(&count).await?.try_collect().await?;
    assert_eq!(
        rows[0].column(0).as_primitive::<Int64Type>().value(0),
        20_000
    );
    Ok(())
}

#[cfg(target_os = "linux")]
#[test]
fn the_program_holds_little_more_than_its_limit() {
    use std::process::{Command, Stdio};

    use anonymous::anonymous_bytes;
    let store = tempfile::tempdir().expect("a folder");
    let program = |limit: &str, statements: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_polysema"));
        command
            .arg("--store")
            .arg(store.path())
            .args(["--memory-limit", limit]);
        command.args(["--format", "csv", "--quiet"]);
        for statement in statements {
            command.args(["-c", statement]);
        }
        command.stdin(Stdio::null()).stdout(Stdio::null());
        command.spawn().expect("the program starts")
    };
    assert!(program("1GiB", &WIDE).wait().expect("a child").success());
    for sql in [
        "SELECT * FROM wide.neuron_embeddings()",
        "SELECT * FROM wide.examples ORDER BY activation DESC",
        "SELECT neuron, vector_mean(pre_mlp) FROM wide.examples GROUP BY neuron",
    ] {
        let (mut child, mut most) = (program("64MiB", &[sql]), 0);
        let ended = loop {
            most = most.max(anonymous_bytes(&child.id().to_string()).unwrap_or(0));
            if let Some(ended) = child.try_wait().expect("a child") {
                break ended;
            }
            std::thread::sleep(Duration::from_millis(2));
        };
        assert!(ended.success(), "{sql}");
        // What is on its way between operators is not counted.
        assert!(0 < most && most < 160 << 20, "{sql}: {most} bytes");
    }
}

/// Questions of every kind, again and again: what the program holds does not grow. POLYSEMA_QUESTIONS says how many.
#[test]
#[cfg(target_os = "linux")]
fn questions_leave_nothing_behind() {
    use std::io::{BufRead, BufReader};
    use std::process::{Command, Stdio};

    use anonymous::anonymous_bytes;
    let folder = tempfile::tempdir().expect("a folder");
    let said = std::env::var("POLYSEMA_QUESTIONS").ok();
    let n: usize = said.map_or(400, |said| said.parse().expect("a whole number"));
    let ask = |script: &str| {
        let file = folder.path().join("questions.sql");
        std::fs::write(&file, script).expect("a file");
        let mut command = Command::new(env!("CARGO_BIN_EXE_polysema"));
        command.arg("--store").arg(folder.path().join("s"));
        command.args(["--format", "csv", "--quiet", "-f"]).arg(file);
        let command = command.stdin(Stdio::null()).stdout(Stdio::piped());
        command.spawn().expect("the program starts")
    };
    let (model, corpus) = (data("demo/model"), data("demo/corpus.jsonl"));
    let ingest =
        format!("SELECT * FROM ingest('r', '{model}', '{corpus}', {{max_documents: 120}})");
    assert!(
        ask(&ingest)
            .wait_with_output()
            .expect("a child")
            .status
            .success()
    );
    let kinds = [
        "count(*) FROM feature_clusters(LAYER, NEURON)",
        "max(n_clusters) FROM neuron_polysemanticity() WHERE layer = LAYER AND neuron < NEURON",
        "sum(activation) FROM examples WHERE layer = LAYER AND neuron = NEURON",
        "count(*) FROM (SELECT token, count(*) FROM examples WHERE neuron < NEURON GROUP BY token)",
        "max(vector_norm(w_in)) FROM neurons WHERE layer = LAYER",
        "count(*) FROM token_search('NEURON')",
        "count(*) FROM examples e JOIN neurons n USING (layer, neuron) WHERE n.layer = LAYER AND n.neuron < NEURON",
    ];
    let script = (0..n).map(|i| {
        let (layer, neuron) = ((i % 4).to_string(), (i % 100).to_string());
        let kind = kinds[i % kinds.len()].replace("LAYER", &layer);
        format!("SELECT {};\n", kind.replace("NEURON", &neuron))
    });
    let mut child = ask(&script.collect::<String>());
    let process = child.id().to_string();
    let answers = BufReader::new(child.stdout.take().expect("a pipe")).lines();
    // A heading and a row each.
    let mut held = vec![];
    for (line, _) in answers.map(|line| line.expect("text")).enumerate() {
        if [n / 5, n - 3].contains(&(line / 2)) {
            held.extend(anonymous_bytes(&process));
        }
    }
    assert!(child.wait().expect("a child").success());
    let [early, .., late] = held.as_slice() else {
        panic!("four looks are required, got {held:?}");
    };
    println!("{n} questions: {early} bytes after a fifth of them, {late} at the end");
    assert!(*late < early + (16 << 20), "{held:?}");
}
