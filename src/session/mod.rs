//! SQL over one open store. An [`Engine`] holds what sessions share; a [`Session`] has settings, a run and tables of its
//! own, and gives a statement its meaning: [`Session::plan`] says what it is, [`Session::execute`] runs it.
//! Above 400 lines, since it is one type.

mod blocking;
mod bound;
mod catalogs;
mod copy_target;
mod depth;
mod doubling;
mod engine;
mod external_tables;
mod first_rows;
mod guard;
mod in_order;
mod keeping;
mod large_stack;
mod lone_spillers;
mod memory;
mod missing;
mod named_files;
mod names;
mod planner;
mod planning;
mod prepared;
mod probe_steps;
mod read_only;
mod reads;
mod redirected;
mod selection;
mod setting;
mod shared_vectors;
mod sized_values;
mod statement;
mod text_files;
mod unknown_functions;
mod views;
mod whole_files;
#[cfg(feature = "distributed")]
mod workers;
mod yielding_joins;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use datafusion::arrow::datatypes::SchemaRef;
use datafusion::catalog::{CatalogProvider, SchemaProvider};
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{ParamValues, ScalarValue, TableReference};
use datafusion::error::Result;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::execution::memory_pool::MemoryPool;
use datafusion::execution::runtime_env::RuntimeEnv;
use datafusion::logical_expr::{DdlStatement, LogicalPlan, Statement, TableType};
use datafusion::physical_plan::execute_stream;
use datafusion::prelude::{SessionConfig, SessionContext};
use polysema_udfs::arrow::cache::SessionCache;
use polysema_udfs::arrow::layers::SessionLayers;
use polysema_udfs::arrow::tables::SessionAdvice;

pub use catalogs::CATALOG;
#[cfg(feature = "serve")]
pub(crate) use doubling::require_few_readings;
pub use engine::{Engine, EngineOptions, FunctionEntry};
pub use keeping::CreatedTable;
pub use memory::Account;

use crate::jobs::{Doing, Effects, Jobs, JobsTable, Left, LeftJob, not_progress, to_the_end};
use crate::policy::{self, Access, Policy};
use crate::settings;
use crate::store::{PUBLIC, Run, RunCache, RunLayers, Store, StoreCatalog};
use crate::text::quoted;
use blocking::blocking;
use catalogs::{StatementCatalogs, runs_of};
use guard::GuardedRegistry;
use keeping::{is_rewritten, with_kept_tables, without_rows};
use large_stack::on_large_stack;
use memory::within;
use missing::ChooseRun;
use planning::{operators, plan, state};
use prepared::{Meaning, Prepared};
use selection::SelectedRun;
use unknown_functions::UnknownFunctions;
use views::SqlViews;

/// What a session of an engine of its own is opened with.
#[derive(Debug, Clone)]
pub struct SessionOptions {
    /// Folder of the store, or the http(s) address of one to read.
    pub store: PathBuf,
    /// Most bytes the operators may hold; unlimited when absent.
    pub memory_limit: Option<usize>,
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
    /// Whether it is kept in the store; else it is gone with the session.
    pub lasts: bool,
}

/// What a statement that runs gives.
pub struct Reply {
    /// Its rows.
    pub rows: SendableRecordBatchStream,
    /// Whether a job makes them, whose progress they may be.
    pub is_job: bool,
    /// Whether reading them changes the session, the store or a file, so that they are not to be read twice.
    pub changes: bool,
    /// The statement whose row is no result but the number of rows that it wrote, as COPY.
    pub counts: Option<&'static str>,
}

/// SQL over one store, for one user.
///
/// The context underneath understands the same tables, views and functions and obeys the same policy on files, jobs and
/// tables; `CALL`, the column name `cluster`, files by name, what may be SET and one state of each run are of
/// [`Session::plan`] and [`Session::execute`].
pub struct Session {
    engine: Arc<Engine>,
    context: SessionContext,
    catalog: Arc<StoreCatalog>,
    selection: Arc<SelectedRun>,
    policy: Arc<Policy>,
    unsaid: Arc<Left>,
    doing: Arc<Doing>,
    made: Mutex<Option<String>>,
    created: Mutex<Option<CreatedTable>>,
    prepared: Prepared,
}

