//! Writes what one layer has found: its neurons, histograms, examples and the vectors these point at.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use datafusion::arrow::array::{
    ArrayRef, FixedSizeListArray, Float32Array, Float32Builder, Int32Array, Int32Builder,
    Int64Builder, ListArray, RecordBatch, StringArray, new_null_array,
};
use datafusion::arrow::buffer::OffsetBuffer;
use datafusion::arrow::datatypes::{DataType, Field};
use datafusion::common::exec_err;
use datafusion::error::Result;
use polysema_kernels::network::statistics::bucket_edges;
use polysema_udfs::arrow::memory::hold;

use super::candidates::Candidate;
use super::context::{BATCH_ROWS, Context, Tick};
use super::examples::write_examples;
use super::layer::Layer;
use super::progress::Reporter;
use super::tile::NONE;
use crate::models::{LayerInfo, NeuronWeights};
use crate::store::{LayerRow, RunWriter, Table, schema};

/// Between two looks at whether the threads that write are done.
const REPORT_EVERY: Duration = Duration::from_millis(5);
/// Numbers of a record batch of vectors: 4 MiB.
const BATCH_NUMBERS: usize = 1 << 20;

/// Writes the table `layers` of a model's own layers.
pub(super) fn write_layers(layers: &[LayerInfo], run: &RunWriter) -> Result<()> {
    let rows = layers.iter().enumerate().map(|(layer, info)| LayerRow {
        layer: layer as i32,
        name: info.name.clone(),
        kind: "mlp".to_string(),
        d_in: info.d_in as i32,
        n_neurons: info.n_neurons as i32,
        activation_function: info.activation_function.clone(),
    });
    write_layer_rows(&rows.collect::<Vec<_>>(), run)
}

/// Writes the table `layers`.
pub(super) fn write_layer_rows(rows: &[LayerRow], run: &RunWriter) -> Result<()> {
    let mut rows: Vec<_> = rows.iter().collect();
    rows.sort_by_key(|row| row.layer);
    let ints = |f: fn(&LayerRow) -> i32| -> ArrayRef {
        Arc::new(Int32Array::from_iter_values(rows.iter().map(|row| f(row))))
    };
    let texts = |f: fn(&LayerRow) -> &str| -> ArrayRef {
        Arc::new(StringArray::from_iter_values(rows.iter().map(|row| f(row))))
    };
    let columns = vec![
        ints(|row| row.layer),
        texts(|row| &row.name),
        texts(|row| &row.kind),
        ints(|row| row.d_in),
        ints(|row| row.n_neurons),
        texts(|row| &row.activation_function),
    ];
    let mut table = run.table(Table::Layers, None, schema::layers())?;
    table.write(&RecordBatch::try_new(schema::layers(), columns)?)?;
    table.finish()
}

/// Bytes that writing a layer takes: its examples, then its weights or the places of its vectors, a batch of rows of them
/// and the same as it is written.
fn bytes(context: &Context<'_>, layer: &Layer) -> usize {
    let (n, d, found) = (layer.n_neurons, layer.d_in, layer.n_candidates());
    let vectors = layer.vectors.len();
    let lists = n * size_of::<Vec<Candidate>>() + found * size_of::<Candidate>();
    // A list of places that grows may have room for twice as many.
    let places = vectors.saturating_mul(2 * size_of::<(u32, u32, u32)>() + size_of::<u32>());
    let numbers = n.saturating_add(vectors).saturating_mul(2 * d);
    let batch = numbers
        .min(BATCH_NUMBERS)
        .saturating_mul(2 * size_of::<f32>());
    // Most of an example's row are the numbers of its window, which a list that grows may have room for twice.
    let row = (4 * layer.window + 64) * size_of::<f32>();
    let rows = found.min(2 * BATCH_ROWS).saturating_mul(row);
    (context.weights_bytes.max(places))
        .saturating_add(lists)
        .saturating_add(batch.max(rows))
}

/// Reserves what writing so many layers at once takes.
fn hold_layers(context: &Context<'_>, layers: &[Layer], at_once: usize) -> Result<()> {
    let largest = layers.iter().map(|layer| bytes(context, layer)).max();
    let needed = at_once.saturating_mul(largest.unwrap_or(0));
    let of = format_args!("writing {at_once} layers at once (fewer max_examples need fewer)");
    hold(&context.memory, needed, of)
}

