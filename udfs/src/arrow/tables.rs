//! The canonical tables `examples` and `neurons` as a session knows them, read with fixed column types.

use std::sync::Arc;

use datafusion::arrow::datatypes::DataType;
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::{DFSchema, Result, TableReference, plan_datafusion_err, plan_err};
use datafusion::execution::TaskContext;
use datafusion::logical_expr::utils::conjunction;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::{CastExpr, Column};
use datafusion::physical_plan::coalesce_partitions::CoalescePartitionsExec;
use datafusion::physical_plan::execution_plan::reset_plan_states;
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::projection::{ProjectionExec, ProjectionExpr};
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties, collect};

use super::vectors::is_vector;

/// What a canonical column must be read as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ColumnType {
    /// Whole numbers, read as `Int32`.
    Integer,
    /// Numbers, read as `Float32`.
    Number,
    /// Text, read as `Utf8`.
    Text,
    /// A list of text, read as `List<Utf8>`.
    Texts,
    /// A list of numbers, of any list and number type.
    Vector,
}

/// Type of a canonical column, by name.
fn column_type(name: &str) -> ColumnType {
    match name {
        "token" | "name" | "kind" | "sign" => ColumnType::Text,
        "window_tokens" => ColumnType::Texts,
        "activation" => ColumnType::Number,
        "pre_mlp" | "weighted_pre_mlp" | "w_in" | "w_up" => ColumnType::Vector,
        _ => ColumnType::Integer,
    }
}

/// What a session says where a canonical table is missing in its schema, as an extension of its configuration: the plugin
/// knows no runs.
pub trait MissingTableAdvice: Send + Sync {
    /// What to do, given the names of the schemas that have one.
    fn advice(&self, having: &[String]) -> String;
}

/// The extension.
pub struct SessionAdvice(pub Box<dyn MissingTableAdvice>);

/// The table an unqualified `name` means in this session, if there is one.
pub async fn find(state: &dyn Session, name: &str) -> Result<Option<Arc<dyn TableProvider>>> {
    let options = &state.config_options().catalog;
    let catalog = state.catalog_list().catalog(&options.default_catalog);
    match catalog.and_then(|catalog| catalog.schema(&options.default_schema)) {
        Some(schema) => schema.table(name).await,
        None => Ok(None),
    }
}

/// The table an unqualified `name` means in this session.
///
/// Errors (planning): there is none; the schemas that have one are listed.
pub async fn table(
    state: &dyn Session,
    function: &str,
    name: &str,
) -> Result<Arc<dyn TableProvider>> {
    if let Some(provider) = find(state, name).await? {
        return Ok(provider);
    }
    let options = &state.config_options().catalog;
    let (catalog_name, schema_name) = (&options.default_catalog, &options.default_schema);
    let catalog = state.catalog_list().catalog(catalog_name).ok_or_else(|| {
        plan_datafusion_err!("{function}: a catalog is required, got the unknown '{catalog_name}'")
    })?;
    let has = |other: &String| {
        let schema = catalog.schema(other);
        schema.is_some_and(|schema| schema.table_exist(name))
    };
    let mut having: Vec<_> = catalog.schema_names().into_iter().filter(has).collect();
    having.sort();
    let known = match state.config().get_extension::<SessionAdvice>() {
        Some(advice) => advice.0.advice(&having),
        None if having.is_empty() => "no schema of this catalog has one".to_string(),
        None => format!("schemas that have one: {}", having.join(", ")),
    };
    plan_err!("{function}: a table '{name}' is required, got none in '{schema_name}' ({known})")
}

/// The table called `name`, which may be qualified as in SQL.
///
/// Errors (planning): there is none.
pub async fn table_by_reference(
    state: &dyn Session,
    function: &str,
    name: &str,
) -> Result<Arc<dyn TableProvider>> {
    let options = &state.config_options().catalog;
    let full =
        TableReference::from(name).resolve(&options.default_catalog, &options.default_schema);
    if let Some(catalog) = state.catalog_list().catalog(&full.catalog)
        && let Some(schema) = catalog.schema(&full.schema)
        && let Some(provider) = schema.table(&full.table).await?
    {
        return Ok(provider);
    }
    plan_err!("{function}: an existing table is required, got '{full}'")
}

