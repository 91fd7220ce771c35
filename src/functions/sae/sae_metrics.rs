//! `sae_metrics(name)`: how good a sparse autoencoder is, one row a metric with its formula.

use std::path::PathBuf;
use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, Float64Array, RecordBatch, StringArray};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::catalog::TableProvider;
use datafusion::common::{Result, plan_err};
use polysema_udfs::calls::{
    Arguments, Function, FunctionDoc, Implementation, Parameter, RELATION, TableFunction,
};

use crate::corpus::Split;
use crate::functions::arguments::required;
use crate::functions::row_vectors::RowVectors;
use crate::jobs::{Job, JobContext, named};
use crate::models::HookPoint;
use crate::policy::Access;
use crate::saes::{
    Metric, OtherCorpus, SaeLibrary, dead, evaluate_model, evaluate_rows, sae_reader,
};

/// Half of the last digit the authors' activations are rounded to.
const DEAD_THRESHOLD: f64 = 0.005;

static DOC: FunctionDoc = FunctionDoc {
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
    options: &[
        Parameter {
            name: "split",
            kind: "'train', 'test' or 'all'",
            summary: "which images of the run's corpus; default test",
        },
        Parameter {
            name: "corpus",
            kind: "text",
            summary: "a file or folder in place of the run's corpus; empty is left out",
        },
        Parameter {
            name: "model",
            kind: "text",
            summary: "with hook and corpus, for an autoencoder of a table's vectors: the model they are from",
        },
        Parameter {
            name: "hook",
            kind: "text",
            summary: "the place in that model, as in blocks.2.mlp.out",
        },
        Parameter {
            name: "max_documents",
            kind: "whole number from 1",
            summary: "documents after which the rest is left out; default as the run's",
        },
        Parameter {
            name: "dead_threshold",
            kind: "number from 0",
            summary: "a latent is dead if its largest activation in training is below; default 0.005",
        },
        Parameter {
            name: "column",
            kind: "text",
            summary: "the source's column of vectors; may be left out where there is one",
        },
    ],
    returns: "sae, metric, value (NULL where undefined), definition; distances are cosine distances in [0, 2], x is a \
              vector, y its reconstruction, a its code",
    example: "SELECT metric, round(value, 3) FROM sae_metrics('letters', (SELECT vector FROM activations( \
              'tests/data/demo/model', 'tests/data/demo/corpus.jsonl', 'blocks.2.mlp.out', {max_documents: 4})))",
    replaces: None,
};

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
        let split = match arguments.text("split")? {
            None => None,
            Some(word) => match Split::NAMES.iter().find(|(name, _)| *name == word) {
                Some((_, split)) => Some(*split),
                None => {
                    return plan_err!(
                        "sae_metrics: split must be 'train', 'test' or 'all', got '{word}'"
                    );
                }
            },
        };
        let max_documents = match arguments.integer("max_documents")? {
            None => None,
            Some(n) if n >= 1 => Some(n as usize),
            Some(n) => {
                return plan_err!("sae_metrics: max_documents must be at least 1, got {n}");
            }
        };
        let dead_threshold = match arguments.number("dead_threshold")? {
            None => DEAD_THRESHOLD,
            Some(threshold) if threshold >= 0.0 => threshold,
            Some(threshold) => {
                return plan_err!(
                    "sae_metrics: dead_threshold must be at least 0, got {threshold}"
                );
            }
        };
        let relation = arguments.relation("source");
        let call = Call {
            name,
            other: OtherCorpus {
                model: arguments.text("model")?,
                hook: match arguments.text("hook")? {
                    Some(hook) => {
                        let hook = HookPoint::parse(&hook);
                        Some(hook.map_err(named(DOC.name))?)
                    }
                    None => None,
                },
                corpus: arguments
                    .text("corpus")?
                    .filter(|path| !path.is_empty())
                    .map(PathBuf::from),
                split,
                max_documents,
            },
            dead_threshold,
            column: arguments.text("column")?,
            written: relation.map_or_else(String::new, |relation| relation.written.clone()),
        };
        let given = relation.is_some();
        if given && call.other != OtherCorpus::default() {
            return plan_err!(
                "sae_metrics: a source, or the options split, corpus, model, hook, max_documents, is required, got both"
            );
        }
        let saes = Arc::clone(&self.saes);
        let detail = format!("name={}", call.name);
        let work = move |context: &JobContext| {
            context.send(call.measure(&saes, context));
            Ok(())
        };
        Ok(Arc::new(Job {
            function: DOC.name,
            operator: "SaeMetricsExec",
            detail,
            schema: schema(),
            needs: match given {
                true => &[],
                // The corpus and the model of its run.
                false => &[Access::ReadFiles],
            },
            input: relation.map(|relation| Arc::clone(&relation.plan)),
            work: Arc::new(work),
        }))
    }
}

struct Call {
    name: String,
    other: OtherCorpus,
    dead_threshold: f64,
    column: Option<String>,
    written: String,
}

impl Call {
    fn measure(&self, saes: &SaeLibrary, context: &JobContext) -> Result<RecordBatch> {
        let loaded = saes.get(&self.name)?;
        let (sae, facts) = (&loaded.sae, &loaded.stored.manifest);
        let mut metrics = match context.rows() {
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
                if other
                    .corpus
                    .clone()
                    .or(own)
                    .is_some_and(|path| path.is_dir())
                {
                    other.split = other.split.or(Some(Split::Test));
                }
                let (mut reader, hook) = sae_reader(saes.store(), facts, &other, context)?;
                evaluate_model(sae, &mut reader, hook, context)?
            }
        };
        if let Ok((run, layer)) = saes.layer(&self.name) {
            let run = saes.store().run(&run)?;
            metrics.push(dead(&run.max_activations(layer)?, self.dead_threshold));
        }
        rows_of(&self.name, &metrics)
    }
}
