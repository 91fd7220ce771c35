//! A small store written by hand: three layers of seven neurons, neuron n with n examples.

pub use std::fs;
pub use std::path::{Path, PathBuf};
pub use std::sync::Arc;

pub use datafusion::arrow::array::{
    ArrayRef, AsArray, FixedSizeListArray, Float32Array, Int32Array, Int64Array, ListBuilder,
    PrimitiveBuilder, RecordBatch, StringArray, UInt32Array, new_null_array,
};
pub use datafusion::arrow::datatypes::{
    DataType, Field, Float32Type, Int32Type, Schema, SchemaRef,
};
pub use datafusion::arrow::util::pretty::pretty_format_batches;
pub use datafusion::datasource::MemTable;
pub use datafusion::error::Result;
pub use datafusion::prelude::{SessionConfig, SessionContext};
pub use polysema::store::{
    Counts, FORMAT, RunManifest, RunWriter, Source, Store, StoreCatalog, Table, schema,
};

pub const LAYERS: i32 = 3;
pub const NEURONS: i32 = 7;
pub const DOCUMENTS: i32 = 5;
pub const TOKENS: i32 = 6;
pub const D_IN: i32 = 4;

pub fn ints(values: impl IntoIterator<Item = i32>) -> ArrayRef {
    Arc::new(Int32Array::from_iter_values(values))
}

/// A column of `neurons` that has no values.
fn none(name: &str, n: i32) -> ArrayRef {
    let neurons = schema::neurons();
    let field = neurons.field_with_name(name).expect("a column");
    new_null_array(field.data_type(), n as usize)
}

pub fn floats(values: impl IntoIterator<Item = f32>) -> ArrayRef {
    Arc::new(Float32Array::from_iter_values(values))
}

pub fn text(values: impl IntoIterator<Item = String>) -> ArrayRef {
    Arc::new(StringArray::from_iter_values(values))
}

pub fn lists(values: impl IntoIterator<Item = Vec<f32>>) -> ArrayRef {
    let mut out = ListBuilder::new(PrimitiveBuilder::<Float32Type>::new());
    for list in values {
        out.append_value(list.into_iter().map(Some));
    }
    Arc::new(out.finish())
}

/// Neuron n has n examples, so neuron 0 has none.
pub fn examples_of(neuron: i32) -> i32 {
    neuron
}

pub fn vector(layer: i32, row: i32, salt: f32) -> Vec<f32> {
    (0..D_IN)
        .map(|k| salt + (layer * 100 + row * 10 + k) as f32)
        .collect()
}

pub fn examples_batch(layer: i32, neurons: &[i32]) -> Result<RecordBatch> {
    let rows: Vec<(i32, i32)> = neurons
        .iter()
        .flat_map(|n| (0..examples_of(*n)).map(|e| (*n, e)))
        .collect();
    let doc = |(n, e): (i32, i32)| (n + e) % DOCUMENTS;
    let pos = |(n, e): (i32, i32)| 1 + (n * 2 + e) % (TOKENS - 2);
    let column = |of: &dyn Fn((i32, i32)) -> i32| ints(rows.iter().map(|r| of(*r)));
    let token_row = |r| (doc(r) * TOKENS + pos(r)) as u32;
    RecordBatch::try_new(
        schema::stored_examples(),
        vec![
            column(&|_| layer),
            column(&|r| r.0),
            column(&|r| r.1),
            column(&doc),
            column(&pos),
            floats(rows.iter().map(|(n, e)| (n + e) as f32)),
            column(&|r| pos(r) - 1),
            lists(rows.iter().map(|(n, _)| vec![0.0, *n as f32, 0.5])),
            Arc::new(UInt32Array::from_iter_values(
                rows.iter().map(|r| token_row(*r)),
            )),
            Arc::new(UInt32Array::from_iter_values(
                rows.iter().map(|r| doc(*r) as u32),
            )),
            new_null_array(
                schema::stored_examples()
                    .field_with_name("window_vectors")?
                    .data_type(),
                rows.len(),
            ),
        ],
    )
    .map_err(Into::into)
}

pub fn write(
    writer: &mut RunWriter,
    table: Table,
    layer: Option<i32>,
    batches: &[RecordBatch],
) -> Result<()> {
    let layer = layer.map(|l| l as usize);
    let mut out = writer.table(table, layer, batches[0].schema())?;
    for batch in batches {
        out.write(batch)?;
    }
    out.finish()
}

