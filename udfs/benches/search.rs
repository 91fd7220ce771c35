//! An exact search among as many vectors as a large model has feature clusters: `nearest` over a table in memory,
//! through SQL, with one partition and with one a core. Its peer is DataFusion's own TopK over the scalar function.

use std::hint::black_box;
use std::sync::Arc;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use datafusion::arrow::array::{
    ArrayRef, FixedSizeListArray, Float32Array, Int32Array, RecordBatch,
};
use datafusion::arrow::datatypes::{DataType, Field};
use datafusion::catalog::MemTable;
use datafusion::prelude::{SessionConfig, SessionContext};

const N_ROWS: usize = 200_000;
const WIDTH: usize = 768;
const BATCH_ROWS: usize = 8192;

/// Uniform numbers in [-0.5, 0.5) from a fixed seed: a linear congruential generator is enough for a benchmark.
fn vectors(first: usize, n: usize) -> RecordBatch {
    let mut state = first as u64 + 1;
    let values = (0..n * WIDTH).map(|_| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1 << 24) as f32 - 0.5
    });
    let item = Arc::new(Field::new_list_field(DataType::Float32, true));
    let values = Arc::new(Float32Array::from_iter_values(values));
    let vectors = FixedSizeListArray::new(item, WIDTH as i32, values, None);
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
    let query: Vec<String> = (0..WIDTH).map(|k| format!("{}.5", k % 7)).collect();
    let query = query.join(", ");
    let questions = [
        (
            "200k_768",
            format!("SELECT id, similarity FROM nearest('t', 'v', [{query}], 20)"),
        ),
        (
            "200k_768_topk",
            format!(
                "SELECT id, cosine_similarity(v, [{query}]) AS similarity FROM t \
                 ORDER BY similarity DESC, id LIMIT 20"
            ),
        ),
    ];
    let mut group = c.benchmark_group("nearest");
    group.sample_size(20);
    for partitions in [1, cores] {
        let ctx = session(partitions);
        for (name, sql) in &questions {
            group.bench_function(BenchmarkId::new(*name, partitions), |b| {
                let rows = || async { ctx.sql(sql).await?.collect().await };
                b.iter(|| black_box(runtime.block_on(rows()).expect("rows")));
            });
        }
    }
    group.finish();
}

criterion_group!(benches, bench);
criterion_main!(benches);
