//! What a family says of a model: sizes, switches and the names of its tensors, in the decoder's terms.

use std::ops::Range;

use datafusion::error::Result;
use polysema_kernels::network::activation::Activation;
use polysema_kernels::network::layer_norm;
use polysema_kernels::network::matmul::Layout;

use super::super::PatchGrid;
use super::super::config::Config;
use super::read_out::Pooled;
use super::rotary::Rotary;

/// Reads the configuration of a family.
pub(super) type Family = fn(&Config) -> Result<DecoderSpec>;

/// A decoder as its family's file describes it.
pub(super) struct DecoderSpec {
    pub(super) d_model: usize,
    /// Width of the token embedding, where it is not the model's.
    pub(super) d_embed: usize,
    pub(super) d_vocab: usize,
    pub(super) n_ctx: usize,
    pub(super) heads: Heads,
    pub(super) norm: NormSpec,
    pub(super) positions: Positions,
    /// One a layer.
    pub(super) attention: Vec<AttentionSpec>,
    /// Norm of queries and keys before they are turned.
    pub(super) qk_norm: Option<QkNorm>,
    /// Largest magnitude of queries, keys and values.
    pub(super) qkv_clip: Option<f32>,
    /// What scores are held below.
    pub(super) score_cap: Option<f32>,
    /// What logits are held below.
    pub(super) logit_cap: Option<f32>,
    /// What token embeddings are multiplied with.
    pub(super) embedding_scale: f32,
    pub(super) mlp: MlpSpec,
    /// Whether attention and MLP read the same stream and are added to it together.
    pub(super) parallel: bool,
    pub(super) bias: Biases,
    /// Whether the head is the token embedding.
    pub(super) tied: bool,
    pub(super) names: TensorNames,
    /// What an encoder has beyond a decoder, whose positions all see each other.
    pub(super) encoder: Option<EncoderSpec>,
}

/// The ends of an encoder.
pub(super) struct EncoderSpec {
    /// Of a model of images.
    pub(super) patches: Option<PatchSpec>,
    /// A table of kinds of tokens, of which all are of the first.
    pub(super) kinds: Option<(&'static str, usize)>,
    /// Norm of the embeddings' sum.
    pub(super) embedding_norm: Option<&'static str>,
    /// What stands before the head, which is only there with it.
    pub(super) transform: Option<TransformNames>,
    pub(super) pooled: Pooled,
}

/// What a masked model has between its blocks and its head, in full.
pub(super) struct TransformNames {
    pub(super) map: &'static str,
    pub(super) norm: &'static str,
    /// The head's, where it is not called after it.
    pub(super) head_bias: &'static str,
}

/// How an image is read.
pub(super) struct PatchSpec {
    pub(super) grid: PatchGrid,
    /// Of the map.
    pub(super) name: &'static str,
    pub(super) bias: bool,
    /// What stands at the first position, in full.
    pub(super) class: &'static str,
}

/// Heads of attention.
#[derive(Clone, Copy)]
pub(super) struct Heads {
    pub(super) n: usize,
    /// Heads of keys and values, each for as many of queries.
    pub(super) n_kv: usize,
    pub(super) d_head: usize,
}

impl Heads {
    /// Heads of a configuration in Hugging Face's usual names; `usual` is what one is wide where it does not say.
    pub(super) fn read(config: &Config, d_model: usize, usual: Option<usize>) -> Result<Self> {
        let n = config.required(&["num_attention_heads", "n_head", "num_heads", "n_heads"])?;
        let n_kv = config.size(&["num_key_value_heads"])?.unwrap_or(n);
        if !n.is_multiple_of(n_kv) {
            return Err(config.invalid(format!(
                "num_attention_heads divisible by num_key_value_heads is required, got {n} and {n_kv}"
            )));
        }
        let d_head = match config.size(&["head_dim"])?.or(usual) {
            Some(d_head) => d_head,
            None if d_model.is_multiple_of(n) => d_model / n,
            None => {
                return Err(config.invalid(format!(
                    "a width divisible by the number of heads is required, got {d_model} and {n}"
                )));
            }
        };
        Ok(Self { n, n_kv, d_head })
    }

    /// Width of all queries of a position.
    pub(super) fn d_queries(self) -> usize {
        self.n * self.d_head
    }

    /// Width of all keys, or all values, of a position.
    pub(super) fn d_keys(self) -> usize {
        self.n_kv * self.d_head
    }

    /// Width of queries, keys and values of a position side by side.
    pub(super) fn width(self) -> usize {
        self.d_queries() + 2 * self.d_keys()
    }

    /// Where keys stand among them.
    pub(super) fn keys(self) -> Range<usize> {
        self.d_queries()..self.d_queries() + self.d_keys()
    }
}

/// A norm of the family's kind.
#[derive(Clone, Copy)]
pub(super) struct NormSpec {
    pub(super) kind: layer_norm::Norm,
    pub(super) epsilon: f32,
    /// Whether it has a scale.
    pub(super) scale: bool,
    /// What is added to the scale as stored.
    pub(super) offset: f32,
    /// Whether it has a bias.
    pub(super) bias: bool,
}

impl NormSpec {
    /// A layer norm with scale and bias.
    pub(super) fn layer(epsilon: f32) -> Self {
        Self {
            kind: layer_norm::Norm::Layer,
            epsilon,
            scale: true,
            offset: 0.0,
            bias: true,
        }
    }

