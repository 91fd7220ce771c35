//! Search across neurons: numbers against NumPy and SciPy, answers that do not depend on partitions, and the index
//! of central examples that a store keeps. Over 400 lines because all share the helpers.

use crate::fixture::*;
use datafusion::arrow::array::Float64Array;
use datafusion::arrow::datatypes::Float64Type;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::prelude::col;
use futures::TryStreamExt;
use polysema::session::{Session, SessionOptions};
use serde_json::Value;

fn reference(part: &str) -> Value {
    let text = include_str!("reference/similarity.json");
    let mut json: Value = serde_json::from_str(text).expect("the reference is JSON");
    json[part].take()
}

fn array(value: &Value) -> &Vec<Value> {
    value.as_array().expect("a list")
}

fn numbers(value: &Value) -> Vec<f64> {
    let numbers = array(value).iter();
    numbers.map(|x| x.as_f64().expect("a number")).collect()
}

fn vector_of(value: &Value) -> Vec<f32> {
    numbers(value).into_iter().map(|x| x as f32).collect()
}

/// A plain session with the plugin, and a table in several shuffled partitions.
fn plain(
    tables: &[(&str, RecordBatch)],
    config: SessionConfig,
    parts: usize,
) -> Result<SessionContext> {
    let ctx = SessionContext::new_with_config(config);
    polysema_udfs::register_all(&ctx)?;
    for (name, table) in tables {
        let n = table.num_rows();
        // A stride that is prime to the number of rows, so that every row comes once.
        let stride = [7, 11, 13].into_iter().find(|stride| n % stride != 0);
        let stride = stride.expect("a table of few rows");
        let order: UInt32Array = (0..n).map(|i| (i * stride % n) as u32).collect();
        let shuffled = datafusion::arrow::compute::take_record_batch(table, &order)?;
        let size = n.div_ceil(parts).max(1);
        let parts = (0..n)
            .step_by(size)
            .map(|start| vec![shuffled.slice(start, size.min(n - start))]);
        let table = MemTable::try_new(table.schema(), parts.collect())?;
        ctx.register_table(*name, Arc::new(table))?;
    }
    Ok(ctx)
}

/// Every row as numbers.
async fn rows(ctx: &SessionContext, sql: &str) -> Result<Vec<Vec<f64>>> {
    let mut rows = vec![];
    for batch in query(ctx, sql).await? {
        let columns = batch
            .columns()
            .iter()
            .map(|c| datafusion::arrow::compute::cast(c, &DataType::Float64))
            .collect::<std::result::Result<Vec<_>, _>>()?;
        for row in 0..batch.num_rows() {
            let cell = |c: &ArrayRef| c.as_primitive::<Float64Type>().value(row);
            rows.push(columns.iter().map(cell).collect());
        }
    }
    Ok(rows)
}

/// Equal rows: whole numbers exactly, the others to 1e-6.
fn assert_rows(found: &[Vec<f64>], expected: &[Vec<f64>], what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}: rows");
    for (i, (found, expected)) in found.iter().zip(expected).enumerate() {
        let close = |(a, b): (&f64, &f64)| (a - b).abs() <= 1e-6 * b.abs().max(1.0);
        let equal = found.len() == expected.len() && found.iter().zip(expected).all(close);
        assert!(equal, "{what}, row {i}: {found:?}, expected {expected:?}");
    }
}

fn expected(reference: &Value) -> Vec<Vec<f64>> {
    array(reference).iter().map(numbers).collect()
}

