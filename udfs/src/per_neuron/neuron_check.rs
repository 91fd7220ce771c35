//! Whether the layer and neuron of a call are there, asked when the query runs and none came: planning reads nothing.

use std::collections::BTreeSet;
use std::sync::Arc;

use datafusion::arrow::array::{AsArray, RecordBatch};
use datafusion::arrow::datatypes::Int32Type;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::{Result, exec_err};
use datafusion::execution::TaskContext;
use tokio::sync::OnceCell;

use super::layer_filter::{LayerRef, layer_number};
use crate::arrow::tables::{self, SmallTable};

/// Neurons that must be there. Every partition without one may ask; the tables are read once.
#[derive(Debug, Clone)]
pub struct NeuronCheck {
    function: &'static str,
    required: Vec<(LayerRef, Option<i64>)>,
    /// Columns layer and neuron of all neurons.
    neurons: SmallTable,
    /// Columns layer and name, where a layer is known by name.
    layers: Option<SmallTable>,
    passed: Arc<OnceCell<()>>,
}

impl NeuronCheck {
    /// The check of these layers and neurons.
    pub async fn plan(
        state: &dyn Session,
        function: &'static str,
        neurons: &Arc<dyn TableProvider>,
        required: Vec<(LayerRef, Option<i64>)>,
    ) -> Result<Self> {
        let columns = ["layer", "neuron"];
        let neurons = SmallTable::scan(state, function, "neurons", neurons, &columns).await?;
        let by_name = |(layer, _): &(LayerRef, _)| matches!(layer, LayerRef::Name(_));
        let layers = match required.iter().any(by_name) {
            false => None,
            true => {
                let layers = tables::table(state, function, "layers").await?;
                let columns = ["layer", "name"];
                Some(SmallTable::scan(state, function, "layers", &layers, &columns).await?)
            }
        };
        Ok(Self {
            function,
            required,
            neurons,
            layers,
            passed: Arc::default(),
        })
    }

    /// Whether all required layers are among these.
    pub fn has_layers(&self, came: &BTreeSet<i32>) -> bool {
        let layers = self.required.iter();
        let numbers = layers.map(|(layer, _)| match layer {
            LayerRef::Number(number) => i32::try_from(*number).ok(),
            LayerRef::Name(_) => None,
        });
        let known = numbers.into_iter().collect::<Option<Vec<_>>>();
        known.is_some_and(|known| known.iter().all(|layer| came.contains(layer)))
    }

    /// Refuses a layer or neuron that is not in table `neurons`; the range is named.
    pub async fn require(&self, context: Arc<TaskContext>) -> Result<()> {
        self.passed
            .get_or_try_init(|| self.read(context))
            .await
            .copied()
    }

    async fn read(&self, context: Arc<TaskContext>) -> Result<()> {
        let neurons = self.neurons.read(Arc::clone(&context)).await?;
        for (layer, neuron) in &self.required {
            let number = match (layer, &self.layers) {
                (LayerRef::Number(number), _) => *number,
                (LayerRef::Name(name), Some(layers)) => {
                    let layers = layers.read(Arc::clone(&context)).await?;
                    i64::from(layer_number(self.function, name, &layers)?)
                }
                (LayerRef::Name(_), None) => continue,
            };
            let keys = |column: usize, layer: Option<i64>| -> BTreeSet<i64> {
                neurons
                    .iter()
                    .flat_map(|batch| values(batch, column, layer))
                    .collect()
            };
            self.among("layer", number, "", &keys(0, None))?;
            if let Some(neuron) = *neuron {
                let place = format!(" of layer {number}");
                self.among("neuron", neuron, &place, &keys(1, Some(number)))?;
            }
        }
        Ok(())
    }

    fn among(&self, key: &str, asked: i64, place: &str, known: &BTreeSet<i64>) -> Result<()> {
        let function = self.function;
        let (Some(low), Some(high)) = (known.first(), known.last()) else {
            return exec_err!(
                "{function}: a table 'neurons' with rows is required, got an empty one"
            );
        };
        if known.contains(&asked) {
            Ok(())
        } else if (*low..=*high).contains(&asked) {
            exec_err!("{function}: {key}{place} must be one of table 'neurons', got {asked}")
        } else {
            exec_err!("{function}: {key}{place} must be between {low} and {high}, got {asked}")
        }
    }
}

/// Values of a key column; of the neurons of one layer, or of all.
fn values(batch: &RecordBatch, column: usize, layer: Option<i64>) -> Vec<i64> {
    let layers = batch.column(0).as_primitive::<Int32Type>();
    let keys = batch.column(column).as_primitive::<Int32Type>();
    let rows = layers.iter().zip(keys);
    let rows = rows.filter(|(of, _)| layer.is_none_or(|layer| of.map(i64::from) == Some(layer)));
    rows.filter_map(|(_, key)| key.map(i64::from)).collect()
}
