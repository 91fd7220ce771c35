//! `import_sae(name, path, source)` and `export_sae(name, folder)`: autoencoders in the field's formats.
//!
//! They stand in one file because each undoes the other.

use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, LazyLock};

use datafusion::arrow::array::{RecordBatch, StringArray};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::{Result, plan_err};
use datafusion::logical_expr::{Expr, TableType};
use datafusion::physical_plan::ExecutionPlan;
use polysema_udfs::calls::{
    Arguments, Function, FunctionDoc, Implementation, Parameter, TableFunction,
};
use polysema_udfs::scan_by_plan;

use crate::functions::progress::{PROGRESS_COLUMNS, progress_row, progress_schema};
use crate::functions::sources::{LAYER_OR_ROWS, Written};
use crate::jobs::{Job, Rows, option_text};
use crate::models::{HookPoint, Site};
use crate::policy::Access;
use crate::runs::{IngestOptions, Progress};
use crate::saes::{
    Format, SaeLibrary, example_options, export_sae, import_sae, import_sae_options,
};
use crate::store::Store;

static IMPORT_OPTIONS: LazyLock<Vec<Parameter>> = LazyLock::new(|| {
    let own = [
        Parameter {
            name: "hook",
            kind: "'mlp.out', 'mlp.post', 'resid.post', ...",
            summary: "the place in the layer whose vectors it reads; default mlp.out, of a classifier mlp.post",
        },
        Parameter {
            name: "column",
            kind: "text",
            summary: "the source's column of vectors; may be left out where there is one",
        },
    ];
    let examples = import_sae_options().into_iter().map(|option| Parameter {
        name: option.name,
        kind: option.range,
        summary: option.meaning,
    });
    own.into_iter().chain(examples).collect()
});

static IMPORT: LazyLock<FunctionDoc> = LazyLock::new(|| FunctionDoc {
    name: "import_sae",
    chapter: "sae",
    summary: "Takes in a sparse autoencoder that was trained elsewhere, whose latents become a layer of neurons.",
    arguments: &[
        Parameter {
            name: "name",
            kind: "text",
            summary: "name it gets here, also that of its latents' layer",
        },
        Parameter {
            name: "path",
            kind: "text",
            summary: "a folder of SAELens (cfg.json) or dictionary_learning (config.json, ae.pt), or a file of a network \
                      of two linear layers (0.weight, 0.bias, 1.weight, 1.bias; .safetensors or .pt)",
        },
        Parameter {
            name: "source",
            kind: LAYER_OR_ROWS,
            summary: "where its vectors come from, as for train_sae",
        },
    ],
    required: 3,
    options: &IMPORT_OPTIONS,
    returns: PROGRESS_COLUMNS,
    example: "SELECT phase FROM import_sae('foreign', 'tests/data/sae/saelens-standard', (SELECT [1.0, 0.0, 0.0, 2.0, \
              0.5, 0.25] AS vector), {replace: true}) WHERE phase = 'done'",
    replaces: None,
});

static EXPORT: FunctionDoc = FunctionDoc {
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
    options: &[
        Parameter {
            name: "format",
            kind: "'saelens' or 'dictionary_learning'",
            summary: "default saelens; dictionary_learning's own loader wants ae.pt, which its documentation's command \
                      makes of the ae.safetensors written here",
        },
        Parameter {
            name: "replace",
            kind: "true or false",
            summary: "whether a folder of that name is replaced; default false",
        },
    ],
    returns: "folder, format; one row",
    example: "EXPLAIN SELECT * FROM export_sae('letters', 'letters-saelens')",
    replaces: None,
};

/// The catalogue entries.
pub(super) fn functions(saes: &Arc<SaeLibrary>) -> Vec<Function> {
    vec![
        Function {
            doc: &IMPORT,
            implementation: Implementation::Table(Arc::new(Import {
                store: Arc::clone(saes.store()),
            })),
        },
        Function {
            doc: &EXPORT,
            implementation: Implementation::Table(Arc::new(Export {
                saes: Arc::clone(saes),
            })),
        },
    ]
}

#[derive(Debug)]
struct Import {
    store: Arc<Store>,
}

impl TableFunction for Import {
    fn schema(&self, _: &Arguments) -> Result<SchemaRef> {
        Ok(progress_schema())
    }

