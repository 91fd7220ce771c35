//! BERT: an encoder of texts, which all positions see; norms behind the sums, the embeddings' among them, and a head
//! behind a map of its own.
//!
//! Source: Devlin et al. 2019.

use datafusion::error::Result;
use polysema_kernels::network::matmul::Layout;

use super::super::super::config::Config;
use super::super::read_out::Pooled;
use super::super::spec::{
    Biases, DecoderSpec, EncoderSpec, Heads, MlpNames, MlpSpec, NormNames, NormSpec, Positions,
    QkvNames, TensorNames, TransformNames,
};
use super::common::{Sizes, plain, same_everywhere, usual_scale};

pub(super) fn spec(config: &Config) -> Result<DecoderSpec> {
    if config.flag("is_decoder", false)? {
        return Err(config.invalid("is_decoder false is required, got true".to_string()));
    }
    let sizes = Sizes::read(config)?;
    let heads = Heads::read(config, sizes.d_model, None)?;
    let norm = |name| NormNames {
        stream: Some(name),
        ..NormNames::default()
    };
    let kinds = config.size(&["type_vocab_size"])?.unwrap_or(2);
    let epsilon = config.positive("layer_norm_eps")?.unwrap_or(1e-12);
    let positions = Positions::Learned {
        name: "embeddings.position_embeddings.weight",
        offset: 0,
    };
    let attention = same_everywhere(sizes.n_layers, usual_scale(heads), None);
    let mlp = MlpSpec {
        d_mlp: config.required(&["intermediate_size"])?,
        activation: config.activation(&["hidden_act"], "gelu")?,
        names: MlpNames::Plain(["intermediate.dense", "output.dense"]),
    };
    let names = TensorNames {
        prefixes: &["bert.", ""],
        embedding: "embeddings.word_embeddings",
        projections: ["", ""],
        blocks: "encoder.layer",
        final_norm: None,
        head: "cls.predictions.decoder",
        qkv: QkvNames::Apart([
            "attention.self.query",
            "attention.self.key",
            "attention.self.value",
        ]),
        attn_out: "attention.output.dense",
        layout: Layout::OutIn,
        attn_norms: norm("attention.output.LayerNorm"),
        mlp_norms: norm("output.LayerNorm"),
    };
    let norm = NormSpec::layer(epsilon);
    Ok(DecoderSpec {
        bias: Biases {
            head: true,
            ..Biases::BLOCKS
        },
        tied: config.flag("tie_word_embeddings", true)?,
        encoder: Some(EncoderSpec {
            patches: None,
            kinds: Some(("embeddings.token_type_embeddings.weight", kinds)),
            embedding_norm: Some("embeddings.LayerNorm"),
            transform: Some(TransformNames {
                map: "cls.predictions.transform.dense",
                norm: "cls.predictions.transform.LayerNorm",
                head_bias: "cls.predictions.bias",
            }),
            pooled: Pooled::Never,
        }),
        ..plain(sizes, heads, norm, positions, attention, mlp, names)
    })
}
