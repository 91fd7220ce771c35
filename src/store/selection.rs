//! Which layers and neurons a query asks for, read from its filters.

use std::fmt;

use datafusion::arrow::datatypes::DataType;
use datafusion::common::ScalarValue;
use datafusion::logical_expr::expr::{Between, InList};
use datafusion::logical_expr::{BinaryExpr, Cast, Expr, Operator, TryCast};

/// A set of integers as disjoint inclusive ranges in ascending order, none touching the next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct IntSet(Vec<(i64, i64)>);

impl IntSet {
    pub fn all() -> Self {
        Self::range(i64::MIN, i64::MAX)
    }

    pub fn range(first: i64, last: i64) -> Self {
        Self(if first <= last {
            vec![(first, last)]
        } else {
            vec![]
        })
    }

    /// From values in strictly ascending order.
    pub fn of_ascending(values: impl Iterator<Item = i32>) -> Self {
        let mut out: Vec<(i64, i64)> = vec![];
        for value in values.map(i64::from) {
            match out.last_mut() {
                Some(open) if open.1 + 1 == value => open.1 = value,
                _ => out.push((value, value)),
            }
        }
        Self(out)
    }

    /// The union of ranges.
    pub fn of_ranges(ranges: &[(i64, i64)]) -> Self {
        let ranges = ranges.iter();
        ranges.fold(Self(vec![]), |set, (first, last)| {
            set.union(&Self::range(*first, *last))
        })
    }

    pub fn ranges(&self) -> &[(i64, i64)] {
        &self.0
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn contains(&self, value: i32) -> bool {
        let value = i64::from(value);
        self.0
            .iter()
            .any(|(first, last)| (*first..=*last).contains(&value))
    }

    /// Whether every one of these values is in the set.
    pub fn covers(&self, first: i32, last: i32) -> bool {
        let (first, last) = (i64::from(first), i64::from(last));
        self.0.iter().any(|(a, b)| *a <= first && last <= *b)
    }

    pub fn intersect(&self, other: &Self) -> Self {
        let mut out = vec![];
        let (mut i, mut j) = (0, 0);
        while i < self.0.len() && j < other.0.len() {
            let (a, b) = (self.0[i], other.0[j]);
            if a.0.max(b.0) <= a.1.min(b.1) {
                out.push((a.0.max(b.0), a.1.min(b.1)));
            }
            if a.1 < b.1 {
                i += 1;
            } else {
                j += 1;
            }
        }
        Self(out)
    }

    pub fn union(&self, other: &Self) -> Self {
        let mut ranges: Vec<_> = self.0.iter().chain(&other.0).copied().collect();
        ranges.sort_unstable();
        let mut out: Vec<(i64, i64)> = vec![];
        for (first, last) in ranges {
            match out.last_mut() {
                Some(open) if first <= open.1.saturating_add(1) => open.1 = open.1.max(last),
                _ => out.push((first, last)),
            }
        }
        Self(out)
    }

    pub fn complement(&self) -> Self {
        let mut out = vec![];
        let mut next = Some(i64::MIN);
        for (first, last) in &self.0 {
            if let Some(from) = next
                && from < *first
            {
                out.push((from, first - 1));
            }
            next = last.checked_add(1);
        }
        if let Some(from) = next {
            out.push((from, i64::MAX));
        }
        Self(out)
    }
}

/// In a plan's line: `all`, or its first ranges.
impl fmt::Display for IntSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const MOST: usize = 5;
        if *self == Self::all() {
            return f.write_str("all");
        }
        let mut shown = vec![];
        for (first, last) in self.0.iter().take(MOST) {
            shown.push(match (*first == i64::MIN, *last == i64::MAX) {
                _ if first == last => first.to_string(),
                (true, _) => format!("..{last}"),
                (_, true) => format!("{first}.."),
                _ => format!("{first}..{last}"),
            });
        }
        if self.0.len() > MOST {
            shown.push("...".to_string());
        }
        write!(f, "[{}]", shown.join(", "))
    }
}

/// The rows of a query: layers times neurons.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Selection {
    pub layers: IntSet,
    pub neurons: IntSet,
}

impl Selection {
    pub fn all() -> Self {
        Self {
            layers: IntSet::all(),
            neurons: IntSet::all(),
        }
    }

    /// The rows a filter keeps, or `None` where it cannot be said by layer and neuron alone.
    ///
    /// Neither column is ever NULL, so a filter and its complement divide all rows.
    pub fn of(filter: &Expr) -> Option<Self> {
        if let Expr::BinaryExpr(BinaryExpr {
            left,
            op: Operator::And,
            right,
        }) = filter
        {
            return Some(Self::of(left)?.intersect(&Self::of(right)?));
        }
        let (column, values) = column_values(filter)?;
        let mut selection = Self::all();
        match column {
            Column::Layer => selection.layers = values,
            Column::Neuron => selection.neurons = values,
        }
        Some(selection)
    }

