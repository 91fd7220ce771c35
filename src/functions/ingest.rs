//! `ingest(run, model, corpus)`: long work as a table function whose rows are its progress.
//!
//! Nothing happens at planning or EXPLAIN. The work runs on the blocking pool; dropping the stream cancels it, and a
//! cancelled or failed ingest leaves no run.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock};

use async_trait::async_trait;
use datafusion::arrow::array::{Float64Array, Int64Array, RecordBatch, StringArray};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{Result, ScalarValue, plan_err};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::{Expr, LogicalPlan, TableType};
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::stream::RecordBatchReceiverStream;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, Partitioning, PlanProperties, collect_partitioned,
};
use polysema_udfs::bridge::arguments::Arguments;
use polysema_udfs::bridge::document::{
    Function, FunctionDoc, Implementation, Parameter, TableFunction,
};
use polysema_udfs::bridge::settings::PolysemaOptions;

use crate::ingest::{IngestOptions, IngestRequest, MaxActivations, OPTIONS, Progress, ingest};
use crate::store::Store;

static PARAMETERS: LazyLock<Vec<Parameter>> = LazyLock::new(|| {
    OPTIONS
        .iter()
        .map(|option| Parameter {
            name: option.name,
            kind: option.range,
            summary: option.meaning,
        })
        .collect()
});

static DOC: LazyLock<FunctionDoc> = LazyLock::new(|| FunctionDoc {
    name: "ingest",
    chapter: "model",
    summary: "Sends a corpus through a model and keeps what every neuron responds to as a run; its rows are its progress.",
    arguments: &[
        Parameter {
            name: "run",
            kind: "text",
            summary: "name of the new run",
        },
        Parameter {
            name: "model",
            kind: "text",
            summary: "a Hugging Face folder of a GPT-2 model",
        },
        Parameter {
            name: "corpus",
            kind: "text",
            summary: "a .txt, .jsonl or .parquet file",
        },
    ],
    required: 3,
    options: &PARAMETERS,
    returns: "phase, documents, total_documents, tokens, tokens_per_second, elapsed_seconds, message; several rows a second",
    example: "SELECT * FROM ingest('sample', 'tests/data/demo/model', 'tests/data/demo/corpus.jsonl', {max_documents: 16, replace: true})",
    replaces: None,
});

/// The catalogue entry.
pub(super) fn function(store: Arc<Store>) -> Function {
    Function {
        doc: &DOC,
        implementation: Implementation::Table(Arc::new(Ingest { store })),
    }
}

fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("phase", DataType::Utf8, false),
        Field::new("documents", DataType::Int64, false),
        Field::new("total_documents", DataType::Int64, true),
        Field::new("tokens", DataType::Int64, false),
        Field::new("tokens_per_second", DataType::Float64, false),
        Field::new("elapsed_seconds", DataType::Float64, false),
        Field::new("message", DataType::Utf8, false),
    ]))
}

fn row(progress: &Progress) -> Result<RecordBatch> {
    let columns: Vec<datafusion::arrow::array::ArrayRef> = vec![
        Arc::new(StringArray::from(vec![progress.phase])),
        Arc::new(Int64Array::from(vec![progress.documents as i64])),
        Arc::new(Int64Array::from(vec![
            progress.total_documents.map(|n| n as i64),
        ])),
        Arc::new(Int64Array::from(vec![progress.tokens as i64])),
        Arc::new(Float64Array::from(vec![progress.tokens_per_second])),
        Arc::new(Float64Array::from(vec![progress.elapsed_seconds])),
        Arc::new(StringArray::from(vec![progress.message.as_str()])),
    ];
    Ok(RecordBatch::try_new(schema(), columns)?)
}

#[derive(Debug)]
struct Ingest {
    store: Arc<Store>,
}

impl TableFunction for Ingest {
    fn schema(&self, _: &Arguments) -> Result<SchemaRef> {
        Ok(schema())
    }

