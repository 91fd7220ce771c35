//! One open store and the SQL context over it: what every front end talks to.

mod shared_vectors;
mod statement;
mod unknown_functions;
mod views;
mod yielding_joins;

use std::path::PathBuf;
use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, RecordBatch, StringArray};
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::catalog::MemTable;
use datafusion::common::config::ExtensionOptions;
use datafusion::common::{plan_datafusion_err, plan_err};
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::SendableRecordBatchStream;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::execution::session_state::SessionStateBuilder;
use datafusion::logical_expr::{LogicalPlan, SetVariable, Statement};
use datafusion::prelude::{DataFrame, SessionConfig, SessionContext};
use datafusion::sql::parser::Statement as Parsed;
use datafusion::sql::sqlparser::ast;
use polysema_udfs::arrow::cache::SessionCache;
use polysema_udfs::arrow::layers::SessionLayers;
use polysema_udfs::arrow::tables::MissingTableAdvice;
use polysema_udfs::calls::Function;
use polysema_udfs::calls::settings::PolysemaOptions;
use polysema_udfs::per_neuron::ClusterOptions;

use crate::functions;
use crate::jobs::{Jobs, JobsTable, Left, to_the_end};
use crate::settings;
use crate::store::{RunCache, RunLayers, Store, StoreCatalog, Table};
use shared_vectors::SharedVectors;
use unknown_functions::UnknownFunctions;
use yielding_joins::YieldingJoins;

/// The one catalog.
const CATALOG: &str = "polysema";
/// The schema that unqualified names mean while no run is selected.
const NO_RUN: &str = "public";

/// What a session is opened with.
#[derive(Debug, Clone)]
pub struct SessionOptions {
    /// Folder of the store.
    pub store: PathBuf,
    /// Most bytes the operators may hold; unlimited when absent.
    pub memory_limit: Option<usize>,
}

/// A function as `SHOW FUNCTIONS`, `\df` and completion show it.
#[derive(Debug, Clone)]
pub struct FunctionEntry {
    /// SQL name.
    pub name: String,
    /// Chapter of the catalogue.
    pub chapter: String,
    /// `scalar`, `aggregate` or `table`.
    pub kind: &'static str,
    /// Call syntax.
    pub signature: String,
    /// One line.
    pub summary: String,
    /// The whole documentation.
    pub documentation: String,
    /// Names of its options.
    pub options: Vec<&'static str>,
}

impl From<&Function> for FunctionEntry {
    fn from(function: &Function) -> Self {
        let doc = function.doc;
        Self {
            name: doc.name.to_string(),
            chapter: doc.chapter.to_string(),
            kind: function.kind(),
            signature: doc.signature(),
            summary: doc.summary.to_string(),
            documentation: doc.text(),
            options: doc.options.iter().map(|option| option.name).collect(),
        }
    }
}

/// A table as `\d` shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableEntry {
    /// Schema, which is the run.
    pub schema: String,
    /// Table name.
    pub name: String,
    /// `table` or `view`.
    pub kind: String,
}

/// SQL over one store.
pub struct Session {
    context: SessionContext,
    store: Arc<Store>,
    catalog: Arc<StoreCatalog>,
    functions: Vec<Function>,
    jobs: Arc<Jobs>,
    unsaid: Arc<Left>,
}

impl Session {
    /// Opens the store and registers its tables and every function.
    ///
    /// Errors: the store was written by an incompatible version.
    pub async fn open(options: SessionOptions) -> Result<Self> {
        let store = Arc::new(Store::open(&options.store)?);
        let config = SessionConfig::new()
            .with_information_schema(true)
            .with_create_default_catalog_and_schema(false)
            .with_default_catalog_and_schema(CATALOG, NO_RUN)
            .with_option_extension(settings::defaults())
            .with_extension(Arc::new(SessionCache(Arc::new(RunCache))))
            .with_extension(Arc::new(SessionLayers(Arc::new(RunLayers))))
            .with_extension(Arc::new(MissingTableAdvice(choose_run)));
        let mut runtime = RuntimeEnvBuilder::new();
        if let Some(bytes) = options.memory_limit {
            runtime = runtime.with_memory_limit(bytes, 1.0);
        }
        let state = SessionStateBuilder::new()
            .with_config(config)
            .with_runtime_env(runtime.build_arc()?)
            .with_default_features()
            .with_physical_optimizer_rule(Arc::new(SharedVectors))
            .with_physical_optimizer_rule(Arc::new(YieldingJoins))
            .build();
        let context = SessionContext::new_with_state(state);
        let mut functions = polysema_udfs::catalog::functions();
        let jobs = Arc::new(Jobs::new(store.root()));
        functions.extend(functions::functions(&store));
        polysema_udfs::catalog::register(&context, &functions)?;
        let tables = functions
            .iter()
            .filter(|function| function.kind() == "table");
        let names = tables.map(|function| function.doc.name).collect();
        context.register_relation_planner(Arc::new(UnknownFunctions::new(&context, names)))?;
        let catalog = Arc::new(StoreCatalog::new(Arc::clone(&store)));
        catalog.add_info_table("jobs", Arc::new(JobsTable::new(Arc::clone(&jobs))))?;
        catalog.add_info_table("functions", Arc::new(function_table(&functions)?))?;
        context.register_catalog(CATALOG, Arc::clone(&catalog) as _);
        Ok(Self {
            context,
            store,
            catalog,
            functions,
            jobs,
            unsaid: Arc::default(),
        })
    }

