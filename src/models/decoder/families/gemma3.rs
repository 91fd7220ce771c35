//! Gemma 3, its text: Gemma 2 without caps, with queries and keys normalised head by head, and positions that turn
//! slower in the layers that see everything.
//!
//! Source: Gemma Team 2025.

use datafusion::error::Result;

use super::super::super::config::Config;
use super::super::rotary::UsualTurns;
use super::super::spec::{DecoderSpec, QkNorm, QkWidth};
use super::{common, gemma2, llama};

pub(super) fn spec(config: &Config) -> Result<DecoderSpec> {
    let Some(text) = config.part("text_config") else {
        return of_text(config);
    };
    let spec = of_text(&text)?;
    text.finish()?;
    Ok(spec)
}

fn of_text(config: &Config) -> Result<DecoderSpec> {
    let turning = |base| UsualTurns {
        base,
        ..UsualTurns::default()
    };
    let slow = turning(1_000_000.0);
    let mut spec = llama::base_of(config, Some("full_attention"), slow, Some(256))?;
    gemma2::sandwiched(config, &mut spec, [None, None])?;
    spec.qk_norm = Some(QkNorm::usual(spec.norm, QkWidth::Head));
    let window = common::window(config, Some(4096))?;
    let every = config.size(&["sliding_window_pattern"])?.unwrap_or(6);
    let rule = |layer: usize| !(layer + 1).is_multiple_of(every);
    common::set_windows(config, &mut spec, window, rule)?;
    common::turn_windows(config, &mut spec, turning(10_000.0))?;
    spec.names.prefixes = &[
        "model.",
        "language_model.model.",
        "model.language_model.",
        "",
    ];
    Ok(spec)
}
