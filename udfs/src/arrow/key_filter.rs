//! Which neurons are asked for, where that is known only as the query runs: the keys that a join has found, the value
//! of a subquery. The operator of neurons and the scans under it test it alike.

use std::fmt;
use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, BooleanArray, Int32Array};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::common::Result;
use datafusion::physical_expr::utils::{collect_columns, conjunction, reassign_expr_columns};
use datafusion::physical_expr_common::physical_expr::is_volatile;
use datafusion::physical_plan::PhysicalExpr;

use super::value_filter::passing;

/// A predicate on (layer, neuron). It may become stricter while the query runs, never less strict.
#[derive(Debug, Clone)]
pub struct KeyFilter {
    predicate: Arc<dyn PhysicalExpr>,
    schema: SchemaRef,
}

impl KeyFilter {
    /// Whether a predicate on the columns of `schema` reads `layer` and `neuron` only, which are `Int32` there, and says
    /// the same of a neuron each time.
    pub fn fits(predicate: &Arc<dyn PhysicalExpr>, schema: &Schema) -> bool {
        let columns = collect_columns(predicate);
        !columns.is_empty()
            && !is_volatile(predicate)
            && columns.iter().all(|column| {
                ["layer", "neuron"].contains(&column.name())
                    && schema
                        .fields()
                        .get(column.index())
                        .is_some_and(|field| field.data_type() == &DataType::Int32)
            })
    }

    /// What all of these predicates, which fit, and `filter` let pass.
    pub fn and(
        filter: Option<&Self>,
        predicates: impl IntoIterator<Item = Arc<dyn PhysicalExpr>>,
    ) -> Result<Self> {
        let schema = Arc::new(keys());
        let known = filter.map(|filter| Arc::clone(&filter.predicate));
        let predicates = known.into_iter().chain(predicates);
        let predicate = reassign_expr_columns(conjunction(predicates), &schema)?;
        Ok(Self { predicate, schema })
    }

    /// The predicate, on columns 0 and 1.
    pub fn predicate(&self) -> &Arc<dyn PhysicalExpr> {
        &self.predicate
    }

    /// Which of these neurons pass, as far as is known by now.
    pub fn keeps(&self, layers: &Int32Array, neurons: &Int32Array) -> Result<BooleanArray> {
        let columns: Vec<ArrayRef> = vec![Arc::new(layers.clone()), Arc::new(neurons.clone())];
        let keys = RecordBatch::try_new(Arc::clone(&self.schema), columns)?;
        passing(&self.predicate, &keys)
    }

    /// Whether this neuron passes, as far as is known by now.
    pub fn keeps_one(&self, layer: i32, neuron: i32) -> Result<bool> {
        let [layer, neuron] = [layer, neuron].map(|key| Int32Array::from_value(key, 1));
        Ok(self.keeps(&layer, &neuron)?.value(0))
    }
}

/// The columns of such a predicate.
pub fn keys() -> Schema {
    Schema::new(vec![
        Field::new("layer", DataType::Int32, false),
        Field::new("neuron", DataType::Int32, false),
    ])
}

impl fmt::Display for KeyFilter {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{}", self.predicate)
    }
}
