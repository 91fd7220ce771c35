//! Plans a call in FROM: which function, which argument each value is for, and what can only be known later.
//!
//! A value that is a literal becomes an argument. A parameter of a prepared statement defers the call until it has a
//! value. A column of an outer table, or a query's one value, becomes a filter where the argument is a key of the rows,
//! which the optimizer turns into a join; elsewhere it is refused.

use datafusion::common::{Column, DFSchema, Result, TableReference, plan_err};
use datafusion::logical_expr::planner::{
    PlannedRelation, RelationPlanner, RelationPlannerContext, RelationPlanning,
};
use datafusion::logical_expr::utils::conjunction;
use datafusion::logical_expr::{Expr, ExprSchemable, LogicalPlan, LogicalPlanBuilder};
use datafusion::sql::sqlparser::ast::TableFactor;

use super::arguments::{Relation, Values, shown};
use super::call::Call;
use super::callable::{Callable, evaluated, has, is_parameter, is_query};
use super::deferred::DeferredCall;
use super::document::Parameter;

/// The planner of calls of these functions.
#[derive(Debug)]
pub(super) struct CallPlanner {
    functions: Vec<Callable>,
}

impl CallPlanner {
    pub(super) fn new(functions: Vec<Callable>) -> Self {
        Self { functions }
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
        // A call of another function is the session's, asked for once and answered as the session does.
        let Some(function) = self.functions.iter().find(|f| f.doc.name == name) else {
            return Ok(RelationPlanning::Original(Box::new(relation)));
        };
        call.refuse_clauses(function)?;
        let values = call.values(function, context)?;
        let open = |expr: &Expr| has(expr, |part| matches!(part, Expr::Column(_)));
        let planned = if !call.lateral && any(&values, open)? {
            PlannedRelation::new(context.plan(call.into_lateral(ident))?, None)
        } else {
            PlannedRelation::new(plan(function, values)?, call.alias)
        };
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

/// The rows of the call with these values.
fn plan(function: &Callable, values: Values) -> Result<LogicalPlan> {
    let name = function.name(&values);
    let (arguments, filters) = divide(function, &name, values)?;
    let deferred = any(&arguments, |value| match Relation::of(value) {
        Some(relation) => Ok(!relation.plan.get_parameter_names()?.is_empty()),
        None => has(value, is_parameter),
    })?;
    let rows = if deferred {
        LogicalPlanBuilder::from(DeferredCall::plan(function, arguments)?)
    } else {
        LogicalPlanBuilder::from(function.scan(arguments)?).alias(name)?
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
fn divide(
    function: &Callable,
    rows: &TableReference,
    values: Values,
) -> Result<(Values, Vec<Expr>)> {
    let name = function.doc.name;
    let (mut arguments, mut filters) = (Values::new(), Vec::new());
    // Keys before the first that is open stay arguments, those after it narrow it down.
    let mut open = None;
    let mut left_out = None;
    let mut implied = Vec::new();
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
        // No row has NULL for a key, whatever the other keys are.
        if matches!(&value, Expr::Literal(value, _) if value.is_null()) {
            arguments.push((parameter, value));
            continue;
        }
        if outer {
            open = open.or(Some(parameter.name));
            require_integer(function, parameter, &value)?;
        }
        if let Some(given) = open
            && let Some(left_out) = left_out
        {
            return plan_err!("{name}: {left_out} must be given with a {given}, got none");
        }
        if open.is_none() {
            arguments.push((parameter, value));
            continue;
        }
        let column = Column::new(Some(rows.clone()), parameter.name);
        filters.push(Expr::Column(column).eq(value));
        implied.extend(function.function.for_open_key(parameter.name));
    }
    for (option, value) in implied {
        if arguments.iter().all(|(given, _)| given.name != option.name) {
            arguments.push((option, Expr::Literal(value, None)));
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
