//! The options that pick dataset examples, and the tables of ingest and import, which are made of them.

use std::collections::HashMap;

use datafusion::arrow::array::AsArray;
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Float32Type, Int64Type};
use datafusion::common::{exec_err, plan_err};
use datafusion::error::Result;
use datafusion::execution::memory_pool::MemoryReservation;
use polysema_kernels::network::activation::Activation;
use polysema_udfs::arrow::memory::at_least;

use crate::corpus::{
    BATCH_SIZE, BOS, COLUMN, CONTEXT, DTYPE, MAX_DOCUMENTS, MAX_TOKENS, MIN_TOKENS, MOST_TOKENS,
    SHUFFLE, SPLIT,
};
use crate::jobs::Rows;
use crate::models::LayerNorm;
use crate::options::{Key, Kind, Options, Rule, Spec, Usual, Word};

/// An option a line.
#[rustfmt::skip]
#[expect(missing_docs, reason = "an option's line says what it means")]
mod keys {
    use super::*;

    pub const ACTIVATION_THRESHOLD: Key<f64> = Key::new("activation_threshold", Kind::Number { from: 0.0, above: true, to: 1.0, below: false }, Usual::Number(0.75), "share of a neuron's maximum at which a document is a dataset example");
    pub const MAX_EXAMPLES: Key<usize> = Key::count("max_examples", 1, (1 << 31) - 1, 100, "dataset examples a neuron keeps at most");
    pub const ORDER: Key<Order> = Key::word("order", Usual::Text("corpus"), "which examples are kept: the first ones of the corpus, or those of highest activation");
    pub const MIN_ACTIVATION: Key<Option<f64>> = Key::new("min_activation", Kind::above(0.0), Usual::Nothing, "activation at which a document is an example, in place of activation_threshold")
        .rules(&[Rule::Without("activation_threshold"), Rule::Without("max_activations")]);
    pub const SIGN: Key<Option<Sign>> = Key::some_word("sign", Usual::Nothing, "of gated neurons, whose activations have no natural sign: examples of the greatest activations (positive), of the least (negative), or both lists (when left out)");
    pub const WINDOW: Key<usize> = Key::count("window", 0, MOST_TOKENS, 10, "tokens kept before and after the key token, for display");
    pub const WINDOW_VECTORS: Key<bool> = Key::flag("window_vectors", "keep what neurons received at the tokens before the key token too, for embedding: 'weighted'; the store grows by up to every token's vector");
    pub const LAYER_NORM: Key<LayerNorm> = Key::word("layer_norm", Usual::Text("folded"), "whether the layer norm's scale and bias count as weights (folded) or as input (raw)");
    pub const CHECKPOINT_EVERY: Key<f64> = Key::new("checkpoint_every", Kind::above(0.0), Usual::Number(600.0), "seconds between two checkpoints, from which the same call goes on when it was killed or cancelled");
    pub const RESUME: Key<bool> = Key::new("resume", Kind::Flag, Usual::Flag(true), "whether an interrupted ingest of this name goes on; false begins anew");
    pub const SHARDS: Key<usize> = Key::count("shards", 1, 256, 1, "parts of the corpus, worked on by as many processes as make the same call on the same store; the run is that of one part");
    pub const REPLACE: Key<bool> = Key::flag("replace", "whether a run of the same name is replaced");
    pub const MAX_ACTIVATIONS: Key<Option<String>> = Key::new("max_activations", Kind::Table, Usual::Nothing, "maxima that take the place of those found in the corpus: layer, neuron, max_activation");
    pub const ACTIVATION_FUNCTION: Key<Option<Activation>> = Key::some_word("activation_function", Usual::Nothing, "the nonlinearity of every layer; where L.activations is missing it is applied to h * w_in + b_in");

    /// The options of ingest.
    pub const INGEST: [Spec; 23] = [
        CONTEXT.spec, ACTIVATION_THRESHOLD.spec, MAX_EXAMPLES.spec, ORDER.spec, SIGN.spec, MIN_TOKENS.spec,
        MIN_ACTIVATION.spec, BATCH_SIZE.spec, MAX_DOCUMENTS.spec, MAX_TOKENS.spec, SHUFFLE.spec, BOS.spec,
        WINDOW.spec, WINDOW_VECTORS.spec, LAYER_NORM.spec, COLUMN.spec, DTYPE.spec, SPLIT.spec,
        CHECKPOINT_EVERY.spec, RESUME.spec, SHARDS.spec, REPLACE.spec, MAX_ACTIVATIONS.spec,
    ];
    /// The options of an import.
    pub const IMPORT_RUN: [Spec; 9] = [
        ACTIVATION_FUNCTION.spec, ACTIVATION_THRESHOLD.spec, MAX_EXAMPLES.spec, ORDER.spec,
        MIN_ACTIVATION.spec, WINDOW.spec, WINDOW_VECTORS.spec, REPLACE.spec, MAX_ACTIVATIONS.spec,
    ];
}

pub use keys::*;

