//! What most families read of a configuration in the same way.

use datafusion::error::Result;

use super::super::super::config::Config;
use super::super::rotary::{Rotary, UsualTurns};
use super::super::spec::{
    AttentionSpec, Biases, DecoderSpec, Heads, MlpSpec, NormSpec, Positions, TensorNames,
};

/// Layers that are believed. Chosen: some thirty times the deepest that are known.
const MOST_LAYERS: usize = 4096;

/// Sizes of a model.
#[derive(Clone, Copy)]
pub(super) struct Sizes {
    pub(super) d_model: usize,
    pub(super) d_vocab: usize,
    pub(super) n_ctx: usize,
    pub(super) n_layers: usize,
}

impl Sizes {
    pub(super) fn read(config: &Config) -> Result<Self> {
        Ok(Self {
            d_model: config.required(&["hidden_size", "n_embd", "d_model"])?,
            d_vocab: config.required(&["vocab_size"])?,
            n_ctx: config.required(&["max_position_embeddings", "n_positions"])?,
            n_layers: n_layers(config)?,
        })
    }
}

/// A decoder without what few families have, whose embedding is as wide as its residual stream.
pub(super) fn plain(
    sizes: Sizes,
    heads: Heads,
    norm: NormSpec,
    positions: Positions,
    attention: Vec<AttentionSpec>,
    mlp: MlpSpec,
    names: TensorNames,
) -> DecoderSpec {
    DecoderSpec {
        d_model: sizes.d_model,
        d_embed: sizes.d_model,
        d_vocab: sizes.d_vocab,
        n_ctx: sizes.n_ctx,
        heads,
        norm,
        positions,
        attention,
        qk_norm: None,
        qkv_clip: None,
        score_cap: None,
        logit_cap: None,
        embedding_scale: 1.0,
        mlp,
        parallel: false,
        bias: Biases::default(),
        tied: false,
        names,
        encoder: None,
    }
}

/// The number of a model's layers.
pub(super) fn n_layers(config: &Config) -> Result<usize> {
    let n = config.required(&["num_hidden_layers", "n_layer", "num_layers", "n_layers"])?;
    match n > MOST_LAYERS {
        true => Err(config.invalid(format!(
            "at most {MOST_LAYERS} layers are required, got {n}"
        ))),
        false => Ok(n),
    }
}

/// The usual scale of scores.
pub(super) fn usual_scale(heads: Heads) -> f32 {
    1.0 / (heads.d_head as f32).sqrt()
}

/// Which layers see only a window: what `layer_types` says, or else what the family's rule says of a layer's number.
fn sliding(config: &Config, n_layers: usize, rule: impl Fn(usize) -> bool) -> Result<Vec<bool>> {
    let Some(kinds) = config.per_layer("layer_types", n_layers)? else {
        return Ok((0..n_layers).map(rule).collect());
    };
    let kinds = kinds.iter().map(|kind| match kind.as_str() {
        Some("sliding_attention") => Ok(true),
        Some("full_attention") => Ok(false),
        _ => Err(config.invalid(format!(
            "layer_types of full_attention and sliding_attention are required, got {kind}"
        ))),
    });
    kinds.collect()
}

/// Lets the layers that [`sliding`] names see only a window.
pub(super) fn set_windows(
    config: &Config,
    spec: &mut DecoderSpec,
    window: Option<usize>,
    rule: impl Fn(usize) -> bool,
) -> Result<()> {
    let sliding = sliding(config, spec.attention.len(), rule)?;
    if window.is_none() && sliding.contains(&true) {
        return Err(config.invalid(
            "a sliding_window is required for layers of sliding_attention, got none".to_string(),
        ));
    }
    for (layer, sliding) in spec.attention.iter_mut().zip(sliding) {
        layer.window = window.filter(|_| sliding);
    }
    Ok(())
}

/// Turns layers that see a window by rotary positions of their own.
pub(super) fn turn_windows(
    config: &Config,
    spec: &mut DecoderSpec,
    usual: UsualTurns,
) -> Result<()> {
    let kind = Some("sliding_attention");
    let of_windows = Rotary::read(config, kind, spec.heads.d_head, spec.n_ctx, usual)?;
    if let Positions::Rotary(rotaries) = &mut spec.positions {
        rotaries.push(of_windows);
    }
    let layers = spec.attention.iter_mut();
    layers.for_each(|layer| layer.rotary = Some(usize::from(layer.window.is_some())));
    Ok(())
}

/// A window that holds where the configuration says nothing, and none where it says `null`.
pub(super) fn window(config: &Config, usual: Option<usize>) -> Result<Option<usize>> {
    match config.size(&["sliding_window"])? {
        None if config.says("sliding_window") => Ok(None),
        None => Ok(usual),
        given => Ok(given),
    }
}

/// A cap that holds where the configuration says nothing, and none where it says `null`.
pub(super) fn cap(config: &Config, name: &str, usual: Option<f32>) -> Result<Option<f32>> {
    match config.positive(name)? {
        None if config.says(name) => Ok(None),
        None => Ok(usual),
        given => Ok(given),
    }
}

/// The same attention in every layer, turned by one of the rotary positions or by none.
pub(super) fn same_everywhere(
    n_layers: usize,
    scale: f32,
    rotary: Option<usize>,
) -> Vec<AttentionSpec> {
    let everywhere = AttentionSpec {
        scale,
        window: None,
        rotary,
    };
    vec![everywhere; n_layers]
}
