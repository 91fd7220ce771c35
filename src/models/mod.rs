//! Networks with named hook points. What ingest knows of an architecture is the trait [`Model`].
//!
//! Threads: every product, row kernel and tokenizer here runs on rayon's global pool, the same one candle and `gemm`
//! use, so its size ([`set_threads`]) is the number of cores that compute. A forward pass is called from one thread,
//! which waits for the pool. The query engine's tokio workers do not compute while a pass runs; they wait for it.
//!
//! An architecture is one file beside this one and one line in `load.rs`.

mod error;
mod gpt2;
mod load;
mod mlp;
mod pass;
mod tokenizer;
mod weights;

pub use load::{LoadedModel, load, set_threads, threads};
pub use mlp::neuron_activations;
pub use tokenizer::Tokenizer;

use std::fmt;

use candle_core::Tensor;
use datafusion::error::Result;

/// Where the layer norm's scale and bias are counted, `definitions` section 1 of the README.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LayerNorm {
    /// The neuron receives the normalised vector before scale and bias; `w_in` carries the scale.
    Folded,
    /// The neuron receives the output of the layer norm, as a Hugging Face hook sees it.
    Raw,
    /// As `Folded`, with each neuron's weights centred: what TransformerLens gives by default.
    TlFolded,
}

/// A place in a block where activations can be read or replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Site {
    /// `ln2.normalized`: the vector before the layer norm's scale and bias. `[batch, seq, d_model]`
    Normalized,
    /// `ln2.out`: what the MLP receives. `[batch, seq, d_model]`
    Ln2Out,
    /// `mlp.pre`: before the nonlinearity. `[batch, seq, d_mlp]`
    MlpPre,
    /// `mlp.post`: after the nonlinearity, a neuron's activation. `[batch, seq, d_mlp]`
    MlpPost,
    /// `mlp.out`: what the MLP adds to the residual stream. `[batch, seq, d_model]`
    MlpOut,
    /// `resid.post`: the residual stream after the block. `[batch, seq, d_model]`
    ResidPost,
    /// `mlp.in`: what a layer without a layer norm before it receives. `[batch, seq, d_in]`
    MlpIn,
    /// `resid.pre`: the residual stream before the block; before the first, the embedding. `[batch, seq, d_model]`
    ResidPre,
    /// `ln1.out`: what the attention receives. `[batch, seq, d_model]`
    Ln1Out,
    /// `attn.qkv`: queries, keys and values side by side, each with its heads side by side. `[batch, seq, 3 d_model]`
    AttnQkv,
    /// `attn.scores`: scaled, before the mask. `[batch, n_heads, seq, seq]`
    AttnScores,
    /// `attn.pattern`: after mask and softmax. `[batch, n_heads, seq, seq]`
    AttnPattern,
    /// `attn.z`: values mixed by the pattern, heads side by side. `[batch, seq, d_model]`
    AttnZ,
    /// `attn.out`: what the attention adds to the residual stream. `[batch, seq, d_model]`
    AttnOut,
    /// `resid.mid`: the residual stream between attention and MLP. `[batch, seq, d_model]`
    ResidMid,
    /// `ln_final.out`: what the head receives; its layer is the last, and only `logits` gets there.
    /// `[batch, seq, d_model]`
    LnFinalOut,
}

/// One named place: `blocks.{layer}.{site}`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct HookPoint {
    /// Block index.
    pub layer: usize,
    /// Place within the block.
    pub site: Site,
}

impl fmt::Display for HookPoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let site = match self.site {
            Site::Normalized => "ln2.normalized",
            Site::Ln2Out => "ln2.out",
            Site::MlpPre => "mlp.pre",
            Site::MlpPost => "mlp.post",
            Site::MlpOut => "mlp.out",
            Site::ResidPost => "resid.post",
            Site::MlpIn => "mlp.in",
            Site::ResidPre => "resid.pre",
            Site::Ln1Out => "ln1.out",
            Site::AttnQkv => "attn.qkv",
            Site::AttnScores => "attn.scores",
            Site::AttnPattern => "attn.pattern",
            Site::AttnZ => "attn.z",
            Site::AttnOut => "attn.out",
            Site::ResidMid => "resid.mid",
            Site::LnFinalOut => return write!(f, "ln_final.out"),
        };
        write!(f, "blocks.{}.{site}", self.layer)
    }
}

/// What reads or replaces activations during a forward pass.
pub trait Hooks {
    /// Whether this place is wanted; what nobody wants is not computed for its own sake.
    fn wants(&self, hook: HookPoint) -> bool;

    /// Called with the value at a wanted place; `Some` replaces it for the rest of the pass.
    fn visit(&mut self, hook: HookPoint, value: &Tensor) -> Result<Option<Tensor>>;

    /// Asked after every block: true ends the pass there (cancellation, or nothing deeper is wanted), which
    /// [`Model::logits`] reports as an error.
    fn done(&self) -> bool {
        false
    }
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
    /// `gelu_new`, `gelu` or `relu`.
    pub activation_function: String,
}

/// Input and output weights of a layer's neurons.
#[derive(Debug, Clone)]
pub struct NeuronWeights {
    /// What the received vector is multiplied with. `[n_neurons, d_in]`, row-major
    pub w_in: Vec<f32>,
    /// `[n_neurons]`
    pub b_in: Vec<f32>,
    /// What the activation writes. `[n_neurons, d_out]`, row-major
    pub w_out: Vec<f32>,
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
    /// Vectors such as images: documents of one position, so that hooks see `[batch, 1, width]`. `[batch, width]`
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

    /// Most positions a document may have; 1 for a network that reads vectors.
    fn n_ctx(&self) -> usize;

    /// Number of token ids the embedding knows; 0 for a network that reads vectors.
    fn d_vocab(&self) -> usize;

    /// Weights of a layer's neurons under a layer norm convention: `sum(h * w_in) + b_in` is the pre-activation.
    fn neuron_weights(&self, layer: usize, layer_norm: LayerNorm) -> Result<NeuronWeights>;

    /// Where the vector `h` of [`Model::neuron_weights`] is read.
    fn received_at(&self, layer: usize, layer_norm: LayerNorm) -> HookPoint;

    /// Sends a batch through the blocks, calling `hooks` on the way.
    fn forward(&self, input: Input<'_>, hooks: &mut dyn Hooks) -> Result<()>;

    /// As [`Model::forward`], then the logits. `[batch, seq, d_vocab]`, or `[batch, 1, n_classes]` of a classifier
    fn logits(&self, input: Input<'_>, hooks: &mut dyn Hooks) -> Result<Tensor>;
}
