//! Tables of neurons in memory and a plain session over them.

#![allow(dead_code, reason = "each test uses a part of it")]

use std::sync::Arc;

use datafusion::arrow::array::{
    ArrayRef, Float32Array, Int32Array, ListBuilder, PrimitiveBuilder, RecordBatch, StringArray,
    StringBuilder, UInt32Array,
};
use datafusion::arrow::compute::take_record_batch;
use datafusion::arrow::datatypes::Float32Type;
use datafusion::arrow::util::pretty::pretty_format_batches;
use datafusion::error::Result;
use datafusion::prelude::{SessionConfig, SessionContext};

pub fn vectors(rows: impl IntoIterator<Item = Vec<f32>>) -> ArrayRef {
    let mut builder = ListBuilder::new(PrimitiveBuilder::<Float32Type>::new());
    for row in rows {
        builder.values().append_slice(&row);
        builder.append(true);
    }
    Arc::new(builder.finish())
}

/// Neurons of one layer with their examples: (neuron, example, received vector).
pub fn tables(rows: &[(i32, i32, Vec<f32>)]) -> Result<[RecordBatch; 2]> {
    let integers = |values: Vec<i32>| -> ArrayRef { Arc::new(Int32Array::from(values)) };
    let n = rows.len();
    let mut windows = ListBuilder::new(StringBuilder::new());
    for (neuron, example, _) in rows {
        windows.values().append_value("of ");
        windows
            .values()
            .append_value(format!("t{neuron}_{example}"));
        windows.append(true);
    }
    let tokens: StringArray = rows
        .iter()
        .map(|(n, e, _)| Some(format!("t{n}_{e}")))
        .collect();
    let examples = RecordBatch::try_from_iter([
        ("layer", integers(vec![0; n])),
        ("neuron", integers(rows.iter().map(|row| row.0).collect())),
        ("example", integers(rows.iter().map(|row| row.1).collect())),
        ("doc_id", integers(rows.iter().map(|row| row.1).collect())),
        ("pos", integers(vec![1; n])),
        ("token", Arc::new(tokens)),
        ("activation", Arc::new(Float32Array::from(vec![1.0; n]))),
        ("window_start", integers(vec![0; n])),
        ("window_tokens", Arc::new(windows.finish())),
        ("pre_mlp", vectors(rows.iter().map(|row| row.2.clone()))),
    ])?;
    let n_neurons = rows.iter().map(|row| row.0 + 1).max().unwrap_or(0);
    let width = rows.first().map_or(0, |row| row.2.len());
    let neurons = RecordBatch::try_from_iter([
        ("layer", integers(vec![0; n_neurons as usize])),
        ("neuron", integers((0..n_neurons).collect())),
        ("w_in", vectors((0..n_neurons).map(|_| vec![1.0; width]))),
    ])?;
    Ok([examples, neurons])
}

/// Four neurons; the fourth has two clusters, its examples 0, 1, 3 and 2, 4.
pub fn small() -> Result<[RecordBatch; 2]> {
    let directions = [[1.0, 0.0], [4.0, 3.0], [0.0, 1.0], [12.0, 5.0], [0.0, 2.0]];
    let mut rows = vec![(0, 0, vec![1.0, 1.0]), (1, 0, vec![1.0, 2.0])];
    rows.extend((0..5).map(|i| (3, i as i32, directions[i].to_vec())));
    tables(&rows)
}

/// Many neurons with pseudo-random vectors, from a fixed seed.
pub fn large(n_neurons: i32, n_examples: i32, width: usize) -> Result<[RecordBatch; 2]> {
    let mut state = 7u32;
    let mut random = move || {
        state = state.wrapping_mul(1664525).wrapping_add(1013904223);
        (state >> 8) as f32 / (1 << 24) as f32 - 0.3
    };
    let mut rows = Vec::new();
    for neuron in 0..n_neurons {
        for example in 0..n_examples {
            rows.push((neuron, example, (0..width).map(|_| random()).collect()));
        }
    }
    tables(&rows)
}

/// Cuts a table into `parts` partitions after a shuffle by `stride`, which is prime to the number of rows.
pub fn partitions(
    table: &RecordBatch,
    parts: usize,
    stride: usize,
) -> Result<Vec<Vec<RecordBatch>>> {
    let n = table.num_rows();
    let order: UInt32Array = (0..n).map(|i| (i * stride % n) as u32).collect();
    let shuffled = take_record_batch(table, &order)?;
    let size = n.div_ceil(parts).max(1);
    Ok((0..n)
        .step_by(size)
        .map(|start| vec![shuffled.slice(start, size.min(n - start))])
        .collect())
}

pub fn session(
    config: SessionConfig,
    [examples, neurons]: &[RecordBatch; 2],
) -> Result<SessionContext> {
    let ctx = SessionContext::new_with_config(config);
    polysema_udfs::register_all(&ctx)?;
    ctx.register_batch("examples", examples.clone())?;
    ctx.register_batch("neurons", neurons.clone())?;
    Ok(ctx)
}

pub async fn answer(ctx: &SessionContext, sql: &str) -> Result<String> {
    let batches = ctx.sql(sql).await?.collect().await?;
    Ok(pretty_format_batches(&batches)?.to_string())
}
