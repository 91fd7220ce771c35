//! `import_sae(name, path, source)`: a sparse autoencoder of one of the field's formats into the store, as a job whose
//! rows are its progress.

use std::path::PathBuf;
use std::sync::{Arc, LazyLock};

use datafusion::arrow::datatypes::SchemaRef;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::{Result, plan_err};
use datafusion::logical_expr::{Expr, TableType};
use datafusion::physical_plan::ExecutionPlan;
use polysema_udfs::calls::{
    Arguments, Function, FunctionDoc, Implementation, Parameter, TableFunction,
};
use polysema_udfs::scan_by_plan;

use crate::functions::arguments::{parameter, required, texts};
use crate::functions::progress::{PROGRESS_COLUMNS, progress_row, progress_schema};
use crate::functions::sources::{LAYER_OR_ROWS, Written};
use crate::jobs::{Job, JobContext, named};
use crate::models::{HookPoint, Site};
use crate::policy::Access;
use crate::runs::{IngestOptions, Progress};
use crate::saes::{SaeLibrary, example_options, import_sae, import_sae_options};
use crate::store::Store;

static PARAMETERS: LazyLock<Vec<Parameter>> = LazyLock::new(|| {
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
    let examples = import_sae_options().into_iter().map(parameter);
    own.into_iter().chain(examples).collect()
});

static DOC: LazyLock<FunctionDoc> = LazyLock::new(|| FunctionDoc {
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
    options: &PARAMETERS,
    returns: PROGRESS_COLUMNS,
    example: "SELECT phase FROM import_sae('foreign', 'tests/data/sae/saelens-standard', (SELECT [1.0, 0.0, 0.0, 2.0, \
              0.5, 0.25] AS vector), {replace: true}) WHERE phase = 'done'",
    replaces: None,
});

/// The catalogue entry.
pub(super) fn function(saes: &Arc<SaeLibrary>) -> Function {
    Function {
        doc: &DOC,
        implementation: Implementation::Table(Arc::new(ImportSae {
            store: Arc::clone(saes.store()),
        })),
    }
}

#[derive(Debug)]
struct ImportSae {
    store: Arc<Store>,
}

impl TableFunction for ImportSae {
    fn schema(&self, _: &Arguments) -> Result<SchemaRef> {
        Ok(progress_schema())
    }

    fn table(&self, arguments: Arguments) -> Result<Arc<dyn TableProvider>> {
        let Some(source) = Written::of(&arguments, "source")? else {
            return plan_err!("import_sae: source must be a {LAYER_OR_ROWS}, got NULL");
        };
        let hook = match arguments.text("hook")? {
            Some(site) => {
                let hook = HookPoint::parse(&format!("blocks.0.{site}"));
                Some(hook.map_err(named(DOC.name))?.site)
            }
            None => None,
        };
        let given = texts(&arguments, &["hook", "column"]);
        let pairs = given.iter().map(|(name, value)| (*name, value.as_str()));
        Ok(Arc::new(Importing {
            store: Arc::clone(&self.store),
            name: required(&arguments, "name")?,
            path: required(&arguments, "path")?.into(),
            source,
            hook,
            column: arguments.text("column")?,
            examples: example_options(pairs).map_err(named(DOC.name))?,
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
        let resolved = self.source.resolve(DOC.name, state, &self.store).await?;
        let input = resolved.input();
        let call = self.clone();
        let work = move |context: &JobContext| {
            let (store, column) = (&call.store, call.column.as_deref());
            let vectors = resolved.vectors(store, context, column, call.hook)?;
            let mut progress = |progress: Progress| context.send(progress_row(&progress));
            import_sae(
                &call.store,
                &call.name,
                &call.path,
                vectors,
                &call.examples,
                context,
                &mut progress,
            )
            .map(|_| ())
        };
        let job = Job {
            function: DOC.name,
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
