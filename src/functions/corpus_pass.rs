//! A corpus through a model for a question that stores nothing: what such functions share.

use std::fmt;
use std::sync::Arc;

use datafusion::arrow::datatypes::SchemaRef;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::Result;
use datafusion::logical_expr::{Expr, TableType};
use datafusion::physical_plan::ExecutionPlan;
use polysema_udfs::calls::{Arguments, Parameter, TEXT_OR_RELATION};
use polysema_udfs::scan_by_plan;

use super::arguments::required;
use super::corpora::GivenCorpus;
use crate::corpus::{CORPUS, CorpusReader, check_lengths};
use crate::jobs::{Course, Job, JobContext, named};
use crate::models::{find_model, loaded};
use crate::options::Options;
use crate::policy::{self, Access};
use crate::store::Store;

/// The argument that says which model.
pub const MODEL: Parameter = Parameter {
    name: "model",
    kind: "text",
    summary: "as for ingest: a folder or file, hf:ORG/NAME of the hub, or the name of a stored model",
};
/// The argument that says which corpus.
pub const CORPUS_ARGUMENT: Parameter = Parameter {
    name: "corpus",
    kind: TEXT_OR_RELATION,
    summary: "texts, token ids or images as ingest reads them: files, a name of the hub, a table's or a query's rows",
};

const NEEDS: &[Access] = &[Access::ReadFiles];

/// Sends the rows of a question, given the documents with their model.
type CorpusQuestion = dyn Fn(&mut CorpusReader, &JobContext) -> Result<()> + Send + Sync;

/// One call.
pub struct CorpusPass {
    /// Name of the function, and of its operator in plans.
    pub function: [&'static str; 2],
    pub schema: SchemaRef,
    /// What a plan says beside model and corpus.
    pub detail: String,
    store: Arc<Store>,
    model: String,
    corpus: GivenCorpus,
    options: Options,
    ask: Arc<CorpusQuestion>,
}

impl fmt::Debug for CorpusPass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct(self.function[1]).finish_non_exhaustive()
    }
}

impl CorpusPass {
    /// Of a call with the arguments [`MODEL`] and [`CORPUS_ARGUMENT`] and the options of a corpus.
    pub fn new(
        store: &Arc<Store>,
        arguments: &Arguments,
        operator: &'static str,
        schema: SchemaRef,
        detail: String,
        ask: impl Fn(&mut CorpusReader, &JobContext) -> Result<()> + Send + Sync + 'static,
    ) -> Result<Self> {
        let function = arguments.function();
        let options = Options::of_call(&CORPUS, arguments)?;
        check_lengths(&options).map_err(named(function))?;
        Ok(Self {
            function: [function, operator],
            schema,
            detail,
            store: Arc::clone(store),
            model: required(arguments, MODEL.name)?,
            corpus: GivenCorpus::required(arguments, CORPUS_ARGUMENT.name)?,
            options,
            ask: Arc::new(ask),
        })
    }

    async fn plan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let [function, operator] = self.function;
        policy::require(state, function, NEEDS)?;
        let corpus = self.corpus.resolve(function, state).await?;
        let (store, model, ask) = (
            Arc::clone(&self.store),
            self.model.clone(),
            Arc::clone(&self.ask),
        );
        let (options, place) = (self.options.clone(), corpus.path());
        let work = move |context: &JobContext| {
            let model = find_model(&store, model.as_ref(), &mut context.fetch())?;
            let model = loaded(store.loaded(), &model)?;
            let rows = context.rows();
            let mut reader = CorpusReader::over_rows(model, rows, &place, &options, context)?;
            ask(&mut reader, context)
        };
        let job = Job {
            function,
            operator,
            detail: format!(
                "model={}, corpus={}{}",
                self.model, corpus.written, self.detail
            ),
            schema: Arc::clone(&self.schema),
            course: Course::Answer,
            needs: NEEDS,
            input: corpus.rows,
            makes: None,
            work: Arc::new(work),
        };
        job.scan(state, projection, filters, limit).await
    }
}

impl TableProvider for CorpusPass {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Temporary
    }

    scan_by_plan!(CorpusPass);
}
