//! An exact search among as many vectors as a large model has feature clusters: `nearest` over a table in memory,
//! through SQL, with one partition and with one a core. Its peer is what one would write without it: an order by the
//! scalar function of two vectors with a limit, which DataFusion's TopK answers.

use std::hint::black_box;
use std::sync::Arc;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use datafusion::arrow::array::{
    ArrayRef, FixedSizeListArray, Float32Array, Int32Array, RecordBatch,
};
use datafusion::arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::catalog::MemTable;
use datafusion::prelude::{SessionConfig, SessionContext};

const N_ROWS: usize = 200_000;
const WIDTH: usize = 768;
const BATCH_ROWS: usize = 8192;

fn item() -> FieldRef {
    Arc::new(Field::new_list_field(DataType::Float32, true))
}

/// Uniform numbers in [-0.5, 0.5) from a fixed seed: a linear congruential generator is enough for a benchmark.
fn vectors(first: usize, n: usize) -> RecordBatch {
    let mut state = first as u64 + 1;
    let values = (0..n * WIDTH).map(|_| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1 << 24) as f32 - 0.5
    });
    let values = Arc::new(Float32Array::from_iter_values(values));
    let vectors = FixedSizeListArray::new(item(), WIDTH as i32, values, None);
    let ids = Int32Array::from_iter_values(first as i32..(first + n) as i32);
    RecordBatch::try_from_iter([
        ("id", Arc::new(ids) as ArrayRef),
        ("v", Arc::new(vectors) as ArrayRef),
    ])
    .expect("two columns of one length")
}

fn session(partitions: usize) -> SessionContext {
    let config = SessionConfig::new().with_target_partitions(partitions);
    let ctx = SessionContext::new_with_config(config);
    polysema_udfs::register_all(&ctx).expect("functions");
    let mut parts = vec![vec![]; partitions];
    for (i, first) in (0..N_ROWS).step_by(BATCH_ROWS).enumerate() {
        parts[i % partitions].push(vectors(first, BATCH_ROWS.min(N_ROWS - first)));
    }
    let table = MemTable::try_new(parts[0][0].schema(), parts).expect("batches of one schema");
    ctx.register_table("t", Arc::new(table))
        .expect("a new table");
    ctx
}

fn bench(c: &mut Criterion) {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let query: Vec<f64> = (0..WIDTH).map(|i| (i % 7) as f64 + 0.5).collect();
    let written: Vec<String> = query.iter().map(f64::to_string).collect();
    let written = written.join(", ");
    let mut group = c.benchmark_group("search");
    group.sample_size(20);
    for partitions in [1, cores] {
        let ctx = session(partitions);
        for k in [10, 100] {
            let questions = [
                (
                    "nearest",
                    format!("SELECT id, similarity FROM nearest('t', 'v', [{written}], {k})"),
                ),
                (
                    "order_by_limit",
                    format!(
                        "SELECT id, cosine_similarity(v, [{written}]) AS similarity FROM t \
                         ORDER BY similarity DESC, id LIMIT {k}"
                    ),
                ),
            ];
            for (name, sql) in &questions {
                let id = BenchmarkId::new(*name, format!("200k_768_k{k}_p{partitions}"));
                group.bench_function(id, |b| {
                    let rows = || async { ctx.sql(sql).await?.collect().await };
                    b.iter(|| black_box(runtime.block_on(rows()).expect("rows")));
                });
            }
        }
    }
    group.finish();
}

criterion_group!(benches, bench);
criterion_main!(benches);