#[tokio::test]
async fn principal_components_are_numpys() -> Result<()> {
    let text = include_str!("reference/projection.json");
    let reference: Value = serde_json::from_str(text).expect("the reference is JSON");
    for case in array(&reference["cases"]) {
        let vectors = array(&case["rows"]).iter().map(vector_of);
        let n = vectors.len() as i32;
        let table = RecordBatch::try_from_iter([("id", ints(0..n)), ("v", lists(vectors))])?;
        let (k, normalize) = (&case["k"], &case["normalize"]);
        let columns: Vec<_> = (1..=k.as_u64().unwrap_or(0))
            .map(|i| format!("pc{i}"))
            .collect();
        let sql = format!(
            "SELECT {} FROM project('t', 'v', {k}, {{normalize: {normalize}}}) ORDER BY id",
            columns.join(", ")
        );
        let mut before = None;
        for (parts, batch_size) in [(1, 8192), (5, 17)] {
            let config = SessionConfig::new().with_batch_size(batch_size);
            let found = rows(&plain(&[("t", table.clone())], config, parts)?, &sql).await?;
            assert_rows(&found, &expected(&case["expected"]), &sql);
            // Whatever the order of the rows, bit for bit.
            assert_eq!(*before.get_or_insert(found.clone()), found);
        }
    }
    Ok(())
}

#[tokio::test]
async fn nearest_is_numpys() -> Result<()> {
    let reference = reference("nearest");
    let vectors = array(&reference["rows"]).iter().map(vector_of);
    let table = RecordBatch::try_from_iter([("id", ints(0..300)), ("v", lists(vectors))])?;
    let sql = format!(
        "SELECT id, similarity FROM nearest('t', 'v', {})",
        reference["query"]
    );
    for (target, batch_size, parts) in [(1, 8192, 1), (2, 100, 3), (8, 1, 16)] {
        let config = SessionConfig::new()
            .with_target_partitions(target)
            .with_batch_size(batch_size);
        let ctx = plain(&[("t", table.clone())], config, parts)?;
        let found = rows(&ctx, &sql).await?;
        assert_rows(&found, &expected(&reference["expected"]), "nearest");
    }
    Ok(())
}

#[tokio::test]
async fn ties_do_not_depend_on_partitions() -> Result<()> {
    // Three directions, many rows each: which ones are kept is decided by id.
    let vectors = (0..300).map(|i| [vec![1.0, 0.0], vec![2.0, 0.0], vec![0.0, 1.0]][i % 3].clone());
    let table = RecordBatch::try_from_iter([
        ("id", ints((0..300).map(|i| 299 - i))),
        ("v", lists(vectors)),
    ])?;
    let expected: Vec<Vec<f64>> = (0..300)
        .filter(|id| (299 - id) % 3 != 2)
        .take(50)
        .map(|id| vec![f64::from(id), 1.0])
        .collect();
    for (target, batch_size, parts) in [(1, 8192, 1), (2, 100, 3), (8, 1, 16)] {
        let config = SessionConfig::new()
            .with_target_partitions(target)
            .with_batch_size(batch_size);
        let ctx = plain(&[("t", table.clone())], config, parts)?;
        let found = rows(
            &ctx,
            "SELECT id, similarity FROM nearest('t', 'v', [3, 0], 50)",
        )
        .await?;
        assert_rows(&found, &expected, "ties");
    }
    Ok(())
}

#[tokio::test]
async fn a_search_reserves_what_it_holds() -> Result<()> {
    let table = RecordBatch::try_from_iter([
        ("id", ints(0..1000)),
        ("v", lists((0..1000).map(|i| vec![1.0, i as f32, 3.0, 4.0]))),
    ])?;
    let runtime = RuntimeEnvBuilder::new()
        .with_memory_limit(20_000, 1.0)
        .build_arc()?;
    let config = SessionConfig::new().with_target_partitions(1);
    let ctx = SessionContext::new_with_config_rt(config, runtime);
    polysema_udfs::register_all(&ctx)?;
    ctx.register_batch("t", table)?;
    let sql = |k: usize| format!("SELECT id FROM nearest('t', 'v', [1, 2, 3, 4], {k})");
    let error = message(query(&ctx, &sql(900)).await);
    assert!(
        error.contains("Resources exhausted") && error.contains("TopK"),
        "{error}"
    );
    Ok(())
}