    pub fn intersect(&self, other: &Self) -> Self {
        Self {
            layers: self.layers.intersect(&other.layers),
            neurons: self.neurons.intersect(&other.neurons),
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Column {
    Layer,
    Neuron,
}

/// The values a filter over one column keeps.
fn column_values(filter: &Expr) -> Option<(Column, IntSet)> {
    match filter {
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => match op {
            Operator::And | Operator::Or => {
                let (column, a) = column_values(left)?;
                let (other, b) = column_values(right)?;
                let values = match op {
                    Operator::And => a.intersect(&b),
                    _ => a.union(&b),
                };
                (column == other).then_some((column, values))
            }
            op => match (as_column(left), as_column(right)) {
                (Some(column), None) => Some((column, compared(*op, as_int(right)?)?)),
                (None, Some(column)) => Some((column, compared(op.swap()?, as_int(left)?)?)),
                _ => None,
            },
        },
        Expr::Not(inner) => column_values(inner).map(|(column, set)| (column, set.complement())),
        Expr::Between(Between {
            expr,
            negated,
            low,
            high,
        }) => {
            let set = IntSet::range(as_int(low)?, as_int(high)?);
            Some((
                as_column(expr)?,
                if *negated { set.complement() } else { set },
            ))
        }
        Expr::InList(InList {
            expr,
            list,
            negated,
        }) => {
            let mut set = IntSet(vec![]);
            for item in list {
                let value = as_int(item)?;
                set = set.union(&IntSet::range(value, value));
            }
            Some((
                as_column(expr)?,
                if *negated { set.complement() } else { set },
            ))
        }
        _ => None,
    }
}

fn compared(op: Operator, value: i64) -> Option<IntSet> {
    let below = IntSet::range(value, i64::MAX).complement();
    let equal = IntSet::range(value, value);
    Some(match op {
        Operator::Eq => equal,
        Operator::NotEq => equal.complement(),
        Operator::Lt => below,
        Operator::LtEq => below.union(&equal),
        Operator::Gt => below.union(&equal).complement(),
        Operator::GtEq => below.complement(),
        _ => return None,
    })
}

/// `layer` or `neuron`, as they are or widened.
fn as_column(expr: &Expr) -> Option<Column> {
    match expr {
        Expr::Column(column) if column.name == "layer" => Some(Column::Layer),
        Expr::Column(column) if column.name == "neuron" => Some(Column::Neuron),
        Expr::Cast(Cast { expr, field }) | Expr::TryCast(TryCast { expr, field }) => {
            matches!(field.data_type(), DataType::Int32 | DataType::Int64)
                .then(|| as_column(expr))
                .flatten()
        }
        Expr::Alias(alias) => as_column(&alias.expr),
        _ => None,
    }
}

fn as_int(expr: &Expr) -> Option<i64> {
    let Expr::Literal(value, _) = expr else {
        return None;
    };
    match value {
        ScalarValue::Int8(v) => v.map(i64::from),
        ScalarValue::Int16(v) => v.map(i64::from),
        ScalarValue::Int32(v) => v.map(i64::from),
        ScalarValue::Int64(v) => *v,
        ScalarValue::UInt8(v) => v.map(i64::from),
        ScalarValue::UInt16(v) => v.map(i64::from),
        ScalarValue::UInt32(v) => v.map(i64::from),
        // Beyond every neuron, and so is the largest i64.
        ScalarValue::UInt64(v) => v.map(|v| i64::try_from(v).unwrap_or(i64::MAX)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use datafusion::prelude::{col, lit};

    fn naive(set: &IntSet) -> Vec<i64> {
        (-3..=12)
            .filter(|v| set.ranges().iter().any(|(a, b)| a <= v && v <= b))
            .collect()
    }

    #[test]
    fn sets_obey_the_laws_of_sets() {
        let sets = [
            IntSet::all(),
            IntSet::range(1, 0),
            IntSet::range(0, 4),
            IntSet::range(2, 2).union(&IntSet::range(5, 9)),
            IntSet::range(5, 5).complement(),
            IntSet::range(i64::MAX, i64::MAX),
        ];
        for a in &sets {
            assert_eq!(&a.complement().complement(), a);
            assert!(a.intersect(&a.complement()).is_empty());
            assert_eq!(a.union(&a.complement()), IntSet::all());
            for b in &sets {
                let both: Vec<_> = naive(a)
                    .into_iter()
                    .filter(|v| naive(b).contains(v))
                    .collect();
                assert_eq!(naive(&a.intersect(b)), both, "{a:?} and {b:?}");
                let not_or = a.union(b).complement();
                assert_eq!(
                    not_or,
                    a.complement().intersect(&b.complement()),
                    "{a:?} or {b:?}"
                );
            }
        }
    }

    #[test]
    fn ascending_values_are_the_union_of_each() {
        let values = [-3, 0, 1, 2, 5, 7, 8, i32::MAX];
        let one_by_one = values.iter().fold(IntSet(vec![]), |set, value| {
            set.union(&IntSet::range(i64::from(*value), i64::from(*value)))
        });
        assert_eq!(IntSet::of_ascending(values.into_iter()), one_by_one);
        assert!(IntSet::of_ascending([].into_iter()).is_empty());
    }

    #[test]
    fn touching_ranges_are_one() {
        let set = IntSet::range(1, 3).union(&IntSet::range(4, 6));
        assert_eq!(set, IntSet::range(1, 6));
        assert!(set.covers(2, 5) && !set.covers(2, 7) && set.contains(6));
    }

    #[test]
    fn filters_that_are_not_about_layer_and_neuron_are_refused() {
        for filter in [
            col("layer").eq(lit(1.5)),
            col("layer").eq(col("neuron")),
            col("layer").eq(lit(1)).or(col("neuron").eq(lit(1))),
            col("doc_id").eq(lit(1)),
            col("layer").eq(lit(ScalarValue::Int32(None))),
            (col("layer") + lit(1)).eq(lit(1)),
        ] {
            assert_eq!(Selection::of(&filter), None, "{filter}");
        }
    }
}