impl Engine {
    /// A session that may do what `policy` says, with settings, a run and tables of its own.
    pub fn session(self: &Arc<Self>, policy: Policy) -> Result<Session> {
        Session::new(Arc::clone(self), policy, None)
    }

    /// Memory for the sessions of one user: at most `limit` bytes of the engine's.
    pub fn account(&self, limit: usize) -> Arc<Account> {
        let pool = Arc::clone(&self.runtime().memory_pool);
        Arc::new(Account::new(pool, limit))
    }

    /// As [`Engine::session`], with its statements' memory counted on an account.
    pub fn session_on(self: &Arc<Self>, policy: Policy, account: Arc<Account>) -> Result<Session> {
        Session::new(Arc::clone(self), policy, Some(account))
    }
}

impl Session {
    /// A session of an engine of its own, which may do everything.
    ///
    /// Errors: the store was written by an incompatible version.
    pub async fn open(options: SessionOptions) -> Result<Self> {
        let engine = Engine::open(&EngineOptions {
            store: options.store,
            memory_limit: options.memory_limit,
            loaded_limit: None,
        })?;
        engine.session(Policy::everything())
    }

    fn new(engine: Arc<Engine>, policy: Policy, account: Option<Arc<Account>>) -> Result<Self> {
        let (policy, doing) = (Arc::new(policy), Arc::<Doing>::default());
        let shared = engine.runtime();
        let memory_pool: Arc<dyn MemoryPool> = match account {
            Some(account) => account,
            None => Arc::clone(&shared.memory_pool),
        };
        let config = SessionConfig::new()
            .with_information_schema(true)
            // Errors say where in the statement they are.
            .set_bool("datafusion.sql_parser.collect_spans", true)
            // What a view orders comes in its order.
            .set_bool(
                "datafusion.sql_parser.enable_subquery_sort_elimination",
                false,
            )
            .with_create_default_catalog_and_schema(false)
            .with_default_catalog_and_schema(CATALOG, PUBLIC)
            .with_option_extension(settings::defaults())
            .with_extension(Arc::clone(&policy))
            .with_extension(Arc::new(SessionCache(Arc::new(RunCache))))
            .with_extension(Arc::new(SessionLayers(Arc::new(RunLayers))))
            .with_extension(Arc::new(SessionAdvice(Box::new(ChooseRun(Arc::clone(
                engine.store(),
            ))))))
            .with_extension(Arc::clone(&doing))
            .with_extension(Arc::clone(engine.jobs()));
        let config = within(config, memory_pool.memory_limit());
        let files = Arc::clone(&shared.object_store_registry);
        let runtime = RuntimeEnv {
            object_store_registry: Arc::new(GuardedRegistry::new(files, Arc::clone(&policy))),
            memory_pool,
            ..shared.clone()
        };
        #[cfg(feature = "distributed")]
        let config = engine.in_ranges(config);
        let context = SessionContext::new_with_state(state(config, runtime, &engine)?);
        polysema_udfs::catalog::register(&context, engine.implementations())?;
        let functions = engine.implementations().iter();
        let (tables, values): (Vec<_>, Vec<_>) =
            functions.partition(|function| function.kind() == "table");
        let [tables, values] = [tables, values]
            .map(|functions| functions.iter().map(|function| function.doc.name).collect());
        let unknown = UnknownFunctions::new(&context, tables, values);
        context.register_relation_planner(Arc::new(unknown))?;
        let selection = Arc::new(SelectedRun::new(Arc::clone(engine.store())));
        let catalog = Arc::new(StoreCatalog::of_session(
            Arc::clone(engine.store()),
            Some(Arc::new(SqlViews::new(context.state()))),
            Arc::clone(&policy),
            Some(Arc::clone(&selection) as _),
        ));
        catalog.add_info_table("jobs", Arc::new(JobsTable::new(Arc::clone(engine.jobs()))))?;
        catalog.add_info_table("functions", Arc::clone(engine.function_table()) as _)?;
        context.register_catalog(CATALOG, Arc::clone(&catalog) as _);
        selection.follow(&context);
        Ok(Self {
            engine,
            context,
            catalog,
            selection,
            policy,
            unsaid: Arc::default(),
            doing,
            made: Mutex::default(),
            created: Mutex::default(),
            prepared: Prepared::default(),
        })
    }

