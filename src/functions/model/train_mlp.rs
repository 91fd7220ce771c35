//! `train_mlp(name, corpus)`: a classifier of images, trained and stored as a model, as a job whose rows are its progress.

use std::sync::{Arc, LazyLock};

use datafusion::arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::catalog::TableProvider;
use datafusion::common::Result;
use polysema_udfs::calls::{
    Arguments, Function, FunctionDoc, Implementation, Parameter, TableFunction,
};

use crate::classifiers::{TRAIN_MLP, TrainProgress, TrainRequest, train_mlp};
use crate::functions::arguments::{course, job_options, job_parameters, required};
use crate::jobs::{Job, JobContext, Part};
use crate::policy::Access;
use crate::store::Store;

static DOC: LazyLock<FunctionDoc> = LazyLock::new(|| FunctionDoc {
    name: "train_mlp",
    chapter: "model",
    summary: "Trains a ReLU classifier of labelled images and stores it as a model; its rows are its progress.",
    arguments: &[
        Parameter {
            name: "name",
            kind: "text",
            summary: "name of the new model, by which ingest and activations find it",
        },
        Parameter {
            name: "corpus",
            kind: "text",
            summary: "a folder of MNIST's four idx files, plain or gzipped",
        },
    ],
    required: 2,
    options: job_parameters(&TRAIN_MLP),
    returns: "step (batches learned from), epoch (from 1), loss (mean since the last row), accuracy (of the test \
              images at the end of an epoch, else NULL), rows_per_second (until now), elapsed_seconds (since the job \
              began), message (what there is to say); several rows a second",
    example: "SELECT max(epoch) AS epochs FROM train_mlp('digits', 'tests/data/mnist-tiny', {hidden: [16], epochs: \
              20, batch_size: 8, replace: true})",
    replaces: None,
});

/// The catalogue entry.
pub(super) fn function(store: Arc<Store>) -> Function {
    Function {
        doc: &DOC,
        implementation: Implementation::Table(Arc::new(TrainMlp { store })),
    }
}

fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Part::Done.counting("steps", Field::new("step", DataType::Int64, false)),
        Field::new("epoch", DataType::Int64, false),
        Part::Loss.of(Field::new("loss", DataType::Float64, false)),
        Field::new("accuracy", DataType::Float64, true),
        Part::Rate.counting(
            "rows",
            Field::new("rows_per_second", DataType::Float64, false),
        ),
        Part::Seconds.of(Field::new("elapsed_seconds", DataType::Float64, false)),
        Part::Message.of(Field::new("message", DataType::Utf8, false)),
    ]))
}

fn row(progress: &TrainProgress) -> Result<RecordBatch> {
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from(vec![progress.step as i64])),
        Arc::new(Int64Array::from(vec![progress.epoch as i64])),
        Arc::new(Float64Array::from(vec![progress.loss])),
        Arc::new(Float64Array::from(vec![progress.accuracy])),
        Arc::new(Float64Array::from(vec![progress.rows_per_second])),
        Arc::new(Float64Array::from(vec![progress.elapsed_seconds])),
        Arc::new(StringArray::from(vec![progress.message.as_str()])),
    ];
    Ok(RecordBatch::try_new(schema(), columns)?)
}

#[derive(Debug)]
struct TrainMlp {
    store: Arc<Store>,
}

impl TableFunction for TrainMlp {
    fn schema(&self, arguments: &Arguments) -> Result<SchemaRef> {
        Ok(course(arguments)?.schema(schema()))
    }

    fn table(&self, arguments: Arguments) -> Result<Arc<dyn TableProvider>> {
        let request = TrainRequest {
            name: required(&arguments, "name")?,
            corpus: required(&arguments, "corpus")?.into(),
            options: job_options(&TRAIN_MLP, &arguments)?,
        };
        let detail = format!("name={}, corpus={}", request.name, request.corpus.display());
        let store = Arc::clone(&self.store);
        let work = move |context: &JobContext| {
            let mut progress = |progress: TrainProgress| context.send(row(&progress));
            train_mlp(&store, &request, context, &mut progress)
        };
        Ok(Arc::new(Job {
            function: DOC.name,
            operator: "TrainMlpExec",
            detail,
            schema: schema(),
            course: course(&arguments)?,
            needs: &[Access::RunJobs, Access::ReadFiles],
            input: None,
            makes: None,
            work: Arc::new(work),
        }))
    }
}
