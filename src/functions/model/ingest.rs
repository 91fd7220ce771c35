//! `ingest(run, model, corpus)`: a corpus through a model, as a job whose rows are its progress.

use std::sync::{Arc, LazyLock};

use datafusion::arrow::datatypes::SchemaRef;
use datafusion::catalog::TableProvider;
use datafusion::common::Result;
use polysema_udfs::calls::{
    Arguments, Function, FunctionDoc, Implementation, Parameter, TableFunction,
};

use crate::corpus::check_lengths;
use crate::functions::arguments::{course, job_options, job_parameters, required};
use crate::functions::progress::{PROGRESS_COLUMNS, progress_row, progress_schema};
use crate::jobs::{Job, JobContext, named};
use crate::policy::Access;
use crate::runs::{INGEST, IngestRequest, MaxActivations, Progress, ingest};
use crate::store::Store;

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
            summary: "a Hugging Face folder of a GPT-2 model, a classifier's folder or safetensors file, or the name of a stored model",
        },
        Parameter {
            name: "corpus",
            kind: "text",
            summary: "a .txt, .jsonl or .parquet file of texts; images for a classifier: a folder of idx files or one of them",
        },
    ],
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
        let maxima = arguments.relation("max_activations");
        let request = IngestRequest {
            run: required(&arguments, "run")?,
            model: required(&arguments, "model")?.into(),
            corpus: required(&arguments, "corpus")?.into(),
            options,
            max_activations: None,
        };
        let IngestRequest {
            run, model, corpus, ..
        } = &request;
        let detail = format!(
            "run={run}, model={}, corpus={}",
            model.display(),
            corpus.display()
        );
        let (store, makes) = (Arc::clone(&self.store), Some(run.clone()));
        let work = move |context: &JobContext| {
            let mut request = request.clone();
            let memory = context.memory("max_activations");
            if let Some(rows) = context.rows() {
                request.max_activations = Some(MaxActivations::read(rows, &memory)?);
            }
            let mut progress = |progress: Progress| context.send(progress_row(&progress));
            ingest(&store, &request, context, &mut progress).map(|_| ())
        };
        Ok(Arc::new(Job {
            function: DOC.name,
            operator: "IngestExec",
            detail,
            schema: progress_schema(),
            course: course(&arguments)?,
            needs: &[Access::RunJobs, Access::ReadFiles],
            input: maxima.map(|relation| Arc::clone(&relation.plan)),
            makes,
            work: Arc::new(work),
        }))
    }
}
