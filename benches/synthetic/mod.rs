//! A store of any size that looks like an ingested model: every layer's vectors are a few topics plus noise, and a
//! neuron's examples are positions drawn from all of the layer's, so that neurons share vectors as they do in life.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use datafusion::arrow::array::{
    ArrayRef, FixedSizeListArray, Float32Array, Int32Array, ListArray, RecordBatch, StringArray,
    UInt32Array, new_null_array,
};
use datafusion::arrow::buffer::OffsetBuffer;
use datafusion::arrow::datatypes::{DataType, Field, SchemaRef};
use datafusion::error::Result;
use polysema::store::{RunManifest, RunWriter, Store, Table, schema};
use polysema_kernels::random::Random;

const N_TOPICS: usize = 10;
const NOISE: f64 = 0.7;
/// Rows of a stored batch of examples, as ingest writes them.
const BATCH_ROWS: usize = 8192;
/// Floats of a stored batch of vectors.
const BATCH_FLOATS: usize = 1 << 20;

/// How much of a model there is.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    pub layers: usize,
    /// Per layer.
    pub neurons: usize,
    /// Examples of each neuron.
    pub examples: usize,
    /// Width of the vectors.
    pub d: usize,
    /// Distinct (document, position) of each layer.
    pub positions: usize,
}

/// Writes a run called `run`.
pub fn write(root: &Path, run: &str, shape: Shape) -> Result<()> {
    let mut writer = Store::open(root)?.begin(run, true)?;
    write_corpus(&mut writer, shape)?;
    for layer in 0..shape.layers {
        write_layer(&mut writer, layer, shape)?;
    }
    writer.commit(RunManifest {
        run: run.to_string(),
        architecture: "synthetic".to_string(),
        ..Default::default()
    })
}

/// Rows of a table: these columns, NULL in all others.
fn batch_of(schema: &SchemaRef, n: usize, columns: Vec<(&str, ArrayRef)>) -> Result<RecordBatch> {
    for (name, _) in &columns {
        schema.index_of(name)?;
    }
    let columns: BTreeMap<_, _> = columns.into_iter().collect();
    let column = |field: &Arc<Field>| {
        let given = columns.get(field.name().as_str()).map(Arc::clone);
        given.unwrap_or_else(|| new_null_array(field.data_type(), n))
    };
    let columns = schema.fields().iter().map(column).collect();
    Ok(RecordBatch::try_new(Arc::clone(schema), columns)?)
}

fn ints(values: impl IntoIterator<Item = usize>) -> ArrayRef {
    Arc::new(Int32Array::from_iter_values(
        values.into_iter().map(|x| x as i32),
    ))
}

fn rows(values: impl IntoIterator<Item = usize>) -> ArrayRef {
    Arc::new(UInt32Array::from_iter_values(
        values.into_iter().map(|x| x as u32),
    ))
}

fn constant(value: f32, n: usize) -> ArrayRef {
    Arc::new(Float32Array::from(vec![value; n]))
}

/// Lists of `width` values each. `[n * width]`
fn lists(values: Vec<f32>, width: usize) -> ArrayRef {
    let n = values.len() / width;
    Arc::new(ListArray::new(
        Arc::new(Field::new_list_field(DataType::Float32, true)),
        OffsetBuffer::from_repeated_length(width, n),
        Arc::new(Float32Array::from(values)),
        None,
    ))
}

/// A document of one token for every position.
fn write_corpus(writer: &mut RunWriter, shape: Shape) -> Result<()> {
    let text = |value: &str, n| -> ArrayRef { Arc::new(StringArray::from(vec![value; n])) };
    let layers = vec![
        ints(0..shape.layers),
        Arc::new(StringArray::from_iter_values(
            (0..shape.layers).map(|l| format!("blocks.{l}.mlp")),
        )),
        text("mlp", shape.layers),
        ints(vec![shape.d; shape.layers]),
        ints(vec![shape.neurons; shape.layers]),
        text("gelu_new", shape.layers),
    ];
    let n = shape.positions;
    let documents = vec![ints(0..n), text("word", n), ints(vec![1; n])];
    let tokens = vec![
        ints(0..n),
        ints(vec![0; n]),
        ints(vec![7; n]),
        text("word", n),
    ];
    for (table, schema, columns) in [
        (Table::Layers, schema::layers(), layers),
        (Table::Documents, schema::documents(), documents),
        (Table::Tokens, schema::tokens(), tokens),
    ] {
        let mut table = writer.table(table, None, Arc::clone(&schema))?;
        table.write(&RecordBatch::try_new(schema, columns)?)?;
        table.finish()?;
    }
    Ok(())
}