/// Writes every layer, as many at a time as there are compute threads and memory for.
pub(super) fn write_all(
    context: &Context<'_>,
    layers: &[Layer],
    run: &RunWriter,
    report: &mut Reporter<'_>,
) -> Result<()> {
    let mut threads = rayon::current_num_threads().min(layers.len());
    while let Err(error) = hold_layers(context, layers, threads) {
        match threads {
            0 | 1 => return Err(error),
            _ => threads -= 1,
        }
    }
    let next = AtomicUsize::new(0);
    let written = Mutex::new(Ok(()));
    let stop = AtomicBool::new(false);
    let fail = |error| {
        let mut written = written.lock().unwrap_or_else(PoisonError::into_inner);
        // The first error is the cause; those after it say that the others have stopped.
        if written.is_ok() {
            *written = Err(error);
        }
        stop.store(true, Ordering::Relaxed);
    };
    let write = || {
        while let Some(layer) = layers.get(next.fetch_add(1, Ordering::Relaxed)) {
            let mut tick = || match stop.load(Ordering::Relaxed) {
                true => exec_err!("all layers are required, got a stop"),
                false => Ok(()),
            };
            if let Err(error) = write_tables(context, layer, run, &mut tick) {
                return fail(error);
            }
        }
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(write)).collect();
        while !threads.iter().all(|thread| thread.is_finished()) {
            std::thread::sleep(REPORT_EVERY);
            if let Err(error) = report.tick() {
                fail(error);
            }
        }
    });
    written.into_inner().unwrap_or_else(PoisonError::into_inner)
}

/// Writes every table of one layer.
pub(super) fn write_layer(
    context: &Context<'_>,
    layer: &Layer,
    run: &RunWriter,
    tick: Tick<'_>,
) -> Result<()> {
    hold_layers(context, std::slice::from_ref(layer), 1)?;
    write_tables(context, layer, run, tick)
}

fn write_tables(
    context: &Context<'_>,
    layer: &Layer,
    run: &RunWriter,
    tick: Tick<'_>,
) -> Result<()> {
    let examples = layer.select();
    write_neurons(context, layer, &examples, run, tick)?;
    write_histograms(layer, run)?;
    tick()?;
    let rows = write_vectors(layer, &examples, run, tick)?;
    write_examples(context, layer, &examples, &rows, run, tick)
}

fn list_of(item_width: usize, values: Vec<f32>) -> Result<ArrayRef> {
    let n = values.len().checked_div(item_width).unwrap_or(0);
    let field = Arc::new(Field::new_list_field(DataType::Float32, true));
    let offsets = OffsetBuffer::from_repeated_length(item_width, n);
    let values = Arc::new(Float32Array::from(values));
    Ok(Arc::new(ListArray::try_new(field, offsets, values, None)?))
}

fn write_neurons(
    context: &Context<'_>,
    layer: &Layer,
    examples: &[Vec<Candidate>],
    run: &RunWriter,
    tick: Tick<'_>,
) -> Result<()> {
    let weights = (context.weights)(layer.index)?;
    let NeuronWeights {
        w_in,
        b_in,
        up,
        w_out,
    } = weights;
    let n = layer.n_neurons;
    let (d_in, d_out) = (w_in.len() / n, w_out.len() / n);
    let n_tokens = context.documents.total_rows(layer.skip) as f64;
    let mut max = vec![];
    let mut mean = vec![];
    let mut frac_active = vec![];
    for neuron in 0..n {
        let (activity, at) = layer.activity(neuron);
        max.push(match context.maxima {
            Some(given) => given.get(layer.index, neuron)?,
            None => activity.max[at],
        });
        mean.push((layer.sum(neuron) / n_tokens) as f32);
        frac_active.push((f64::from(activity.active[at]) / n_tokens) as f32);
    }
    let least: Vec<_> = (0..n).map(|neuron| layer.least(neuron)).collect();
    let n_examples = examples.iter().map(|examples| examples.len() as i32);
    let columns = schema::neurons();
    let absent = |name: &str| -> Result<ArrayRef> {
        Ok(new_null_array(
            columns.field_with_name(name)?.data_type(),
            n,
        ))
    };
    let (w_up, b_up): (ArrayRef, ArrayRef) = match up {
        Some(up) => (
            list_of(d_in, up.w_up)?,
            Arc::new(Float32Array::from(up.b_up)),
        ),
        None => (absent("w_up")?, absent("b_up")?),
    };
    let rows: Vec<ArrayRef> = vec![
        Arc::new(Int32Array::from(vec![layer.index as i32; n])),
        Arc::new(Int32Array::from_iter_values(0..n as i32)),
        list_of(d_in, w_in)?,
        Arc::new(Float32Array::from(b_in)),
        w_up,
        b_up,
        match d_out {
            0 => absent("w_out")?,
            _ => list_of(d_out, w_out)?,
        },
        Arc::new(Float32Array::from(max)),
        Arc::new(Float32Array::from(least)),
        Arc::new(Float32Array::from(mean)),
        Arc::new(Float32Array::from(frac_active)),
        Arc::new(Int32Array::from_iter_values(n_examples)),
    ];
    let rows = RecordBatch::try_new(Arc::clone(&columns), rows)?;
    let mut table = run.table(Table::Neurons, Some(layer.index), columns)?;
    let step = (BATCH_NUMBERS / (2 * d_in + d_out)).max(1);
    for first in (0..n).step_by(step) {
        table.write(&rows.slice(first, step.min(n - first)))?;
        tick()?;
    }
    table.finish()
}

