//! An exact search among as many vectors as a large model has feature clusters: `nearest` over a table in memory,
//! through SQL, with one partition and with one a core. Its peers are DataFusion's own TopK over the scalar function of
//! any two vectors, and over one that knows the query, which is the same arithmetic as `nearest`.

use std::hint::black_box;
use std::sync::Arc;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use datafusion::arrow::array::{
    ArrayRef, FixedSizeListArray, Float32Array, Float64Array, Int32Array, RecordBatch,
};
use datafusion::arrow::datatypes::{DataType, Field, FieldRef, Float32Type};
use datafusion::catalog::MemTable;
use datafusion::logical_expr::{ColumnarValue, ScalarUDF, Volatility, create_udf};
use datafusion::prelude::{SessionConfig, SessionContext};
use polysema_kernels::similarity::search::Query;
use polysema_udfs::arrow::vectors::VectorColumn;

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

/// Similarity to a query known when the plan is made.
fn similar(query: &[f64]) -> ScalarUDF {
    let query = Query::new(query).expect("a direction");
    let input = DataType::FixedSizeList(item(), WIDTH as i32);
    let work = move |arguments: &[ColumnarValue]| {
        let rows = ColumnarValue::values_to_arrays(arguments)?;
        let rows = VectorColumn::<Float32Type>::try_new("similar", "v", &rows[0])?;
        let similarities = (0..rows.len()).map(|i| query.similarity(rows.row(i)?));
        let similarities: Float64Array = similarities.collect();
        Ok(ColumnarValue::Array(Arc::new(similarities)))
    };
    let output = DataType::Float64;
    create_udf(
        "similar",
        vec![input],
        output,
        Volatility::Immutable,
        Arc::new(work),
    )
}

fn bench(c: &mut Criterion) {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let query: Vec<f64> = (0..WIDTH).map(|i| (i % 7) as f64 + 0.5).collect();
    let written: Vec<String> = query.iter().map(f64::to_string).collect();
    let written = written.join(", ");
    let mut group = c.benchmark_group("nearest");
    group.sample_size(20);
    for partitions in [1, cores] {
        let ctx = session(partitions);
        ctx.register_udf(similar(&query));
        for k in [10, 100] {
            let best = format!("FROM t ORDER BY similarity DESC, id LIMIT {k}");
            let questions = [
                (
                    "operator",
                    format!("SELECT id, similarity FROM nearest('t', 'v', [{written}], {k})"),
                ),
                (
                    "topk",
                    format!("SELECT id, similar(v) AS similarity {best}"),
                ),
                (
                    "topk_of_pairs",
                    format!("SELECT id, cosine_similarity(v, [{written}]) AS similarity {best}"),
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
