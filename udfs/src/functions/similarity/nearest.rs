//! The rows of any table whose vector lies nearest to a given one, by an exact scan.
//!
//! ```text
//! similarity(row) = <q, v> / (|q| |v|), error <= 1e-6
//! ```
//!
//! Errors: another width than the query's, a NaN or an infinity, a query without direction.
//! Cost: d multiplications a row, in parallel over the table's partitions; memory for k rows and a batch each.

use std::sync::Arc;

use datafusion::arrow::datatypes::SchemaRef;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::{Result, ScalarValue, plan_err};
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, TableType};
use datafusion::physical_plan::ExecutionPlan;

use crate::arrow::tables::SmallTable;
use crate::arrow::vectors::{is_vector, require_vectors};
use crate::calls::{
    Arguments, Function, FunctionDoc, Implementation, Parameter, RELATION, Relation, TableFunction,
};
use crate::scan_by_plan;
use crate::similarity::nearest::{
    SIMILARITY, Search, Target, nearest_rows, orders_ties, query_of, with_similarity,
};

static DOC: FunctionDoc = FunctionDoc {
    name: "nearest",
    chapter: "similarity",
    summary: "The k rows of a table whose vector is most similar to a given one by cosine.",
    arguments: &[
        Parameter {
            name: "table",
            kind: RELATION,
            summary: "what is searched; a part of a table as a query",
        },
        Parameter {
            name: "column",
            kind: "text",
            summary: "its column of vectors; rows where it is NULL or a zero vector are left out",
        },
        Parameter {
            name: "vector",
            kind: "list of numbers or (SELECT ...)",
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
    returns: "similarity (cosine with the vector; it comes after the table's own columns); the most similar first; \
              equally similar rows by their other columns, from the left, lists left out. A filter outside is \
              applied to the k rows",
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

#[derive(Debug)]
struct Nearest;

impl TableFunction for Nearest {
    fn schema(&self, arguments: &Arguments) -> Result<SchemaRef> {
        let relation = required_relation(arguments)?;
        Ok(Arc::new(with_similarity(relation.plan.schema().inner())))
    }

    fn table(&self, arguments: Arguments) -> Result<Arc<dyn TableProvider>> {
        let relation = required_relation(&arguments)?;
        let Some(column) = arguments.text("column")? else {
            return plan_err!("nearest: column must be text, got NULL");
        };
        let k = match arguments.integer("k")?.unwrap_or(10) {
            k if k >= 1 => k as usize,
            k => return plan_err!("nearest: k must be at least 1, got {k}"),
        };
        let min_similarity = match arguments.number("min_similarity")?.unwrap_or(-1.0) {
            least if (-1.0..=1.0).contains(&least) => least,
            least => return plan_err!("nearest: min_similarity must be in [-1, 1], got {least}"),
        };
        let query = match arguments.relation("vector") {
            Some(row) => Sought::Row(one_vector(row)?),
            None => Sought::Vector(literal_vector(&arguments)?),
        };
        let rows = Arc::clone(relation.plan.schema().inner());
        let nearest = NearestTable {
            schema: Arc::new(with_similarity(&rows)),
            table: relation.clone(),
            search: Search {
                function: DOC.name,
                column,
                k,
                min_similarity,
                others_only: false,
                any_width: false,
            },
            query,
        };
        nearest.check(&rows)?;
        Ok(Arc::new(nearest))
    }
}

fn required_relation(arguments: &Arguments) -> Result<&Relation> {
    match arguments.relation("table") {
        Some(relation) => Ok(relation),
        None => plan_err!("nearest: table must be a {RELATION}, got NULL"),
    }
}

/// What is searched for, as it was written.
#[derive(Debug, Clone)]
enum Sought {
    Vector(ScalarValue),
    Row(Arc<LogicalPlan>),
}

/// The query of a vector, checked to have one column.
fn one_vector(relation: &Relation) -> Result<Arc<LogicalPlan>> {
    let schema = relation.plan.schema();
    if schema.fields().len() != 1 {
        return plan_err!(
            "nearest: vector must be one column, got {}",
            schema.fields().len()
        );
    }
    let kind = schema.field(0).data_type();
    require_vectors(DOC.name, &["vector"], std::slice::from_ref(kind))?;
    Ok(Arc::clone(&relation.plan))
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

#[derive(Debug, Clone)]
struct NearestTable {
    schema: SchemaRef,
    table: Relation,
    search: Search,
    query: Sought,
}

impl NearestTable {
    /// Refuses rows that cannot be searched.
    fn check(&self, rows: &SchemaRef) -> Result<()> {
        let (table, column) = (&self.table.written, &self.search.column);
        let Ok(field) = rows.field_with_name(column) else {
            let known: Vec<_> = rows.fields().iter().map(|f| f.name().as_str()).collect();
            return plan_err!(
                "nearest: table {table} must have a column '{column}', got {}",
                known.join(", ")
            );
        };
        let name = format!("column '{column}'");
        require_vectors(DOC.name, &[&name], std::slice::from_ref(field.data_type()))?;
        if rows.index_of(SIMILARITY).is_ok() {
            return plan_err!(
                "nearest: table {table} must have no column '{SIMILARITY}', which is added, got one"
            );
        }
        Ok(())
    }

    async fn plan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        _: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
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
        let output: Vec<usize> = wanted
            .iter()
            .map(|column| match needed.iter().position(|n| n == column) {
                Some(place) => place,
                None => needed.len(),
            })
            .collect();
        let target = match &self.query {
            Sought::Row(plan) => {
                Target::OnlyRow(SmallTable::of(state.create_physical_plan(plan).await?))
            }
            Sought::Vector(vector) => Target::Vector(query_of(DOC.name, &vector.to_array()?, 0)?),
        };
        let plan = self.table.plan.as_ref().clone();
        let columns = plan.schema().columns();
        let columns = needed.iter().map(|&i| Expr::Column(columns[i].clone()));
        let rows = LogicalPlanBuilder::from(plan).project(columns)?.build()?;
        let rows = state.create_physical_plan(&rows).await?;
        let mut search = self.search.clone();
        search.k = search.k.min(limit.unwrap_or(usize::MAX).max(1));
        nearest_rows(search, target, rows, &output)
    }
}

impl TableProvider for NearestTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Temporary
    }

    scan_by_plan!(NearestTable);
}
