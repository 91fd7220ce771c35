//! Llama, and what most families share with it.
//!
//! Source: Touvron et al. 2023.

use datafusion::error::Result;

use super::super::super::config::Config;
use super::super::rotary::{Rotary, UsualTurns};
use super::super::spec::{
    Biases, DecoderSpec, Heads, MlpNames, MlpSpec, NormSpec, Positions, TensorNames,
};
use super::common::{Sizes, plain, same_everywhere, usual_scale};

pub(super) fn spec(config: &Config) -> Result<DecoderSpec> {
    let mut spec = base(config, UsualTurns::default(), None)?;
    spec.bias = Biases {
        mlp: config.flag("mlp_bias", false)?,
        ..Biases::of_attention(config, false)?
    };
    Ok(spec)
}

/// Rotary positions, RMS norms before attention and MLP, gated neurons, no bias. `d_head` is what a head is wide where
/// the configuration does not say.
pub(super) fn base(
    config: &Config,
    usual: UsualTurns,
    d_head: Option<usize>,
) -> Result<DecoderSpec> {
    base_of(config, None, usual, d_head)
}

/// As [`base`] with the positions of one kind of its layers.
pub(super) fn base_of(
    config: &Config,
    kind: Option<&str>,
    usual: UsualTurns,
    d_head: Option<usize>,
) -> Result<DecoderSpec> {
    let sizes = Sizes::read(config)?;
    let heads = Heads::read(config, sizes.d_model, d_head)?;
    let rotary = Rotary::read(config, kind, heads.d_head, sizes.n_ctx, usual)?;
    let epsilon = config.positive("rms_norm_eps")?.unwrap_or(1e-6);
    let n_ctx = rotary.most_positions(sizes.n_ctx);
    let mlp = MlpSpec {
        d_mlp: config.required(&["intermediate_size"])?,
        activation: config.activation(&["hidden_act"], "silu")?,
        names: MlpNames::LLAMA,
    };
    let norm = NormSpec::rms(epsilon);
    let positions = Positions::Rotary(vec![rotary]);
    let attention = same_everywhere(sizes.n_layers, usual_scale(heads), Some(0));
    let names = TensorNames::LLAMA;
    Ok(DecoderSpec {
        n_ctx,
        tied: config.flag("tie_word_embeddings", false)?,
        ..plain(sizes, heads, norm, positions, attention, mlp, names)
    })
}
