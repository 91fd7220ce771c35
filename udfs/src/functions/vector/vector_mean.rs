//! Mean of the vectors of a group, summed in float64.

use std::ops::Range;
use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Float64Array, LargeListArray, ListArray, UInt64Array,
};
use datafusion::arrow::buffer::OffsetBuffer;
use datafusion::arrow::datatypes::{DataType, Field, FieldRef, Float64Type, UInt64Type};
use datafusion::common::{Result, ScalarValue, exec_err};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::{Accumulator, EmitTo, GroupsAccumulator};

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
        accumulator: |_: &AccumulatorArgs| Ok(Box::new(Means::default())),
        groups: Some(|_| Ok(Box::new(Means::default()))),
        state: state_fields,
    })
}

fn sums_item() -> FieldRef {
    Arc::new(Field::new_list_field(DataType::Float64, true))
}

fn state_fields(args: &StateFieldsArgs) -> Vec<FieldRef> {
    let sums = DataType::LargeList(sums_item());
    vec![
        Arc::new(Field::new(format!("{}[sums]", args.name), sums, true)),
        Arc::new(Field::new(
            format!("{}[count]", args.name),
            DataType::UInt64,
            false,
        )),
    ]
}

/// The sums of the groups, one behind the other: what is passed on is what is held, not a copy. An aggregate without
/// groups is that of group 0.
#[derive(Debug, Default)]
struct Means {
    sums: Vec<f64>,
    /// Where in `sums` a group has its own: an empty place until its first vector comes, which may be that of any width.
    places: Vec<Range<usize>>,
    counts: Vec<u64>,
}

impl Means {
    fn grow(&mut self, groups: usize) {
        let end = self.sums.len();
        self.places.resize(groups.max(self.places.len()), end..end);
        self.counts.resize(self.places.len(), 0);
    }

    fn add(&mut self, group: usize, values: &[f64], count: u64) -> Result<()> {
        let place = &mut self.places[group];
        if self.counts[group] == 0 {
            *place = self.sums.len()..self.sums.len() + values.len();
            self.sums.resize(place.end, 0.0);
        }
        if place.len() != values.len() {
            return exec_err!(
                "{}: v must have one width, got {} and {}",
                DOC.name,
                place.len(),
                values.len()
            );
        }
        self.sums[place.clone()]
            .iter_mut()
            .zip(values)
            .for_each(|(sum, value)| *sum += value);
        self.counts[group] += count;
        Ok(())
    }

    /// Adds the rows that have a group.
    fn update(&mut self, v: &ArrayRef, group: impl Fn(usize) -> Option<usize>) -> Result<()> {
        let column = VectorColumn::<Float64Type>::try_new(DOC.name, "v", v)?;
        for i in 0..column.len() {
            if let (Some(vector), Some(group)) = (column.row(i), group(i)) {
                self.add(group, vector, 1)?;
            }
        }
        Ok(())
    }

    fn merge(&mut self, states: &[ArrayRef], group: impl Fn(usize) -> usize) -> Result<()> {
        let sums = VectorColumn::<Float64Type>::try_new(DOC.name, "v", &states[0])?;
        let counts = states[1].as_primitive::<UInt64Type>().values();
        for (i, &count) in counts.iter().enumerate() {
            if let Some(partial) = sums.row(i).filter(|_| count > 0) {
                self.add(group(i), partial, count)?;
            }
        }
        Ok(())
    }

    /// Takes groups out, their sums in the order of the groups.
    fn take(&mut self, emit_to: EmitTo) -> Self {
        let mut places = emit_to.take_needed(&mut self.places);
        let counts = emit_to.take_needed(&mut self.counts);
        let whole = self.places.is_empty() && places.is_sorted_by_key(|place| place.start);
        let sums = if whole {
            std::mem::take(&mut self.sums)
        } else {
            let taken = gathered(&self.sums, &mut places);
            self.sums = gathered(&self.sums, &mut self.places);
            taken
        };
        Self {
            sums,
            places,
            counts,
        }
    }

    /// `[groups]`, NULL for those without vectors.
    fn means(&self) -> Result<ListArray> {
        if i32::try_from(self.sums.len()).is_err() {
            return exec_err!(
                "{}: groups with at most {} numbers together are required, got {}",
                DOC.name,
                i32::MAX,
                self.sums.len()
            );
        }
        let mut means = VectorBuilder::new();
        for (place, &count) in self.places.iter().zip(&self.counts) {
            if count == 0 {
                means.append_null();
                continue;
            }
            let n = count as f64;
            means.append_with(place.len(), |out| {
                out.iter_mut()
                    .zip(&self.sums[place.clone()])
                    .for_each(|(mean, sum)| *mean = (sum / n) as f32);
            });
        }
        Ok(means.finish())
    }