    /// The jobs of the store.
    pub fn jobs(&self) -> &Arc<Jobs> {
        &self.jobs
    }

    /// What a statement whose rows were not read to their end would have said of a job of its own, once.
    pub fn unsaid(&self) -> Option<String> {
        self.unsaid.take()
    }

    /// The DataFusion context underneath.
    pub fn context(&self) -> &SessionContext {
        &self.context
    }

    /// The store.
    pub fn store(&self) -> &Arc<Store> {
        &self.store
    }

    /// Plans one statement; rows stream when polled; dropping the stream cancels the work.
    ///
    /// `CALL f(..)` is `SELECT * FROM f(..)`.
    pub async fn query(&self, statement: &str) -> Result<SendableRecordBatchStream> {
        self.select_run()?;
        let state = self.context.state();
        views::plan_named(&state, &self.catalog, statement).await?;
        let dialect = state.config().options().sql_parser.dialect;
        let mut parsed = statement::parse(&state, statement, &dialect)?;
        if let Parsed::Statement(inner) = &parsed
            && let ast::Statement::Call(call) = inner.as_ref()
        {
            parsed = state.sql_to_statement(&format!("SELECT * FROM {call}"), &dialect)?;
        }
        let mut plan = match state.statement_to_plan(parsed).await {
            Ok(plan) => plan,
            Err(error) => return Err(self.missing_table(&error).unwrap_or(error)),
        };
        if let LogicalPlan::Statement(Statement::ResetVariable(reset)) = &plan
            && let Some(set) = to_default(&reset.variable)
        {
            plan = LogicalPlan::Statement(Statement::SetVariable(set));
        }
        if let LogicalPlan::Statement(Statement::SetVariable(set)) = &plan {
            self.check_setting(set)?;
        }
        let (mut state, plan) = self.context.execute_logical_plan(plan).await?.into_parts();
        let left = Arc::new(Left::default());
        let config = state.config_mut();
        config.set_extension(Arc::clone(&left));
        config.set_extension(Arc::clone(&self.jobs));
        let rows = DataFrame::new(state, plan).execute_stream().await;
        let rows = rows.map_err(of_each_row)?;
        Ok(to_the_end(rows, left, Arc::clone(&self.unsaid)))
    }

    /// Makes unqualified names mean the tables of the run of `polysema.run`, or of the only run.
    fn select_run(&self) -> Result<()> {
        let state = self.context.state_ref();
        let asked = settings::run(&PolysemaOptions::of(state.read().config_options())?).to_string();
        let schema = if !asked.is_empty() {
            asked
        } else {
            match self.store.runs()?.as_slice() {
                [only] => only.clone(),
                _ => NO_RUN.to_string(),
            }
        };
        state
            .write()
            .config_mut()
            .options_mut()
            .catalog
            .default_schema = schema;
        Ok(())
    }

    /// What was meant by a table that was not found: a run to choose, or one of the names there are.
    fn missing_table(&self, error: &DataFusionError) -> Option<DataFusionError> {
        let message = error.strip_backtrace();
        let (_, rest) = message.split_once(&format!("table '{CATALOG}."))?;
        let (schema, table) = rest.split_once("' not found")?.0.split_once('.')?;
        let listed = |names: &[String]| match names {
            [] => "none".to_string(),
            _ => names.join(", "),
        };
        let runs = self.store.runs().ok()?;
        if schema == NO_RUN && Table::canonical(table).is_some() {
            return Some(match runs.first() {
                Some(first) => plan_datafusion_err!(
                    "session: table {table} requires a selected run, got none of {}: choose one with \
                     SET polysema.run = '{first}', or name it as in {first}.{table}",
                    listed(&runs)
                ),
                None => plan_datafusion_err!(
                    "session: table {table} requires a run, got none in {}: make one with ingest(...)",
                    self.store.root().display()
                ),
            });
        }
        Some(match self.context.catalog(CATALOG)?.schema(schema) {
            Some(known) => plan_datafusion_err!(
                "session: a table of {schema} is required, got '{table}'; tables: {}",
                listed(&known.table_names())
            ),
            None => plan_datafusion_err!(
                "session: a run of {} is required, got '{schema}'; runs: {}",
                self.store.root().display(),
                listed(&runs)
            ),
        })
    }

