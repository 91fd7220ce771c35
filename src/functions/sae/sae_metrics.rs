//! `sae_metrics(name)`: how good a sparse autoencoder is, one row a metric with its formula.

use std::path::PathBuf;
use std::sync::{Arc, LazyLock};

use datafusion::arrow::array::{ArrayRef, Float64Array, RecordBatch, StringArray};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::{Result, plan_err};
use datafusion::logical_expr::{Expr, LogicalPlan, TableProviderFilterPushDown, TableType};
use datafusion::physical_plan::ExecutionPlan;
use polysema_udfs::arrow::value_filter::ValueFilter;
use polysema_udfs::calls::{
    Arguments, Function, FunctionDoc, Implementation, Parameter, RELATION, TableFunction,
};
use polysema_udfs::scan_by_plan;

use crate::corpus::{CorpusReader, MAX_DOCUMENTS, ModelVectors, SPLIT, Split};
use crate::functions::arguments::required;
use crate::functions::corpora::GivenCorpus;
use crate::functions::row_vectors::RowVectors;
use crate::jobs::{Course, Job, JobContext, named};
use crate::models::HookPoint;
use crate::options::{Key, Kind, Options, Rule, Spec, Usual, parameters};
use crate::policy::{self, Access};
use crate::saes::{
    Metric, OF_MODEL, OtherCorpus, SaeLibrary, VECTORS, dead, evaluate_model, evaluate_rows,
    sae_reader,
};

const CORPUS: Key<Option<String>> = Key::new(
    "corpus",
    Kind::TextOrTable,
    Usual::Nothing,
    "files, a name of the hub or rows in place of the run's corpus, read as ingest read that; empty is left out",
);
const MODEL: Key<Option<String>> = Key::new(
    "model",
    Kind::Text,
    Usual::Nothing,
    "where the model of its run is now; with hook and corpus, the model of a table's vectors",
);
const HOOK: Key<Option<String>> = Key::new(
    "hook",
    Kind::Text,
    Usual::Nothing,
    "the place in that model, as in blocks.2.mlp.out",
)
.rules(&[Rule::WithGiven("model"), Rule::WithGiven("corpus")]);
/// Half of the last digit the authors' activations are rounded to.
const DEAD_THRESHOLD: Key<f64> = Key::new(
    "dead_threshold",
    Kind::from(0.0),
    Usual::Number(0.005),
    "a latent is dead if its largest activation in training is below",
);
const SAE_METRICS: [Spec; 7] = [
    SPLIT.usually(Usual::Said("test")).spec,
    CORPUS.spec,
    MODEL.spec,
    HOOK.spec,
    MAX_DOCUMENTS.usually(Usual::Said("the run's")).spec,
    DEAD_THRESHOLD.spec,
    VECTORS.spec,
];

static DOC: LazyLock<FunctionDoc> = LazyLock::new(|| FunctionDoc {
    name: "sae_metrics",
    chapter: "sae",
    summary: "How good a sparse autoencoder is: one row per metric, with its formula.",
    arguments: &[
        Parameter {
            name: "name",
            kind: "text",
            summary: "name of the autoencoder",
        },
        Parameter {
            name: "source",
            kind: RELATION,
            summary: "rows with a column of vectors to measure it on; left out, what the model of its run gives",
        },
    ],
    required: 1,
    options: parameters(&SAE_METRICS),
    returns: "sae (its name), metric (its name), value (NULL where undefined: an encoder predicts no next token), definition (its formula); distances \
              are cosine distances in [0, 2], x is a vector, y its reconstruction, a its code; of a transcoder x is what the \
              model gives at its other place, and errors over rows are NULL, since rows lack it. A condition on metric that leaves out those of the model \
              (accuracy, ce_loss) spares its passes with reconstructions and zeros",
    example: "SELECT metric, value FROM sae_metrics('foreign', (SELECT column1 AS vector FROM (VALUES ([1.0, 0.0, \
              0.0, 2.0, 0.5, 0.25]), ([0.0, 1.0, 0.0, 0.5, 0.0, 0.25])))) WHERE value IS NOT NULL",
    replaces: None,
});

