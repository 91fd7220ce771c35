//! Calls with parameters of a prepared statement: they wait in the plan as a node of their own until the parameters
//! have values, for a table function must know its arguments when the table is made.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use datafusion::arrow::datatypes::Field;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::common::{DFSchema, DFSchemaRef, Result, TableReference, internal_err, plan_err};
use datafusion::logical_expr::{
    Expr, Extension, LogicalPlan, LogicalPlanBuilder, UserDefinedLogicalNodeCore,
};
use datafusion::optimizer::AnalyzerRule;

use super::arguments::{Arguments, Relation, Values};
use super::callable::{Callable, evaluated, has, is_parameter};
use super::document::Parameter;

/// A call that waits for values.
#[derive(Debug, Clone)]
pub(super) struct DeferredCall {
    call: Callable,
    /// What its rows are called.
    name: TableReference,
    /// Arguments that are values, in the order of [`Self::exprs`].
    parameters: Vec<&'static Parameter>,
    exprs: Vec<Expr>,
    /// Arguments that are relations, in the order of [`Self::plans`].
    relations: Vec<(&'static Parameter, String)>,
    plans: Vec<LogicalPlan>,
    schema: DFSchemaRef,
}

impl DeferredCall {
    /// A plan of the call, to be replaced by its scan when it is analyzed.
    pub(super) fn plan(call: &Callable, values: Values) -> Result<LogicalPlan> {
        let name = call.name(&values);
        let (mut known, mut deferred) = (Values::new(), Vec::new());
        let (mut relations, mut plans) = (Vec::new(), Vec::new());
        for (parameter, value) in values {
            if let Some(relation) = Relation::of(&value) {
                known.push((parameter, value));
                relations.push((parameter, relation.written));
                plans.push(Arc::unwrap_or_clone(relation.plan));
            } else if has(&value, is_parameter)? {
                deferred.push((parameter, typed(parameter, value)?));
            } else {
                let value = evaluated(value)?;
                known.push((parameter, value.clone()));
                deferred.push((parameter, value));
            }
        }
        let schema = call.function.schema(&Arguments::new(call.doc, known)?)?;
        let schema = DFSchema::try_from_qualified_schema(name.clone(), &schema)?;
        let (parameters, exprs) = deferred.into_iter().unzip();
        let deferred = Self {
            call: call.clone(),
            name,
            parameters,
            exprs,
            relations,
            plans,
            schema: Arc::new(schema),
        };
        Ok(LogicalPlan::Extension(Extension {
            node: Arc::new(deferred),
        }))
    }

    /// The scan of the call, its parameters having become values.
    fn scan(&self) -> Result<LogicalPlan> {
        let mut values = Values::new();
        for (parameter, expr) in self.parameters.iter().zip(&self.exprs) {
            if has(expr, is_parameter)? {
                return plan_err!(
                    "{}: {} must have a value, got the parameter {expr} without one (PREPARE name AS SELECT ..., then EXECUTE \
                     name(value, ...))",
                    self.call.doc.name,
                    parameter.name
                );
            }
            values.push((*parameter, evaluated(expr.clone())?));
        }
        for ((parameter, written), plan) in self.relations.iter().zip(&self.plans) {
            let relation = Relation {
                plan: Arc::new(plan.clone()),
                written: written.clone(),
            };
            values.push((*parameter, relation.into_expr()));
        }
        LogicalPlanBuilder::from(self.call.scan(values)?)
            .alias(self.name.clone())?
            .build()
    }

    fn key(&self) -> (&str, &[Expr], &[LogicalPlan]) {
        (self.call.doc.name, &self.exprs, &self.plans)
    }

    fn names(&self) -> impl Iterator<Item = &str> {
        let relations = self.relations.iter().map(|(parameter, _)| parameter.name);
        self.parameters.iter().map(|p| p.name).chain(relations)
    }
}

/// Gives parameters the type of the place they stand in: DataFusion wants types for all of a statement or for none.
fn typed(parameter: &Parameter, value: Expr) -> Result<Expr> {
    value
        .transform(|expr| match expr {
            Expr::Placeholder(mut placeholder) if placeholder.field.is_none() => {
                let field = |data_type| Arc::new(Field::new(&placeholder.id, data_type, true));
                placeholder.field = parameter.data_type().map(field);
                Ok(Transformed::yes(Expr::Placeholder(placeholder)))
            }
            other => Ok(Transformed::no(other)),
        })
        .data()
}

impl PartialEq for DeferredCall {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key() && self.names().eq(other.names())
    }
}

impl Eq for DeferredCall {}

impl PartialOrd for DeferredCall {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        let order = self.key().partial_cmp(&other.key())?;
        Some(order.then_with(|| self.names().cmp(other.names())))
    }
}

impl Hash for DeferredCall {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.key().hash(state);
    }
}

impl UserDefinedLogicalNodeCore for DeferredCall {
    fn name(&self) -> &str {
        "TableFunctionCall"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        self.plans.iter().collect()
    }

    fn schema(&self) -> &DFSchemaRef {
        &self.schema
    }

    fn expressions(&self) -> Vec<Expr> {
        self.exprs.clone()
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let values = self.parameters.iter().zip(&self.exprs);
        let values = values.map(|(parameter, expr)| format!("{} => {expr}", parameter.name));
        let relations = self.relations.iter();
        let relations =
            relations.map(|(parameter, written)| format!("{} => {written}", parameter.name));
        let written: Vec<_> = values.chain(relations).collect();
        write!(
            f,
            "TableFunctionCall: {}({})",
            self.call.doc.name,
            written.join(", ")
        )
    }

    fn with_exprs_and_inputs(&self, exprs: Vec<Expr>, inputs: Vec<LogicalPlan>) -> Result<Self> {
        if exprs.len() != self.exprs.len() || inputs.len() != self.plans.len() {
            return internal_err!("a call keeps its arguments");
        }
        Ok(Self {
            exprs,
            plans: inputs,
            ..self.clone()
        })
    }
}

/// Puts the scan of a waiting call in its place.
#[derive(Debug)]
pub(super) struct PlanDeferred;

impl AnalyzerRule for PlanDeferred {
    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        plan.transform_up_with_subqueries(|plan| {
            if let LogicalPlan::Extension(extension) = &plan
                && let Some(deferred) = extension.node.as_any().downcast_ref::<DeferredCall>()
            {
                return Ok(Transformed::yes(deferred.scan()?));
            }
            Ok(Transformed::no(plan))
        })
        .data()
    }

    fn name(&self) -> &str {
        "plan_deferred_table_functions"
    }
}
