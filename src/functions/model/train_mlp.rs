//! `train_mlp(name, corpus)`: a classifier of images, trained and stored as a model, as a job whose rows are its progress.

use std::sync::{Arc, LazyLock};

use datafusion::arrow::array::{
    ArrayRef, AsArray, Float64Array, Int64Array, RecordBatch, StringArray,
};
use datafusion::arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};
use datafusion::catalog::TableProvider;
use datafusion::common::{Result, ScalarValue, plan_err};
use polysema_udfs::calls::{
    Arguments, Function, FunctionDoc, Implementation, Parameter, TableFunction,
};

use crate::classifiers::{TrainProgress, TrainRequest, train_mlp};
use crate::functions::arguments::required;
use crate::jobs::{Job, JobContext, Part, named};
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
    options: &[
        Parameter {
            name: "hidden",
            kind: "list of whole numbers from 1",
            summary: "widths of the hidden layers; [64] if left out",
        },
        Parameter {
            name: "epochs",
            kind: "whole number from 1",
            summary: "how often each image is seen; 3 if left out",
        },
        Parameter {
            name: "batch_size",
            kind: "whole number from 1",
            summary: "images of a step; 128 if left out",
        },
        Parameter {
            name: "learning_rate",
            kind: "number above 0",
            summary: "length of a step of AdamW; 0.001 if left out",
        },
        Parameter {
            name: "weight_decay",
            kind: "number from 0",
            summary: "decoupled weight decay; 0.01 if left out",
        },
        Parameter {
            name: "seed",
            kind: "whole number from 0",
            summary: "decides the first weights and the order of the images; 0 if left out",
        },
        Parameter {
            name: "replace",
            kind: "true or false",
            summary: "whether a model of the same name is replaced; false if left out",
        },
    ],
    returns: "step, epoch, loss (mean since the last row), accuracy (of the test images at the end of an epoch, else \
              NULL), rows_per_second, elapsed_seconds, message; several rows a second",
    example: "SELECT epoch, accuracy FROM train_mlp('digits', 'tests/data/mnist-tiny', {hidden: [16], epochs: 2, \
              replace: true}) WHERE accuracy IS NOT NULL",
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
    fn schema(&self, _: &Arguments) -> Result<SchemaRef> {
        Ok(schema())
    }

    fn table(&self, arguments: Arguments) -> Result<Arc<dyn TableProvider>> {
        let request = request(&arguments)?;
        request.check().map_err(named(DOC.name))?;
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
            needs: &[Access::RunJobs, Access::ReadFiles],
            input: None,
            work: Arc::new(work),
        }))
    }
}

fn request(arguments: &Arguments) -> Result<TrainRequest> {
    let mut request =
        TrainRequest::new(required(arguments, "name")?, required(arguments, "corpus")?);
    let count = |name: &str, least: i64, default: usize| match arguments.integer(name)? {
        None => Ok(default),
        Some(n) if n >= least => Ok(n as usize),
        Some(n) => plan_err!("train_mlp: {name} must be a whole number from {least}, got {n}"),
    };
    request.epochs = count("epochs", 1, request.epochs)?;
    request.batch_size = count("batch_size", 1, request.batch_size)?;
    request.seed = count("seed", 0, request.seed as usize)? as u64;
    request.learning_rate = arguments
        .number("learning_rate")?
        .unwrap_or(request.learning_rate);
    request.weight_decay = arguments
        .number("weight_decay")?
        .unwrap_or(request.weight_decay);
    request.replace = arguments.boolean("replace")?.unwrap_or(request.replace);
    if let Some(list) = arguments.get("hidden") {
        request.hidden = widths(list)?;
    }
    Ok(request)
}

/// The numbers of a list of whole numbers from 1.
fn widths(list: &ScalarValue) -> Result<Vec<usize>> {
    let wrong = || {
        plan_err!(
            "train_mlp: hidden must be a list of one or more whole numbers from 1, got {list}"
        )
    };
    let items = match list.cast_to(&DataType::new_list(DataType::Int64, true)) {
        Ok(ScalarValue::List(items)) if !matches!(list, ScalarValue::Utf8(_)) => items.value(0),
        _ => return wrong(),
    };
    let whole = match list.data_type() {
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
            item.data_type().is_integer()
        }
        _ => false,
    };
    let items = items.as_primitive::<Int64Type>();
    let widths: Vec<usize> = items
        .iter()
        .flatten()
        .filter_map(|n| usize::try_from(n).ok())
        .collect();
    match whole && !widths.is_empty() && widths.len() == items.len() && !widths.contains(&0) {
        true => Ok(widths),
        false => wrong(),
    }
}