    /// The engine it is of.
    pub fn engine(&self) -> &Arc<Engine> {
        &self.engine
    }

    /// The DataFusion context underneath.
    pub fn context(&self) -> &SessionContext {
        &self.context
    }

    /// The store.
    pub fn store(&self) -> &Arc<Store> {
        self.engine.store()
    }

    /// The run that unqualified names mean now; none where they mean the user's own tables.
    ///
    /// Errors: the store cannot be read.
    pub fn selected_run(&self) -> Result<Option<String>> {
        Ok(Some(self.selection.schema()?).filter(|schema| schema != PUBLIC))
    }

    /// Adds a schema that its statements only read.
    pub fn add_schema(&self, name: &str, schema: Arc<dyn SchemaProvider>) {
        self.catalog.add_schema(name, schema);
    }

    /// The jobs of the store.
    pub fn jobs(&self) -> &Arc<Jobs> {
        self.engine.jobs()
    }

    /// The job of a statement whose rows were not read to their end, once.
    pub fn unsaid(&self) -> Option<LeftJob> {
        self.unsaid.take()
    }

    /// What the work of a statement that gives no rows yet is at.
    pub fn doing(&self) -> &Arc<Doing> {
        &self.doing
    }

    /// Selects the run that the last statement has made if its rows came to their end, once: the next question is about it.
    /// Its name, if another was selected before.
    pub async fn select_made_run(&self) -> Result<Option<String>> {
        let made = {
            let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
            made.take()
        };
        let Some(run) = made else { return Ok(None) };
        if self.selected_run()?.as_ref() == Some(&run) {
            return Ok(None);
        }
        self.select_run(&run).await?;
        Ok(Some(run))
    }

    /// Makes unqualified names mean the tables of a run.
    ///
    /// Errors: there is no such run; the policy forbids the setting.
    pub async fn select_run(&self, run: &str) -> Result<()> {
        let set = format!("SET polysema.run = {}", quoted(run, '\''));
        self.query(&set).await.map(drop)
    }

    /// The table that the last statement has made if its rows came to their end, once.
    pub fn created_table(&self) -> Option<CreatedTable> {
        let mut created = self.created.lock().unwrap_or_else(PoisonError::into_inner);
        created.take()
    }

    /// What it may do.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// The statement that an EXECUTE runs; none where the plan is another's.
    pub fn executed(&self, plan: &LogicalPlan) -> Option<Arc<LogicalPlan>> {
        self.prepared.executed(plan)
    }

    /// The names of the statements that are prepared.
    pub fn prepared(&self) -> Vec<String> {
        self.prepared.names()
    }

    /// One statement as a plan, which has the columns of its rows and the types of its parameters.
    ///
    /// The tables it names are those of the run selected now, also when it is executed later. Nothing is run.
    pub async fn plan(&self, statement: &str) -> Result<LogicalPlan> {
        Ok(self.planned(statement).await?.1)
    }

    /// Runs a plan, its parameters replaced by values; rows stream when polled, and dropping the stream cancels the
    /// work.
    ///
    /// Errors: the session's policy forbids what it does; a setting has no such value.
    pub async fn execute(
        &self,
        plan: LogicalPlan,
        parameters: Vec<ScalarValue>,
    ) -> Result<SendableRecordBatchStream> {
        Ok(self.answer(plan, parameters.into()).await?.rows)
    }

    /// As [`Session::execute`], with values by position or by name, and with what reading the rows does.
    pub async fn answer(&self, plan: LogicalPlan, parameters: ParamValues) -> Result<Reply> {
        let plan = match parameters {
            ParamValues::List(values) if values.is_empty() => plan,
            ParamValues::Map(values) if values.is_empty() => plan,
            parameters => plan.with_param_values(parameters)?,
        };
        let context = self.statement(runs_of(&plan)?).await?;
        // It may be deep: nothing is known of its text.
        self.run(&context, plan, true).await
    }

    /// Plans one statement and runs it, all of it on one state of each run.
    pub async fn query(&self, statement: &str) -> Result<SendableRecordBatchStream> {
        Ok(self.reply(statement).await?.rows)
    }