/// Which of a neuron's examples are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// The first ones of the corpus.
    Corpus,
    /// Those of highest activation, the earlier one on ties.
    Top,
}

impl Word for Order {
    fn words() -> Vec<(&'static str, Self)> {
        vec![("corpus", Self::Corpus), ("top", Self::Top)]
    }
}

/// Which activations make examples.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sign {
    /// The greatest.
    Positive,
    /// The least.
    Negative,
    /// The greatest and the least, each a list of its own.
    Both,
}

impl Sign {
    /// The lists a neuron has, as what its activations are multiplied with.
    pub(super) fn lists(self) -> &'static [f32] {
        match self {
            Self::Positive => &[1.0],
            Self::Negative => &[-1.0],
            Self::Both => &[1.0, -1.0],
        }
    }
}

impl Word for Sign {
    fn words() -> Vec<(&'static str, Self)> {
        vec![
            ("positive", Self::Positive),
            ("negative", Self::Negative),
            ("both", Self::Both),
        ]
    }
}

impl Word for LayerNorm {
    fn words() -> Vec<(&'static str, Self)> {
        vec![
            ("folded", Self::Folded),
            ("raw", Self::Raw),
            ("tl_folded", Self::TlFolded),
        ]
    }
}

/// How a layer's dataset examples are picked.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pick<'a> {
    pub(super) options: &'a Options,
    pub(super) maxima: Option<&'a MaxActivations>,
    pub(super) sign: Sign,
    /// Tokens of the longest document.
    pub(super) longest: usize,
    /// First tokens of each document that are never key tokens.
    pub(super) skip: usize,
}

impl Pick<'_> {
    /// No window is wider than the longest document.
    pub(super) fn window(&self) -> usize {
        self.options.get(WINDOW).min(self.longest.saturating_sub(1))
    }
}

/// Maxima given by the user: `(layer, neuron)` to activation.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct MaxActivations(HashMap<(usize, usize), f32>);

impl MaxActivations {
    /// The maxima of `(layer, neuron, max_activation)`.
    pub fn new(rows: impl IntoIterator<Item = (usize, usize, f32)>) -> Self {
        let rows = rows.into_iter();
        Self(rows.map(|(l, n, max)| ((l, n), max)).collect())
    }

    /// Reads the columns `layer`, `neuron` and `max_activation`; what is kept of them is reserved in `memory`.
    pub fn read(rows: &Rows, memory: &MemoryReservation) -> Result<Self> {
        // A map that grows is there twice, and at most seven eighths full.
        let entry = 4 * size_of::<((usize, usize), f32)>();
        let mut maxima = HashMap::new();
        for batch in rows.read()? {
            let batch = batch?;
            let bytes = (maxima.len() + batch.num_rows()).saturating_mul(entry);
            at_least(memory, bytes, "the rows of max_activations")?;
            let column = |name: &str, kind: DataType| match batch.column_by_name(name) {
                Some(column) => Ok(cast(column, &kind)?),
                None => plan_err!(
                    "max_activations must have the columns layer, neuron, max_activation, got no {name}"
                ),
            };
            let layers = column("layer", DataType::Int64)?;
            let neurons = column("neuron", DataType::Int64)?;
            let values = column("max_activation", DataType::Float32)?;
            let rows = layers
                .as_primitive::<Int64Type>()
                .iter()
                .zip(neurons.as_primitive::<Int64Type>())
                .zip(values.as_primitive::<Float32Type>());
            for ((layer, neuron), value) in rows {
                let index = |v: Option<i64>| v.and_then(|v| usize::try_from(v).ok());
                match (index(layer), index(neuron), value) {
                    (Some(layer), Some(neuron), Some(value)) if value.is_finite() => {
                        if maxima.insert((layer, neuron), value).is_some() {
                            return exec_err!(
                                "max_activations requires one row per neuron, got two for layer {layer} \
                                 neuron {neuron}"
                            );
                        }
                    }
                    _ => {
                        return exec_err!(
                            "max_activations requires a layer, a neuron and a finite max_activation in \
                             every row, got {layer:?}, {neuron:?}, {value:?}"
                        );
                    }
                }
            }
        }
        Ok(Self(maxima))
    }

    /// blake3 of all of them, in hexadecimal digits.
    pub(super) fn hash(&self) -> String {
        let mut rows: Vec<_> = self.0.iter().collect();
        rows.sort_unstable_by_key(|(neuron, _)| **neuron);
        let mut hasher = blake3::Hasher::new();
        for ((layer, neuron), max) in rows {
            hasher.update(&(*layer as u64).to_le_bytes());
            hasher.update(&(*neuron as u64).to_le_bytes());
            hasher.update(&max.to_le_bytes());
        }
        hasher.finalize().to_hex().to_string()
    }

    /// The maximum given for a neuron.
    pub(super) fn get(&self, layer: usize, neuron: usize) -> Result<f32> {
        match self.0.get(&(layer, neuron)) {
            Some(max) => Ok(*max),
            None => exec_err!(
                "max_activations requires a row for every neuron, got none for layer {layer} neuron {neuron}"
            ),
        }
    }
}
