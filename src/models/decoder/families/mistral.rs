//! Mistral: Llama whose queries may see a window.
//!
//! Source: Jiang et al. 2023.

use datafusion::error::Result;

use super::super::super::config::Config;
use super::super::rotary::UsualTurns;
use super::super::spec::DecoderSpec;
use super::{common, llama};

pub(super) fn spec(config: &Config) -> Result<DecoderSpec> {
    let mut spec = llama::base(config, UsualTurns::default(), None)?;
    let window = common::window(config, Some(4096))?;
    spec.attention
        .iter_mut()
        .for_each(|layer| layer.window = window);
    Ok(spec)
}
