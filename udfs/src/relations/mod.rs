//! Calls of table functions in FROM: named arguments, any letter case, tables and queries as arguments, parameters of
//! prepared statements, columns of outer tables.
//!
//! DataFusion's own path, which knows positions only, stays open beside the planner.

mod call;
mod lookup;
mod parked;
mod planner;
mod positional;

use std::sync::Arc;

use datafusion::common::{DFSchema, Result, TableReference};
use datafusion::datasource::provider_as_source;
use datafusion::execution::context::SessionContext;
use datafusion::logical_expr::simplify::SimplifyContext;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder};
use datafusion::optimizer::simplify_expressions::ExprSimplifier;

use crate::bridge::arguments::{Arguments, Values};
use crate::bridge::document::{FunctionDoc, TableFunction};

/// A table function with its document.
#[derive(Debug, Clone)]
pub struct Callable {
    /// What users read.
    pub doc: &'static FunctionDoc,
    /// What makes the table.
    pub function: Arc<dyn TableFunction>,
}

/// Gives a session these functions, by position and by name.
pub fn register(ctx: &SessionContext, functions: Vec<Callable>) -> Result<()> {
    for function in &functions {
        let positional = positional::Positional(function.clone());
        ctx.register_udtf(function.doc.name, Arc::new(positional));
    }
    ctx.register_udtf(lookup::NAME, Arc::new(lookup::Lookup));
    ctx.add_analyzer_rule(Arc::new(parked::CallParked));
    ctx.register_relation_planner(Arc::new(planner::CallPlanner::new(functions)))
}

impl Callable {
    /// A scan of the call, named by the whole of it. DataFusion names a call after its function alone and takes scans
    /// of one name for equal, so that two subqueries with other arguments would be answered as one.
    fn scan(&self, values: Values) -> Result<LogicalPlan> {
        let arguments = Arguments::new(self.doc, values)?;
        let call = TableReference::bare(arguments.call());
        let source = provider_as_source(self.function.table(arguments)?);
        LogicalPlanBuilder::scan(call, source, None)?.build()
    }

    /// What an alias-free FROM clause calls the rows.
    fn name(&self) -> TableReference {
        TableReference::bare(self.doc.name)
    }
}

/// An expression of literals as one literal.
fn evaluated(expr: Expr) -> Result<Expr> {
    let simplifier = ExprSimplifier::new(SimplifyContext::default());
    let expr = simplifier.coerce(expr, &DFSchema::empty())?;
    simplifier.simplify(expr)
}

/// Whether a part of the expression is of this kind.
fn has(expr: &Expr, kind: fn(&Expr) -> bool) -> Result<bool> {
    use datafusion::common::tree_node::TreeNode;
    expr.exists(|part| Ok(kind(part)))
}

fn is_parameter(expr: &Expr) -> bool {
    matches!(expr, Expr::Placeholder(_))
}

fn is_query(expr: &Expr) -> bool {
    matches!(
        expr,
        Expr::ScalarSubquery(_) | Expr::Exists(_) | Expr::InSubquery(_) | Expr::SetComparison(_)
    )
}
