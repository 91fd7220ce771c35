//! `ingest(run, model, corpus)`: a corpus through a model, as a job whose rows are its progress.

use std::sync::{Arc, LazyLock};

use datafusion::arrow::datatypes::SchemaRef;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::Result;
use datafusion::logical_expr::{Expr, TableType};
use datafusion::physical_plan::ExecutionPlan;
use polysema_udfs::calls::{
    Arguments, Function, FunctionDoc, Implementation, Parameter, Relation, TEXT_OR_RELATION,
    TableFunction,
};
use polysema_udfs::scan_by_plan;

use crate::corpus::check_lengths;
use crate::functions::arguments::{course, job_options, job_parameters, required};
use crate::functions::corpora::GivenCorpus;
use crate::functions::progress::{PROGRESS_COLUMNS, progress_row, progress_schema};
use crate::jobs::{Course, Job, JobContext, named, plan};
use crate::models::{gguf_architectures, model_types};
use crate::options::Options;
use crate::policy::{self, Access};
use crate::runs::{INGEST, IngestRequest, MaxActivations, Progress, ingest_rows};
use crate::store::Store;

static ARGUMENTS: LazyLock<[Parameter; 3]> = LazyLock::new(|| {
    let list = |names: Vec<&str>| names.join(", ");
    [
        Parameter {
            name: "run",
            kind: "text",
            summary: "name of the new run",
        },
        Parameter {
            name: "model",
            kind: "text",
            summary: format!(
                "a Hugging Face folder (its model_type one of {}) or a GGUF file (its general.architecture one of {}), either \
                 also of the hub as hf:ORG/NAME[@REVISION][/PATH]; a classifier's folder or safetensors file; or the name of a \
                 stored model",
                list(model_types().collect()),
                list(gguf_architectures().collect()),
            )
            .leak(),
        },
        Parameter {
            name: "corpus",
            kind: TEXT_OR_RELATION,
            summary: "texts or token ids: a file of .txt, .jsonl, .ndjson, .json, .csv, .tsv (these also as .gz or .zst), .parquet, \
                      .arrow or .bin, a folder of such files, a pattern of them, hf:datasets/ORG/NAME[/PATH] of the hub, or rows; \
                      images for a model that reads them: a .npy file, a folder of idx files or one of them",
        },
    ]
});

static DOC: LazyLock<FunctionDoc> = LazyLock::new(|| FunctionDoc {
    name: "ingest",
    chapter: "model",
    summary: "Sends a corpus through a model and keeps what every neuron responds to as a run; its rows are its progress.",
    arguments: &*ARGUMENTS,
    required: 3,
    options: job_parameters(&INGEST),
    returns: PROGRESS_COLUMNS,
    example: "SELECT phase, documents, tokens FROM ingest('sample', 'tests/data/demo/model', \
              'tests/data/demo/corpus.jsonl', {max_documents: 16, replace: true}) WHERE phase = 'done'",
    replaces: None,
});

/// The catalogue entry.
pub(super) fn function(store: Arc<Store>) -> Function {
    Function {
        doc: &DOC,
        implementation: Implementation::Table(Arc::new(Ingest { store })),
    }
}

#[derive(Debug)]
struct Ingest {
    store: Arc<Store>,
}

impl TableFunction for Ingest {
    fn schema(&self, arguments: &Arguments) -> Result<SchemaRef> {
        Ok(course(arguments)?.schema(progress_schema()))
    }

    fn table(&self, arguments: Arguments) -> Result<Arc<dyn TableProvider>> {
        let options = job_options(&INGEST, &arguments)?;
        check_lengths(&options).map_err(named(DOC.name))?;
        Ok(Arc::new(Ingesting {
            store: Arc::clone(&self.store),
            run: required(&arguments, "run")?,
            model: required(&arguments, "model")?,
            corpus: GivenCorpus::required(&arguments, "corpus")?,
            options,
            maxima: arguments.relation("max_activations").cloned(),
            course: course(&arguments)?,
        }))
    }
}

/// One call.
#[derive(Debug)]
struct Ingesting {
    store: Arc<Store>,
    run: String,
    model: String,
    corpus: GivenCorpus,
    options: Options,
    maxima: Option<Relation>,
    course: Course,
}

const NEEDS: &[Access] = &[Access::RunJobs, Access::ReadFiles];

impl Ingesting {
    async fn plan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        policy::require(state, DOC.name, NEEDS)?;
        let corpus = self.corpus.resolve(DOC.name, state).await?;
        let maxima = match &self.maxima {
            Some(relation) => Some(plan(state, &relation.plan).await?),
            None => None,
        };
        let request = IngestRequest {
            run: self.run.clone(),
            model: self.model.clone().into(),
            corpus: corpus.path(),
            options: self.options.clone(),
            max_activations: None,
        };
        let store = Arc::clone(&self.store);
        let work = move |context: &JobContext| {
            let mut request = request.clone();
            if let Some(plan) = &maxima {
                let (rows, memory) = (context.rows_of(plan)?, context.memory("max_activations"));
                request.max_activations = Some(MaxActivations::read(&rows, &memory)?);
            }
            let mut progress = |progress: Progress| context.send(progress_row(&progress));
            ingest_rows(&store, &request, context.rows(), context, &mut progress).map(|_| ())
        };
        let job = Job {
            function: DOC.name,
            operator: "IngestExec",
            detail: format!(
                "run={}, model={}, corpus={}",
                self.run, self.model, corpus.written
            ),
            schema: progress_schema(),
            course: self.course,
            needs: NEEDS,
            input: corpus.rows,
            makes: Some(self.run.clone()),
            work: Arc::new(work),
        };
        job.scan(state, projection, filters, limit).await
    }
}

impl TableProvider for Ingesting {
    fn schema(&self) -> SchemaRef {
        self.course.schema(progress_schema())
    }

    fn table_type(&self) -> TableType {
        TableType::Temporary
    }

    scan_by_plan!(Ingesting);
}
