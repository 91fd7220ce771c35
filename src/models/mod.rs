//! Networks with named hook points. What ingest knows of an architecture is the trait [`Model`].
//!
//! Threads: every product, row kernel and tokenizer here runs on rayon's global pool, the same one candle and `gemm`
//! use, so its size is the number of cores that compute. A forward pass is called from one thread,
//! which waits for the pool. The query engine's tokio workers do not compute while a pass runs; they wait for it.
//!
//! A family of decoders is one file in `decoder/families` and one line there; another architecture is one file beside this one
//! and one line in `load.rs`.

mod classifier;
mod config;
mod decoder;
mod error;
mod gguf;
mod grid;
mod hooks;
mod linear;
mod load;
mod mlp;
mod of_hub;
mod pass;
mod pixels;
mod tokenizer;
mod weights;

pub use classifier::ClassifierTrainer;
pub use gguf::gguf_architectures;
pub use grid::PatchGrid;
pub use hooks::{Capture, HookPoint, Hooks, Site, TRANSFORMER_LENS, Unwatched};
pub use load::{LoadedModel, load, loaded};
pub use mlp::neuron_activations;
pub use of_hub::{find_model, model_of};
pub use pixels::Pixels;
pub use tokenizer::Tokenizer;

use datafusion::error::Result;

/// What the `model_type` of a configuration may be.
pub fn model_types() -> impl Iterator<Item = &'static str> {
    decoder::names()
}

/// Where the layer norm's scale and bias are counted, `docs/definitions.md` section 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LayerNorm {
    /// The neuron receives the normalised vector before scale and bias; `w_in` carries the scale.
    Folded,
    /// The neuron receives the output of the layer norm, as a Hugging Face hook sees it.
    Raw,
    /// As `Folded`, with each neuron's weights centred: what TransformerLens gives by default.
    TlFolded,
}

/// One layer of neurons as ingest and the `layers` table see it.
#[derive(Debug, Clone, PartialEq)]
pub struct LayerInfo {
    /// Name used in SQL, `blocks.0.mlp`.
    pub name: String,
    /// Width of the vector a neuron receives.
    pub d_in: usize,
    /// Neurons in the layer.
    pub n_neurons: usize,
    /// `gelu_new`, `gelu`, `relu`, `relu2`, `quick_gelu` or `silu`.
    pub activation_function: String,
    /// Whether a neuron's nonlinearity is a gate: `docs/definitions.md` section 1.
    pub gated: bool,
}

/// Input and output weights of a layer's neurons.
#[derive(Debug, Clone)]
pub struct NeuronWeights {
    /// What the received vector is multiplied with. `[n_neurons, d_in]`, row-major
    pub w_in: Vec<f32>,
    /// `[n_neurons]`
    pub b_in: Vec<f32>,
    /// Of gated neurons, whose `w_in` and `b_in` are the gate's: what a gate lets through.
    pub up: Option<Up>,
    /// What the activation writes. `[n_neurons, d_out]`, row-major
    pub w_out: Vec<f32>,
}

/// Second input weights of gated neurons.
#[derive(Debug, Clone)]
pub struct Up {
    /// `[n_neurons, d_in]`, row-major
    pub w_up: Vec<f32>,
    /// `[n_neurons]`
    pub b_up: Vec<f32>,
}

/// What adds vectors whose way to the logits is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogitWriter {
    /// The neurons of a layer: a norm of what the layer gives, if there is one, lies still before them.
    Neurons(usize),
    /// The residual stream itself, in any block.
    Stream,
}

/// What a network reads: a batch of equally long documents.
#[derive(Debug, Clone, Copy)]
pub enum Input<'a> {
    /// Token ids, row-major. `[batch, seq]`
    Tokens {
        /// All documents, one after the other.
        ids: &'a [u32],
        /// Length of each document.
        seq: usize,
    },
    /// Vectors: documents of one position, so that hooks see `[batch, 1, width]`; or images, channel after channel, of
    /// [`Model::n_ctx`] positions. `[batch, width]`
    Vectors {
        /// All vectors, one after the other.
        values: &'a [f32],
        /// Width of each vector.
        width: usize,
    },
}

/// A network that maps documents to activations.
pub trait Model: Send + Sync {
    /// `gpt2`, `mlp`, ...
    fn architecture(&self) -> &str;

    /// Layers of neurons, in block order.
    fn layers(&self) -> &[LayerInfo];

    /// Most positions a document may have; 1 for a network that reads vectors, those of an image for one of images.
    fn n_ctx(&self) -> usize;

    /// Number of token ids the embedding knows; 0 for a network that reads vectors or images.
    fn d_vocab(&self) -> usize;

    /// Whether a position sees only those before it, so that what is put behind a document changes nothing in it.
    fn causal(&self) -> bool;

    /// How images are cut into positions, of a model that reads them.
    fn image(&self) -> Option<PatchGrid>;

    /// Weights of a layer's neurons under a layer norm convention: `sum(h * w_in) + b_in` is the pre-activation.
    fn neuron_weights(&self, layer: usize, layer_norm: LayerNorm) -> Result<NeuronWeights>;

    /// Bytes of the [`Model::neuron_weights`] of a layer.
    fn neuron_bytes(&self, layer: usize) -> usize;

    /// Whether a layer norm stands before the neurons, whose scale may count as their weights.
    fn folds(&self) -> bool;

    /// Where the vector `h` of [`Model::neuron_weights`] is read; an error where the architecture has no such
    /// convention.
    fn received_at(&self, layer: usize, layer_norm: LayerNorm) -> Result<HookPoint>;

    /// Where a neuron's activation is read: one value a neuron of the layer.
    fn activation_at(&self, layer: usize) -> HookPoint;

    /// The places where each position has one vector and [`Model::forward`] offers it.
    fn sites(&self) -> &[Site];

    /// Bytes that [`Model::forward`] holds at most beside the weights, one value that a hook keeps at each site included.
    fn pass_bytes(&self, documents: usize, seq: usize) -> usize;

    /// Bytes of the [`Model::logits`] of a batch.
    fn logits_bytes(&self, documents: usize, seq: usize) -> usize;

    /// Sends a batch through the blocks, calling `hooks` on the way.
    fn forward(&self, input: Input<'_>, hooks: &mut dyn Hooks) -> Result<()>;

    /// As [`Model::forward`], then the logits, row-major. `[batch, seq, d_vocab]`, or `[batch, n_classes]` of a
    /// classifier
    fn logits(&self, input: Input<'_>, hooks: &mut dyn Hooks) -> Result<Vec<f32>>;

    /// Whether a norm stands before the logits, whose scale may count as the unembedding's.
    fn norm_before_logits(&self) -> bool;

    /// What vectors add to the logits on the direct way, through no other layer: `[n, d]` to `[n, n_logits]`, row-major,
    /// before a cap of the logits. `folded` counts the scales of norms on the way (and the centring of layer norms), at
    /// a standard deviation of 1; without it there is the unembedding alone.
    ///
    /// Errors: no head; something between that is neither a norm nor a map.
    fn logit_effects(&self, of: LogitWriter, written: &[f32], folded: bool) -> Result<Vec<f32>>;
}