/// A plan over `provider` that yields exactly `columns`, in that order and of their canonical types, filtered.
///
/// Errors (planning): a column is missing or of another kind.
pub async fn scan(
    state: &dyn Session,
    function: &str,
    table: &str,
    provider: &Arc<dyn TableProvider>,
    columns: &[&str],
    filters: &[Expr],
) -> Result<Arc<dyn ExecutionPlan>> {
    let schema = provider.schema();
    let index = |column: &str| {
        schema.index_of(column).map_err(|_| {
            let known = schema.fields().iter().map(|f| f.name().as_str());
            let known = known.collect::<Vec<_>>().join(", ");
            plan_datafusion_err!(
                "{function}: table '{table}' must have a column '{column}', got {known}"
            )
        })
    };
    let pushed = provider.supports_filters_pushdown(&filters.iter().collect::<Vec<_>>())?;
    let (mut below, mut above) = (Vec::new(), Vec::new());
    for (filter, support) in filters.iter().zip(pushed) {
        if support != TableProviderFilterPushDown::Unsupported {
            below.push(filter.clone());
        }
        if support != TableProviderFilterPushDown::Exact {
            above.push(filter.clone());
        }
    }
    let mut projection = columns
        .iter()
        .map(|column| index(column))
        .collect::<Result<Vec<_>>>()?;
    // A filter that stays above the scan needs its columns, asked for or not.
    for column in above.iter().flat_map(Expr::column_refs) {
        let column = index(&column.name)?;
        if !projection.contains(&column) {
            projection.push(column);
        }
    }
    let mut plan = provider
        .scan(state, Some(&projection), &below, None)
        .await?;
    if let Some(predicate) = conjunction(above) {
        let schema = DFSchema::try_from(plan.schema().as_ref().clone())?;
        let predicate = state.create_physical_expr(predicate, &schema)?;
        plan = Arc::new(FilterExec::try_new(predicate, plan)?);
    }
    canonical_types(function, table, columns.len(), plan)
}

/// The first `n_columns` of `plan` as their canonical types.
fn canonical_types(
    function: &str,
    table: &str,
    n_columns: usize,
    plan: Arc<dyn ExecutionPlan>,
) -> Result<Arc<dyn ExecutionPlan>> {
    let schema = plan.schema();
    let mut changed = schema.fields().len() > n_columns;
    let mut expressions = Vec::new();
    for (i, field) in schema.fields().iter().take(n_columns).enumerate() {
        let came = field.data_type();
        let (target, fits, required) = match column_type(field.name()) {
            ColumnType::Integer => (DataType::Int32, came.is_integer(), "whole numbers"),
            ColumnType::Number => (DataType::Float32, came.is_numeric(), "numbers"),
            ColumnType::Text => (DataType::Utf8, came.is_string(), "text"),
            ColumnType::Texts => (texts_type(), is_list_of_text(came), "a list of text"),
            ColumnType::Vector => (came.clone(), is_vector(came), "a list of numbers"),
        };
        if !fits {
            return plan_err!(
                "{function}: column '{}' of table '{table}' must be {required}, got {came}",
                field.name()
            );
        }
        let column: Arc<dyn PhysicalExpr> = Arc::new(Column::new(field.name(), i));
        let expr = if &target == came {
            column
        } else {
            changed = true;
            Arc::new(CastExpr::new(column, target, None))
        };
        expressions.push(ProjectionExpr {
            expr,
            alias: field.name().clone(),
        });
    }
    if !changed {
        return Ok(plan);
    }
    Ok(Arc::new(ProjectionExec::try_new(expressions, plan)?))
}

fn texts_type() -> DataType {
    DataType::new_list(DataType::Utf8, true)
}

fn is_list_of_text(data_type: &DataType) -> bool {
    match data_type {
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
            item.data_type().is_string()
        }
        _ => false,
    }
}

/// A table small enough to be read whole, by several operators and each time a plan runs: a scan of files hands each
/// file out only once unless its state is made anew.
#[derive(Debug, Clone)]
pub struct SmallTable(Arc<dyn ExecutionPlan>);

impl SmallTable {
    /// Exactly `columns` of the table, of their canonical types.
    ///
    /// Errors (planning): a column is missing or of another kind.
    pub async fn scan(
        state: &dyn Session,
        function: &str,
        table: &str,
        provider: &Arc<dyn TableProvider>,
        columns: &[&str],
    ) -> Result<Self> {
        let rows = scan(state, function, table, provider, columns, &[]).await?;
        Ok(Self::of(rows))
    }

    /// The rows of a plan.
    pub fn of(plan: Arc<dyn ExecutionPlan>) -> Self {
        Self(in_one_partition(plan))
    }

    /// What yields its rows.
    pub fn plan(&self) -> &Arc<dyn ExecutionPlan> {
        &self.0
    }

    /// All its rows.
    pub async fn read(&self, context: Arc<TaskContext>) -> Result<Vec<RecordBatch>> {
        collect(reset_plan_states(Arc::clone(&self.0))?, context).await
    }
}

/// The plan with its partitions as one, where the optimizer sees it.
pub fn in_one_partition(plan: Arc<dyn ExecutionPlan>) -> Arc<dyn ExecutionPlan> {
    match plan.output_partitioning().partition_count() {
        1 => plan,
        _ => Arc::new(CoalescePartitionsExec::new(plan)),
    }
}