    /// An RMS norm with a scale.
    pub(super) fn rms(epsilon: f32) -> Self {
        Self {
            kind: layer_norm::Norm::Rms,
            epsilon,
            scale: true,
            offset: 0.0,
            bias: false,
        }
    }
}

/// How a position is told.
pub(super) enum Positions {
    /// A row of a table whose name is given in full, `offset` rows further down.
    Learned { name: &'static str, offset: usize },
    /// Turned queries and keys; each layer names one of these, or none.
    Rotary(Vec<Rotary>),
}

/// What differs from layer to layer.
#[derive(Clone, Copy)]
pub(super) struct AttentionSpec {
    /// What scores are multiplied with.
    pub(super) scale: f32,
    /// Keys a query sees at most.
    pub(super) window: Option<usize>,
    /// Which of the rotary positions.
    pub(super) rotary: Option<usize>,
}

/// A norm of queries and keys.
pub(super) struct QkNorm {
    pub(super) norm: NormSpec,
    pub(super) over: QkWidth,
    /// TensorNames in the block, those of the queries first. Of [`QkWidth::OwnHead`] the numbers of the heads follow.
    pub(super) names: [&'static str; 2],
}

impl QkNorm {
    /// One under the names that most families share.
    pub(super) fn usual(norm: NormSpec, over: QkWidth) -> Self {
        Self {
            norm,
            over,
            names: ["self_attn.q_norm", "self_attn.k_norm"],
        }
    }
}

/// What a norm of queries and keys is taken over.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum QkWidth {
    /// Each head, all with the same scale.
    Head,
    /// Each head with a scale of its own.
    OwnHead,
    /// All heads together.
    All,
}

/// The neurons of a layer.
pub(super) struct MlpSpec {
    pub(super) d_mlp: usize,
    pub(super) activation: Activation,
    pub(super) names: MlpNames,
}

/// Which maps have a bias.
#[derive(Clone, Copy, Default)]
pub(super) struct Biases {
    pub(super) qkv: bool,
    pub(super) attn_out: bool,
    pub(super) mlp: bool,
    pub(super) head: bool,
}

impl Biases {
    /// Those of attention alone, as the switch `attention_bias` says.
    pub(super) fn of_attention(config: &Config, usual: bool) -> Result<Self> {
        let attention = config.flag("attention_bias", usual)?;
        Ok(Self {
            qkv: attention,
            attn_out: attention,
            ..Self::default()
        })
    }

    /// Every map but the head.
    pub(super) const BLOCKS: Self = Self {
        qkv: true,
        attn_out: true,
        mlp: true,
        head: false,
    };
}

/// TensorNames of tensors, without `.weight` and `.bias`.
pub(super) struct TensorNames {
    /// What the names of all but the head may begin with; the first that fits.
    pub(super) prefixes: &'static [&'static str],
    pub(super) embedding: &'static str,
    /// Maps between the embedding's width and the model's, where they differ.
    pub(super) projections: [&'static str; 2],
    /// Before the number of a block.
    pub(super) blocks: &'static str,
    pub(super) final_norm: Option<&'static str>,
    pub(super) head: &'static str,
    pub(super) qkv: QkvNames,
    pub(super) attn_out: &'static str,
    /// How `attn_out` and the maps of a plain MLP lie.
    pub(super) layout: Layout,
    pub(super) attn_norms: NormNames,
    pub(super) mlp_norms: NormNames,
}

/// Norms around attention or MLP.
#[derive(Clone, Copy, Default)]
pub(super) struct NormNames {
    /// Of what it reads. Where both of a parallel block are the same, there is one.
    pub(super) before: Option<&'static str>,
    /// Of what it gives, before that is added.
    pub(super) after: Option<&'static str>,
    /// Of the stream once that is added.
    pub(super) stream: Option<&'static str>,
}

impl NormNames {
    /// Only of what it reads.
    pub(super) fn before(name: &'static str) -> Self {
        Self {
            before: Some(name),
            ..Self::default()
        }
    }

    /// Only of what it gives.
    pub(super) fn after(name: &'static str) -> Self {
        Self {
            after: Some(name),
            ..Self::default()
        }
    }
}

/// How queries, keys and values are stored.
pub(super) enum QkvNames {
    /// Each of its own.
    Apart([&'static str; 3]),
    /// One below the other, or side by side, as the layout says.
    Together(&'static str, Layout),
    /// Head by head, each with its query, key and value.
    ByHead(&'static str),
}

/// How a layer of neurons is stored.
pub(super) enum MlpNames {
    Plain([&'static str; 2]),
    /// Gate, up and down.
    Gated([&'static str; 3]),
    /// Gate above up, and down.
    GatedTogether([&'static str; 2]),
}

impl MlpNames {
    pub(super) fn gated(&self) -> bool {
        !matches!(self, Self::Plain(_))
    }
}

impl TensorNames {
    /// Those of Llama, which most families share.
    pub(super) const LLAMA: Self = Self {
        prefixes: &["model.", ""],
        embedding: "embed_tokens",
        projections: ["", ""],
        blocks: "layers",
        final_norm: Some("norm"),
        head: "lm_head",
        qkv: QkvNames::Apart(["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"]),
        attn_out: "self_attn.o_proj",
        layout: Layout::OutIn,
        attn_norms: NormNames {
            before: Some("input_layernorm"),
            after: None,
            stream: None,
        },
        mlp_norms: NormNames {
            before: Some("post_attention_layernorm"),
            after: None,
            stream: None,
        },
    };
}

impl MlpNames {
    /// Those of Llama, which most families share.
    pub(super) const LLAMA: Self = Self::Gated(["mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"]);
}
