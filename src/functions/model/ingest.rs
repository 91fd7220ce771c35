//! `ingest(run, model, corpus)`: a corpus through a model, as a job whose rows are its progress.

use std::path::Path;
use std::sync::{Arc, LazyLock};

use datafusion::arrow::datatypes::SchemaRef;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::{Result, TableReference};
use datafusion::datasource::provider_as_source;
use datafusion::logical_expr::{Expr, LogicalPlanBuilder, TableType};
use datafusion::physical_plan::ExecutionPlan;
use polysema_udfs::arrow::tables::table_by_reference;
use polysema_udfs::calls::{
    Arguments, Function, FunctionDoc, Implementation, Parameter, Relation, TableFunction,
};
use polysema_udfs::scan_by_plan;

use crate::corpus::{check_lengths, is_there};
use crate::functions::arguments::{course, job_options, job_parameters, required};
use crate::functions::progress::{PROGRESS_COLUMNS, progress_row, progress_schema};
use crate::hub::is_hub_name;
use crate::jobs::{Course, Job, JobContext, named, plan};
use crate::options::Options;
use crate::policy::{self, Access};
use crate::runs::{INGEST, IngestRequest, MaxActivations, Progress, ingest_rows};
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
            summary: "a Hugging Face folder, a GGUF file, hf:ORG/NAME of the hub (a GGUF file as hf:ORG/NAME/FILE), a classifier's \
                      folder or safetensors file, or the name of a stored model",
        },
        Parameter {
            name: "corpus",
            kind: "text, table or (SELECT ...)",
            summary: "texts or token ids: a file of .txt, .jsonl, .ndjson, .json, .csv, .tsv (these also as .gz or .zst), .parquet, \
                      .arrow or .bin, a folder of such files, a pattern of them, hf:datasets/ORG/NAME[/PATH] of the hub, or rows; \
                      images for a classifier: a folder of idx files or one of them",
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
        let corpus = match arguments.relation("corpus") {
            Some(relation) => GivenCorpus::Relation(relation.clone()),
            None => GivenCorpus::Name(required(&arguments, "corpus")?),
        };
        Ok(Arc::new(Ingesting {
            store: Arc::clone(&self.store),
            run: required(&arguments, "run")?,
            model: required(&arguments, "model")?,
            corpus,
            options,
            maxima: arguments.relation("max_activations").cloned(),
            course: course(&arguments)?,
        }))
    }
}

/// A corpus as it was written.
#[derive(Debug)]
enum GivenCorpus {
    /// A query or a table of the statement.
    Relation(Relation),
    /// What is a table's name where there is nothing of this name on the disk.
    Name(String),
}

impl GivenCorpus {
    async fn resolve(&self, state: &dyn Session) -> Result<Option<Relation>> {
        let name = match self {
            Self::Relation(relation) => return Ok(Some(relation.clone())),
            Self::Name(name) => name,
        };
        if is_there(Path::new(name)) || is_hub_name(Path::new(name)) {
            return Ok(None);
        }
        let Ok(table) = table_by_reference(state, DOC.name, name).await else {
            return Ok(None);
        };
        let name = TableReference::from(name.as_str());
        let written = name.to_quoted_string();
        let plan = LogicalPlanBuilder::scan(name, provider_as_source(table), None)?.build()?;
        Ok(Some(Relation {
            plan: Arc::new(plan),
            written,
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
        let relation = self.corpus.resolve(state).await?;
        let corpus = match (&relation, &self.corpus) {
            (Some(relation), _) => relation.written.clone(),
            (None, GivenCorpus::Name(name)) => name.clone(),
            (None, GivenCorpus::Relation(relation)) => relation.written.clone(),
        };
        let maxima = match &self.maxima {
            Some(relation) => Some(plan(state, &relation.plan).await?),
            None => None,
        };
        let request = IngestRequest {
            run: self.run.clone(),
            model: self.model.clone().into(),
            corpus: corpus.clone().into(),
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
            detail: format!("run={}, model={}, corpus={corpus}", self.run, self.model),
            schema: progress_schema(),
            course: self.course,
            needs: NEEDS,
            input: relation.map(|relation| relation.plan),
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
