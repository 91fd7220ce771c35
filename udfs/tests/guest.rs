//! The plugin as a guest: what it leaves to the session it is in, and what it asks of it.

use std::any::Any;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::support::{answer, session, small};
use datafusion::arrow::array::{ArrayRef, RecordBatch, StringArray};
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::catalog::streaming::StreamingTable;
use datafusion::catalog::{MemTable, TableFunctionArgs, TableFunctionImpl, TableProvider};
use datafusion::common::config::{
    ConfigEntry, ConfigExtension, ConfigOptions, DATAFUSION_FFI_CONFIG_NAMESPACE, ExtensionOptions,
};
use datafusion::common::plan_err;
use datafusion::error::Result;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_plan::collect;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::streaming::PartitionStream;
use datafusion::prelude::{SessionConfig, SessionContext};
use futures::stream;
use polysema_udfs::calls::Arguments;
use polysema_udfs::calls::settings::PolysemaOptions;
use polysema_udfs::per_neuron::{Each, Groundwork, LAYER, NEURON, PerNeuron, PerNeuronExec};

/// The layer and neuron of each group.
static KEYS: PerNeuron = PerNeuron {
    each: Each::Neuron,
    groundwork: Groundwork::Examples,
    columns: &[LAYER, NEURON],
    ..PerNeuron::new("keys")
};

/// What the operator says of rows that no optimizer has put in order: (neuron, example), and neurons.
async fn unordered(examples: &[(i32, i32)], neurons: &[i32]) -> String {
    let ctx = SessionContext::new();
    let column = |values: Vec<i32>| -> ArrayRef {
        Arc::new(datafusion::arrow::array::Int32Array::from(values))
    };
    let rows = |columns: Vec<(&str, ArrayRef)>| RecordBatch::try_from_iter(columns);
    let n = examples.len();
    let examples = rows(vec![
        ("layer", column(vec![0; n])),
        ("neuron", column(examples.iter().map(|row| row.0).collect())),
        (
            "example",
            column(examples.iter().map(|row| row.1).collect()),
        ),
    ]);
    let neurons = rows(vec![
        ("layer", column(vec![0; neurons.len()])),
        ("neuron", column(neurons.to_vec())),
    ]);
    let mut scans = vec![];
    for batch in [examples, neurons] {
        let batch = batch.expect("columns of one length");
        let table = MemTable::try_new(batch.schema(), vec![vec![batch]]).expect("a table");
        let scan = table.scan(&ctx.state(), None, &[], None).await;
        scans.push(scan.expect("a scan"));
    }
    let (neurons, examples) = (scans.remove(1), scans.remove(0));
    let call = KEYS.call(&Arguments::none(KEYS.name), &ctx.state());
    let call = call.expect("a call");
    let operator = PerNeuronExec::try_new(Arc::new(call), None, examples, neurons);
    match collect(Arc::new(operator.expect("a plan")), ctx.task_ctx()).await {
        Ok(rows) => format!(
            "{} groups",
            rows.iter().map(RecordBatch::num_rows).sum::<usize>()
        ),
        Err(error) => error.strip_backtrace(),
    }
}

#[tokio::test]
async fn rows_out_of_order_are_refused() {
    assert_eq!(
        unordered(&[(0, 0), (0, 4), (2, 1)], &[0, 1, 2]).await,
        "3 groups"
    );
    let message = unordered(&[(0, 4), (0, 0)], &[0]).await;
    let need = "keys: rows of table 'examples' must come in the order of example, got 0 after 4 in layer 0, neuron 0";
    assert!(message.contains(need), "{message}");
    let message = unordered(&[(0, 4), (0, 7), (0, 4)], &[0]).await;
    assert!(message.contains("got 4 after 7"), "{message}");
    let message = unordered(&[(0, 4), (0, 4)], &[0]).await;
    assert!(
        message.contains("must have one row an example"),
        "{message}"
    );
    let message = unordered(&[(1, 0), (0, 0)], &[0, 1]).await;
    let need = "every neuron of 'examples' must have a row";
    let order = "keys: rows of table 'examples' must come in the order of layer and neuron, got layer 0, neuron 0 after \
                 layer 0, neuron 1";
    assert!(
        message.contains(order) && !message.contains(need),
        "{message}"
    );
    let message = unordered(&[(1, 0)], &[1, 0]).await;
    let order = "keys: rows of table 'neurons' must come in the order of layer and neuron, got layer 0, neuron 0 after \
                 layer 0, neuron 1";
    assert!(message.contains(order), "{message}");
}

