//! Which values of a column the filters of a scan let pass, so that what makes the others need not be done.

use std::fmt;
use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, BooleanArray};
use datafusion::arrow::compute::prep_null_mask_filter;
use datafusion::arrow::datatypes::{Field, Schema, SchemaRef};
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::catalog::Session;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, DFSchema, Result};
use datafusion::logical_expr::utils::conjunction;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown};
use datafusion::physical_plan::PhysicalExpr;

/// What the filters of a scan say of one of its columns. They stay in the plan: what passes here may be left out there.
#[derive(Debug, Clone)]
pub struct ValueFilter {
    predicate: Option<Arc<dyn PhysicalExpr>>,
    schema: SchemaRef,
}

impl ValueFilter {
    /// Whether a filter speaks of this column alone, and says the same of a value each time.
    fn fits(filter: &Expr, column: &str) -> bool {
        let columns = filter.column_refs();
        !columns.is_empty()
            && !filter.is_volatile()
            && columns.iter().all(|found| found.name == column)
    }

    /// What a scan answers that reads filters on this column.
    pub fn pushed_down(filters: &[&Expr], column: &str) -> Vec<TableProviderFilterPushDown> {
        let use_of = |filter: &&Expr| match Self::fits(filter, column) {
            true => TableProviderFilterPushDown::Inexact,
            false => TableProviderFilterPushDown::Unsupported,
        };
        filters.iter().map(use_of).collect()
    }

    /// What those of the filters say that fit the column.
    pub fn of(state: &dyn Session, filters: &[Expr], column: Field) -> Result<Self> {
        let fits = |filter: &&Expr| Self::fits(filter, column.name());
        let fitting: Vec<_> = filters.iter().filter(fits).cloned().collect();
        let schema = Arc::new(Schema::new(vec![column]));
        let Some(filter) = conjunction(fitting) else {
            return Ok(Self {
                predicate: None,
                schema,
            });
        };
        // A filter may name the table.
        let filter = filter.transform(|part| {
            Ok(match part {
                Expr::Column(column) => {
                    Transformed::yes(Expr::Column(Column::from_name(column.name)))
                }
                other => Transformed::no(other),
            })
        })?;
        let known = DFSchema::try_from(Arc::clone(&schema))?;
        Ok(Self {
            predicate: Some(state.create_physical_expr(filter.data, &known)?),
            schema,
        })
    }

    /// Whether every value passes.
    pub fn is_open(&self) -> bool {
        self.predicate.is_none()
    }

    /// Which of these values of the column pass.
    pub fn keeps(&self, values: ArrayRef) -> Result<BooleanArray> {
        let Some(predicate) = &self.predicate else {
            return Ok(BooleanArray::from(vec![true; values.len()]));
        };
        let values = RecordBatch::try_new(Arc::clone(&self.schema), vec![values])?;
        passing(predicate, &values)
    }
}

/// The rows for which a predicate is true.
pub(super) fn passing(
    predicate: &Arc<dyn PhysicalExpr>,
    rows: &RecordBatch,
) -> Result<BooleanArray> {
    let passed = predicate.evaluate(rows)?.into_array(rows.num_rows())?;
    let passed = passed.as_boolean();
    Ok(match passed.null_count() {
        0 => passed.clone(),
        _ => prep_null_mask_filter(passed),
    })
}

impl fmt::Display for ValueFilter {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match &self.predicate {
            Some(predicate) => write!(f, "{predicate}"),
            None => write!(f, "true"),
        }
    }
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::array::{Int32Array, StringArray};
    use datafusion::arrow::datatypes::DataType;
    use datafusion::logical_expr::{col, lit};
    use datafusion::prelude::SessionContext;

    use super::*;

    #[test]
    fn only_filters_on_the_column_alone_count() {
        let state = SessionContext::new().state();
        let of = |filters: &[Expr]| {
            let column = Field::new("latent", DataType::Int32, true);
            ValueFilter::of(&state, filters, column).expect("a filter")
        };
        let values =
            || Arc::new(Int32Array::from(vec![Some(0), Some(3), None, Some(5)])) as ArrayRef;
        let kept = |filter: &ValueFilter| {
            let kept = filter.keeps(values()).expect("kept");
            kept.iter()
                .map(|kept| kept == Some(true))
                .collect::<Vec<_>>()
        };
        let open = of(&[col("rank").eq(lit(1)), col("latent").eq(col("rank"))]);
        assert!(open.is_open());
        assert_eq!(kept(&open), [true; 4]);
        let named = col(Column::new(Some("m"), "latent"));
        let some = of(&[named.gt(lit(0)), col("latent").lt_eq(lit(3))]);
        assert!(!some.is_open());
        // NULL passes no comparison.
        assert_eq!(kept(&some), [false, true, false, false]);
        assert_eq!(some.to_string(), "latent@0 > 0 AND latent@0 <= 3");
    }

    #[test]
    fn words_are_tested_as_they_are() {
        let state = SessionContext::new().state();
        let column = Field::new("metric", DataType::Utf8, false);
        let filters = [col("metric").like(lit("mse%"))];
        let filter = ValueFilter::of(&state, &filters, column).expect("a filter");
        let names = Arc::new(StringArray::from(vec!["l0", "mse", "mse_model"]));
        assert_eq!(filter.keeps(names).expect("kept").true_count(), 2);
    }
}
