//! The parameters of a prepared statement: their types as the plan has them, and the values that a client binds.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_pg::datatypes::{PG_OID_ALIAS_KEY, df, into_pg_type, pg_type_for_alias_kind};
use datafusion::arrow::datatypes::{DataType, Field};
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{ParamValues, plan_err};
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{Expr, ExprSchemable, LogicalPlan};
use pgwire::api::Type;
use pgwire::api::portal::Portal;
use pgwire::error::{PgWireError, PgWireResult};

use super::errors::of_engine;
use super::values::require_formats;

/// The most parameters that a message may have.
const MOST: usize = u16::MAX as usize;

/// What is known of a parameter.
#[derive(Default)]
struct Parameter {
    data_type: Option<DataType>,
    /// PostgreSQL's type where it is another than that of the data, as of the object ids of its catalogue.
    wire: Option<Type>,
}

/// The parameters of a plan in their order; by their cast where nothing else says what they are.
fn parameters(plan: &LogicalPlan) -> datafusion::error::Result<Vec<Parameter>> {
    let number = |id: &str| match id.trim_start_matches('$').parse::<usize>() {
        Ok(number) if (1..=MOST).contains(&number) => Ok(number),
        _ => plan_err!("a parameter of $1 to ${MOST} is required, got {id}"),
    };
    let mut found: BTreeMap<usize, Parameter> = BTreeMap::new();
    for (id, data_type) in plan.get_parameter_types()? {
        found.entry(number(&id)?).or_default().data_type = data_type;
    }
    plan.apply_with_subqueries(|node| {
        let columns = merge_schema(&node.inputs());
        for expression in node.expressions() {
            expression.apply(|expression| {
                let (placeholder, cast) = match expression {
                    // `column = ANY($1)`
                    Expr::ScalarFunction(call) if call.name() == "array_has" => {
                        match call.args.as_slice() {
                            [Expr::Placeholder(placeholder), one] => {
                                let one = one.get_type(&columns).ok();
                                let list =
                                    |of| DataType::List(Arc::new(Field::new_list_field(of, true)));
                                (placeholder, one.map(list))
                            }
                            _ => return Ok(TreeNodeRecursion::Continue),
                        }
                    }
                    Expr::Placeholder(placeholder) => (placeholder, None),
                    Expr::Cast(cast) => match cast.expr.as_ref() {
                        Expr::Placeholder(placeholder) => {
                            (placeholder, Some(cast.field.data_type().clone()))
                        }
                        _ => return Ok(TreeNodeRecursion::Continue),
                    },
                    _ => return Ok(TreeNodeRecursion::Continue),
                };
                let parameter = found.entry(number(&placeholder.id)?).or_default();
                parameter.data_type = parameter.data_type.take().or(cast);
                if let Some(field) = &placeholder.field
                    && let Some(kind) = field.metadata().get(PG_OID_ALIAS_KEY)
                    && *field.data_type() == DataType::Int32
                {
                    parameter.wire = pg_type_for_alias_kind(kind);
                }
                Ok(TreeNodeRecursion::Continue)
            })?;
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    // One that is not there, as where a rewrite needs it no more, keeps its place.
    let count = found.keys().next_back().map_or(0, |last| *last);
    Ok((1..=count)
        .map(|number| found.remove(&number).unwrap_or_default())
        .collect())
}

/// PostgreSQL's types of the parameters; unknown ones are text.
pub(super) fn types(plan: &LogicalPlan) -> PgWireResult<Vec<Type>> {
    let parameters = parameters(plan).map_err(|error| of_engine(&error, ""))?;
    parameters.iter().map(wire_type).collect()
}

fn wire_type(parameter: &Parameter) -> PgWireResult<Type> {
    match (&parameter.wire, &parameter.data_type) {
        (Some(wire), _) => Ok(wire.clone()),
        (None, Some(data_type)) => into_pg_type(data_type),
        (None, None) => Ok(Type::TEXT),
    }
}

/// The values that a client has bound.
pub(super) fn values<S: Clone>(
    portal: &Portal<S>,
    plan: &LogicalPlan,
) -> PgWireResult<ParamValues> {
    require_formats(
        &portal.parameter_format,
        portal.parameter_len(),
        "parameters",
    )?;
    if portal.parameter_len() == 0 {
        return Ok(ParamValues::List(vec![]));
    }
    let parameters = parameters(plan).map_err(|error| of_engine(&error, ""))?;
    let wire = parameters.iter().map(wire_type);
    let wire = wire.collect::<Result<Vec<_>, PgWireError>>()?;
    let wire: Vec<Option<&Type>> = wire.iter().map(Some).collect();
    let data: Vec<Option<&DataType>> = parameters
        .iter()
        .map(|parameter| parameter.data_type.as_ref())
        .collect();
    df::deserialize_parameters_with_server_types(portal, &data, &wire)
}