/// The catalogue entry.
pub(super) fn function(saes: &Arc<SaeLibrary>) -> Function {
    let saes = Arc::clone(saes);
    Function {
        doc: &DOC,
        implementation: Implementation::Table(Arc::new(SaeMetrics { saes })),
    }
}

fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("sae", DataType::Utf8, false),
        Field::new("metric", DataType::Utf8, false),
        Field::new("value", DataType::Float64, true),
        Field::new("definition", DataType::Utf8, false),
    ]))
}

fn rows_of(name: &str, metrics: &[Metric]) -> Result<RecordBatch> {
    let texts = |of: fn(&Metric) -> &str| -> ArrayRef {
        Arc::new(StringArray::from_iter_values(metrics.iter().map(of)))
    };
    let columns: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from(vec![name; metrics.len()])),
        texts(|metric| metric.name),
        Arc::new(Float64Array::from_iter(
            metrics.iter().map(|metric| metric.value),
        )),
        texts(|metric| metric.definition),
    ];
    Ok(RecordBatch::try_new(schema(), columns)?)
}

#[derive(Debug)]
struct SaeMetrics {
    saes: Arc<SaeLibrary>,
}

impl TableFunction for SaeMetrics {
    fn schema(&self, _: &Arguments) -> Result<SchemaRef> {
        Ok(schema())
    }

    fn table(&self, arguments: Arguments) -> Result<Arc<dyn TableProvider>> {
        let name = required(&arguments, "name")?;
        let options = Options::of_call(&SAE_METRICS, &arguments)?;
        let relation = arguments.relation("source");
        let call = Call {
            name,
            other: OtherCorpus {
                model: options.get(MODEL),
                hook: match options.get(HOOK) {
                    Some(hook) => {
                        let hook = HookPoint::parse(&hook);
                        Some(hook.map_err(named(DOC.name))?)
                    }
                    None => None,
                },
                corpus: (options.get(CORPUS).filter(|path| !path.is_empty())).map(PathBuf::from),
                of_rows: false,
                split: options.get(SPLIT),
                max_documents: options.get(MAX_DOCUMENTS),
            },
            dead_threshold: options.get(DEAD_THRESHOLD),
            asks_for_dead: options.given(DEAD_THRESHOLD),
            column: options.get(VECTORS),
            written: relation.map_or_else(String::new, |relation| relation.written.clone()),
        };
        if relation.is_none()
            && let Some(column) = &call.column
        {
            return plan_err!("sae_metrics: column must come with a source, got '{column}' alone");
        }
        let given = relation.is_some();
        if given && call.other != OtherCorpus::default() {
            return plan_err!(
                "sae_metrics: a source, or the options split, corpus, model, hook, max_documents, is required, got both"
            );
        }
        let corpus = GivenCorpus::of(&arguments, CORPUS.spec.name)?;
        Ok(Arc::new(MetricsTable {
            saes: Arc::clone(&self.saes),
            corpus: corpus.filter(|_| call.other.corpus.is_some()),
            call,
            source: relation.map(|relation| Arc::clone(&relation.plan)),
        }))
    }
}

/// The metrics, those of the model only where they are asked for.
#[derive(Debug)]
struct MetricsTable {
    saes: Arc<SaeLibrary>,
    call: Call,
    /// The corpus of `call`, which may be rows.
    corpus: Option<GivenCorpus>,
    /// The rows with vectors.
    source: Option<Arc<LogicalPlan>>,
}

impl MetricsTable {
    /// The work of a call; `effect` is whether the model is run with reconstructions, too.
    fn job(&self, call: Call, input: Option<Arc<LogicalPlan>>, effect: bool) -> Job {
        let saes = Arc::clone(&self.saes);
        let detail = match effect {
            true => format!("name={}", call.name),
            false => format!("name={}, of rows", call.name),
        };
        let work = move |context: &JobContext| {
            context.send(call.measure(&saes, effect, context));
            Ok(())
        };
        Job {
            function: DOC.name,
            operator: "SaeMetricsExec",
            detail,
            schema: schema(),
            course: Course::Answer,
            needs: self.needs(),
            input,
            makes: None,
            work: Arc::new(work),
        }
    }