#[tokio::test]
async fn similar_features_are_scipys() -> Result<()> {
    let reference = reference("features");
    let neurons = array(&reference["neurons"]);
    let n = neurons.len() as i32;
    let weights = neurons.iter().map(|neuron| vector_of(&neuron["w"]));
    let received = neurons
        .iter()
        .flat_map(|neuron| array(&neuron["h"]).iter().map(vector_of));
    let count = array(&neurons[0]["h"]).len() as i32;
    let tables = [
        (
            "neurons",
            RecordBatch::try_from_iter([
                ("layer", ints((0..n).map(|_| 0))),
                ("neuron", ints(0..n)),
                ("w_in", lists(weights)),
            ])?,
        ),
        (
            "examples",
            RecordBatch::try_from_iter([
                ("layer", ints((0..n * count).map(|_| 0))),
                ("neuron", ints((0..n * count).map(|i| i / count))),
                ("example", ints((0..n * count).map(|i| i % count))),
                ("pre_mlp", lists(received)),
            ])?,
        ),
    ];
    let asked = numbers(&reference["asked"]);
    let sql = format!(
        "SELECT neuron, \"cluster\", size, example, similarity FROM similar_features(0, {}, {})",
        asked[0], asked[1]
    );
    for (target, parts) in [(1, 1), (4, 5)] {
        let config = SessionConfig::new().with_target_partitions(target);
        let ctx = plain(&tables, config, parts)?;
        let found = rows(&ctx, &sql).await?;
        assert_rows(
            &found,
            &expected(&reference["expected"]),
            "similar_features",
        );
    }
    Ok(())
}

#[tokio::test]
async fn coactivation_is_numpys() -> Result<()> {
    let reference = reference("coactivation");
    let examples: Vec<Vec<f64>> = expected(&reference["examples"]);
    let column = |i: usize| ints(examples.iter().map(|e| e[i] as i32).collect::<Vec<_>>());
    let direction = |e: &Vec<f64>| {
        (0..3)
            .map(|k| f32::from(u8::from(e[4] as usize == k)))
            .collect()
    };
    let tables = [
        (
            "neurons",
            RecordBatch::try_from_iter([
                ("layer", ints((0..40).map(|_| 0))),
                ("neuron", ints(0..40)),
                ("w_in", lists((0..40).map(|_| vec![1.0; 3]))),
            ])?,
        ),
        (
            "examples",
            RecordBatch::try_from_iter([
                (
                    "layer",
                    ints(examples.iter().map(|_| 0).collect::<Vec<_>>()),
                ),
                ("neuron", column(0)),
                ("example", column(1)),
                ("doc_id", column(2)),
                ("pos", column(3)),
                ("pre_mlp", lists(examples.iter().map(direction))),
            ])?,
        ),
    ];
    let sql = "SELECT neuron1, cluster1, neuron2, cluster2, \"count\", size1, size2, expected, lift FROM coactivation(0)";
    for (target, batch_size, parts) in [(1, 8192, 1), (4, 7, 5)] {
        let config = SessionConfig::new()
            .with_target_partitions(target)
            .with_batch_size(batch_size);
        let ctx = plain(&tables, config, parts)?;
        let found = rows(&ctx, sql).await?;
        assert_rows(&found, &expected(&reference["pairs"]), "coactivation");
    }
    let runtime = RuntimeEnvBuilder::new()
        .with_memory_limit(20_000, 1.0)
        .build_arc()?;
    let config = SessionConfig::new().with_target_partitions(1);
    let ctx = SessionContext::new_with_config_rt(config, runtime);
    polysema_udfs::register_all(&ctx)?;
    for (name, table) in tables {
        // Said to be in order, which they are, so that no sort is refused first.
        let keys = ["layer", "neuron", "example"].into_iter();
        let keys = keys.filter(|key| table.column_by_name(key).is_some());
        let order = keys.map(|key| col(key).sort(true, true)).collect();
        let table = MemTable::try_new(table.schema(), vec![vec![table]])?;
        ctx.register_table(name, Arc::new(table.with_sort_order(vec![order])))?;
    }
    let error = message(query(&ctx, sql).await);
    assert!(
        error.contains("coactivation:") && error.contains("bytes are needed"),
        "{error}"
    );
    Ok(())
}