    fn table(&self, arguments: Arguments) -> Result<Arc<dyn TableProvider>> {
        let required = |name: &str| match arguments.text(name)? {
            Some(text) => Ok(text),
            None => plan_err!("import_sae: {name} must be text, got NULL"),
        };
        let Some(source) = Written::of(&arguments, "source")? else {
            return plan_err!("import_sae: source must be a {LAYER_OR_ROWS}, got NULL");
        };
        let hook = match arguments.text("hook")? {
            Some(site) => Some(HookPoint::parse(&format!("blocks.0.{site}"))?.site),
            None => None,
        };
        let given = arguments.options().iter().filter(|(name, value)| {
            !value.is_null() && name.as_str() != "hook" && name.as_str() != "column"
        });
        let texts: Vec<_> = given
            .map(|(name, value)| (name, option_text(value)))
            .collect();
        let pairs = texts.iter().map(|(n, v)| (n.as_str(), v.as_str()));
        Ok(Arc::new(Importing {
            store: Arc::clone(&self.store),
            name: required("name")?,
            path: required("path")?.into(),
            source,
            hook,
            column: arguments.text("column")?,
            examples: example_options(pairs)?,
        }))
    }
}

/// One import.
#[derive(Debug, Clone)]
struct Importing {
    store: Arc<Store>,
    name: String,
    path: PathBuf,
    source: Written,
    hook: Option<Site>,
    column: Option<String>,
    examples: IngestOptions,
}

impl Importing {
    async fn plan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let resolved = self.source.resolve(IMPORT.name, state, &self.store).await?;
        let input = resolved.input();
        let call = self.clone();
        let work = move |rows: Option<&Rows>,
                         cancelled: &AtomicBool,
                         send: &mut dyn FnMut(Result<RecordBatch>)| {
            let (store, column) = (&call.store, call.column.as_deref());
            let vectors =
                resolved.vectors(IMPORT.name, store, rows, column, call.hook, cancelled)?;
            let mut progress = |progress: Progress| send(progress_row(&progress));
            import_sae(
                &call.store,
                &call.name,
                &call.path,
                vectors,
                &call.examples,
                cancelled,
                &mut progress,
            )
            .map(|_| ())
        };
        let job = Job {
            function: IMPORT.name,
            operator: "ImportSaeExec",
            detail: format!("name={}, path={}", self.name, self.path.display()),
            schema: progress_schema(),
            needs: &[Access::RunJobs, Access::ReadFiles],
            input,
            work: Arc::new(work),
        };
        job.scan(state, projection, filters, limit).await
    }
}

impl TableProvider for Importing {
    fn schema(&self) -> SchemaRef {
        progress_schema()
    }

    fn table_type(&self) -> TableType {
        TableType::Temporary
    }

    scan_by_plan!(Importing);
}

#[derive(Debug)]
struct Export {
    saes: Arc<SaeLibrary>,
}

fn export_schema() -> SchemaRef {
    let text = |name| Field::new(name, DataType::Utf8, false);
    Arc::new(Schema::new(vec![text("folder"), text("format")]))
}

impl TableFunction for Export {
    fn schema(&self, _: &Arguments) -> Result<SchemaRef> {
        Ok(export_schema())
    }

    fn table(&self, arguments: Arguments) -> Result<Arc<dyn TableProvider>> {
        let required = |name: &str| match arguments.text(name)? {
            Some(text) => Ok(text),
            None => plan_err!("export_sae: {name} must be text, got NULL"),
        };
        let (name, folder) = (required("name")?, required("folder")?);
        let word = arguments.text("format")?;
        let word = word.as_deref().unwrap_or(Format::NAMES[0].0);
        let Some((word, format)) = Format::NAMES.iter().find(|(known, _)| *known == word) else {
            return plan_err!(
                "export_sae: format must be 'saelens' or 'dictionary_learning', got '{word}'"
            );
        };
        let replace = arguments.boolean("replace")?.unwrap_or(false);
        let saes = Arc::clone(&self.saes);
        let detail = format!("name={name}, folder={folder}, format={word}");
        let work =
            move |_: Option<&Rows>, _: &AtomicBool, send: &mut dyn FnMut(Result<RecordBatch>)| {
                export_sae(&*saes.get(&name)?, folder.as_ref(), *format, replace)?;
                let text = |text: &str| Arc::new(StringArray::from(vec![text])) as _;
                let columns = vec![text(&folder), text(word)];
                send(Ok(RecordBatch::try_new(export_schema(), columns)?));
                Ok(())
            };
        Ok(Arc::new(Job {
            function: EXPORT.name,
            operator: "ExportSaeExec",
            detail,
            schema: export_schema(),
            needs: &[Access::RunJobs, Access::WriteFiles],
            input: None,
            work: Arc::new(work),
        }))
    }
}
