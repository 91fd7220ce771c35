//! Plans a call in FROM: which function, which argument each value is for, and what can only be known later.
//!
//! A value that is a literal becomes an argument. A parameter of a prepared statement parks the call until it has a
//! value. A column of an outer table, or a query's one value, becomes a filter where the argument is a key of the rows,
//! which the optimizer turns into a join; elsewhere it is refused.

use std::sync::Arc;

use datafusion::common::utils::datafusion_strsim::levenshtein;
use datafusion::common::{Column, DFSchema, Result, TableReference, plan_err};
use datafusion::logical_expr::planner::{
    PlannedRelation, RelationPlanner, RelationPlannerContext, RelationPlanning,
};
use datafusion::logical_expr::utils::conjunction;
use datafusion::logical_expr::{Expr, ExprSchemable, LogicalPlan, LogicalPlanBuilder};
use datafusion::sql::sqlparser::ast::{
    self, FunctionArg, FunctionArgExpr, FunctionArguments, Ident, ObjectName, TableAlias,
    TableFactor, TableWithJoins,
};

use super::lookup::{self, Lookup};
use super::parked::Parked;
use super::positional::table_name;
use super::{Callable, evaluated, has, is_parameter, is_query};
use crate::bridge::arguments::{Relation, Values, Written, shown, sort};
use crate::bridge::document::Parameter;

/// The planner of calls of these functions.
#[derive(Debug)]
pub(super) struct CallPlanner {
    functions: Vec<Callable>,
}

impl CallPlanner {
    pub(super) fn new(functions: Vec<Callable>) -> Self {
        Self { functions }
    }

    /// Says which functions there are.
    fn unknown<T>(&self, name: &str) -> Result<T> {
        let mut known: Vec<_> = self.functions.iter().map(|f| f.doc.name).collect();
        known.sort_unstable();
        // A slip of the hand; beyond two letters another word is meant.
        let wanted = name.to_ascii_lowercase();
        let near: Vec<_> = known
            .iter()
            .filter(|known| levenshtein(known, &wanted) <= 2)
            .map(|known| format!("'{known}'"))
            .collect();
        let near = match near.is_empty() {
            true => String::new(),
            false => format!(" (is {} meant?)", near.join(" or ")),
        };
        plan_err!(
            "FROM: table functions are {}, got '{name}'{near}",
            known.join(", ")
        )
    }
}

impl RelationPlanner for CallPlanner {
    fn plan_relation(
        &self,
        relation: TableFactor,
        context: &mut dyn RelationPlannerContext,
    ) -> Result<RelationPlanning> {
        let Some((ident, call)) = Call::read(&relation) else {
            return Ok(RelationPlanning::Original(Box::new(relation)));
        };
        let name = context.normalize_ident(ident.clone());
        let Some(function) = self.functions.iter().find(|f| f.doc.name == name) else {
            // The stock planner looks a call up as it is written.
            let written = ident.to_string();
            let provider = context.context_provider();
            return match provider.get_table_function_source(&written, vec![]) {
                Err(error) if error.message().ends_with("not found") => self.unknown(&ident.value),
                _ => Ok(RelationPlanning::Original(Box::new(relation))),
            };
        };
        call.refuse_clauses(function)?;
        let values = call.values(function, context)?;
        let open = |expr: &Expr| has(expr, |part| matches!(part, Expr::Column(_)));
        let mut planned = PlannedRelation::new(LogicalPlan::default(), None);
        if !call.lateral && any(&values, open)? {
            planned.plan = context.plan(call.into_lateral(ident))?;
        } else {
            planned.plan = plan(function, values)?;
            planned.alias = call.alias;
        }
        Ok(RelationPlanning::Planned(Box::new(planned)))
    }
}

