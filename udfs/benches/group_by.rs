//! The metrics of every neuron by the per-neuron operator, and by DataFusion's GROUP BY over the aggregate of the same
//! metrics: what streaming one group at a time, without a copy of its vectors, is worth.

use std::hint::black_box;
use std::sync::Arc;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use datafusion::arrow::array::{
    ArrayRef, FixedSizeListArray, Float32Array, Int32Array, RecordBatch,
};
use datafusion::arrow::datatypes::{DataType, Field};
use datafusion::prelude::{SessionConfig, SessionContext};
use polysema_kernels::random::Random;

const N_NEURONS: usize = 200;
const N_EXAMPLES: usize = 100;
const WIDTH: usize = 768;

fn vectors(n: usize, mut value: impl FnMut() -> f32) -> ArrayRef {
    let values = Float32Array::from_iter_values((0..n * WIDTH).map(|_| value()));
    let item = Arc::new(Field::new_list_field(DataType::Float32, true));
    let rows = FixedSizeListArray::new(item, WIDTH as i32, Arc::new(values), None);
    Arc::new(rows)
}

fn session(partitions: usize) -> SessionContext {
    let config = SessionConfig::new().with_target_partitions(partitions);
    let ctx = SessionContext::new_with_config(config);
    polysema_udfs::register_all(&ctx).expect("functions");
    let n = N_NEURONS * N_EXAMPLES;
    let integers = |values: Vec<usize>| -> ArrayRef {
        Arc::new(Int32Array::from_iter_values(
            values.into_iter().map(|value| value as i32),
        ))
    };
    let mut random = Random::new(7);
    let examples = RecordBatch::try_from_iter([
        ("layer", integers(vec![0; n])),
        (
            "neuron",
            integers((0..n).map(|row| row / N_EXAMPLES).collect()),
        ),
        (
            "example",
            integers((0..n).map(|row| row % N_EXAMPLES).collect()),
        ),
        ("pre_mlp", vectors(n, || random.normal() as f32)),
    ]);
    let neurons = RecordBatch::try_from_iter([
        ("layer", integers(vec![0; N_NEURONS])),
        ("neuron", integers((0..N_NEURONS).collect())),
        ("w_in", vectors(N_NEURONS, || 1.0)),
    ]);
    for (name, rows) in [("examples", examples), ("neurons", neurons)] {
        let rows = rows.expect("columns of one length");
        ctx.register_batch(name, rows).expect("a new table");
    }
    ctx
}

fn bench(c: &mut Criterion) {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let questions = [
        (
            "operator",
            "SELECT neuron, n_clusters, mean_distance, silhouette, cophenetic_correlation \
             FROM neuron_polysemanticity({embedding: 'pre_mlp'})",
        ),
        (
            "aggregate",
            "SELECT neuron, polysemanticity(pre_mlp) FROM examples GROUP BY layer, neuron",
        ),
    ];
    let mut group = c.benchmark_group("group_by");
    group.sample_size(10);
    for partitions in [1, cores] {
        let ctx = session(partitions);
        for (name, sql) in questions {
            group.bench_function(BenchmarkId::new(name, partitions), |b| {
                let rows = || async { ctx.sql(sql).await?.collect().await };
                b.iter(|| black_box(runtime.block_on(rows()).expect("rows")));
            });
        }
    }
    group.finish();
}

criterion_group!(benches, bench);
criterion_main!(benches);
