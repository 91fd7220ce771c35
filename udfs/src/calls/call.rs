//! A call as the parser read it: its name, its values as expressions, the tables and queries among them.

use std::sync::Arc;

use datafusion::common::{DFSchema, Result, ScalarValue, TableReference, plan_err};
use datafusion::logical_expr::planner::RelationPlannerContext;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder};
use datafusion::sql::sqlparser::ast::{
    self, FunctionArg, FunctionArgExpr, FunctionArguments, Ident, ObjectName, TableAlias,
    TableFactor, TableWithJoins,
};

use super::arguments::{Relation, Values, shown};
use super::binding::{WrittenArgument, bind};
use super::callable::Callable;
use super::document::{Parameter, RUN};
use super::lookup::{self, Lookup, table_name};

/// The function that a relation calls and what stands before its name, as they are written; for a session that owns all
/// names.
pub fn called(relation: &TableFactor) -> Option<(Ident, Vec<Ident>)> {
    Call::read(relation).map(|(name, call)| (name, call.before))
}

/// A call in FROM.
pub(super) struct Call {
    /// What stands before the function's name.
    before: Vec<Ident>,
    args: Vec<FunctionArg>,
    pub(super) alias: Option<TableAlias>,
    /// Whether columns of the tables to the left are in scope.
    pub(super) lateral: bool,
    /// A clause after the call that would be ignored.
    clause: Option<&'static str>,
}

impl Call {
    /// The call's name and the call, if that is what the relation is.
    pub(super) fn read(relation: &TableFactor) -> Option<(Ident, Self)> {
        let (name, call) = match relation {
            TableFactor::Table {
                name,
                alias,
                args: Some(args),
                with_ordinality,
                sample,
                ..
            } => {
                let clauses = [
                    (args.settings.is_some(), "SETTINGS"),
                    (*with_ordinality, "WITH ORDINALITY"),
                    (sample.is_some(), "TABLESAMPLE"),
                ];
                let call = Self {
                    before: vec![],
                    args: args.args.clone(),
                    alias: alias.clone(),
                    lateral: false,
                    clause: clauses.iter().find(|(is, _)| *is).map(|(_, name)| *name),
                };
                (name, call)
            }
            TableFactor::Function {
                lateral,
                name,
                args,
                with_ordinality,
                alias,
            } => {
                let call = Self {
                    before: vec![],
                    args: args.clone(),
                    alias: alias.clone(),
                    lateral: *lateral,
                    clause: with_ordinality.then_some("WITH ORDINALITY"),
                };
                (name, call)
            }
            TableFactor::TableFunction {
                expr: ast::Expr::Function(function),
                alias,
            } => {
                let FunctionArguments::List(list) = &function.args else {
                    return None;
                };
                let call = Self {
                    before: vec![],
                    args: list.args.clone(),
                    alias: alias.clone(),
                    lateral: false,
                    clause: None,
                };
                (&function.name, call)
            }
            _ => return None,
        };
        let (name, before) = name.0.split_last()?;
        let before = before.iter().map(|part| part.as_ident().cloned());
        let before = before.collect::<Option<_>>()?;
        Some((name.as_ident()?.clone(), Self { before, ..call }))
    }

    /// The run before the function's name.
    fn run(
        &self,
        function: &Callable,
        context: &dyn RelationPlannerContext,
    ) -> Result<Option<String>> {
        let name = function.doc.name;
        match self.before.as_slice() {
            [] => Ok(None),
            [run] if function.doc.reads_run() => Ok(Some(context.normalize_ident(run.clone()))),
            [run] => plan_err!(
                "{name}: a call without a run is required, since it reads none, got {run}.{name}()"
            ),
            parts => {
                let parts: Vec<_> = parts.iter().map(Ident::to_string).collect();
                plan_err!(
                    "{name}: one name, that of a run, is required before {name}, got {}",
                    parts.join(".")
                )
            }
        }
    }

    /// Refuses a clause that would have no effect.
    pub(super) fn refuse_clauses(&self, function: &Callable) -> Result<()> {
        match self.clause {
            None => Ok(()),
            Some(clause) => plan_err!(
                "{}: a call without further clauses is required, got {clause}",
                function.doc.name
            ),
        }
    }

    /// The same call with the tables to the left in scope.
    pub(super) fn into_lateral(mut self, name: Ident) -> TableFactor {
        self.before.push(name);
        let call = TableFactor::Function {
            lateral: true,
            name: ObjectName::from(self.before),
            args: self.args,
            with_ordinality: false,
            alias: self.alias,
        };
        // Only as a part of a join is the left side put in scope.
        TableFactor::NestedJoin {
            table_with_joins: Box::new(TableWithJoins {
                relation: call,
                joins: vec![],
            }),
            alias: None,
        }
    }

