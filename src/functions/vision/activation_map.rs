//! `activation_map(layer, neuron)`: which pixels of an image make a neuron of a classifier fire.
//!
//! ```text
//! hidden neuron          weight[p] = w_in[p], activation[p] = max(w_in[p] white, w_in[p] black)
//! latent, deeper neuron  activation[p] = sum over j of w_in[j] relu(activation_j[p]), j the neurons below
//! ```
//!
//! `white` and `black` are what a pixel of 255 and of 0 becomes before the classifier. Biases and what other pixels do are
//! left aside: the map is the largest activation that each pixel alone can induce.
//!
//! Source: the authors' MNIST explorer (mechMNISTic). Numbers: `tests/reference/pixel_maps.py`, NumPy.

use std::sync::{Arc, LazyLock};

use datafusion::arrow::array::{ArrayRef, Float32Array, Int32Array, RecordBatch, new_null_array};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::catalog::{Session, TableProvider};
use datafusion::error::Result;
use datafusion::logical_expr::{Expr, TableType};
use datafusion::physical_plan::ExecutionPlan;
use polysema_udfs::calls::{Arguments, Function, FunctionDoc, Implementation, TableFunction};
use polysema_udfs::scan_by_plan;

use crate::corpus::BLACK_AND_WHITE;
use crate::functions::arguments::run_parameters;
use crate::functions::pixel_layers::{LAYER_NEURON, PixelNeuron, WIDTH};
use crate::jobs::{Course, Job, JobContext};
use crate::options::Options;
use crate::store::Store;

static DOC: LazyLock<FunctionDoc> = LazyLock::new(|| FunctionDoc {
    name: "activation_map",
    chapter: "vision",
    summary: "One row per pixel: the largest activation of a classifier's neuron that this pixel alone can induce.",
    arguments: LAYER_NEURON,
    required: 2,
    options: run_parameters(&[WIDTH.spec]),
    returns: "y (line of the pixel, from 0 above), x (its place in the line, from 0), weight (the neuron's weight of the \
              pixel; NULL where it sees pixels through other neurons), activation (the largest that the pixel alone can \
              induce, white or black; through other neurons the sum of theirs above 0, weighted)",
    example: "SELECT y, x, round(weight, 3) AS weight, round(activation, 3) AS activation \
              FROM activation_map(0, 1, {run: 'digits'}) ORDER BY activation DESC, y, x LIMIT 3",
    replaces: None,
});

/// The catalogue entry.
pub(super) fn function(store: &Arc<Store>) -> Function {
    let store = Arc::clone(store);
    Function {
        doc: &DOC,
        implementation: Implementation::Table(Arc::new(ActivationMap { store })),
    }
}

fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("y", DataType::Int32, false),
        Field::new("x", DataType::Int32, false),
        Field::new("weight", DataType::Float32, true),
        Field::new("activation", DataType::Float32, false),
    ]))
}

#[derive(Debug)]
struct ActivationMap {
    store: Arc<Store>,
}

impl TableFunction for ActivationMap {
    fn schema(&self, _: &Arguments) -> Result<SchemaRef> {
        Ok(schema())
    }

    fn table(&self, arguments: Arguments) -> Result<Arc<dyn TableProvider>> {
        let options = Options::of_call(&[WIDTH.spec], &arguments)?;
        Ok(Arc::new(MapTable {
            store: Arc::clone(&self.store),
            width: options.get(WIDTH),
            arguments,
        }))
    }
}

#[derive(Debug)]
struct MapTable {
    store: Arc<Store>,
    arguments: Arguments,
    width: Option<usize>,
}

impl MapTable {
    async fn plan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let neuron = PixelNeuron::of(&self.arguments, self.width, &self.store, state)?;
        let detail = format!("layer={}, neuron={}", neuron.layer.layer, neuron.neuron);
        let work = move |context: &JobContext| {
            context.send(rows(&neuron));
            context.tick()
        };
        let job = Job {
            function: DOC.name,
            operator: "ActivationMapExec",
            detail,
            schema: schema(),
            course: Course::Answer,
            needs: &[],
            input: None,
            makes: None,
            work: Arc::new(work),
        };
        job.scan(state, projection, filters, limit).await
    }
}

impl TableProvider for MapTable {
    fn schema(&self) -> SchemaRef {
        schema()
    }

    fn table_type(&self) -> TableType {
        TableType::Temporary
    }

    scan_by_plan!(MapTable);
}

/// The weights of one neuron, or of all of a layer.
fn weights(neuron: &PixelNeuron, layer: i32) -> Result<Vec<f32>> {
    let weights = neuron.run.layer_weights(layer)?;
    if layer != neuron.layer.layer {
        return Ok(weights.w_in);
    }
    let d_in = weights.w_in.len() / weights.n.max(1);
    Ok(weights.w_in[neuron.neuron * d_in..][..d_in].to_vec())
}

fn rows(neuron: &PixelNeuron) -> Result<RecordBatch> {
    let PixelNeuron { width, path, .. } = neuron;
    let first = weights(neuron, path[0])?;
    let [black, white] = BLACK_AND_WHITE;
    let direct = path.len() == 1;
    let induced = |w: &f32| (w * white).max(w * black);
    // One map a neuron of the layer below, then of the layer itself. `[n, pixels]`
    let mut maps: Vec<f32> = first.iter().map(induced).collect();
    let pixels = pixels(neuron)?;
    for layer in &path[1..] {
        maps.iter_mut().for_each(|x| *x = x.max(0.0));
        let weights = weights(neuron, *layer)?;
        let n_below = maps.len() / pixels;
        let mut above = vec![0.0; weights.len() / n_below * pixels];
        for (w, above) in weights
            .chunks_exact(n_below)
            .zip(above.chunks_exact_mut(pixels))
        {
            for (w, below) in w.iter().zip(maps.chunks_exact(pixels)) {
                for (above, below) in above.iter_mut().zip(below) {
                    *above += w * below;
                }
            }
        }
        maps = above;
    }
    let place = |of: fn(usize, usize) -> usize| -> ArrayRef {
        let places = (0..pixels).map(|pixel| of(pixel, *width) as i32);
        Arc::new(Int32Array::from_iter_values(places))
    };
    let weight: ArrayRef = match direct {
        true => Arc::new(Float32Array::from(first)),
        false => new_null_array(&DataType::Float32, pixels),
    };
    let activation = Float32Array::from(maps);
    debug_assert_eq!(activation.len(), pixels);
    let columns = vec![
        place(|pixel, width| pixel / width),
        place(|pixel, width| pixel % width),
        weight,
        Arc::new(activation) as ArrayRef,
    ];
    Ok(RecordBatch::try_new(schema(), columns)?)
}

/// Pixels of an image: what a neuron of the lowest layer receives.
fn pixels(neuron: &PixelNeuron) -> Result<usize> {
    let layers = neuron.run.layers()?;
    let lowest = layers.iter().find(|row| row.layer == neuron.path[0]);
    Ok(lowest.map_or(1, |row| row.d_in as usize))
}
