//! `importance_map(layer, neuron)`: which pixels of its examples matter to a neuron of a classifier.
//!
//! ```text
//! activation[p]  activation_map
//! mean_pixel[p]  mean over the neuron's dataset examples, as the classifier receives pixels
//! importance[p]  scaled(relu(activation[p] - activation[0])) scaled(mean_pixel[p]), scaled(x) = (x - min x) / (max x - min x)
//! ```
//!
//! Pixel 0, the upper left, stands for the ground of the images. A map that is everywhere the same has no importance (0).
//!
//! Source: the authors' MNIST explorer (mechMNISTic), figure 5 of the paper. Numbers: `tests/reference/pixel_maps.py`, NumPy.

use std::sync::{Arc, LazyLock};

use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::{Result, plan_err};
use polysema_udfs::calls::{Arguments, Function, FunctionDoc, Implementation, TableFunction};

use crate::corpus::BLACK_AND_WHITE;
use crate::functions::arguments::{THRESHOLD, run_parameters};
use crate::functions::pixel_layers::{LAYER_NEURON, PixelNeuron, WIDTH};
use crate::jobs::{Query, QueryTable};
use crate::options::{Key, Kind, Options, Spec, Usual};
use crate::store::Store;

const CLUSTER: Key<Option<usize>> = Key::new(
    "cluster",
    Kind::Whole {
        from: 0,
        to: (1 << 31) - 1,
    },
    Usual::Said("all examples"),
    "the feature cluster whose examples are meant",
);
const OPTIONS: [Spec; 3] = [CLUSTER.spec, THRESHOLD.spec, WIDTH.spec];

static DOC: LazyLock<FunctionDoc> = LazyLock::new(|| FunctionDoc {
    name: "importance_map",
    chapter: "vision",
    summary: "One row per pixel: how much it matters to a classifier's neuron on its dataset examples.",
    arguments: LAYER_NEURON,
    required: 2,
    options: run_parameters(&OPTIONS),
    returns: "y (line of the pixel, from 0 above), x (its place in the line, from 0), activation (as activation_map gives \
              it), mean_pixel (over the examples, as the classifier receives pixels; NULL without examples), importance (in \
              [0, 1]: the activation above that of pixel 0 times mean_pixel, both scaled to [0, 1]; NULL without examples)",
    example: "SELECT y, x, round(mean_pixel, 3) AS mean_pixel, round(importance, 3) AS importance \
              FROM importance_map(0, 1, {run: 'digits'}) ORDER BY importance DESC, y, x LIMIT 3",
    replaces: None,
});

/// The catalogue entry.
pub(super) fn function(store: &Arc<Store>) -> Function {
    let store = Arc::clone(store);
    Function {
        doc: &DOC,
        implementation: Implementation::Table(Arc::new(ImportanceMap { store })),
    }
}

fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("y", DataType::Int32, true),
        Field::new("x", DataType::Int32, true),
        Field::new("activation", DataType::Float32, true),
        Field::new("mean_pixel", DataType::Float64, true),
        Field::new("importance", DataType::Float64, true),
    ]))
}

#[derive(Debug)]
struct ImportanceMap {
    store: Arc<Store>,
}

impl TableFunction for ImportanceMap {
    fn schema(&self, _: &Arguments) -> Result<SchemaRef> {
        Ok(schema())
    }

    fn table(&self, arguments: Arguments) -> Result<Arc<dyn TableProvider>> {
        let options = Options::of_call(&OPTIONS, &arguments)?;
        let (cluster, threshold) = (options.get(CLUSTER), options.get(THRESHOLD));
        if cluster.is_none() && options.any_given(&[THRESHOLD.spec]).is_some() {
            return plan_err!("importance_map: threshold must come with cluster, got it alone");
        }
        let width = options.get(WIDTH);
        let store = Arc::clone(&self.store);
        let ask = move |state: &dyn Session| {
            let of = PixelNeuron::of(&arguments, width, &store, state)?;
            let (layer, neuron) = (of.layer.layer, of.neuron);
            let members = match cluster {
                None => format!(
                    "SELECT doc_id FROM examples WHERE layer = {layer} AND neuron = {neuron}"
                ),
                Some(cluster) => {
                    let threshold = threshold.map(|at| format!(", {{threshold: {at:?}}}"));
                    format!(
                        "SELECT doc_id FROM feature_clusters({layer}, {neuron}{}) WHERE \"cluster\" = {cluster}",
                        threshold.unwrap_or_default()
                    )
                }
            };
            let [black, white] = BLACK_AND_WHITE;
            let sql = format!(
                include_str!("../../../sql/functions/importance_map.sql"),
                layer = layer,
                neuron = neuron,
                width = of.width,
                members = members,
                black = format_args!("{black:?}"),
                range = format_args!("{:?}", white - black)
            );
            let run = of.run.name().to_string();
            Ok(Query { run, sql })
        };
        Ok(Arc::new(QueryTable {
            function: DOC.name,
            schema: schema(),
            ask: Arc::new(ask),
        }))
    }
}
