//! OLMo 3: OLMo 2 with three of four layers seeing a window.
//!
//! Source: OLMo Team 2025 (OLMo 3).

use datafusion::error::Result;

use super::super::super::config::Config;
use super::super::rotary::UsualTurns;
use super::super::spec::DecoderSpec;
use super::{common, llama, olmo2};

pub(super) fn spec(config: &Config) -> Result<DecoderSpec> {
    let turning = |base| UsualTurns {
        base,
        ..UsualTurns::default()
    };
    let usual = turning(500_000.0);
    let mut spec = llama::base_of(config, Some("full_attention"), usual, None)?;
    olmo2::post_normed(config, &mut spec)?;
    let window = common::window(config, Some(4096))?;
    let rule = |layer: usize| !(layer + 1).is_multiple_of(4);
    common::set_windows(config, &mut spec, window, rule)?;
    // Older configurations have one base for all.
    let base = config.number("rope_theta")?.unwrap_or(usual.base);
    common::turn_windows(config, &mut spec, turning(base))?;
    Ok(spec)
}