/// A table function of the host, which counts its calls and knows nothing without an argument.
#[derive(Debug)]
struct HostFunction(Arc<AtomicUsize>);

impl TableFunctionImpl for HostFunction {
    fn call_with_args(&self, args: TableFunctionArgs) -> Result<Arc<dyn TableProvider>> {
        self.0.fetch_add(1, Ordering::Relaxed);
        if args.exprs().is_empty() {
            return plan_err!("file '' not found");
        }
        let names: ArrayRef = Arc::new(StringArray::from(vec!["host"]));
        let batch = RecordBatch::try_from_iter([("name", names)])?;
        Ok(Arc::new(MemTable::try_new(
            batch.schema(),
            vec![vec![batch]],
        )?))
    }
}

#[tokio::test]
async fn functions_of_the_host_are_left_alone() -> Result<()> {
    let ctx = session(SessionConfig::new(), &small()?)?;
    let calls = Arc::new(AtomicUsize::new(0));
    ctx.register_udtf("rows_of", Arc::new(HostFunction(Arc::clone(&calls))));
    assert!(
        answer(&ctx, "SELECT name FROM rows_of('x')")
            .await?
            .contains("host")
    );
    assert_eq!(
        calls.load(Ordering::Relaxed),
        1,
        "called once, with its argument"
    );
    let error = answer(&ctx, "SELECT * FROM rows_of()")
        .await
        .expect_err("the host's own error");
    assert!(error.to_string().contains("file '' not found"), "{error}");
    assert_eq!(calls.load(Ordering::Relaxed), 2);
    // What nobody knows is the session's to refuse.
    let error = answer(&ctx, "SELECT * FROM feature_cluster(0)")
        .await
        .expect_err("no function");
    assert!(
        error.to_string().contains("'feature_cluster' not found"),
        "{error}"
    );
    Ok(())
}

/// The one extension that datafusion-ffi makes of all: each extension's prefix before each entry's key.
#[derive(Debug, Clone, Default)]
struct Foreign(BTreeMap<String, String>);

impl ConfigExtension for Foreign {
    const PREFIX: &'static str = DATAFUSION_FFI_CONFIG_NAMESPACE;
}

impl ExtensionOptions for Foreign {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }

    fn cloned(&self) -> Box<dyn ExtensionOptions> {
        Box::new(self.clone())
    }

    fn set(&mut self, key: &str, value: &str) -> Result<()> {
        self.0.insert(key.to_string(), value.to_string());
        Ok(())
    }

    fn entries(&self) -> Vec<ConfigEntry> {
        let entry = |(key, value): (&String, &String)| ConfigEntry {
            key: key.clone(),
            value: Some(value.clone()),
            description: "",
        };
        self.0.iter().map(entry).collect()
    }
}

/// Options as the other side of the interface sees them.
fn crossed(options: &ConfigOptions) -> Result<ConfigOptions> {
    let mut foreign = Foreign::default();
    for (prefix, extension) in options.extensions.iter() {
        for entry in extension.entries() {
            foreign.set(
                &format!("{prefix}.{}", entry.key),
                &entry.value.unwrap_or_default(),
            )?;
        }
    }
    let mut crossed = ConfigOptions::default();
    crossed.extensions.insert(foreign);
    Ok(crossed)
}

