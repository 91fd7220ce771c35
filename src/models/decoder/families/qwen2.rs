//! Qwen 2: Llama with biases under queries, keys and values, and a window that a switch of its own turns on.
//!
//! Source: Yang et al. 2024.

use datafusion::error::Result;

use super::super::super::config::Config;
use super::super::rotary::UsualTurns;
use super::super::spec::{Biases, DecoderSpec};
use super::{common, llama};

pub(super) fn spec(config: &Config) -> Result<DecoderSpec> {
    let mut spec = llama::base(config, UsualTurns::default(), None)?;
    spec.bias = Biases {
        qkv: true,
        ..Biases::default()
    };
    windows(config, &mut spec)?;
    Ok(spec)
}

/// The window of the upper layers, if it is switched on.
pub(super) fn windows(config: &Config, spec: &mut DecoderSpec) -> Result<()> {
    let on = config.flag("use_sliding_window", false)?;
    let window = common::window(config, Some(4096))?.filter(|_| on);
    let first = match config.number("max_window_layers")? {
        Some(first) => first as usize,
        None => 28,
    };
    let rule = |layer| window.is_some() && layer >= first;
    common::set_windows(config, spec, window, rule)
}
