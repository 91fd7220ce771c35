//! How far two partitions of the same things agree, beyond what chance gives.
//!
//! Hubert and Arabie (1985), Comparing partitions, Journal of Classification 2.

use std::collections::HashMap;
use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, BinaryArray, ListArray, UInt64Array};
use datafusion::arrow::compute::kernels::boolean::is_not_null;
use datafusion::arrow::compute::{and, filter};
use datafusion::arrow::datatypes::{DataType, Field, FieldRef, UInt64Type};
use datafusion::arrow::row::{RowConverter, SortField};
use datafusion::common::utils::SingleRowListArrayBuilder;
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::Accumulator;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};

use crate::calls::aggregate::{Aggregate, aggregate_function};
use crate::calls::{Function, FunctionDoc, Parameter};

static DOC: FunctionDoc = FunctionDoc {
    name: "adjusted_rand_index",
    chapter: "cluster",
    summary: "How far two partitions of the group's rows agree: 1 is the same partition, 0 what chance gives.",
    arguments: &[
        Parameter {
            name: "a",
            kind: "any type",
            summary: "the row's part in the first partition (a cluster's number, a class); rows of NULL are left out",
        },
        Parameter {
            name: "b",
            kind: "any type",
            summary: "its part in the second",
        },
    ],
    required: 2,
    options: &[],
    returns: "Float64 in [-1, 1]; 1 for one row; NULL for a group without rows",
    example: "SELECT adjusted_rand_index(a, b) AS agreement FROM (VALUES (0, 'x'), (0, 'x'), (1, 'y'), (1, 'x')) AS t(a, b)",
    replaces: None,
};

/// The catalogue entry.
pub fn function() -> Function {
    aggregate_function(Aggregate {
        doc: &DOC,
        takes: |_, types| Ok(types.to_vec()),
        returns: || DataType::Float64,
        accumulator: |_: &AccumulatorArgs| Ok(Box::new(Contingency::default())),
        groups: None,
        state: state_fields,
    })
}

fn state_fields(args: &StateFieldsArgs) -> Vec<FieldRef> {
    [
        ("a", DataType::Binary),
        ("b", DataType::Binary),
        ("n", DataType::UInt64),
    ]
    .map(|(name, of)| {
        let list = DataType::new_list(of, true);
        Arc::new(Field::new(format!("{}[{name}]", args.name), list, true))
    })
    .to_vec()
}

/// A label of either partition, as bytes that are equal where labels are.
type Label = Box<[u8]>;

/// Rows by their two labels.
#[derive(Debug, Default)]
struct Contingency {
    cells: HashMap<(Label, Label), u64>,
    bytes: usize,
}

impl Contingency {
    fn add(&mut self, a: &[u8], b: &[u8], n: u64) {
        let cell = self.cells.entry((a.into(), b.into()));
        if matches!(cell, std::collections::hash_map::Entry::Vacant(_)) {
            self.bytes += a.len() + b.len() + size_of::<((Label, Label), u64)>();
        }
        *cell.or_default() += n;
    }

    fn index(&self) -> Option<f64> {
        let (mut by_a, mut by_b) = (HashMap::new(), HashMap::new());
        for ((a, b), &n) in &self.cells {
            *by_a.entry(a).or_insert(0) += n;
            *by_b.entry(b).or_insert(0) += n;
        }
        let n = by_a.values().sum::<u64>();
        // Whole numbers as long as can be: the sum does not depend on the order of the cells.
        let pairs = |n: u64| u128::from(n) * u128::from(n.saturating_sub(1)) / 2;
        let both = self.cells.values().map(|&n| pairs(n)).sum::<u128>() as f64;
        let a = by_a.values().map(|&n| pairs(n)).sum::<u128>() as f64;
        let b = by_b.values().map(|&n| pairs(n)).sum::<u128>() as f64;
        match n {
            0 => None,
            1 => Some(1.0),
            _ => {
                let expected = a * b / pairs(n) as f64;
                let most = (a + b) / 2.0;
                // Both have one part alone, or a part a row.
                let trivial = most == expected;
                Some(if trivial {
                    1.0
                } else {
                    (both - expected) / (most - expected)
                })
            }
        }
    }
}

impl Accumulator for Contingency {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let known = and(&is_not_null(&values[0])?, &is_not_null(&values[1])?)?;
        let mut labels = Vec::with_capacity(2);
        for column in values {
            let column = filter(column, &known)?;
            let of = SortField::new(column.data_type().clone());
            let converter = RowConverter::new(vec![of])?;
            labels.push(converter.convert_columns(&[column])?);
        }
        for (a, b) in labels[0].iter().zip(labels[1].iter()) {
            self.add(a.as_ref(), b.as_ref(), 1);
        }
        Ok(())
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let lists: Vec<&ListArray> = states.iter().map(|state| state.as_list()).collect();
        for i in 0..lists[0].len() {
            let (a, b, n) = (lists[0].value(i), lists[1].value(i), lists[2].value(i));
            let (a, b) = (a.as_binary::<i32>(), b.as_binary::<i32>());
            for (j, &n) in n.as_primitive::<UInt64Type>().values().iter().enumerate() {
                self.add(a.value(j), b.value(j), n);
            }
        }
        Ok(())
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let cells = std::mem::take(&mut self.cells);
        let a: ArrayRef = Arc::new(BinaryArray::from_iter_values(cells.keys().map(|(a, _)| a)));
        let b: ArrayRef = Arc::new(BinaryArray::from_iter_values(cells.keys().map(|(_, b)| b)));
        let n: ArrayRef = Arc::new(UInt64Array::from_iter_values(cells.values().copied()));
        let lists = [a, b, n].map(|x| SingleRowListArrayBuilder::new(x).build_list_scalar());
        Ok(lists.to_vec())
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        Ok(ScalarValue::Float64(self.index()))
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.bytes
    }
}
