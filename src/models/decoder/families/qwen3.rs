//! Qwen 3: Qwen 2 without its biases, with queries and keys normalised head by head.
//!
//! Source: Yang et al. 2025.

use datafusion::error::Result;

use super::super::super::config::Config;
use super::super::rotary::UsualTurns;
use super::super::spec::{Biases, DecoderSpec, QkNorm, QkWidth};
use super::{llama, qwen2};

pub(super) fn spec(config: &Config) -> Result<DecoderSpec> {
    let mut spec = llama::base(config, UsualTurns::default(), Some(128))?;
    spec.bias = Biases::of_attention(config, false)?;
    spec.qk_norm = Some(QkNorm::usual(spec.norm, QkWidth::Head));
    qwen2::windows(config, &mut spec)?;
    Ok(spec)
}