    fn passed_on(self) -> Vec<ArrayRef> {
        let widths = self.places.iter().map(Range::len);
        let offsets = OffsetBuffer::from_lengths(widths);
        let sums = Arc::new(Float64Array::from(self.sums));
        vec![
            Arc::new(LargeListArray::new(sums_item(), offsets, sums, None)),
            Arc::new(UInt64Array::from(self.counts)),
        ]
    }

    fn held(&self) -> usize {
        size_of_val(self)
            + self.sums.capacity() * size_of::<f64>()
            + self.places.capacity() * size_of::<Range<usize>>()
            + self.counts.capacity() * size_of::<u64>()
    }
}

/// The sums at these places, one behind the other, where the places are then.
fn gathered(sums: &[f64], places: &mut [Range<usize>]) -> Vec<f64> {
    let mut together = Vec::with_capacity(places.iter().map(Range::len).sum());
    for place in places {
        let start = together.len();
        together.extend_from_slice(&sums[place.clone()]);
        *place = start..together.len();
    }
    together
}

impl GroupsAccumulator for Means {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        groups: &[usize],
        filter: Option<&BooleanArray>,
        total_num_groups: usize,
    ) -> Result<()> {
        self.grow(total_num_groups);
        self.update(&values[0], |i| passes(filter, i).then_some(groups[i]))
    }

    fn merge_batch(
        &mut self,
        states: &[ArrayRef],
        groups: &[usize],
        total_num_groups: usize,
    ) -> Result<()> {
        self.grow(total_num_groups);
        self.merge(states, |i| groups[i])
    }

    fn state(&mut self, emit_to: EmitTo) -> Result<Vec<ArrayRef>> {
        Ok(self.take(emit_to).passed_on())
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> Result<ArrayRef> {
        Ok(Arc::new(self.take(emit_to).means()?))
    }

    fn convert_to_state(
        &self,
        values: &[ArrayRef],
        filter: Option<&BooleanArray>,
    ) -> Result<Vec<ArrayRef>> {
        let mut rows = Self::default();
        rows.grow(values[0].len());
        rows.update(&values[0], |i| passes(filter, i).then_some(i))?;
        Ok(rows.passed_on())
    }

    fn size(&self) -> usize {
        self.held()
    }
}

fn passes(filter: Option<&BooleanArray>, row: usize) -> bool {
    filter.is_none_or(|filter| filter.is_valid(row) && filter.value(row))
}

impl Accumulator for Means {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.grow(1);
        self.update(&values[0], |_| Some(0))
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        self.grow(1);
        self.merge(states, |_| 0)
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        self.grow(1);
        let states = self.take(EmitTo::All).passed_on();
        states
            .iter()
            .map(|state| ScalarValue::try_from_array(state, 0))
            .collect()
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        self.grow(1);
        Ok(ScalarValue::List(Arc::new(self.means()?)))
    }

    fn size(&self) -> usize {
        self.held()
    }
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::array::cast::as_list_array;
    use datafusion::arrow::datatypes::Float32Type;

    use super::*;

    fn column(rows: [Option<[f32; 2]>; 4]) -> ArrayRef {
        let rows = rows.map(|row| row.map(|row| row.map(Some)));
        Arc::new(ListArray::from_iter_primitive::<Float32Type, _, _>(rows))
    }

    fn mean(means: &ArrayRef, row: usize) -> Option<Vec<f32>> {
        let means = as_list_array(means);
        let row = means.is_valid(row).then(|| means.value(row))?;
        Some(row.as_primitive::<Float32Type>().values().to_vec())
    }

    #[test]
    fn rows_passed_on_one_by_one_and_groups_taken_in_parts_have_the_same_means() -> Result<()> {
        // Group 0 has no vector before group 1 has; row 3 is filtered out.
        let v = [column([
            None,
            Some([1.0, 5.0]),
            Some([3.0, 4.0]),
            Some([9.0, 9.0]),
        ])];
        let filter = BooleanArray::from(vec![true, true, true, false]);
        let groups = [0, 1, 0, 1];
        let mut at_once = Means::default();
        GroupsAccumulator::update_batch(&mut at_once, &v, &groups, Some(&filter), 3)?;
        let rows = at_once.convert_to_state(&v, Some(&filter))?;
        let mut merged = Means::default();
        GroupsAccumulator::merge_batch(&mut merged, &rows, &groups, 3)?;
        for mut means in [at_once, merged] {
            let first = GroupsAccumulator::evaluate(&mut means, EmitTo::First(1))?;
            assert_eq!(mean(&first, 0), Some(vec![3.0, 4.0]));
            // What was group 1 is group 0 now, and goes on.
            GroupsAccumulator::update_batch(&mut means, &v, &[1, 0, 1, 1], None, 2)?;
            let rest = GroupsAccumulator::evaluate(&mut means, EmitTo::All)?;
            assert_eq!(mean(&rest, 0), Some(vec![1.0, 5.0]));
            assert_eq!(mean(&rest, 1), Some(vec![6.0, 6.5]));
            assert_eq!(rest.len(), 2);
            assert!(means.sums.is_empty() && means.counts.is_empty());
        }
        Ok(())
    }
}
