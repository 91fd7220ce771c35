//! The rows of any table whose vector lies nearest to a given one, by an exact scan.
//!
//!     similarity(row) = <q, v> / (|q| |v|), error <= 1e-6
//!
//! Errors: another width than the query's, a NaN or an infinity, a query without direction.
//! Cost: d multiplications a row, in parallel over the table's partitions; memory for k rows and a batch each.

use std::borrow::Cow;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::catalog::{Session, TableFunctionArgs, TableFunctionImpl, TableProvider};
use datafusion::common::{Result, ScalarValue, TableReference, plan_err};
use datafusion::datasource::provider_as_source;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, TableType};
use datafusion::physical_plan::ExecutionPlan;
use futures::FutureExt;

use crate::bridge::arguments::Arguments;
use crate::bridge::document::{Function, FunctionDoc, Implementation, Parameter};
use crate::bridge::tables;
use crate::bridge::vectors::{is_vector, require_vectors};
use crate::exec::nearest::{NearestExec, Target, query_of};
use crate::exec::{SIMILARITY, Search, orders_ties, with_similarity};

static DOC: FunctionDoc = FunctionDoc {
    name: "nearest",
    chapter: "similarity",
    summary: "The k rows of a table whose vector is most similar to a given one by cosine.",
    arguments: &[
        Parameter {
            name: "table",
            kind: "text",
            summary: "name of a table or view, as in SQL",
        },
        Parameter {
            name: "column",
            kind: "text",
            summary: "its column of vectors; rows where it is NULL or a zero vector are left out",
        },
        Parameter {
            name: "vector",
            kind: "list of numbers, or a subquery of one row",
            summary: "what to search for; from a row: (SELECT pre_mlp FROM examples WHERE ...)",
        },
        Parameter {
            name: "k",
            kind: "whole number, at least 1",
            summary: "most rows given; default 10",
        },
    ],
    required: 3,
    options: &[Parameter {
        name: "min_similarity",
        kind: "number in [-1, 1]",
        summary: "least similarity given; default -1",
    }],
    returns: "the table's columns and similarity, the most similar first; equally similar rows by their other columns, \
              from the left, lists left out. A filter outside is applied to the k rows; to search a part of a table, \
              name a view of that part",
    example: "SELECT layer, neuron, token, similarity FROM nearest('examples', 'pre_mlp', \
              (SELECT pre_mlp FROM examples WHERE layer = 0 AND neuron = 1 AND example = 0), 5)",
    replaces: None,
};

/// The catalogue entry.
pub fn function() -> Function {
    Function {
        doc: &DOC,
        implementation: Implementation::Table(Arc::new(Nearest)),
    }
}

/// Place of the argument `vector`.
const VECTOR: usize = 2;

#[derive(Debug)]
struct Nearest;

impl TableFunctionImpl for Nearest {
    fn call_with_args(&self, args: TableFunctionArgs) -> Result<Arc<dyn TableProvider>> {
        let mut exprs = args.exprs().to_vec();
        let query = taken_subquery(&mut exprs)?;
        let arguments = Arguments::parse(&DOC, &exprs)?;
        let required = |name: &str| match arguments.text(name)? {
            Some(text) => Ok(text),
            None => plan_err!("nearest: {name} must be text, got NULL"),
        };
        let (table, column) = (required("table")?, required("column")?);
        let k = match arguments.integer("k")?.unwrap_or(10) {
            k if k >= 1 => k as usize,
            k => return plan_err!("nearest: k must be at least 1, got {k}"),
        };
        let min_similarity = match arguments.number("min_similarity")?.unwrap_or(-1.0) {
            least if (-1.0..=1.0).contains(&least) => least,
            least => return plan_err!("nearest: min_similarity must be in [-1, 1], got {least}"),
        };
        let query = match query {
            Some(plan) => Sought::Row(plan),
            None => Sought::Vector(literal_vector(&arguments)?),
        };
        // Planning is not asynchronous. The catalogs of tables in memory and of a store answer at once.
        let Some(found) =
            tables::table_by_reference(args.session(), DOC.name, &table).now_or_never()
        else {
            return plan_err!(
                "nearest: a table of a catalog that answers without waiting is required, got '{table}'"
            );
        };
        let rows = found?.schema();
        let call = TableReference::bare(call(&arguments, &query));
        let mut nearest = NearestTable {
            schema: Arc::new(with_similarity(&rows)),
            table,
            search: Search {
                function: DOC.name,
                column,
                k,
                min_similarity,
                other_than: None,
                any_width: false,
            },
            query,
            plan: None,
        };
        nearest.check(&rows)?;
        let source = provider_as_source(Arc::new(nearest.clone()));
        nearest.plan = Some(LogicalPlanBuilder::scan(call, source, None)?.build()?);
        Ok(Arc::new(nearest))
    }
}

