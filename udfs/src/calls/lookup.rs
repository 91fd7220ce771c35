//! Tables named in an argument. A statement's tables are looked up before it is planned, but only those in a FROM
//! clause; a table function is what DataFusion hands the session to, so one of them does the look-up.

use std::sync::Arc;

use datafusion::catalog::{TableFunctionArgs, TableFunctionImpl, TableProvider};
use datafusion::common::{Result, ScalarValue, TableReference, internal_err, plan_err};
use datafusion::logical_expr::Expr;
use futures::FutureExt;

use crate::arrow::tables::table_by_reference;

/// A name no statement can write: the stock planner takes a call's first identifier, in which a dot stays quoted.
pub(super) const NAME: &str = "polysema.lookup";

/// The table named by its second argument, for the function named by its first.
#[derive(Debug)]
pub(super) struct Lookup;

impl Lookup {
    /// The arguments for the table `name`.
    pub(super) fn arguments(function: &str, name: &TableReference) -> Vec<Expr> {
        [function.to_string(), name.to_quoted_string()]
            .map(|text| Expr::Literal(ScalarValue::from(text), None))
            .to_vec()
    }
}

impl TableFunctionImpl for Lookup {
    fn call_with_args(&self, args: TableFunctionArgs) -> Result<Arc<dyn TableProvider>> {
        let [Expr::Literal(function, _), Expr::Literal(name, _)] = args.exprs() else {
            return internal_err!("a function and a table are looked up");
        };
        let (Some(Some(function)), Some(Some(name))) = (function.try_as_str(), name.try_as_str())
        else {
            return internal_err!("a function and a table are looked up by name");
        };
        // Planning cannot wait; catalogs in memory and of stores answer at once.
        match table_by_reference(args.session(), function, name).now_or_never() {
            Some(table) => table,
            None => plan_err!(
                "{function}: a table that is known at once is required, got '{name}' (write it as a query: (SELECT * FROM {name}))"
            ),
        }
    }
}

/// The table an expression names: text, or what looks like a column.
pub(super) fn table_name(expr: &Expr) -> Option<TableReference> {
    match expr {
        Expr::Literal(value, _) => value.try_as_str().flatten().map(TableReference::from),
        Expr::Column(column) => Some(match &column.relation {
            None => TableReference::bare(column.name.clone()),
            Some(schema) => match schema.schema() {
                None => TableReference::partial(schema.table(), column.name.clone()),
                Some(catalog) => TableReference::full(catalog, schema.table(), column.name.clone()),
            },
        }),
        Expr::Alias(alias) => table_name(&alias.expr),
        _ => None,
    }
}