    /// Refuses a value of `polysema.*` when it is set, not when it is first used.
    fn check_setting(&self, set: &SetVariable) -> Result<()> {
        let Some(name) = set.variable.strip_prefix("polysema.") else {
            return Ok(());
        };
        let mut options = PolysemaOptions::of(self.context.state().config_options())?;
        options.set(name, &set.value)?;
        ClusterOptions::from_settings("SET", &options)?;
        // Beside the runs there is the schema of the user's own tables.
        let run = settings::run(&options);
        let schema = run.is_empty() || run == NO_RUN;
        if name == "run" && !schema && !self.store.has(run) {
            let runs = self.store.runs()?;
            let known = match runs.is_empty() {
                true => "a run of the store, which has none yet".to_string(),
                false => format!("one of {}", runs.join(", ")),
            };
            return plan_err!("SET: polysema.run must be {known}, got '{run}'");
        }
        Ok(())
    }

    /// Every function of the catalogue in reading order.
    pub fn functions(&self) -> Vec<FunctionEntry> {
        self.functions.iter().map(FunctionEntry::from).collect()
    }

    /// Tables of the current run first, then the other schemas by name.
    pub async fn tables(&self) -> Result<Vec<TableEntry>> {
        self.select_run()?;
        let state = self.context.state();
        views::plan_named(&state, &self.catalog, "SHOW TABLES").await?;
        let current = state.config_options().catalog.default_schema.clone();
        let Some(catalog) = self.context.catalog(CATALOG) else {
            return Ok(vec![]);
        };
        let mut names = catalog.schema_names();
        names.sort_by_key(|name| (*name != current, name.clone()));
        let mut entries = Vec::new();
        for name in names {
            let Some(schema) = catalog.schema(&name) else {
                continue;
            };
            let mut tables = schema.table_names();
            tables.sort();
            for table in tables {
                let kind = match schema.table_type(&table).await? {
                    Some(datafusion::logical_expr::TableType::View) => "view",
                    _ => "table",
                };
                entries.push(TableEntry {
                    schema: name.clone(),
                    name: table,
                    kind: kind.to_string(),
                });
            }
        }
        Ok(entries)
    }

    /// Columns of a table, by the name SQL would use.
    pub async fn columns(&self, table: &str) -> Result<SchemaRef> {
        self.select_run()?;
        views::plan_named(&self.context.state(), &self.catalog, table).await?;
        let provider = self.context.table_provider(table).await?;
        Ok(provider.schema())
    }
}

/// What to do where the tables of a run are missing and other schemas have them.
fn choose_run(runs: &[String]) -> String {
    let first = runs.first().map(String::as_str).unwrap_or_default();
    format!(
        "choose one with SET polysema.run = '{first}'; runs: {}",
        runs.join(", ")
    )
}

/// What was meant by an expression of an outer row that the optimizer left in place: a query of each row that is no join.
fn of_each_row(error: DataFusionError) -> DataFusionError {
    let message = error.strip_backtrace();
    let kinds = ["OuterReferenceColumn(", "ScalarSubquery("];
    let left =
        |kind: &&str| message.contains(&format!("does not support logical expression {kind}"));
    if !kinds.iter().any(left) {
        return error;
    }
    plan_datafusion_err!(
        "session: a query of each row of another must be one that can be a join, got one with a LIMIT, a UNION or \
         a RIGHT JOIN (for a table function: JOIN f() USING (layer, neuron))"
    )
}

/// RESET of a setting `polysema.*` as the SET it means; DataFusion resets its own settings only.
fn to_default(variable: &str) -> Option<SetVariable> {
    let defaults = settings::defaults().entries();
    let entry = defaults.into_iter().find(|entry| entry.key == variable)?;
    Some(SetVariable {
        variable: entry.key,
        value: entry.value.unwrap_or_default(),
    })
}

/// The table `polysema.info.functions`.
fn function_table(functions: &[Function]) -> Result<MemTable> {
    let entries: Vec<FunctionEntry> = functions.iter().map(FunctionEntry::from).collect();
    let column = |value: fn(&FunctionEntry) -> &str| -> ArrayRef {
        Arc::new(StringArray::from_iter_values(entries.iter().map(value)))
    };
    let batch = RecordBatch::try_from_iter([
        ("name", column(|entry| &entry.name)),
        ("chapter", column(|entry| &entry.chapter)),
        ("kind", column(|entry| entry.kind)),
        ("signature", column(|entry| &entry.signature)),
        ("summary", column(|entry| &entry.summary)),
    ])?;
    MemTable::try_new(batch.schema(), vec![vec![batch]])
}