    /// As [`Session::query`], with what reading the rows does.
    pub async fn reply(&self, statement: &str) -> Result<Reply> {
        let (context, plan) = self.planned(statement).await?;
        self.run(&context, plan, statement::is_deep(statement))
            .await
    }

    /// What a statement means, and the context it means it in.
    async fn planned(&self, statement: &str) -> Result<(SessionContext, LogicalPlan)> {
        let context = self.statement(vec![]).await?;
        let (state, text) = (context.state(), statement.to_string());
        let plan = match statement::is_deep(statement) {
            true => on_large_stack(async move { plan(&state, &text).await }).await?,
            false => plan(&state, &text).await?,
        };
        Ok((context, plan))
    }

    /// A context for one statement: the session's, with one state of each run, that of `runs` for those, and
    /// unqualified names meaning the tables of the run that is selected now.
    async fn statement(&self, runs: Vec<Arc<Run>>) -> Result<SessionContext> {
        let selection = Arc::clone(&self.selection);
        let schema = blocking(move || selection.schema()).await??;
        Ok(self.statement_of(Meaning { schema, runs }))
    }

    fn statement_of(&self, meaning: Meaning) -> SessionContext {
        let mut state = self.context.state();
        let catalogs = Arc::clone(state.catalog_list());
        let catalog = self.catalog.of_statement(meaning.runs);
        let snapshot = catalog.snapshot();
        let catalogs = StatementCatalogs::new(catalogs, catalog);
        state.register_catalog_list(Arc::new(catalogs));
        state.config_mut().options_mut().catalog.default_schema = meaning.schema;
        state.config_mut().set_extension(snapshot);
        SessionContext::new_with_state(state)
    }

    async fn run(
        &self,
        context: &SessionContext,
        plan: LogicalPlan,
        is_deep: bool,
    ) -> Result<Reply> {
        let plan = match plan {
            LogicalPlan::Statement(Statement::SetVariable(mut set)) => {
                set.variable = setting::whole_name(set.variable);
                LogicalPlan::Statement(Statement::SetVariable(set))
            }
            LogicalPlan::Statement(Statement::ResetVariable(mut reset)) => {
                reset.variable = setting::whole_name(reset.variable);
                self.policy.require_setting(&reset.variable)?;
                match setting::to_default(&reset.variable) {
                    Some(set) => LogicalPlan::Statement(Statement::SetVariable(set)),
                    None => LogicalPlan::Statement(Statement::ResetVariable(reset)),
                }
            }
            plan => plan,
        };
        let executed = self.executed(&plan);
        let does = executed.as_deref().unwrap_or(&plan);
        self.check(does)?;
        let is_command = is_command(does);
        let counts = counted(does);
        read_only::refuse(does, &context.state())?;
        let prepared = self.prepared.follow(&plan, context)?;
        let prepared = prepared.map(|meaning| self.statement_of(meaning));
        let context = prepared.as_ref().unwrap_or(context);
        // What changes the session goes to the session.
        let context = match &plan {
            LogicalPlan::Statement(Statement::SetVariable(set)) => {
                self.policy.require_setting(&set.variable)?;
                let state = self.context.state_ref();
                setting::check(state.read().config_options(), self.store(), set)?;
                &self.context
            }
            LogicalPlan::Statement(
                Statement::ResetVariable(_) | Statement::Prepare(_) | Statement::Deallocate(_),
            )
            | LogicalPlan::Ddl(DdlStatement::CreateFunction(_) | DdlStatement::DropFunction(_)) => {
                &self.context
            }
            _ => context,
        };
        let mut state = context.state();
        let created = CreatedTable::of(&plan, &state, self.store());
        let in_order = is_rewritten(&plan);
        let plan = with_kept_tables(plan, &state, self.store()).await?;
        let context = match in_order {
            false => context.clone(),
            // The rows stay in their order.
            true => {
                state.config_mut().options_mut().execution.target_partitions = 1;
                SessionContext::new_with_state(state)
            }
        };
        let left = Arc::new(Left::default());
        let of_statement = Arc::clone(&left);
        let (task, plan) = match is_deep {
            true => {
                on_large_stack(async move { operators(&context, plan, of_statement).await }).await?
            }
            false => operators(&context, plan, of_statement).await?,
        };
        let effects = Effects::of(&plan)?;
        let plan = first_rows::in_order(plan)?;
        if effects.changes_the_store {
            self.selection.look_again();
        }
        *self.made.lock().unwrap_or_else(PoisonError::into_inner) = effects.makes;
        let mut rows = execute_stream(plan, task)?;
        if created.is_some() {
            rows = without_rows(rows);
        }
        *self.created.lock().unwrap_or_else(PoisonError::into_inner) = created;
        if !effects.is_job {
            rows = not_progress(rows);
        }
        Ok(Reply {
            rows: to_the_end(rows, left, Arc::clone(&self.unsaid)),
            is_job: effects.is_job,
            changes: is_command || effects.changes_the_store,
            counts,
        })
    }

