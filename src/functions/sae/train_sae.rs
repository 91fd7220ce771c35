//! `train_sae(name, source)`: a sparse autoencoder of a layer's or a table's vectors, as a job whose rows are its progress.

use std::sync::{Arc, LazyLock};

use datafusion::arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::{Result, plan_err};
use datafusion::logical_expr::{Expr, TableType};
use datafusion::physical_plan::ExecutionPlan;
use polysema_kernels::sae::StepLosses;
use polysema_udfs::calls::{
    Arguments, Function, FunctionDoc, Implementation, Parameter, TableFunction,
};
use polysema_udfs::scan_by_plan;

use crate::functions::arguments::{course, job_options, required, source_parameters};
use crate::functions::sources::{GivenSource, LAYER_OR_ROWS, Resolved, VectorPlace};
use crate::jobs::{Course, Job, JobContext, Part, named};
use crate::policy::Access;
use crate::saes::{SaeOptions, TRAIN_SAE, TrainSaeProgress, TrainSaeRequest, train_sae};
use crate::store::Store;

static DOC: LazyLock<FunctionDoc> = LazyLock::new(|| FunctionDoc {
    name: "train_sae",
    chapter: "sae",
    summary: "Trains a sparse autoencoder, whose latents become a layer of neurons; its rows are its progress.",
    arguments: &[
        Parameter {
            name: "name",
            kind: "text",
            summary: "name of the new autoencoder and of its latents' layer",
        },
        Parameter {
            name: "source",
            kind: LAYER_OR_ROWS,
            summary: "a layer of the current run, or a place in one as blocks.2.mlp.out (its model reads its corpus again, and \
                      the run gets the latents as a layer more), or rows with a column of vectors (the latents become a run of their own)",
        },
    ],
    required: 2,
    options: source_parameters(&TRAIN_SAE),
    returns: "phase (what is being done, at the end done), step (batches learned from), rows_seen (with those seen \
              again), loss (of the last step), mse (of the last step, in the last row of all rows), l1 (as mse), \
              ne_loss (as loss), l0 (active latents a row, as mse), dead_percent (latents without activity, as mse), \
              explained_variance (as mse; NULL where rows do not vary), rows_per_second (until now), elapsed_seconds \
              (since the job began), message (what there is to say); several rows a second",
    example: "SELECT step, rows_seen FROM train_sae('letters', (SELECT vector FROM activations('tests/data/demo/model', \
              'tests/data/demo/corpus.jsonl', 'blocks.2.mlp.out', {max_documents: 4})), {d_sae: 256, replace: true}) \
              WHERE phase = 'done'",
    replaces: None,
});

/// The catalogue entry.
pub(super) fn function(store: &Arc<Store>) -> Function {
    let store = Arc::clone(store);
    Function {
        doc: &DOC,
        implementation: Implementation::Table(Arc::new(TrainSae { store })),
    }
}

fn schema() -> SchemaRef {
    let number = |name| Field::new(name, DataType::Float64, true);
    Arc::new(Schema::new(vec![
        Part::Phase.of(Field::new("phase", DataType::Utf8, false)),
        Part::Done.counting("steps", Field::new("step", DataType::Int64, false)),
        Part::Read.counting("rows", Field::new("rows_seen", DataType::Int64, false)),
        Part::Loss.of(number("loss")),
        number("mse"),
        number("l1"),
        number("ne_loss"),
        number("l0"),
        number("dead_percent"),
        number("explained_variance"),
        Part::Rate.counting("rows", number("rows_per_second")),
        Part::Seconds.of(number("elapsed_seconds")),
        Part::Message.of(Field::new("message", DataType::Utf8, false)),
    ]))
}

fn row(progress: &TrainSaeProgress) -> Result<RecordBatch> {
    let one = |value: Option<f64>| -> ArrayRef { Arc::new(Float64Array::from(vec![value])) };
    let loss = |of: fn(&StepLosses) -> f64| one(progress.losses.as_ref().map(of));
    let dead = progress
        .losses
        .map(|losses| 100.0 * losses.n_dead as f64 / progress.d_sae as f64);
    let columns: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from(vec![progress.phase])),
        Arc::new(Int64Array::from(vec![progress.step as i64])),
        Arc::new(Int64Array::from(vec![progress.rows_seen as i64])),
        loss(|l| l.loss),
        loss(|l| l.mse),
        loss(|l| l.l1),
        loss(|l| l.ne_loss),
        loss(|l| l.l0),
        one(dead),
        one(progress.losses.and_then(|l| l.explained_variance)),
        one(Some(progress.rows_per_second)),
        one(Some(progress.elapsed_seconds)),
        Arc::new(StringArray::from(vec![progress.message.as_str()])),
    ];
    Ok(RecordBatch::try_new(schema(), columns)?)
}

#[derive(Debug)]
struct TrainSae {
    store: Arc<Store>,
}

impl TableFunction for TrainSae {
    fn schema(&self, arguments: &Arguments) -> Result<SchemaRef> {
        Ok(course(arguments)?.schema(schema()))
    }

    fn table(&self, arguments: Arguments) -> Result<Arc<dyn TableProvider>> {
        let name = required(&arguments, "name")?;
        let Some(source) = GivenSource::of(&arguments, "source")? else {
            return plan_err!("train_sae: source must be a {LAYER_OR_ROWS}, got NULL");
        };
        let given = job_options(&TRAIN_SAE, &arguments)?;
        let place = VectorPlace::of(&given, &arguments);
        let options = SaeOptions::new(given).map_err(named(DOC.name))?;
        Ok(Arc::new(Training {
            store: Arc::clone(&self.store),
            request: TrainSaeRequest { name, options },
            source,
            place,
            course: course(&arguments)?,
        }))
    }
}

/// One call.
#[derive(Debug)]
struct Training {
    store: Arc<Store>,
    request: TrainSaeRequest,
    source: GivenSource,
    place: VectorPlace,
    course: Course,
}

impl Training {
    async fn plan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let resolved = self.source.resolve(DOC.name, state).await?;
        let place = self.place.in_source(DOC.name, &resolved)?;
        let (store, mut request) = (Arc::clone(&self.store), self.request.clone());
        if let Some(site) = place.site {
            request.options = request.options.at(site);
        }
        let input = resolved.input();
        let makes = resolved.own_run(&self.request.name);
        let detail = match &resolved {
            Resolved::Layer { run, layer, .. } => {
                format!("layer {} of run {}", layer.layer, run.name())
            }
            Resolved::Rows { written, .. } => written.clone(),
        };
        let work = move |context: &JobContext| {
            let mut progress = |progress: TrainSaeProgress| context.send(row(&progress));
            let vectors = resolved.vectors(&store, context, &place)?;
            train_sae(&store, &request, vectors, context, &mut progress).map(|_| ())
        };
        let job = Job {
            function: DOC.name,
            operator: "TrainSaeExec",
            detail: format!("name={}, source={detail}", self.request.name),
            schema: schema(),
            course: self.course,
            needs: match &input {
                Some(_) => &[Access::RunJobs],
                // A layer's corpus and model are read again.
                None => &[Access::RunJobs, Access::ReadFiles],
            },
            input,
            makes,
            work: Arc::new(work),
        };
        job.scan(state, projection, filters, limit).await
    }
}

impl TableProvider for Training {
    fn schema(&self) -> SchemaRef {
        self.course.schema(schema())
    }

    fn table_type(&self) -> TableType {
        TableType::Temporary
    }

    scan_by_plan!(Training);
}
