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

use crate::functions::arguments::{course, job_options, required, source_parameters};
use crate::functions::progress::{PROGRESS_COLUMNS, progress_row, progress_schema};
use crate::functions::sources::{GivenSource, LAYER_OR_ROWS, Resolved, VectorPlace};
use crate::jobs::{Course, Job, JobContext};
use crate::options::Options;
use crate::policy::Access;
use crate::runs::Progress;
use crate::saes::{Foreign, HOOK, IMPORT_SAE, SUBFOLDER, SaeLibrary, agree, import_sae};
use crate::store::Store;

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
            summary: "a folder of SAELens (cfg.json), dictionary_learning (config.json, ae.pt), sparsify (sae.safetensors), \
                      Gemma Scope (params.npz, params.safetensors) or Llama Scope (hyperparams.json), or a file of OpenAI's \
                      or of a network of two linear layers (0.weight, 0.bias, 1.weight, 1.bias; .safetensors or .pt); of \
                      the hub as hf:ORG/NAME[/PATH]",
        },
        Parameter {
            name: "source",
            kind: LAYER_OR_ROWS,
            summary: "where its vectors come from, as for train_sae; of a layer, at the place the file names",
        },
    ],
    required: 3,
    options: source_parameters(&IMPORT_SAE),
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
    fn schema(&self, arguments: &Arguments) -> Result<SchemaRef> {
        Ok(course(arguments)?.schema(progress_schema()))
    }

    fn table(&self, arguments: Arguments) -> Result<Arc<dyn TableProvider>> {
        let Some(source) = GivenSource::of(&arguments, "source")? else {
            return plan_err!("import_sae: source must be a {LAYER_OR_ROWS}, got NULL");
        };
        let options = job_options(&IMPORT_SAE, &arguments)?;
        Ok(Arc::new(Importing {
            store: Arc::clone(&self.store),
            name: required(&arguments, "name")?,
            path: required(&arguments, "path")?.into(),
            source,
            place: VectorPlace::of(&options, &arguments),
            options,
            course: course(&arguments)?,
        }))
    }
}

/// One import.
#[derive(Debug, Clone)]
struct Importing {
    store: Arc<Store>,
    name: String,
    path: PathBuf,
    source: GivenSource,
    place: VectorPlace,
    options: Options,
    course: Course,
}

impl Importing {
    async fn plan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let resolved = self.source.resolve(DOC.name, state).await?;
        let named = self.place.in_source(DOC.name, &resolved)?.site;
        let input = resolved.input();
        let makes = resolved.own_run(&self.name);
        let call = self.clone();
        let options = match named {
            Some(_) => self.options.clone().with(HOOK, named),
            None => self.options.clone(),
        };
        let work = move |context: &JobContext| {
            let subfolder = call.options.get(SUBFOLDER);
            let mut foreign = Foreign::read(&call.path, subfolder.as_deref(), context)?;
            let mut place = call.place.clone();
            if let Resolved::Layer { run, layer, .. } = &resolved {
                let config = &mut foreign.file.config;
                let transcodes = foreign.file.sae.transcodes;
                let agreed = agree(config, transcodes, run.manifest(), layer, &options)?;
                (place.site, place.target) = (agreed.site, agreed.target);
                foreign.notes.extend(agreed.notes);
            } else if let Some(name) = &foreign.file.config.hook_name {
                let note = format!("rows taken as they are, where the file says {name}");
                foreign.notes.push(note);
            }
            let vectors = resolved.vectors(&call.store, context, &place)?;
            let mut progress = |progress: Progress| context.send(progress_row(&progress));
            import_sae(
                &call.store,
                &call.name,
                &foreign,
                vectors,
                &call.options,
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
            course: self.course,
            needs: &[Access::RunJobs, Access::ReadFiles],
            input,
            makes,
            work: Arc::new(work),
        };
        job.scan(state, projection, filters, limit).await
    }
}

impl TableProvider for Importing {
    fn schema(&self) -> SchemaRef {
        self.course.schema(progress_schema())
    }

    fn table_type(&self) -> TableType {
        TableType::Temporary
    }

    scan_by_plan!(Importing);
}
