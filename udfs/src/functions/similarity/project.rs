//! Vectors of any table as points in the few directions in which they vary most.
//!
//! ```text
//! X [n, d]     the rows' vectors minus their mean
//! X = U S V^T  coordinates = X V[.., ..k], the entry of largest magnitude in each column of V positive
//! ```
//!
//! The same rows give the same coordinates, in whatever order they come.
//!
//! Errors: vectors of several widths, a NaN or an infinity.
//! Cost: n d m + m^3 multiplications in float64 and n d + 2 m^2 numbers of memory beside the rows, m = min(n, d).
//! Source: scikit-learn's `PCA` with `svd_solver='full'`, whose signs are fixed in the same way since version 1.5.

use std::sync::Arc;

use datafusion::arrow::datatypes::SchemaRef;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::{Result, plan_err};
use datafusion::logical_expr::{Expr, LogicalPlanBuilder, TableType};
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::projection::{ProjectionExec, ProjectionExpr};

use crate::arrow::vectors::require_vectors;
use crate::calls::{
    Arguments, Function, FunctionDoc, Implementation, Parameter, RELATION, Relation, TableFunction,
};
use crate::scan_by_plan;
use crate::similarity::projection::{ProjectExec, Projecting, with_coordinates};

/// Chosen, not tuned.
const MOST_COMPONENTS: i64 = 100;

static DOC: FunctionDoc = FunctionDoc {
    name: "project",
    chapter: "similarity",
    summary: "The rows of a table with their vector's principal components (PCA): points of a plane for a plot.",
    arguments: &[
        Parameter {
            name: "table",
            kind: RELATION,
            summary: "whose rows are given; a part of a table as a query",
        },
        Parameter {
            name: "column",
            kind: "text",
            summary: "its column of vectors, all of one width",
        },
        Parameter {
            name: "n_components",
            kind: "whole number in [1, 100]",
            summary: "coordinates that are added; default 2",
        },
    ],
    required: 2,
    options: &[Parameter {
        name: "normalize",
        kind: "boolean",
        summary: "take vectors at length 1, as cosine distances do; default false",
    }],
    returns: "pc1 (the coordinate in the direction in which the vectors vary most, from their mean; it comes after the \
              table's own columns; NULL where the vector is, and with normalize of a zero vector), pc2 (in the \
              direction at right angles to it, and so on; 0 where the vectors have no further one); every row of the table. A \
              filter outside is applied to the projected rows",
    example: "SELECT example, round(pc1, 4) AS pc1, round(pc2, 4) AS pc2 FROM project( \
              (SELECT example, pre_mlp FROM examples WHERE layer = 0 AND neuron = 1), 'pre_mlp', 2) ORDER BY example LIMIT 3",
    replaces: None,
};

/// The catalogue entry.
pub fn function() -> Function {
    Function {
        doc: &DOC,
        implementation: Implementation::Table(Arc::new(Project)),
    }
}

#[derive(Debug)]
struct Project;

impl TableFunction for Project {
    fn schema(&self, arguments: &Arguments) -> Result<SchemaRef> {
        let rows = required_relation(arguments)?.plan.schema().inner();
        let schema = with_coordinates(rows, n_components(arguments)?);
        Ok(Arc::new(schema))
    }

    fn table(&self, arguments: Arguments) -> Result<Arc<dyn TableProvider>> {
        let relation = required_relation(&arguments)?;
        let Some(column) = arguments.text("column")? else {
            return plan_err!("project: column must be text, got NULL");
        };
        let what = Projecting {
            function: DOC.name,
            column,
            n_components: n_components(&arguments)?,
            normalize: arguments.boolean("normalize")?.unwrap_or(false),
        };
        let rows = relation.plan.schema().inner();
        check(&relation.written, rows, &what)?;
        Ok(Arc::new(ProjectTable {
            schema: self.schema(&arguments)?,
            table: relation.clone(),
            what,
        }))
    }
}

fn required_relation(arguments: &Arguments) -> Result<&Relation> {
    match arguments.relation("table") {
        Some(relation) => Ok(relation),
        None => plan_err!("project: table must be a {RELATION}, got NULL"),
    }
}

fn n_components(arguments: &Arguments) -> Result<usize> {
    match arguments.integer("n_components")?.unwrap_or(2) {
        n if (1..=MOST_COMPONENTS).contains(&n) => Ok(n as usize),
        n => plan_err!("project: n_components must be in [1, {MOST_COMPONENTS}], got {n}"),
    }
}

/// Refuses rows that cannot be projected.
fn check(table: &str, rows: &SchemaRef, what: &Projecting) -> Result<()> {
    let column = &what.column;
    let Ok(field) = rows.field_with_name(column) else {
        let known: Vec<_> = rows.fields().iter().map(|f| f.name().as_str()).collect();
        return plan_err!(
            "project: table {table} must have a column '{column}', got {}",
            known.join(", ")
        );
    };
    let name = format!("column '{column}'");
    require_vectors(DOC.name, &[&name], std::slice::from_ref(field.data_type()))?;
    let mut added = Projecting::names(what.n_components);
    match added.find(|name| rows.index_of(name).is_ok()) {
        None => Ok(()),
        Some(name) => {
            plan_err!(
                "project: table {table} must have no column '{name}', which is added, got one"
            )
        }
    }
}

#[derive(Debug, Clone)]
struct ProjectTable {
    schema: SchemaRef,
    table: Relation,
    what: Projecting,
}

impl ProjectTable {
    async fn plan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        _: &[Expr],
        _: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let n_columns = self.schema.fields().len() - self.what.n_components;
        let all = (0..self.schema.fields().len()).collect();
        let wanted = projection.unwrap_or(&all);
        let needed: Vec<usize> = (0..n_columns)
            .filter(|i| wanted.contains(i) || *self.schema.field(*i).name() == self.what.column)
            .collect();
        let plan = self.table.plan.as_ref().clone();
        let columns = plan.schema().columns();
        let columns = needed.iter().map(|&i| Expr::Column(columns[i].clone()));
        let rows = LogicalPlanBuilder::from(plan).project(columns)?.build()?;
        let rows = state.create_physical_plan(&rows).await?;
        let projected = Arc::new(ProjectExec::new(self.what.clone(), rows));
        let output = wanted.iter().map(|&column| {
            let place = match needed.iter().position(|n| *n == column) {
                Some(place) => place,
                None => needed.len() + column - n_columns,
            };
            let name = self.schema.field(column).name();
            ProjectionExpr::new(Arc::new(Column::new(name, place)), name.clone())
        });
        let output: Vec<_> = output.collect();
        Ok(Arc::new(ProjectionExec::try_new(output, projected)?))
    }
}

impl TableProvider for ProjectTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Temporary
    }

    scan_by_plan!(ProjectTable);
}