    /// Refuses what the policy forbids, before any of it is begun. Files are guarded where they are opened, too.
    fn check(&self, plan: &LogicalPlan) -> Result<()> {
        plan.apply_with_subqueries(|node| {
            match node {
                LogicalPlan::Copy(_) => self.policy.require("COPY", Access::WriteFiles)?,
                LogicalPlan::Dml(_) => self.policy.require("INSERT", Access::CreateTables)?,
                // A run goes with its schema, and so do tables that last.
                LogicalPlan::Ddl(DdlStatement::DropCatalogSchema(_)) => {
                    policy::require(&self.context.state(), "DROP SCHEMA", &[Access::RunJobs])?;
                }
                LogicalPlan::Ddl(DdlStatement::CreateCatalogSchema(_)) => {
                    let needs = [Access::CreateTables, Access::RunJobs];
                    policy::require(&self.context.state(), "CREATE SCHEMA", &needs)?;
                }
                LogicalPlan::Ddl(ddl) => self.policy.require(ddl.name(), Access::CreateTables)?,
                _ => {}
            }
            Ok(TreeNodeRecursion::Continue)
        })?;
        Ok(())
    }

    /// Every function of the catalogue in reading order.
    pub fn functions(&self) -> Vec<FunctionEntry> {
        self.engine.functions()
    }

    /// Tables of the current run first, then the other schemas by name.
    pub async fn tables(&self) -> Result<Vec<TableEntry>> {
        let state = self.statement(vec![]).await?.state();
        let current = state.config_options().catalog.default_schema.clone();
        let Some(catalog) = StoreCatalog::of(&state) else {
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
                    Some(TableType::View) => "view",
                    _ => "table",
                };
                entries.push(TableEntry {
                    schema: name.clone(),
                    name: table,
                    kind: kind.to_string(),
                    lasts: name != PUBLIC,
                });
            }
        }
        Ok(entries)
    }

    /// Columns of a table, by the name SQL would use, and what those of tables that are not the user's own mean.
    pub async fn columns(&self, table: &str) -> Result<(SchemaRef, Vec<Option<&'static str>>)> {
        let context = self.statement(vec![]).await?;
        let provider = context.table_provider(table).await?;
        let schema = provider.schema();
        let meanings = match StoreCatalog::of(&context.state()) {
            Some(catalog) => {
                let default = context.state().config_options().catalog.clone();
                let full = TableReference::from(table);
                let full = full.resolve(&default.default_catalog, &default.default_schema);
                catalog.meanings(&full.schema, &full.table, provider.as_ref())
            }
            None => vec![None; schema.fields().len()],
        };
        Ok((schema, meanings))
    }
}

/// Whether a statement does something, so that its rows are none, or a count.
pub fn is_command(plan: &LogicalPlan) -> bool {
    matches!(
        plan,
        LogicalPlan::Statement(_)
            | LogicalPlan::Ddl(_)
            | LogicalPlan::Dml(_)
            | LogicalPlan::Copy(_)
    )
}

/// What a statement is called whose row counts the rows that it wrote.
fn counted(plan: &LogicalPlan) -> Option<&'static str> {
    match plan {
        LogicalPlan::Copy(_) => Some("COPY"),
        LogicalPlan::Dml(dml) => read_only::changes(&dml.op),
        _ => None,
    }
}