pub fn fill(writer: &mut RunWriter, salt: f32) -> Result<()> {
    let layers = RecordBatch::try_new(
        schema::layers(),
        vec![
            ints(0..LAYERS),
            text((0..LAYERS).map(|l| format!("blocks.{l}.mlp"))),
            text((0..LAYERS).map(|_| "mlp".to_string())),
            ints((0..LAYERS).map(|_| D_IN)),
            ints((0..LAYERS).map(|_| NEURONS)),
            text((0..LAYERS).map(|_| "relu".to_string())),
        ],
    )?;
    write(writer, Table::Layers, None, &[layers])?;
    let mut fields = schema::documents().fields().to_vec();
    fields.push(Arc::new(Field::new("split", DataType::Utf8, true)));
    let documents = RecordBatch::try_new(
        Arc::new(Schema::new(fields)),
        vec![
            ints(0..DOCUMENTS),
            text((0..DOCUMENTS).map(|d| format!("document {d}"))),
            ints((0..DOCUMENTS).map(|_| TOKENS)),
            text((0..DOCUMENTS).map(|d| format!("part {}", d % 2))),
        ],
    )?;
    write(writer, Table::Documents, None, &[documents])?;
    // Batches of four tokens, so that windows cross them.
    let rows = DOCUMENTS * TOKENS;
    let tokens = RecordBatch::try_new(
        schema::tokens(),
        vec![
            ints((0..rows).map(|r| r / TOKENS)),
            ints((0..rows).map(|r| r % TOKENS)),
            ints(0..rows),
            text((0..rows).map(|r| format!("t{}.{}", r / TOKENS, r % TOKENS))),
        ],
    )?;
    let tokens: Vec<_> = (0..rows as usize)
        .step_by(4)
        .map(|r| tokens.slice(r, 4.min(rows as usize - r)))
        .collect();
    write(writer, Table::Tokens, None, &tokens)?;
    for layer in 0..LAYERS {
        let neurons = RecordBatch::try_new(
            schema::neurons(),
            vec![
                ints((0..NEURONS).map(|_| layer)),
                ints(0..NEURONS),
                lists((0..NEURONS).map(|n| vector(layer, n, salt))),
                floats((0..NEURONS).map(|n| n as f32)),
                none("w_up", NEURONS),
                none("b_up", NEURONS),
                lists((0..NEURONS).map(|n| vector(layer, n, salt))),
                floats((0..NEURONS).map(|n| n as f32)),
                none("least_activation", NEURONS),
                floats((0..NEURONS).map(|n| n as f32)),
                floats((0..NEURONS).map(|_| 0.5)),
                ints((0..NEURONS).map(examples_of)),
            ],
        )?;
        write(
            writer,
            Table::Neurons,
            Some(layer),
            &[neurons.slice(0, 3), neurons.slice(3, 4)],
        )?;
        let batches = [
            examples_batch(layer, &[0, 1, 2])?,
            examples_batch(layer, &[3, 4])?,
            examples_batch(layer, &[5])?,
            examples_batch(layer, &[6])?,
        ];
        write(writer, Table::Examples, Some(layer), &batches)?;
        let histograms = RecordBatch::try_new(
            schema::histograms(),
            vec![
                ints((0..2 * NEURONS).map(|_| layer)),
                ints((0..2 * NEURONS).map(|r| r / 2)),
                ints((0..2 * NEURONS).map(|r| r % 2)),
                floats((0..2 * NEURONS).map(|r| (r % 2) as f32)),
                floats((0..2 * NEURONS).map(|r| (r % 2 + 1) as f32)),
                Arc::new(Int64Array::from_iter_values(
                    (0..2 * NEURONS).map(i64::from),
                )),
            ],
        )?;
        write(writer, Table::Histograms, Some(layer), &[histograms])?;
        let values = (0..DOCUMENTS).flat_map(|d| vector(layer, d, salt));
        let vectors = FixedSizeListArray::try_new(
            Arc::new(Field::new_list_field(DataType::Float32, false)),
            D_IN,
            floats(values),
            None,
        )?;
        let vectors =
            RecordBatch::try_new(schema::vectors(D_IN as usize), vec![Arc::new(vectors)])?;
        write(
            writer,
            Table::Vectors,
            Some(layer),
            &[vectors.slice(0, 2), vectors.slice(2, 3)],
        )?;
    }
    Ok(())
}

pub fn facts(run: &str) -> RunManifest {
    RunManifest {
        run: run.to_string(),
        architecture: "gpt2".to_string(),
        model: Source {
            path: "model".to_string(),
            hash: "abc".to_string(),
            written: None,
        },
        counts: Counts {
            layers: LAYERS as u64,
            ..Counts::default()
        },
        created_at: 1_700_000_000,
        ..RunManifest::default()
    }
}

pub fn ingest(store: &Store, run: &str, replace: bool, salt: f32) -> Result<()> {
    let mut writer = store.begin(run, replace)?;
    fill(&mut writer, salt)?;
    writer.commit(facts(run))
}

pub fn session(root: &Path, partitions: usize) -> Result<SessionContext> {
    let config = SessionConfig::new()
        .with_target_partitions(partitions)
        .with_information_schema(true)
        .with_default_catalog_and_schema("polysema", "public");
    let ctx = SessionContext::new_with_config(config);
    let store = Arc::new(Store::open(root)?);
    ctx.register_catalog("polysema", Arc::new(StoreCatalog::new(store)));
    Ok(ctx)
}

pub async fn query(ctx: &SessionContext, sql: &str) -> Result<Vec<RecordBatch>> {
    ctx.sql(sql).await?.collect().await
}

pub async fn shown(ctx: &SessionContext, sql: &str) -> Result<String> {
    Ok(pretty_format_batches(&query(ctx, sql).await?)?.to_string())
}

pub async fn count(ctx: &SessionContext, sql: &str) -> Result<usize> {
    Ok(query(ctx, sql).await?.iter().map(|b| b.num_rows()).sum())
}

pub fn demo() -> Result<tempfile::TempDir> {
    let dir = tempfile::tempdir()?;
    ingest(&Store::open(dir.path())?, "demo", false, 0.0)?;
    Ok(dir)
}

/// The generation folders of a run.
pub fn generations(root: &Path, run: &str) -> Vec<PathBuf> {
    let folder = root.join("runs").join(run);
    let entries = fs::read_dir(folder).expect("the run's folder");
    let paths = entries.map(|e| e.expect("an entry").path());
    paths.filter(|p| p.is_dir()).collect()
}

/// The only generation folder of a run.
pub fn generation(root: &Path, run: &str) -> PathBuf {
    let mut found = generations(root, run);
    assert_eq!(found.len(), 1, "one generation");
    found.remove(0)
}

pub fn message<T>(result: Result<T>) -> String {
    match result {
        Ok(_) => panic!("an error was expected"),
        Err(e) => e.to_string(),
    }
}