/// A session over the fixture's run `demo`.
async fn session_over(root: &Path) -> Session {
    let options = SessionOptions {
        store: root.to_path_buf(),
        memory_limit: None,
    };
    Session::open(options).await.expect("the fixture's store")
}

async fn text(session: &Session, sql: &str) -> String {
    let rows = async { session.query(sql).await?.try_collect::<Vec<_>>().await };
    let rows = rows.await.unwrap_or_else(|error| panic!("{sql}: {error}"));
    pretty_format_batches(&rows)
        .expect("rows that print")
        .to_string()
}

/// What a run's folder keeps beside its tables.
fn kept(root: &Path) -> Vec<String> {
    let entries = fs::read_dir(current(root, "demo")).expect("the generation");
    let mut names: Vec<_> = entries
        .map(|e| {
            e.expect("an entry")
                .file_name()
                .to_string_lossy()
                .into_owned()
        })
        .filter(|name| name.starts_with("cached-"))
        .collect();
    names.sort();
    names
}

const SIMILAR: &str = "SELECT * FROM similar_features(1, 5, 0, {threshold: 0.0001})";

async fn plan(session: &Session) -> String {
    text(session, &format!("EXPLAIN {SIMILAR}")).await
}

#[tokio::test]
async fn the_index_is_made_once_and_goes_with_its_run() -> Result<()> {
    let dir = demo()?;
    let session = session_over(dir.path()).await;
    let never_kept = {
        text(&session, "SET polysema.allow_jobs = false").await;
        text(&session, SIMILAR).await
    };
    assert!(
        never_kept.contains("| layer |") && never_kept.lines().count() > 10,
        "{never_kept}"
    );
    assert_eq!(
        kept(dir.path()),
        Vec::<String>::new(),
        "nothing is written without allow_jobs"
    );
    text(&session, "SET polysema.allow_jobs = true").await;
    assert!(
        plan(&session)
            .await
            .contains("CacheExec: run=demo, central_examples(threshold=0.0001")
    );
    assert_eq!(
        kept(dir.path()),
        Vec::<String>::new(),
        "EXPLAIN writes nothing"
    );

    assert_eq!(
        text(&session, SIMILAR).await,
        never_kept,
        "the answer that makes the index"
    );
    let first = kept(dir.path());
    assert_eq!(first.len(), 1, "{first:?}");
    assert!(first[0].ends_with(".arrow"));
    let explained = plan(&session).await;
    assert!(
        explained.contains("StreamingTableExec") && !explained.contains("CacheExec"),
        "{explained}"
    );
    assert_eq!(
        text(&session, SIMILAR).await,
        never_kept,
        "the answer from the index"
    );
    // What is kept serves a session that may not write.
    let reader = session_over(dir.path()).await;
    text(&reader, "SET polysema.allow_jobs = false").await;
    assert!(plan(&reader).await.contains("StreamingTableExec"));

    // Other options, another index; the session's settings are options too.
    text(
        &session,
        "SELECT count(*) FROM similar_features(1, 5, 0, {threshold: 0.3})",
    )
    .await;
    text(&session, "SET polysema.linkage = 'single'").await;
    text(&session, SIMILAR).await;
    assert_eq!(kept(dir.path()).len(), 3);
    text(&session, "SET polysema.linkage = 'average'").await;

    // A run put in its place begins anew.
    ingest(&Store::open(dir.path())?, "demo", true, -170.0)?;
    assert_eq!(kept(dir.path()), Vec::<String>::new());
    let replaced = text(&session, SIMILAR).await;
    assert_ne!(replaced, never_kept);
    assert_eq!(kept(dir.path()).len(), 1);
    assert_eq!(text(&session, SIMILAR).await, replaced);
    Ok(())
}

