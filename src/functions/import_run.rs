//! `import_run(run, folder)`: activations and weights from elsewhere into a run, as a job whose rows are its progress.

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, LazyLock};

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::catalog::TableProvider;
use datafusion::common::{Result, plan_err};
use polysema_udfs::calls::{
    Arguments, Function, FunctionDoc, Implementation, Parameter, TableFunction,
};

use crate::functions::progress::{PROGRESS_COLUMNS, progress_row, progress_schema};
use crate::jobs::{Job, Rows};
use crate::policy::Access;
use crate::runs::{ImportRequest, MaxActivations, Progress, import_options, import_run};
use crate::store::Store;

static PARAMETERS: LazyLock<Vec<Parameter>> = LazyLock::new(|| {
    let options = import_options().into_iter();
    let parameters = options.map(|option| Parameter {
        name: option.name,
        kind: option.range,
        summary: option.meaning,
    });
    parameters.collect()
});

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
    options: &PARAMETERS,
    returns: PROGRESS_COLUMNS,
    example: "SELECT * FROM import_run('imported', 'tests/data/import', {activation_function: 'relu', replace: true})",
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
    fn schema(&self, _: &Arguments) -> Result<SchemaRef> {
        Ok(progress_schema())
    }

    fn table(&self, arguments: Arguments) -> Result<Arc<dyn TableProvider>> {
        let required = |name: &str| match arguments.text(name)? {
            Some(text) => Ok(text),
            None => plan_err!("import_run: {name} must be text, got NULL"),
        };
        let mut request = ImportRequest::new(required("run")?, required("folder")?);
        for (name, value) in arguments.options() {
            if !value.is_null() {
                match value.try_as_str() {
                    Some(Some(text)) => request.set(name, text)?,
                    _ => request.set(name, &value.to_string())?,
                }
            }
        }
        let maxima = arguments.relation("max_activations");
        if let Some(relation) = maxima {
            request.set("max_activations", &relation.written)?;
        }
        request.check()?;
        let detail = format!("run={}, folder={}", request.run, request.folder.display());
        let store = Arc::clone(&self.store);
        let input = maxima.map(|relation| Arc::clone(&relation.plan));
        let work = move |maxima: Option<&Rows>,
                         cancelled: &AtomicBool,
                         send: &mut dyn FnMut(Result<RecordBatch>)| {
            let mut request = request.clone();
            if let Some(maxima) = maxima {
                let maxima = MaxActivations::from_batches(&maxima.collect()?)?;
                request.options.max_activations = Some(maxima);
            }
            let mut progress = |progress: Progress| send(progress_row(&progress));
            import_run(&store, &request, cancelled, &mut progress).map(|_| ())
        };
        Ok(Arc::new(Job {
            function: DOC.name,
            operator: "ImportRunExec",
            detail,
            schema: progress_schema(),
            needs: &[Access::RunJobs, Access::ReadFiles],
            input,
            work: Arc::new(work),
        }))
    }
}