    fn table(&self, arguments: Arguments) -> Result<Arc<dyn TableProvider>> {
        let required = |name: &str| match arguments.text(name)? {
            Some(text) => Ok(text),
            None => plan_err!("ingest: {name} must be text, got NULL"),
        };
        let mut options = IngestOptions::default();
        for (name, value) in arguments.options() {
            if !value.is_null() {
                options.set(name, &option_text(value))?;
            }
        }
        let maxima = arguments.relation("max_activations");
        if let Some(relation) = maxima {
            options.set("max_activations", &relation.written)?;
        }
        options.check()?;
        let request = IngestRequest {
            run: required("run")?,
            model: required("model")?.into(),
            corpus: required("corpus")?.into(),
            options,
        };
        Ok(Arc::new(Job {
            store: Arc::clone(&self.store),
            request,
            maxima: maxima.map(|relation| Arc::clone(&relation.plan)),
        }))
    }
}

fn option_text(value: &ScalarValue) -> String {
    match value.try_as_str() {
        Some(Some(text)) => text.to_string(),
        _ => value.to_string(),
    }
}

#[derive(Debug)]
struct Job {
    store: Arc<Store>,
    request: IngestRequest,
    /// The rows of the option `max_activations`.
    maxima: Option<Arc<LogicalPlan>>,
}

#[async_trait]
impl TableProvider for Job {
    fn schema(&self) -> SchemaRef {
        schema()
    }

    fn table_type(&self) -> TableType {
        TableType::Temporary
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        _: &[Expr],
        _: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        if !PolysemaOptions::of(state.config_options()).allow_jobs {
            return plan_err!("ingest: polysema.allow_jobs must be true, got false");
        }
        let maxima = match &self.maxima {
            None => None,
            Some(plan) => Some(state.create_physical_plan(plan).await?),
        };
        let schema = match projection {
            Some(projection) => Arc::new(schema().project(projection)?),
            None => schema(),
        };
        let properties = Arc::new(PlanProperties::new(
            EquivalenceProperties::new(schema),
            Partitioning::UnknownPartitioning(1),
            EmissionType::Incremental,
            Boundedness::Bounded,
        ));
        Ok(Arc::new(IngestExec {
            store: Arc::clone(&self.store),
            request: self.request.clone(),
            projection: projection.cloned(),
            maxima,
            properties,
        }))
    }
}

#[derive(Debug)]
struct IngestExec {
    store: Arc<Store>,
    request: IngestRequest,
    projection: Option<Vec<usize>>,
    /// Reads the table of maxima, if one was named. Not a child: the optimizer has nothing to add to it.
    maxima: Option<Arc<dyn ExecutionPlan>>,
    properties: Arc<PlanProperties>,
}

impl DisplayAs for IngestExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter) -> fmt::Result {
        let IngestRequest {
            run, model, corpus, ..
        } = &self.request;
        write!(
            f,
            "IngestExec: run={run}, model={}, corpus={}",
            model.display(),
            corpus.display()
        )
    }
}

impl ExecutionPlan for IngestExec {
    fn name(&self) -> &str {
        "IngestExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![]
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(
        self: Arc<Self>,
        _: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }

    fn execute(&self, _: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let mut builder = RecordBatchReceiverStream::builder(
            Arc::clone(self.properties.equivalence_properties().schema()),
            8,
        );
        let tx = builder.tx();
        let (store, mut request) = (Arc::clone(&self.store), self.request.clone());
        let (projection, maxima) = (self.projection.clone(), self.maxima.clone());
        builder.spawn(async move {
            if let Some(plan) = maxima {
                let batches: Vec<_> = collect_partitioned(plan, context)
                    .await?
                    .into_iter()
                    .flatten()
                    .collect();
                request.options.max_activations = Some(MaxActivations::from_batches(&batches)?);
            }
            let cancelled = Arc::new(AtomicBool::new(false));
            let _guard = CancelOnDrop(Arc::clone(&cancelled));
            let work = move || {
                let mut send = |progress: Progress| {
                    let batch = row(&progress).and_then(|batch| match &projection {
                        Some(projection) => Ok(batch.project(projection)?),
                        None => Ok(batch),
                    });
                    if tx.blocking_send(batch).is_err() {
                        cancelled.store(true, Ordering::Relaxed);
                    }
                };
                ingest(&store, &request, &cancelled, &mut send).map(|_| ())
            };
            match tokio::task::spawn_blocking(work).await {
                Ok(done) => done,
                Err(error) => datafusion::common::internal_err!(
                    "ingest: the work ended without a result ({error})"
                ),
            }
        });
        Ok(builder.build())
    }
}

/// Tells the work that its reader is gone.
struct CancelOnDrop(Arc<AtomicBool>);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