    fn needs(&self) -> &'static [Access] {
        match self.source {
            Some(_) => &[],
            // The corpus and the model of its run.
            None => &[Access::ReadFiles],
        }
    }

    async fn plan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        policy::require(state, DOC.name, self.needs())?;
        let (mut call, mut input) = (self.call.clone(), self.source.clone());
        if let Some(corpus) = &self.corpus {
            let corpus = corpus.resolve(DOC.name, state).await?;
            call.other.corpus = Some(corpus.path());
            call.other.of_rows = corpus.rows.is_some();
            input = corpus.rows;
        }
        let metric = Field::new("metric", DataType::Utf8, false);
        let wanted = ValueFilter::of(state, filters, metric)?;
        let of_model = Arc::new(StringArray::from_iter_values(OF_MODEL));
        let asks_for_model = wanted.keeps(of_model)?.true_count() > 0;
        let job = self.job(call, input, asks_for_model);
        job.scan(state, projection, &[], limit).await
    }
}

impl TableProvider for MetricsTable {
    fn schema(&self) -> SchemaRef {
        schema()
    }

    fn table_type(&self) -> TableType {
        TableType::Temporary
    }

    fn supports_filters_pushdown(
        &self,
        filters: &[&Expr],
    ) -> Result<Vec<TableProviderFilterPushDown>> {
        Ok(ValueFilter::pushed_down(filters, "metric"))
    }

    scan_by_plan!(MetricsTable);
}

#[derive(Debug, Clone)]
struct Call {
    name: String,
    other: OtherCorpus,
    dead_threshold: f64,
    asks_for_dead: bool,
    column: Option<String>,
    written: String,
}

/// Whether there is something that the model predicts and that is known: an encoder of texts predicts no next token, one of
/// images the class that a label says, if it has a head.
fn predicts(reader: &CorpusReader) -> bool {
    let model = reader.model();
    match model.image() {
        Some(_) => reader.labels().is_some() && model.logits_bytes(1, model.n_ctx()) > 0,
        None => model.causal(),
    }
}

impl Call {
    fn measure(
        &self,
        saes: &SaeLibrary,
        effect: bool,
        context: &JobContext,
    ) -> Result<RecordBatch> {
        let loaded = saes.get(&self.name)?;
        let (sae, facts) = (&loaded.sae, &loaded.stored.manifest);
        let mut metrics = match context.rows().filter(|_| !self.other.of_rows) {
            Some(rows) => {
                let column = self.column.as_deref();
                let written = self.written.clone();
                let mut vectors = RowVectors::try_new(rows, column, written)?;
                evaluate_rows(sae, &mut vectors, context)?
            }
            None => {
                let mut other = self.other.clone();
                let own = facts
                    .corpus
                    .as_ref()
                    .map(|corpus| PathBuf::from(&corpus.path));
                let corpus = other.corpus.clone().or(own);
                if !other.of_rows && corpus.is_some_and(|path| path.is_dir()) {
                    other.split = other.split.or(Some(Split::Test));
                }
                let (mut reader, hooks) = sae_reader(saes.store(), facts, &other, context)?;
                let [hook, target] = hooks;
                let effect = effect && predicts(&reader);
                match effect || target != hook {
                    true => evaluate_model(sae, &mut reader, hooks, effect, context)?,
                    false => {
                        let description = format!("{hook} of its model");
                        let mut vectors = ModelVectors {
                            reader,
                            hook,
                            description,
                        };
                        evaluate_rows(sae, &mut vectors, context)?
                    }
                }
            }
        };
        match saes.layer(&self.name) {
            Ok((run, layer)) => {
                let run = saes.store().run(&run)?;
                metrics.push(dead(&run.max_activations(layer)?, self.dead_threshold));
            }
            // Without its layer nothing is known of the training.
            Err(error) if self.asks_for_dead => return Err(error),
            Err(_) => {}
        }
        rows_of(&self.name, &metrics)
    }
}
