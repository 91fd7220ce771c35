//! SmolLM 3: Llama with some layers that know no positions.
//!
//! Source: Bakouch et al. 2025.

use datafusion::error::Result;

use super::super::super::config::Config;
use super::super::rotary::UsualTurns;
use super::super::spec::{Biases, DecoderSpec};
use super::{common, llama};

pub(super) fn spec(config: &Config) -> Result<DecoderSpec> {
    let usual = UsualTurns {
        base: 2_000_000.0,
        ..UsualTurns::default()
    };
    let mut spec = llama::base(config, usual, None)?;
    spec.bias = Biases {
        mlp: config.flag("mlp_bias", false)?,
        ..Biases::of_attention(config, false)?
    };
    spec.tied = config.flag("tie_word_embeddings", true)?;
    let n_layers = spec.attention.len();
    let every = config.size(&["no_rope_layer_interval"])?.unwrap_or(4);
    let turned = match config.per_layer("no_rope_layers", n_layers)? {
        // 1 where a layer is turned, whatever the name says.
        Some(list) => list.iter().map(|layer| layer.as_u64() != Some(0)).collect(),
        None => (1..=n_layers)
            .map(|layer| !layer.is_multiple_of(every))
            .collect::<Vec<_>>(),
    };
    let on = config.flag("use_sliding_window", false)? || config.says("layer_types");
    let window = common::window(config, None)?.filter(|_| on);
    let rule = |layer: usize| window.is_some() && !turned[layer];
    common::set_windows(config, &mut spec, window, rule)?;
    for (layer, turned) in spec.attention.iter_mut().zip(turned) {
        layer.rotary = layer.rotary.filter(|_| turned);
    }
    Ok(spec)
}
