//! A table function that can be called, and what its arguments may be made of.

use std::sync::Arc;

use datafusion::catalog::TableProvider;
use datafusion::common::{DFSchema, Result, TableReference};
use datafusion::datasource::provider_as_source;
use datafusion::logical_expr::simplify::SimplifyContext;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder};
use datafusion::optimizer::simplify_expressions::ExprSimplifier;

use super::arguments::{Arguments, Values};
use super::document::{FunctionDoc, RUN};
use super::function::TableFunction;
use super::in_schema::InSchema;

/// A table function with its document.
#[derive(Debug, Clone)]
pub struct Callable {
    /// What users read.
    pub doc: &'static FunctionDoc,
    /// What makes the table.
    pub function: Arc<dyn TableFunction>,
}

impl Callable {
    /// A scan of the call, named by the whole of it. DataFusion names a call after its function alone and takes scans
    /// of one name for equal, so that two subqueries with other arguments would be answered as one.
    pub(super) fn scan(&self, values: Values) -> Result<LogicalPlan> {
        let arguments = Arguments::new(self.doc, values)?;
        let call = TableReference::bare(arguments.call());
        let source = provider_as_source(self.table(arguments)?);
        LogicalPlanBuilder::scan(call, source, None)?.build()
    }

    /// The table of a call, of the run it names.
    pub(super) fn table(&self, arguments: Arguments) -> Result<Arc<dyn TableProvider>> {
        let run = arguments.run().map(str::to_string);
        let table = self.function.table(arguments)?;
        Ok(match run {
            Some(run) => Arc::new(InSchema::named(table, &run, self.doc.name)),
            None => table,
        })
    }

    /// What an alias-free FROM clause calls the rows: those of two runs are told apart.
    pub(super) fn name(&self, values: &Values) -> TableReference {
        let run = values.iter().find(|(parameter, _)| **parameter == RUN);
        let run = run.and_then(|(_, value)| match value {
            Expr::Literal(value, _) => value.try_as_str().flatten(),
            _ => None,
        });
        match run {
            Some(run) => TableReference::partial(run, self.doc.name),
            None => TableReference::bare(self.doc.name),
        }
    }
}

/// An expression of literals as one literal.
pub(super) fn evaluated(expr: Expr) -> Result<Expr> {
    let simplifier = ExprSimplifier::new(SimplifyContext::default());
    let expr = simplifier.coerce(expr, &DFSchema::empty())?;
    simplifier.simplify(expr)
}

/// Whether a part of the expression is of this kind.
pub(super) fn has(expr: &Expr, kind: fn(&Expr) -> bool) -> Result<bool> {
    use datafusion::common::tree_node::TreeNode;
    expr.exists(|part| Ok(kind(part)))
}

pub(super) fn is_parameter(expr: &Expr) -> bool {
    matches!(expr, Expr::Placeholder(_))
}

pub(super) fn is_query(expr: &Expr) -> bool {
    matches!(
        expr,
        Expr::ScalarSubquery(_) | Expr::Exists(_) | Expr::InSubquery(_) | Expr::SetComparison(_)
    )
}
