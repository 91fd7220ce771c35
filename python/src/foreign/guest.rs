//! The table functions over tables of the session that calls them.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::datatypes::{Schema, SchemaRef};
use datafusion::catalog::{Session, TableFunctionArgs, TableFunctionImpl, TableProvider};
use datafusion::common::config::ExtensionOptions;
use datafusion::common::{Result, internal_datafusion_err, project_schema};
use datafusion::datasource::provider_as_source;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::{Expr, LogicalPlanBuilder, TableProviderFilterPushDown, TableType};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::prelude::{SessionConfig, SessionContext};
use polysema_udfs::calls::settings::PolysemaOptions;

use super::crossing::Crossing;
use super::host::{Lent, Of};
use super::leaf::{all_exact, asked, leaf, of_call};

/// The plugin in a session of this library, which stands in for the one that calls.
pub struct Guest {
    context: SessionContext,
    settings: PolysemaOptions,
}

impl fmt::Debug for Guest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Guest").field(&self.settings).finish()
    }
}

impl Guest {
    /// settings: names without `polysema.` and their values, which hold unless the session that calls has its own.
    /// memory_limit: most bytes that the functions may hold.
    ///
    /// Errors: there is no such setting, or it has no such value.
    pub fn new(settings: Vec<(String, String)>, memory_limit: Option<usize>) -> Result<Self> {
        let mut options = PolysemaOptions::default();
        for (name, value) in settings {
            options.set(&name, &value)?;
        }
        let mut runtime = RuntimeEnvBuilder::new();
        if let Some(limit) = memory_limit {
            runtime = runtime.with_memory_limit(limit, 1.0);
        }
        let context =
            SessionContext::new_with_config_rt(SessionConfig::new(), runtime.build_arc()?);
        polysema_udfs::register_all(&context)?;
        Ok(Self {
            context,
            settings: options,
        })
    }

    /// The session that stands in for a host's while that is lent.
    fn state(&self, host: &dyn Session, lent: &Arc<Lent>) -> Result<SessionState> {
        let extensions = host.config_options().extensions.iter();
        let mut entries = extensions.flat_map(|(_, extension)| extension.entries());
        let settings = match entries.any(|entry| entry.key.starts_with("polysema.")) {
            true => PolysemaOptions::of(host.config_options())?,
            false => self.settings.clone(),
        };
        let mut config = host.config().clone();
        config.options_mut().extensions.insert(settings);
        let mut state = self.context.state();
        *state.config_mut() = config;
        state.register_catalog_list(Of::new(host.catalog_list(), lent));
        Ok(state)
    }
}

/// One of its table functions.
#[derive(Debug)]
pub struct GuestFunction {
    guest: Arc<Guest>,
    name: &'static str,
    crossing: Crossing,
}

impl GuestFunction {
    pub fn new(guest: Arc<Guest>, name: &'static str, crossing: Crossing) -> Self {
        Self {
            guest,
            name,
            crossing,
        }
    }
}

impl TableFunctionImpl for GuestFunction {
    fn call_with_args(&self, args: TableFunctionArgs) -> Result<Arc<dyn TableProvider>> {
        let mut call = Call {
            guest: Arc::clone(&self.guest),
            name: self.name,
            exprs: args.exprs().to_vec(),
            schema: Arc::new(Schema::empty()),
        };
        // SAFETY: it is dropped at the end of this call.
        let lent = unsafe { Lent::new(args.session()) };
        let table = call.table(&self.guest.state(args.session(), &lent)?)?;
        let arguments = call.exprs.iter().map(Expr::to_string).collect::<Vec<_>>();
        let written = format!("{}({})", self.name, arguments.join(", "));
        call.schema = of_call(&table.schema(), &written);
        Ok(self.crossing.given(Arc::new(call)))
    }
}

/// A call, which looks up its tables when it is planned.
#[derive(Debug)]
struct Call {
    guest: Arc<Guest>,
    name: &'static str,
    exprs: Vec<Expr>,
    schema: SchemaRef,
}

impl Call {
    fn table(&self, state: &SessionState) -> Result<Arc<dyn TableProvider>> {
        let function = state.table_functions().get(self.name);
        let function = function.ok_or_else(|| internal_datafusion_err!("no '{}'", self.name))?;
        let args = TableFunctionArgs::new(&self.exprs, state);
        function.function().call_with_args(args)
    }
}

#[async_trait]
impl TableProvider for Call {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Temporary
    }

    fn supports_filters_pushdown(
        &self,
        filters: &[&Expr],
    ) -> Result<Vec<TableProviderFilterPushDown>> {
        Ok(all_exact(filters))
    }

    async fn scan(
        &self,
        host: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        // SAFETY: it is dropped with this future, which borrows the session.
        let lent = unsafe { Lent::new(host) };
        let state = self.guest.state(host, &lent)?;
        let table = provider_as_source(self.table(&state)?);
        let rows = LogicalPlanBuilder::scan(self.name, table, None)?.build()?;
        let rows = asked(rows, projection, filters, limit)?;
        let plan = state.create_physical_plan(&rows).await?;
        let schema = project_schema(&self.schema, projection)?;
        leaf(plan, state.task_ctx(), lent.chores(), schema)
    }
}