    /// The values written, each with its place in the document.
    pub(super) fn values(
        &self,
        function: &Callable,
        context: &mut dyn RelationPlannerContext,
    ) -> Result<Values> {
        let doc = function.doc;
        let mut written = Vec::with_capacity(self.args.len());
        for (i, arg) in self.args.iter().enumerate() {
            let (name, value) = match arg {
                FunctionArg::Named { name, arg, .. }
                | FunctionArg::ExprNamed {
                    name: ast::Expr::Identifier(name),
                    arg,
                    ..
                } => (Some(context.normalize_ident(name.clone())), arg),
                FunctionArg::Unnamed(arg) => (None, arg),
                other => {
                    return plan_err!(
                        "{}: an argument's name must be one word, got {other}",
                        doc.name
                    );
                }
            };
            let FunctionArgExpr::Expr(value) = value else {
                return plan_err!("{}: values are required, got {value}", doc.name);
            };
            let parameter = match &name {
                None => doc.arguments.get(i),
                Some(name) => {
                    let mut parameters = doc.arguments.iter().chain(doc.options);
                    parameters.find(|parameter| parameter.name == name)
                }
            };
            let value = match parameter {
                Some(parameter) => value_of(function, parameter, value, context)?,
                None => context.sql_expr_to_logical_expr(value.clone(), &DFSchema::empty())?,
            };
            written.push(WrittenArgument { name, value });
        }
        let mut values = bind(doc, written)?;
        if let Some(run) = self.run(function, context)? {
            if values.iter().any(|(parameter, _)| **parameter == RUN) {
                return plan_err!(
                    "{0}: either the option run or a run before the name is required, got both and {run}.{0}()",
                    doc.name
                );
            }
            values.push((&RUN, Expr::Literal(ScalarValue::from(run), None)));
        }
        for (parameter, value) in &mut values {
            if parameter.takes_table()
                && let Expr::Literal(..) = value
                && let Some(name) = table_name(value)
            {
                *value = table(function, name, context)?;
            }
        }
        Ok(values)
    }
}

/// A value as an expression; a table or a query of its own where the argument is one.
fn value_of(
    function: &Callable,
    parameter: &'static Parameter,
    value: &ast::Expr,
    context: &mut dyn RelationPlannerContext,
) -> Result<Expr> {
    match value {
        ast::Expr::Nested(inner) => value_of(function, parameter, inner, context),
        ast::Expr::Subquery(query) if parameter.takes_query() => {
            let plan = context.plan(TableFactor::Derived {
                lateral: false,
                subquery: query.clone(),
                alias: None,
                sample: None,
            })?;
            if let Some(outer) = plan.all_out_ref_exprs().first() {
                return plan_err!(
                    "{}: {} must be a query of its own, got one that refers to {}",
                    function.doc.name,
                    parameter.name,
                    shown(outer)
                );
            }
            let relation = Relation {
                plan: Arc::new(plan),
                written: format!("({query})"),
            };
            Ok(relation.into_expr())
        }
        ast::Expr::Identifier(ident) if parameter.takes_table_name() => {
            named_table(function, vec![ident.clone()], context)
        }
        ast::Expr::CompoundIdentifier(idents) if parameter.takes_table_name() => {
            named_table(function, idents.clone(), context)
        }
        _ => context.sql_expr_to_logical_expr(value.clone(), &DFSchema::empty()),
    }
}

/// A table of the statement by that name, a CTE or one that FROM names too, else one of the session.
fn named_table(
    function: &Callable,
    name: Vec<Ident>,
    context: &mut dyn RelationPlannerContext,
) -> Result<Expr> {
    let name = ObjectName::from(name);
    let reference = context.object_name_to_table_reference(name.clone())?;
    let of_statement = TableFactor::Table {
        name,
        alias: None,
        args: None,
        with_hints: vec![],
        version: None,
        with_ordinality: false,
        partitions: vec![],
        json_path: None,
        sample: None,
        index_hints: vec![],
    };
    let Ok(plan) = context.plan(of_statement) else {
        return table(function, reference, context);
    };
    // Two queries of one statement may each have a CTE of this name; their calls must not be taken for equal.
    let written = match &plan {
        LogicalPlan::TableScan(_) => reference.to_quoted_string(),
        plan => format!("{} as {plan}", reference.to_quoted_string()),
    };
    let plan = Arc::new(plan);
    Ok(Relation { plan, written }.into_expr())
}

/// A table of the session.
fn table(
    function: &Callable,
    name: TableReference,
    context: &mut dyn RelationPlannerContext,
) -> Result<Expr> {
    let arguments = Lookup::arguments(function.doc.name, &name);
    let source = context
        .context_provider()
        .get_table_function_source(lookup::NAME, arguments)?;
    let written = name.to_quoted_string();
    let plan = Arc::new(LogicalPlanBuilder::scan(name, source, None)?.build()?);
    Ok(Relation { plan, written }.into_expr())
}