#[test]
fn settings_survive_a_foreign_function_interface() -> Result<()> {
    let mut options = ConfigOptions::default();
    options.extensions.insert(PolysemaOptions::default());
    options.set("polysema.threshold", "0.1")?;
    options.set("polysema.linkage", "single")?;
    let mut other = crossed(&options)?;
    let settings = PolysemaOptions::of(&other)?;
    assert_eq!(
        (settings.threshold, settings.linkage.as_str()),
        (0.1, "single")
    );
    // SET on the other side, which takes any value.
    other.set("polysema.threshold", "0.2")?;
    assert_eq!(PolysemaOptions::of(&other)?.threshold, 0.2);
    other.set("polysema.threshold", "wide")?;
    let error = PolysemaOptions::of(&other).expect_err("no number");
    let need = "polysema.threshold must be a number, got 'wide'";
    assert!(error.to_string().contains(need), "{error}");
    // As datafusion-ffi makes an extension of what crossed: the key without the prefix that it put there.
    let mut settings = PolysemaOptions::default();
    settings.set("polysema.threshold", "0.3")?;
    assert_eq!(settings.threshold, 0.3);
    Ok(())
}

/// A table that counts how often it is read.
#[derive(Debug)]
struct Counted {
    rows: RecordBatch,
    schema: SchemaRef,
    reads: Arc<AtomicUsize>,
}

impl PartitionStream for Counted {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _: Arc<TaskContext>) -> SendableRecordBatchStream {
        self.reads.fetch_add(1, Ordering::Relaxed);
        let rows = stream::iter([Ok(self.rows.clone())]);
        Box::pin(RecordBatchStreamAdapter::new(
            Arc::clone(&self.schema),
            rows,
        ))
    }
}

#[tokio::test]
async fn planning_reads_nothing() -> Result<()> {
    let ctx = SessionContext::new();
    polysema_udfs::register_all(&ctx)?;
    let reads = Arc::new(AtomicUsize::new(0));
    let [examples, neurons] = small()?;
    let layers = RecordBatch::try_from_iter([
        (
            "layer",
            Arc::new(datafusion::arrow::array::Int32Array::from(vec![0])) as ArrayRef,
        ),
        ("name", Arc::new(StringArray::from(vec!["first"]))),
        ("kind", Arc::new(StringArray::from(vec!["mlp"]))),
    ])?;
    for (name, rows) in [
        ("examples", examples),
        ("neurons", neurons),
        ("layers", layers),
    ] {
        let schema = rows.schema();
        let part = Counted {
            rows,
            schema: Arc::clone(&schema),
            reads: Arc::clone(&reads),
        };
        let table = StreamingTable::try_new(schema, vec![Arc::new(part)])?;
        ctx.register_table(name, Arc::new(table))?;
    }
    let mut queries: Vec<String> = polysema_udfs::catalog::functions()
        .iter()
        .map(|function| function.doc.example.to_string())
        .collect();
    let own = [
        "SELECT * FROM feature_clusters()",
        "SELECT * FROM feature_clusters('first', 3)",
        "SELECT * FROM feature_clusters(9, 9)",
        "SELECT * FROM feature_clusters('none')",
        "SELECT * FROM similar_features('first', 3, 0)",
        "SELECT * FROM coactivation('first', {with_layer: 7})",
    ];
    queries.extend(own.map(str::to_string));
    for sql in &queries {
        answer(&ctx, &format!("EXPLAIN {sql}")).await?;
        ctx.sql(sql).await?.create_physical_plan().await?;
        assert_eq!(reads.load(Ordering::Relaxed), 0, "{sql}");
    }
    assert!(
        answer(&ctx, queries[queries.len() - 5].as_str())
            .await?
            .contains("t3_0")
    );
    assert!(reads.load(Ordering::Relaxed) > 0);
    for (sql, need) in [
        (
            "feature_clusters(9, 9)",
            "layer must be between 0 and 0, got 9",
        ),
        (
            "feature_clusters(0, 9)",
            "neuron of layer 0 must be between 0 and 3, got 9",
        ),
        (
            "feature_clusters('none')",
            "layer must be a number or one of first, got 'none'",
        ),
        (
            "similar_features('first', 9, 0)",
            "neuron of layer 0 must be between 0 and 3, got 9",
        ),
        (
            "coactivation('first', {with_layer: 7})",
            "layer must be between 0 and 0, got 7",
        ),
    ] {
        let error = answer(&ctx, &format!("SELECT * FROM {sql}"))
            .await
            .expect_err(sql);
        assert!(error.to_string().contains(need), "{sql}: {error}");
    }
    Ok(())
}
