//! The columns of the canonical tables, the one place that names their types.

use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};

/// Columns that are never NULL: rows are found and ordered by them.
const KEYS: [&str; 6] = ["layer", "neuron", "example", "doc_id", "pos", "bucket"];

fn schema(columns: &[(&str, DataType)]) -> SchemaRef {
    Arc::new(Schema::new(
        columns
            .iter()
            .map(|(name, kind)| Field::new(*name, kind.clone(), !KEYS.contains(name)))
            .collect::<Vec<_>>(),
    ))
}

fn list(item: DataType) -> DataType {
    DataType::List(Arc::new(Field::new_list_field(item, true)))
}

/// One row per layer of the run's model.
pub fn layers() -> SchemaRef {
    schema(&[
        ("layer", DataType::Int32),
        ("name", DataType::Utf8),
        ("kind", DataType::Utf8),
        ("d_in", DataType::Int32),
        ("n_neurons", DataType::Int32),
        ("activation_function", DataType::Utf8),
    ])
}

/// One row per neuron, ordered by (layer, neuron); `w_in` is what the layer's pre-MLP vector is multiplied with, of a gated
/// neuron for its gate, and `w_up` for what the gate lets through, NULL of a plain one.
pub fn neurons() -> SchemaRef {
    schema(&[
        ("layer", DataType::Int32),
        ("neuron", DataType::Int32),
        ("w_in", list(DataType::Float32)),
        ("b_in", DataType::Float32),
        ("w_up", list(DataType::Float32)),
        ("b_up", DataType::Float32),
        ("w_out", list(DataType::Float32)),
        ("max_activation", DataType::Float32),
        ("least_activation", DataType::Float32),
        ("mean_activation", DataType::Float32),
        ("frac_active", DataType::Float32),
        ("n_examples", DataType::Int32),
    ])
}

/// One row per document (a chunk of at most `context` tokens); the corpus's own columns follow these.
pub fn documents() -> SchemaRef {
    schema(&[
        ("doc_id", DataType::Int32),
        ("text", DataType::Utf8),
        ("n_tokens", DataType::Int32),
    ])
}

/// Where a document of a corpus is from, the first of its own columns: the file and the row of it, and which of the
/// chunks of the row's text it is.
pub fn origins() -> SchemaRef {
    schema(&[
        ("source_file", DataType::Utf8),
        ("source_row", DataType::Int64),
        ("chunk", DataType::Int32),
    ])
}

/// One row per token of every document, ordered by (doc_id, pos).
pub fn tokens() -> SchemaRef {
    schema(&[
        ("doc_id", DataType::Int32),
        ("pos", DataType::Int32),
        ("token_id", DataType::Int32),
        ("token", DataType::Utf8),
    ])
}

/// One row per dataset example, ordered by (layer, neuron, example).
///
/// `window_tokens` and `window_activations` start at position `window_start` of the document; `pre_mlp` is the
/// vector the neuron received at `pos`, `weighted_pre_mlp` the mean of those from `window_start` to `pos`, weighted
/// by the activations above 0; NULL where the run keeps the vectors of key tokens only.
pub fn examples() -> SchemaRef {
    schema(&[
        ("layer", DataType::Int32),
        ("neuron", DataType::Int32),
        ("example", DataType::Int32),
        ("doc_id", DataType::Int32),
        ("pos", DataType::Int32),
        ("token", DataType::Utf8),
        ("activation", DataType::Float32),
        ("window_start", DataType::Int32),
        ("window_tokens", list(DataType::Utf8)),
        ("window_activations", list(DataType::Float32)),
        ("pre_mlp", list(DataType::Float32)),
        ("weighted_pre_mlp", list(DataType::Float32)),
    ])
}

/// As [`examples`] of a run of gated neurons: `sign` tells examples of the greatest activations, `positive`, from those of
/// the least, `negative`.
pub fn signed_examples() -> SchemaRef {
    let mut fields = examples().fields().to_vec();
    fields.push(Arc::new(Field::new("sign", DataType::Utf8, true)));
    Arc::new(Schema::new(fields))
}

/// One row per non-empty bucket of a neuron's activations over all tokens: `lower < activation <= upper`.
pub fn histograms() -> SchemaRef {
    schema(&[
        ("layer", DataType::Int32),
        ("neuron", DataType::Int32),
        ("bucket", DataType::Int32),
        ("lower", DataType::Float32),
        ("upper", DataType::Float32),
        ("count", DataType::Int64),
    ])
}

/// The `examples` file of one layer as stored: what can be gathered is a row number instead.
///
/// `token_row` is the row of (doc_id, pos) in `tokens`: `token` and `window_tokens` are read there (the window has
/// as many tokens as `window_activations` has values). `vector` is a row of the layer's `vectors`, and so are the
/// values of `window_vectors`, one for each position from `window_start` to `pos`, NULL where the neuron is inactive;
/// the whole list is NULL where the vectors of key tokens only are kept.
pub fn stored_examples() -> SchemaRef {
    schema(&[
        ("layer", DataType::Int32),
        ("neuron", DataType::Int32),
        ("example", DataType::Int32),
        ("doc_id", DataType::Int32),
        ("pos", DataType::Int32),
        ("activation", DataType::Float32),
        ("window_start", DataType::Int32),
        ("window_activations", list(DataType::Float32)),
        ("token_row", DataType::UInt32),
        ("vector", DataType::UInt32),
        ("window_vectors", list(DataType::UInt32)),
    ])
}

/// The vectors a layer's neurons received, once per (document, position), in that order. `h: [d_in]`
pub fn vectors(d_in: usize) -> SchemaRef {
    let item = Arc::new(Field::new_list_field(DataType::Float32, false));
    Arc::new(Schema::new(vec![Field::new(
        "h",
        DataType::FixedSizeList(item, d_in as i32),
        false,
    )]))
}
