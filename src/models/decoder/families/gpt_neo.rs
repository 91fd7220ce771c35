//! GPT-Neo: GPT-2 with unscaled scores, and layers in turn that see everything or a window.
//!
//! Source: Black et al. 2021.

use datafusion::error::Result;
use polysema_kernels::network::matmul::Layout;
use serde_json::Value;

use super::super::super::config::Config;
use super::super::spec::{Biases, DecoderSpec, MlpNames, QkvNames, TensorNames};
use super::gpt2;

pub(super) fn spec(config: &Config) -> Result<DecoderSpec> {
    let mut spec = gpt2::spec(config)?;
    let d_mlp = config.size(&["intermediate_size"])?;
    spec.mlp.d_mlp = d_mlp.unwrap_or(4 * spec.d_model);
    let window = config.size(&["window_size"])?.unwrap_or(256);
    let local = local(config, spec.attention.len())?;
    for (layer, local) in spec.attention.iter_mut().zip(local) {
        layer.scale = 1.0;
        layer.window = Some(window).filter(|_| local);
    }
    spec.bias = Biases {
        qkv: false,
        ..Biases::BLOCKS
    };
    spec.mlp.names = MlpNames::Plain(["mlp.c_fc", "mlp.c_proj"]);
    spec.names = TensorNames {
        qkv: QkvNames::Apart([
            "attn.attention.q_proj",
            "attn.attention.k_proj",
            "attn.attention.v_proj",
        ]),
        attn_out: "attn.attention.out_proj",
        layout: Layout::OutIn,
        ..spec.names
    };
    Ok(spec)
}

/// Which layers see a window: groups of kinds with how often each comes, `[[["global", "local"], 12]]`.
fn local(config: &Config, n_layers: usize) -> Result<Vec<bool>> {
    let refused = |got: &Value| {
        config.invalid(format!(
            "attention_types of global and local for {n_layers} layers are required, got {got}"
        ))
    };
    let kinds = config.per_layer("attention_layers", n_layers)?;
    if let Some(kinds) = kinds {
        let kinds = kinds.iter().map(|kind| match kind.as_str() {
            Some("global") => Ok(false),
            Some("local") => Ok(true),
            _ => Err(refused(kind)),
        });
        return kinds.collect();
    }
    let Some(types) = config.field("attention_types") else {
        return Ok((0..n_layers).map(|layer| layer % 2 == 1).collect());
    };
    let mut local = vec![];
    for group in types.as_array().into_iter().flatten() {
        let (kinds, times) = match group.as_array().map(Vec::as_slice) {
            Some([Value::Array(kinds), times]) => (kinds, times.as_u64().unwrap_or(0)),
            _ => return Err(refused(types)),
        };
        for _ in 0..times.min(n_layers as u64) {
            for kind in kinds {
                match kind.as_str() {
                    Some("global") => local.push(false),
                    Some("local") => local.push(true),
                    _ => return Err(refused(types)),
                }
            }
        }
    }
    match local.len() == n_layers {
        true => Ok(local),
        false => Err(refused(types)),
    }
}
