//! `import_run(run, folder)`: activations and weights from elsewhere into a run, as a job whose rows are its progress.

use std::sync::{Arc, LazyLock};

use datafusion::arrow::datatypes::SchemaRef;
use datafusion::catalog::TableProvider;
use datafusion::common::Result;
use polysema_udfs::calls::{
    Arguments, Function, FunctionDoc, Implementation, Parameter, TableFunction,
};

use crate::functions::arguments::{course, job_options, job_parameters, required};
use crate::functions::progress::{PROGRESS_COLUMNS, progress_row, progress_schema};
use crate::jobs::{Job, JobContext};
use crate::policy::Access;
use crate::runs::{IMPORT_RUN, ImportRequest, MaxActivations, Progress, import_run};
use crate::store::Store;

static DOC: LazyLock<FunctionDoc> = LazyLock::new(|| FunctionDoc {
    name: "import_run",
    chapter: "model",
    summary: "Makes a run of activations and weights that were computed elsewhere; its rows are its progress.",
    arguments: &[
        Parameter {
            name: "run",
            kind: "text",
            summary: "name of the new run",
        },
        Parameter {
            name: "folder",
            kind: "text",
            summary: "a folder of .npy files and .safetensors tensors: for each layer L from 0 L.h [rows, d_in] (what the \
                      neurons received), L.w_in [n_neurons, d_in], L.activations [rows, n_neurons] (or the option \
                      activation_function), and if there are L.b_in [n_neurons], L.w_out [n_neurons, d_out]; for the rows, \
                      if there are, doc_id (else each row is a document), pos (counts from 0 in each document), token_id \
                      [rows] and the tokens in tokens.jsonl (a JSON string a line) or tokens.txt",
        },
    ],
    required: 2,
    options: job_parameters(&IMPORT_RUN),
    returns: PROGRESS_COLUMNS,
    example: "SELECT phase, documents, tokens FROM import_run('imported', 'tests/data/import', {activation_function: \
              'relu', replace: true}) WHERE phase = 'done'",
    replaces: None,
});

/// The catalogue entry.
pub(super) fn function(store: Arc<Store>) -> Function {
    Function {
        doc: &DOC,
        implementation: Implementation::Table(Arc::new(ImportRun { store })),
    }
}

#[derive(Debug)]
struct ImportRun {
    store: Arc<Store>,
}

impl TableFunction for ImportRun {
    fn schema(&self, arguments: &Arguments) -> Result<SchemaRef> {
        Ok(course(arguments)?.schema(progress_schema()))
    }

    fn table(&self, arguments: Arguments) -> Result<Arc<dyn TableProvider>> {
        let request = ImportRequest {
            run: required(&arguments, "run")?,
            folder: required(&arguments, "folder")?.into(),
            options: job_options(&IMPORT_RUN, &arguments)?,
            max_activations: None,
        };
        let maxima = arguments.relation("max_activations");
        let detail = format!("run={}, folder={}", request.run, request.folder.display());
        let (store, makes) = (Arc::clone(&self.store), Some(request.run.clone()));
        let input = maxima.map(|relation| Arc::clone(&relation.plan));
        let work = move |context: &JobContext| {
            let mut request = request.clone();
            let memory = context.memory("max_activations");
            if let Some(rows) = context.rows() {
                request.max_activations = Some(MaxActivations::read(rows, &memory)?);
            }
            let mut progress = |progress: Progress| context.send(progress_row(&progress));
            import_run(&store, &request, context, &mut progress).map(|_| ())
        };
        Ok(Arc::new(Job {
            function: DOC.name,
            operator: "ImportRunExec",
            detail,
            schema: progress_schema(),
            course: course(&arguments)?,
            needs: &[Access::RunJobs, Access::ReadFiles],
            input,
            makes,
            work: Arc::new(work),
        }))
    }
}
