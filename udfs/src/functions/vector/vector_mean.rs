//! Mean of the vectors of a group, summed in float64.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, AsArray, Float64Array, UInt64Array};
use datafusion::arrow::datatypes::{DataType, Field, FieldRef, Float64Type, UInt64Type};
use datafusion::common::{Result, ScalarValue, exec_err};
use datafusion::logical_expr::Accumulator;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};

use crate::arrow::vectors::{VectorBuilder, VectorColumn, vector_type};
use crate::calls::aggregate::{Aggregate, a_vector_then_numbers, aggregate_function};
use crate::calls::{Function, FunctionDoc, Parameter};

static DOC: FunctionDoc = FunctionDoc {
    name: "vector_mean",
    chapter: "vector",
    summary: "The mean of the group's vectors, element by element.",
    arguments: &[Parameter {
        name: "v",
        kind: "list of numbers [d]",
        summary: "a vector; NULL rows are left out",
    }],
    required: 1,
    options: &[],
    returns: "List<Float32> [d]; NULL for a group without vectors",
    example: "SELECT vector_mean(v) AS mean FROM (VALUES ([1.0, 0.0]), ([0.0, 1.0])) AS t(v)",
    replaces: None,
};

/// The catalogue entry.
pub fn function() -> Function {
    aggregate_function(Aggregate {
        doc: &DOC,
        takes: a_vector_then_numbers,
        returns: vector_type,
        accumulator: |_: &AccumulatorArgs| Ok(Box::new(Mean::default())),
        state: state_fields,
    })
}

fn state_fields(args: &StateFieldsArgs) -> Vec<FieldRef> {
    let sums = DataType::new_list(DataType::Float64, true);
    vec![
        Arc::new(Field::new(format!("{}[sums]", args.name), sums, true)),
        Arc::new(Field::new(
            format!("{}[count]", args.name),
            DataType::UInt64,
            false,
        )),
    ]
}

#[derive(Debug, Default)]
struct Mean {
    sums: Vec<f64>,
    count: u64,
}

impl Mean {
    fn add(&mut self, values: &[f64], count: u64) -> Result<()> {
        if self.count == 0 {
            self.sums = vec![0.0; values.len()];
        }
        if self.sums.len() != values.len() {
            return exec_err!(
                "{}: v must have one width, got {} and {}",
                DOC.name,
                self.sums.len(),
                values.len()
            );
        }
        self.sums
            .iter_mut()
            .zip(values)
            .for_each(|(sum, value)| *sum += value);
        self.count += count;
        Ok(())
    }
}

impl Accumulator for Mean {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let column = VectorColumn::<Float64Type>::try_new(DOC.name, "v", &values[0])?;
        for vector in (0..column.len()).filter_map(|i| column.row(i)) {
            self.add(vector, 1)?;
        }
        Ok(())
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let sums = VectorColumn::<Float64Type>::try_new(DOC.name, "v", &states[0])?;
        for (i, &count) in states[1]
            .as_primitive::<UInt64Type>()
            .values()
            .iter()
            .enumerate()
        {
            if let Some(partial) = sums.row(i).filter(|_| count > 0) {
                self.add(partial, count)?;
            }
        }
        Ok(())
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let sums: ArrayRef = Arc::new(Float64Array::from(std::mem::take(&mut self.sums)));
        let list =
            datafusion::common::utils::SingleRowListArrayBuilder::new(sums).build_list_scalar();
        let count: ArrayRef = Arc::new(UInt64Array::from(vec![self.count]));
        Ok(vec![list, ScalarValue::try_from_array(&count, 0)?])
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let mut mean = VectorBuilder::new();
        if self.count == 0 {
            mean.append_null();
        } else {
            let n = self.count as f64;
            mean.append_with(self.sums.len(), |out| {
                out.iter_mut()
                    .zip(&self.sums)
                    .for_each(|(mean, sum)| *mean = (sum / n) as f32);
            });
        }
        Ok(ScalarValue::List(Arc::new(mean.finish())))
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.sums.capacity() * size_of::<f64>()
    }
}
