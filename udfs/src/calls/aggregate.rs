//! Aggregates: a function file gives its document, the types it takes and its accumulator, this file does the rest.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, FieldRef};
use datafusion::common::{Result, plan_err};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, Documentation, GroupsAccumulator, Signature,
    Volatility,
};

use super::document::FunctionDoc;
use super::function::{Function, Implementation};
use crate::arrow::vectors::require_vectors;

/// A fresh accumulator of many groups.
pub type GroupsOf = fn(&AccumulatorArgs) -> Result<Box<dyn GroupsAccumulator>>;

/// What an aggregate is made of.
#[derive(Debug, Clone, Copy)]
pub struct Aggregate {
    /// What users read.
    pub doc: &'static FunctionDoc,
    /// The types its arguments are brought to, as many as came. Errors: a type it does not take.
    pub takes: fn(&FunctionDoc, &[DataType]) -> Result<Vec<DataType>>,
    /// Type of the result.
    pub returns: fn() -> DataType,
    /// A fresh accumulator.
    pub accumulator: fn(&AccumulatorArgs) -> Result<Box<dyn Accumulator>>,
    /// One of all groups, where their states lie better together than each in an accumulator of its own.
    pub groups: Option<GroupsOf>,
    /// What it passes on between partitions.
    pub state: fn(&StateFieldsArgs) -> Vec<FieldRef>,
}

/// A vector, which stays as it is, then numbers.
pub fn a_vector_then_numbers(doc: &FunctionDoc, types: &[DataType]) -> Result<Vec<DataType>> {
    require_vectors(doc.name, &[doc.arguments[0].name], &types[..1])?;
    let mut coerced = vec![types[0].clone()];
    for (argument, came) in doc.arguments.iter().zip(types).skip(1) {
        if !came.is_numeric() {
            return plan_err!(
                "{}: {} must be a number, got {came}",
                doc.name,
                argument.name
            );
        }
        coerced.push(DataType::Float64);
    }
    Ok(coerced)
}

/// The catalogue entry of an aggregate.
pub fn aggregate_function(aggregate: Aggregate) -> Function {
    let udaf = Udaf {
        aggregate,
        signature: Signature::user_defined(Volatility::Immutable),
        documentation: aggregate.doc.to_datafusion(),
    };
    let udaf = AggregateUDF::new_from_impl(udaf);
    Function {
        doc: aggregate.doc,
        implementation: Implementation::Aggregate(Arc::new(udaf)),
    }
}

#[derive(Debug)]
struct Udaf {
    aggregate: Aggregate,
    signature: Signature,
    documentation: Documentation,
}

impl PartialEq for Udaf {
    fn eq(&self, other: &Self) -> bool {
        self.aggregate.doc.name == other.aggregate.doc.name
    }
}

impl Eq for Udaf {}

impl Hash for Udaf {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.aggregate.doc.name.hash(state);
    }
}

impl AggregateUDFImpl for Udaf {
    fn name(&self) -> &str {
        self.aggregate.doc.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok((self.aggregate.returns)())
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        let doc = self.aggregate.doc;
        if types.len() < doc.required || types.len() > doc.arguments.len() {
            return plan_err!(
                "{}: usage is {}, got {} arguments",
                doc.name,
                doc.signature(),
                types.len()
            );
        }
        (self.aggregate.takes)(doc, types)
    }

    fn accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        if args.is_distinct {
            let name = self.aggregate.doc.name;
            return plan_err!(
                "{name}: a call without DISTINCT is required, got DISTINCT (choose the rows in a subquery)"
            );
        }
        (self.aggregate.accumulator)(&args)
    }

    fn groups_accumulator_supported(&self, args: AccumulatorArgs) -> bool {
        self.aggregate.groups.is_some() && !args.is_distinct
    }

    fn create_groups_accumulator(
        &self,
        args: AccumulatorArgs,
    ) -> Result<Box<dyn GroupsAccumulator>> {
        match self.aggregate.groups {
            Some(groups) => groups(&args),
            None => plan_err!(
                "{}: one accumulator for each group is required",
                self.aggregate.doc.name
            ),
        }
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        Ok((self.aggregate.state)(&args))
    }

    fn documentation(&self) -> Option<&Documentation> {
        Some(&self.documentation)
    }
}