fn write_layer(writer: &mut RunWriter, layer: usize, shape: Shape) -> Result<()> {
    let Shape {
        neurons,
        examples,
        d,
        positions,
        ..
    } = shape;
    let mut random = Random::new(layer as u64);
    let topics: Vec<Vec<f64>> = (0..N_TOPICS).map(|_| vector(&mut random, d)).collect();

    let schema = schema::vectors(d);
    let mut table = writer.table(Table::Vectors, Some(layer), Arc::clone(&schema))?;
    let batch = (BATCH_FLOATS / d).max(1);
    for start in (0..positions).step_by(batch) {
        let n = batch.min(positions - start);
        let mut values = Vec::with_capacity(n * d);
        for _ in 0..n {
            let topic = &topics[random.index(N_TOPICS)];
            values.extend(topic.iter().map(|x| (x + NOISE * random.normal()) as f32));
        }
        let item = Arc::new(Field::new_list_field(DataType::Float32, false));
        let values = Arc::new(Float32Array::from(values));
        let h = FixedSizeListArray::try_new(item, d as i32, values, None)?;
        table.write(&RecordBatch::try_new(
            Arc::clone(&schema),
            vec![Arc::new(h)],
        )?)?;
    }
    table.finish()?;

    let schema = schema::neurons();
    let mut table = writer.table(Table::Neurons, Some(layer), Arc::clone(&schema))?;
    for start in (0..neurons).step_by(batch) {
        let n = batch.min(neurons - start);
        let mut weights = || {
            lists(
                vector(&mut random, n * d)
                    .iter()
                    .map(|&x| x as f32)
                    .collect(),
                d,
            )
        };
        table.write(&batch_of(
            &schema,
            n,
            vec![
                ("layer", ints(vec![layer; n])),
                ("neuron", ints(start..start + n)),
                ("w_in", weights()),
                ("b_in", constant(0.0, n)),
                ("w_out", weights()),
                ("max_activation", constant(1.0, n)),
                ("mean_activation", constant(0.1, n)),
                ("frac_active", constant(0.5, n)),
                ("n_examples", ints(vec![examples; n])),
            ],
        )?)?;
    }
    table.finish()?;

    let schema = schema::stored_examples();
    let mut table = writer.table(Table::Examples, Some(layer), Arc::clone(&schema))?;
    let batch = (BATCH_ROWS / examples).max(1);
    for start in (0..neurons).step_by(batch) {
        let n = batch.min(neurons - start);
        let mut place = Vec::with_capacity(n * examples);
        for _ in 0..n {
            // In corpus order, as the first examples of a corpus are.
            let mut drawn: Vec<_> = (0..examples).map(|_| random.index(positions)).collect();
            drawn.sort_unstable();
            place.extend(drawn);
        }
        let total = n * examples;
        let of_neuron = |neuron| std::iter::repeat_n(neuron, examples);
        table.write(&batch_of(
            &schema,
            total,
            vec![
                ("layer", ints(vec![layer; total])),
                ("neuron", ints((start..start + n).flat_map(of_neuron))),
                ("example", ints((0..n).flat_map(|_| 0..examples))),
                ("doc_id", ints(place.iter().copied())),
                ("pos", ints(vec![0; total])),
                ("activation", constant(1.0, total)),
                ("window_start", ints(vec![0; total])),
                ("window_activations", lists(vec![1.0; total], 1)),
                ("token_row", rows(place.iter().copied())),
                ("vector", rows(place.iter().copied())),
            ],
        )?)?;
    }
    table.finish()
}

/// `d` standard normal numbers.
fn vector(random: &mut Random, d: usize) -> Vec<f64> {
    (0..d).map(|_| random.normal()).collect()
}