#[tokio::test]
async fn an_index_that_cannot_be_kept_or_read_is_made_each_time() -> Result<()> {
    let dir = demo()?;
    let session = session_over(dir.path()).await;
    let expected = text(&session, SIMILAR).await;
    let path = generation(dir.path(), "demo").join(&kept(dir.path())[0]);
    let whole = fs::read(&path).expect("the index");

    // Damaged: made anew and replaced.
    let mut changed = whole.clone();
    let end = changed.len() - 40;
    changed[end] ^= 0xff;
    for damage in [&b"no index"[..], &[], &whole[..whole.len() / 2], &changed] {
        fs::remove_file(&path).expect("the index");
        fs::write(&path, damage).expect("a writable folder");
        assert_eq!(text(&session, SIMILAR).await, expected);
        assert!(
            fs::read(&path).expect("the index").len() == whole.len(),
            "replaced"
        );
    }

    // Another writer is at it.
    fs::remove_file(&path).expect("the index");
    let lock = fs::File::open(path.with_file_name("cached.lock")).expect("the lock");
    lock.lock().expect("a lock");
    assert_eq!(text(&session, SIMILAR).await, expected);
    assert_eq!(kept(dir.path()), Vec::<String>::new());
    drop(lock);

    // What is in its place is no file, and is kept.
    fs::create_dir(&path).expect("a writable folder");
    assert_eq!(text(&session, SIMILAR).await, expected);
    assert!(path.is_dir());
    fs::remove_dir(&path).expect("a writable folder");

    // What a killed writer left is removed.
    let name = path.file_name().expect("a name").display();
    let next = path.with_file_name(format!(".{name}.polysema-1-0.next"));
    fs::write(&next, b"half").expect("a writable folder");
    assert_eq!(text(&session, SIMILAR).await, expected);
    assert!(path.exists() && !next.exists());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn many_at_once_agree() -> Result<()> {
    let dir = demo()?;
    let mut tasks = vec![];
    for _ in 0..8 {
        let session = session_over(dir.path()).await;
        tasks.push(tokio::spawn(async move { text(&session, SIMILAR).await }));
    }
    let mut answers = vec![];
    for task in tasks {
        answers.push(task.await.expect("an answer"));
    }
    answers.dedup();
    assert_eq!(answers.len(), 1);
    let names = kept(dir.path());
    assert!(
        names.iter().all(|name| name.ends_with(".arrow")),
        "{names:?}"
    );
    Ok(())
}

/// A user's table in place of the run's is no reason to keep anything.
#[tokio::test]
async fn tables_that_are_not_the_runs_are_not_kept() -> Result<()> {
    let dir = demo()?;
    let ctx = session(dir.path(), 2)?;
    polysema_udfs::register_all(&ctx)?;
    let values: ArrayRef = Arc::new(Float64Array::from(vec![1.0]));
    ctx.register_batch("own", RecordBatch::try_from_iter([("x", values)])?)?;
    query(&ctx, "SET datafusion.catalog.default_schema = 'demo'").await?;
    assert!(
        count(&ctx, SIMILAR).await? > 0,
        "a session without a keeper"
    );
    assert_eq!(kept(dir.path()), Vec::<String>::new());
    Ok(())
}

/// The generation folder that a run's manifest names.
fn current(root: &Path, run: &str) -> PathBuf {
    let folder = root.join("runs").join(run);
    let text = fs::read(folder.join("manifest.json")).expect("a manifest");
    let manifest: Value = serde_json::from_slice(&text).expect("JSON");
    folder.join(manifest["generation"].as_str().expect("a generation"))
}