fn write_histograms(layer: &Layer, run: &RunWriter) -> Result<()> {
    let mut table = run.table(Table::Histograms, Some(layer.index), schema::histograms())?;
    let mut rows = 0;
    let (mut neurons, mut buckets) = (Int32Builder::new(), Int32Builder::new());
    let (mut lowers, mut uppers) = (Float32Builder::new(), Float32Builder::new());
    let mut counts = Int64Builder::new();
    for neuron in 0..layer.n_neurons {
        let (activity, at) = layer.activity(neuron);
        for (bucket, count) in activity.histogram[at].iter().enumerate() {
            if *count > 0 {
                let (lower, upper) = bucket_edges(bucket);
                neurons.append_value(neuron as i32);
                buckets.append_value(bucket as i32);
                lowers.append_value(lower);
                uppers.append_value(upper);
                counts.append_value(i64::from(*count));
                rows += 1;
            }
        }
        if rows >= BATCH_ROWS || neuron + 1 == layer.n_neurons {
            let columns: Vec<ArrayRef> = vec![
                Arc::new(Int32Array::from(vec![layer.index as i32; rows])),
                Arc::new(neurons.finish()),
                Arc::new(buckets.finish()),
                Arc::new(lowers.finish()),
                Arc::new(uppers.finish()),
                Arc::new(counts.finish()),
            ];
            table.write(&RecordBatch::try_new(schema::histograms(), columns)?)?;
            rows = 0;
        }
    }
    table.finish()
}

/// Copies the examples' vectors in order of (doc_id, pos), each once. The row of each record of the layer's vectors, any
/// number where no example points at it.
fn write_vectors(
    layer: &Layer,
    examples: &[Vec<Candidate>],
    run: &RunWriter,
    tick: Tick<'_>,
) -> Result<Vec<u32>> {
    let mut rows = vec![NONE; layer.vectors.len()];
    let mut places = vec![];
    let mut add = |doc_id: u32, pos: u32, vector: u32| match rows.get_mut(vector as usize) {
        None => exec_err!(
            "vectors of layer {} are required, got none of document {doc_id} position {pos}",
            layer.index
        ),
        Some(row) => {
            if std::mem::take(row) == NONE {
                places.push((doc_id, pos, vector));
            }
            Ok(())
        }
    };
    for candidate in examples.iter().flatten() {
        add(candidate.doc_id, candidate.pos, candidate.vector)?;
        for (pos, vector) in layer.window_vectors(candidate)? {
            add(candidate.doc_id, pos, vector)?;
        }
    }
    places.sort_unstable();
    for (row, (_, _, vector)) in (0..).zip(&places) {
        rows[*vector as usize] = row;
    }
    let d_in = layer.d_in;
    let schema = schema::vectors(d_in);
    let mut table = run.table(Table::Vectors, Some(layer.index), Arc::clone(&schema))?;
    let item = Arc::new(Field::new_list_field(DataType::Float32, false));
    for part in places.chunks((BATCH_NUMBERS / d_in).max(1)) {
        let mut values = Vec::<f32>::with_capacity(part.len() * d_in);
        for (_, _, vector) in part {
            values.extend_from_slice(layer.vectors.read(*vector as usize, d_in)?);
        }
        let values = Arc::new(Float32Array::from(values));
        let h = FixedSizeListArray::try_new(Arc::clone(&item), d_in as i32, values, None)?;
        table.write(&RecordBatch::try_new(
            Arc::clone(&schema),
            vec![Arc::new(h)],
        )?)?;
        tick()?;
    }
    table.finish()?;
    Ok(rows)
}