fn any(values: &Values, test: impl Fn(&Expr) -> Result<bool>) -> Result<bool> {
    for (_, value) in values {
        if test(value)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// A call as the parser read it.
struct Call {
    args: Vec<FunctionArg>,
    alias: Option<TableAlias>,
    /// Whether columns of the tables to the left are in scope.
    lateral: bool,
    /// A clause after the call that would be ignored.
    clause: Option<&'static str>,
}

impl Call {
    /// The call's name and the call, if that is what the relation is.
    fn read(relation: &TableFactor) -> Option<(Ident, Self)> {
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
                    args: list.args.clone(),
                    alias: alias.clone(),
                    lateral: false,
                    clause: None,
                };
                (&function.name, call)
            }
            _ => return None,
        };
        match name.0.as_slice() {
            [only] => Some((only.as_ident()?.clone(), call)),
            _ => None,
        }
    }

    fn refuse_clauses(&self, function: &Callable) -> Result<()> {
        match self.clause {
            None => Ok(()),
            Some(clause) => plan_err!(
                "{}: a call without further clauses is required, got {clause}",
                function.doc.name
            ),
        }
    }

    /// The same call with the tables to the left in scope.
    fn into_lateral(self, name: Ident) -> TableFactor {
        let call = TableFactor::Function {
            lateral: true,
            name: ObjectName::from(vec![name]),
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
    fn values(
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
            written.push(Written { name, value });
        }
        let mut values = sort(doc, written)?;
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
        ast::Expr::Identifier(ident) if parameter.takes_table() => {
            named_table(function, vec![ident.clone()], context)
        }
        ast::Expr::CompoundIdentifier(idents) if parameter.takes_table() => {
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

/// The rows of the call with these values.
fn plan(function: &Callable, values: Values) -> Result<LogicalPlan> {
    let (arguments, filters) = divide(function, values)?;
    let parked = any(&arguments, |value| match Relation::of(value) {
        Some(relation) => Ok(!relation.plan.get_parameter_names()?.is_empty()),
        None => has(value, is_parameter),
    })?;
    let rows = if parked {
        LogicalPlanBuilder::from(Parked::plan(function, arguments)?)
    } else {
        LogicalPlanBuilder::from(function.scan(arguments)?).alias(function.name())?
    };
    match conjunction(filters) {
        None => rows.build(),
        Some(filter) => {
            let (filter, _) = filter.infer_placeholder_types(rows.schema())?;
            rows.filter(filter)?.build()
        }
    }
}

/// The values that are arguments, evaluated, and the filters that stand for the others.
fn divide(function: &Callable, values: Values) -> Result<(Values, Vec<Expr>)> {
    let name = function.doc.name;
    let (mut arguments, mut filters) = (Values::new(), Vec::new());
    // Keys before the first that is open stay arguments, those after it narrow it down.
    let mut open = None;
    let mut left_out = None;
    let keys = function.doc.arguments.iter();
    let mut keys = keys.filter(|parameter| function.function.is_key(parameter.name));
    for (parameter, mut value) in values {
        let related = Relation::of(&value).is_some();
        let outer = !related && (value.contains_outer() || has(&value, is_query)?);
        if !related && !outer && !has(&value, |e| is_parameter(e) || matches!(e, Expr::Column(_)))?
        {
            value = evaluated(value)?;
        }
        if !function.function.is_key(parameter.name) {
            arguments.push((parameter, value));
            continue;
        }
        while let Some(key) = keys.next()
            && key.name != parameter.name
        {
            left_out = left_out.or(Some(key.name));
        }
        let is_null = matches!(&value, Expr::Literal(value, _) if value.is_null());
        if is_null {
            left_out = left_out.or(Some(parameter.name));
        }
        if outer {
            open = open.or(Some(parameter.name));
            require_integer(function, parameter, &value)?;
        }
        if let Some(given) = open
            && let Some(left_out) = left_out
            && !is_null
        {
            return plan_err!("{name}: {left_out} must be given with a {given}, got NULL");
        }
        match open {
            None => arguments.push((parameter, value)),
            Some(_) if is_null => {}
            Some(_) => {
                let column = Column::new(Some(function.name()), parameter.name);
                filters.push(Expr::Column(column).eq(value));
            }
        }
    }
    Ok((arguments, filters))
}

/// A key that is compared, not looked up, cannot be a name.
fn require_integer(function: &Callable, parameter: &Parameter, value: &Expr) -> Result<()> {
    if has(value, is_parameter)? {
        return Ok(());
    }
    let data_type = value.get_type(&DFSchema::empty())?;
    if data_type.is_integer() || data_type.is_null() {
        return Ok(());
    }
    plan_err!(
        "{}: {} must be a whole number, got {} of type {data_type}",
        function.doc.name,
        parameter.name,
        shown(value)
    )
}