/// What is searched for, as it was written.
#[derive(Debug, Clone)]
enum Sought {
    Vector(ScalarValue),
    Row(Arc<LogicalPlan>),
}

/// Takes the argument `vector` out, with NULL in its place, if it is a subquery.
fn taken_subquery(exprs: &mut [Expr]) -> Result<Option<Arc<LogicalPlan>>> {
    let Some(expr) = exprs.get_mut(VECTOR) else {
        return Ok(None);
    };
    let Expr::ScalarSubquery(subquery) = expr else {
        return Ok(None);
    };
    if let Some(outer) = subquery.outer_ref_columns.first() {
        return plan_err!(
            "nearest: vector must be a subquery that stands for itself, got one of {outer}"
        );
    }
    let plan = Arc::clone(&subquery.subquery);
    let kind = plan.schema().field(0).data_type();
    require_vectors(DOC.name, &["vector"], std::slice::from_ref(kind))?;
    *expr = Expr::Literal(ScalarValue::Null, None);
    Ok(Some(plan))
}

fn literal_vector(arguments: &Arguments) -> Result<ScalarValue> {
    let Some(vector) = arguments.get("vector") else {
        return plan_err!("nearest: vector must be a list of numbers, got NULL");
    };
    if !is_vector(&vector.data_type()) {
        return plan_err!("nearest: vector must be a list of numbers, got {vector}");
    }
    query_of(DOC.name, &vector.to_array()?, 0)?;
    Ok(vector.clone())
}

/// The call by which the optimizer tells it from another: vectors are long, so by their hash.
fn call(arguments: &Arguments, query: &Sought) -> String {
    let mut hasher = DefaultHasher::new();
    match query {
        Sought::Vector(vector) => vector.hash(&mut hasher),
        Sought::Row(plan) => plan.hash(&mut hasher),
    }
    let [table, column, k, least] = ["table", "column", "k", "min_similarity"].map(|name| {
        arguments
            .get(name)
            .map_or(String::new(), ScalarValue::to_string)
    });
    let hash = hasher.finish();
    format!("nearest({table}, {column}, vector {hash:016x}, {k}, {least})")
}

#[derive(Debug, Clone)]
struct NearestTable {
    schema: SchemaRef,
    table: String,
    search: Search,
    query: Sought,
    /// A scan of this same table named by the whole call, as the optimizer takes scans of one name for equal.
    plan: Option<LogicalPlan>,
}

impl NearestTable {
    /// Refuses rows that cannot be searched.
    fn check(&self, rows: &SchemaRef) -> Result<()> {
        let (table, column) = (&self.table, &self.search.column);
        let Ok(field) = rows.field_with_name(column) else {
            let known: Vec<_> = rows.fields().iter().map(|f| f.name().as_str()).collect();
            return plan_err!(
                "nearest: table '{table}' must have a column '{column}', got {}",
                known.join(", ")
            );
        };
        let name = format!("column '{column}'");
        require_vectors(DOC.name, &[&name], std::slice::from_ref(field.data_type()))?;
        if rows.index_of(SIMILARITY).is_ok() {
            return plan_err!(
                "nearest: table '{table}' must have no column '{SIMILARITY}', which is added, got one"
            );
        }
        Ok(())
    }
}

#[async_trait]
impl TableProvider for NearestTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Temporary
    }

    fn get_logical_plan(&self) -> Option<Cow<'_, LogicalPlan>> {
        self.plan.as_ref().map(Cow::Borrowed)
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        _: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let table = tables::table_by_reference(state, DOC.name, &self.table).await?;
        if with_similarity(&table.schema()) != *self.schema {
            return plan_err!(
                "nearest: table '{}' must have the columns it had when the call was planned, got others",
                self.table
            );
        }
        let n_columns = self.schema.fields().len() - 1;
        let all = (0..=n_columns).collect();
        let wanted = projection.unwrap_or(&all);
        let needed: Vec<usize> = (0..n_columns)
            .filter(|&i| {
                let field = self.schema.field(i);
                wanted.contains(&i)
                    || *field.name() == self.search.column
                    || orders_ties(field.data_type())
            })
            .collect();
        let output = wanted
            .iter()
            .map(|column| match needed.iter().position(|n| n == column) {
                Some(place) => place,
                None => needed.len(),
            })
            .collect();
        let target = match &self.query {
            Sought::Row(plan) => Target::OnlyRow(state.create_physical_plan(plan).await?),
            Sought::Vector(vector) => Target::Vector(query_of(DOC.name, &vector.to_array()?, 0)?),
        };
        let rows = table.scan(state, Some(&needed), &[], None).await?;
        let mut search = self.search.clone();
        search.k = search.k.min(limit.unwrap_or(usize::MAX).max(1));
        Ok(Arc::new(NearestExec::try_new(
            search, target, rows, output,
        )?))
    }
}
