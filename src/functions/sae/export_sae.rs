//! `export_sae(name, folder)`: a sparse autoencoder as a folder of one of the field's formats.

use std::sync::{Arc, LazyLock};

use datafusion::arrow::array::{RecordBatch, StringArray};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::catalog::TableProvider;
use datafusion::common::Result;
use polysema_udfs::calls::{
    Arguments, Function, FunctionDoc, Implementation, Parameter, TableFunction,
};

use crate::functions::arguments::{course, job_options, job_parameters, required};
use crate::jobs::{Job, JobContext};
use crate::options::{Key, Spec, Usual, Word};
use crate::policy::Access;
use crate::saes::{ExportFormat, SaeLibrary, export_sae};

const FORMAT: Key<ExportFormat> = Key::word(
    "format",
    Usual::Text("saelens"),
    "dictionary_learning's own loader wants ae.pt, which its documentation's command makes of the ae.safetensors written \
     here",
);
const REPLACE: Key<bool> = Key::flag("replace", "whether a folder of that name is replaced");
const EXPORT_SAE: [Spec; 2] = [FORMAT.spec, REPLACE.spec];

static DOC: LazyLock<FunctionDoc> = LazyLock::new(|| FunctionDoc {
    name: "export_sae",
    chapter: "sae",
    summary: "Writes a sparse autoencoder as a folder that other tools load.",
    arguments: &[
        Parameter {
            name: "name",
            kind: "text",
            summary: "name of the autoencoder",
        },
        Parameter {
            name: "folder",
            kind: "text",
            summary: "the new folder",
        },
    ],
    required: 2,
    options: job_parameters(&EXPORT_SAE),
    returns: "folder (where it lies), format (saelens or dictionary_learning); one row",
    example: "EXPLAIN SELECT * FROM export_sae('letters', 'letters-saelens')",
    replaces: None,
});

/// The catalogue entry.
pub(super) fn function(saes: &Arc<SaeLibrary>) -> Function {
    Function {
        doc: &DOC,
        implementation: Implementation::Table(Arc::new(ExportSae {
            saes: Arc::clone(saes),
        })),
    }
}

#[derive(Debug)]
struct ExportSae {
    saes: Arc<SaeLibrary>,
}

fn schema() -> SchemaRef {
    let text = |name| Field::new(name, DataType::Utf8, false);
    Arc::new(Schema::new(vec![text("folder"), text("format")]))
}

impl TableFunction for ExportSae {
    fn schema(&self, arguments: &Arguments) -> Result<SchemaRef> {
        Ok(course(arguments)?.schema(schema()))
    }

    fn table(&self, arguments: Arguments) -> Result<Arc<dyn TableProvider>> {
        let (name, folder) = (
            required(&arguments, "name")?,
            required(&arguments, "folder")?,
        );
        let options = job_options(&EXPORT_SAE, &arguments)?;
        let (format, replace) = (options.get(FORMAT), options.get(REPLACE));
        let word = format.name();
        let saes = Arc::clone(&self.saes);
        let detail = format!("name={name}, folder={folder}, format={word}");
        let work = move |context: &JobContext| {
            export_sae(&**saes.get(&name)?, folder.as_ref(), format, replace)?;
            let text = |text: &str| Arc::new(StringArray::from(vec![text])) as _;
            let columns = vec![text(&folder), text(word)];
            context.send(Ok(RecordBatch::try_new(schema(), columns)?));
            Ok(())
        };
        Ok(Arc::new(Job {
            function: DOC.name,
            operator: "ExportSaeExec",
            detail,
            schema: schema(),
            course: course(&arguments)?,
            needs: &[Access::RunJobs, Access::WriteFiles],
            input: None,
            makes: None,
            work: Arc::new(work),
        }))
    }
}
