//! From a family's description and its tensors to a decoder.

use datafusion::error::Result;
use polysema_kernels::network::matmul::Layout;

use super::super::LayerInfo;
use super::super::config::Config;
use super::super::linear::{Linear, Norm};
use super::Decoder;
use super::attention::{Attention, HeadNorm};
use super::block::{Block, Neurons, Norms};
use super::parts::Builder;
use super::spec::{DecoderSpec, MlpNames, NormNames, Positions, QkNorm, QkWidth, QkvNames};
use crate::files::tensors::Tensors;

/// How files of TensorFlow's time call what is a weight and a bias now.
const OLDER: [(&str, &str); 2] = [
    ("LayerNorm.gamma", "LayerNorm.weight"),
    ("LayerNorm.beta", "LayerNorm.bias"),
];

/// Builds the decoder that a description names.
pub(super) fn build(
    family: &'static str,
    config: &Config,
    spec: DecoderSpec,
    mut tensors: Tensors,
) -> Result<Decoder> {
    let n_layers = spec.attention.len();
    if n_layers > tensors.len() {
        return Err(config.invalid(format!(
            "at most as many layers as tensors, {}, are required, got {n_layers}",
            tensors.len()
        )));
    }
    tensors.unwrap_names();
    tensors.rename_ends(&OLDER);
    let block = spec.names.blocks;
    let fits = |prefix: &&&str| tensors.any_begins(&format!("{prefix}{block}."));
    let prefix = spec.names.prefixes.iter().find(fits);
    let mut builder = Builder {
        prefix: prefix
            .or(spec.names.prefixes.first())
            .copied()
            .unwrap_or(""),
        spec: &spec,
        config,
        tensors,
    };
    let (embedding, read_out) = builder.ends()?;
    let blocks: Vec<_> = (0..n_layers)
        .map(|layer| builder.block(layer))
        .collect::<Result<_>>()?;
    let layers = (0..n_layers)
        .map(|layer| LayerInfo {
            name: format!("blocks.{layer}.mlp"),
            d_in: spec.d_model,
            n_neurons: spec.mlp.d_mlp,
            activation_function: spec.mlp.activation.name().to_string(),
            gated: spec.mlp.names.gated(),
        })
        .collect();
    Ok(Decoder {
        family,
        d_model: spec.d_model,
        d_vocab: spec.d_vocab,
        n_ctx: spec.n_ctx,
        causal: spec.encoder.is_none(),
        sites: Decoder::sites_of(&blocks),
        layers,
        embedding,
        rotaries: match spec.positions {
            Positions::Rotary(rotaries) => rotaries,
            Positions::Learned { .. } => vec![],
        },
        blocks,
        read_out,
    })
}

impl Builder<'_> {
    fn block(&mut self, layer: usize) -> Result<Block> {
        let spec = self.spec;
        let names = &spec.names;
        let (d, heads) = (spec.d_model, spec.heads);
        let place = self.inner(format!("{}.{layer}.", names.blocks));
        let shared = spec.parallel && names.attn_norms.before == names.mlp_norms.before;
        let mlp_norms = match shared {
            true => NormNames {
                before: None,
                ..names.mlp_norms
            },
            false => names.mlp_norms,
        };
        // Before what is as wide as the heads, which the tensors confirm.
        let qkv = self.qkv(&place)?;
        let norms = match &spec.qk_norm {
            None => None,
            Some(norm) => Some([
                self.head_norm(&place, norm, 0, heads.n)?,
                self.head_norm(&place, norm, 1, heads.n_kv)?,
            ]),
        };
        let attention = Attention {
            layer,
            heads,
            spec: spec.attention[layer],
            causal: spec.encoder.is_none(),
            cap: spec.score_cap,
            clip: spec.qkv_clip,
            norms,
        };
        let attn_out = format!("{place}{}", names.attn_out);
        let attn_out = self.linear(
            &attn_out,
            heads.d_queries(),
            d,
            spec.bias.attn_out,
            names.layout,
        )?;
        Ok(Block {
            layer,
            d_model: d,
            attention,
            qkv,
            attn_out,
            attn_norms: self.norms(&place, names.attn_norms)?,
            mlp: self.mlp(&place)?,
            mlp_norms: self.norms(&place, mlp_norms)?,
            parallel: spec.parallel,
        })
    }

    fn qkv(&mut self, place: &str) -> Result<Vec<Linear>> {
        let (d, heads, bias) = (self.spec.d_model, self.spec.heads, self.spec.bias.qkv);
        match self.spec.names.qkv {
            QkvNames::Apart(names) => {
                let widths = [heads.d_queries(), heads.d_keys(), heads.d_keys()];
                let maps = names.into_iter().zip(widths);
                maps.map(|(name, width)| {
                    self.linear(&format!("{place}{name}"), d, width, bias, Layout::OutIn)
                })
                .collect()
            }
            QkvNames::Together(name, layout) => {
                let name = format!("{place}{name}");
                Ok(vec![self.linear(&name, d, heads.width(), bias, layout)?])
            }
            QkvNames::ByHead(name) => {
                let name = format!("{place}{name}");
                let all = self.linear(&name, d, heads.width(), bias, Layout::OutIn)?;
                let parts = (0..3).map(|part| {
                    let rows = (0..heads.n).map(move |head| (3 * head + part) * heads.d_head);
                    let bias = rows.clone().filter(|_| bias);
                    Linear {
                        weight: all.weight.pieces(rows.map(|row| row * d), heads.d_head * d),
                        bias: bias
                            .flat_map(|row| all.bias[row..row + heads.d_head].iter().copied())
                            .collect(),
                        layout: Layout::OutIn,
                        d_in: d,
                    }
                });
                Ok(parts.collect())
            }
        }
    }

    fn mlp(&mut self, place: &str) -> Result<Neurons> {
        let spec = self.spec;
        let (d, n, bias) = (spec.d_model, spec.mlp.d_mlp, spec.bias.mlp);
        let mut map = |name: &str, d_in, d_out, layout| {
            self.linear(&format!("{place}{name}"), d_in, d_out, bias, layout)
        };
        let activation = spec.mlp.activation;
        match spec.mlp.names {
            MlpNames::Plain([inward, out]) => Ok(Neurons {
                activation,
                inward: map(inward, d, n, spec.names.layout)?,
                up: None,
                out: map(out, n, d, spec.names.layout)?,
            }),
            MlpNames::Gated([gate, up, down]) => Ok(Neurons {
                activation,
                inward: map(gate, d, n, Layout::OutIn)?,
                up: Some(map(up, d, n, Layout::OutIn)?),
                out: map(down, n, d, Layout::OutIn)?,
            }),
            MlpNames::GatedTogether([both, down]) => {
                let both = map(both, d, 2 * n, Layout::OutIn)?;
                let half = |rows: std::ops::Range<usize>| Linear {
                    weight: both.weight.part(rows.start * d..rows.end * d),
                    bias: both.bias.get(rows).unwrap_or_default().to_vec(),
                    layout: Layout::OutIn,
                    d_in: d,
                };
                Ok(Neurons {
                    activation,
                    inward: half(0..n),
                    up: Some(half(n..2 * n)),
                    out: map(down, n, d, Layout::OutIn)?,
                })
            }
        }
    }

    fn norms(&mut self, place: &str, names: NormNames) -> Result<Norms> {
        let (spec, d) = (self.spec.norm, self.spec.d_model);
        let mut norm = |name: Option<&str>| match name {
            Some(name) => self.norm(&format!("{place}{name}"), spec, d).map(Some),
            None => Ok(None),
        };
        Ok(Norms {
            before: norm(names.before)?,
            after: norm(names.after)?,
            stream: norm(names.stream)?,
        })
    }

    /// The norm of queries (0) or keys (1).
    fn head_norm(
        &mut self,
        place: &str,
        norm: &QkNorm,
        which: usize,
        n: usize,
    ) -> Result<HeadNorm> {
        let d_head = self.spec.heads.d_head;
        let name = format!("{place}{}", norm.names[which]);
        let parts = match norm.over {
            QkWidth::All => vec![self.norm(&name, norm.norm, n * d_head)?],
            QkWidth::Head => vec![self.norm(&name, norm.norm, d_head)?],
            QkWidth::OwnHead => (0..n)
                .map(|head| self.norm(&format!("{name}.{head}"), norm.norm, d_head))
                .collect::<Result<_>>()?,
        };
        let all = |of: fn(&Norm) -> &[f32]| -> Vec<f32> {
            let parts = parts.iter().flat_map(|part| of(part).iter().copied());
            parts
                .collect::<Vec<_>>()
                .repeat(if norm.over == QkWidth::Head { n } else { 1 })
        };
        Ok(HeadNorm {
            norm: Norm {
                kind: norm.norm.kind,
                gamma: all(|part| &part.gamma),
                beta: all(|part| &part.beta),
                epsilon: norm.norm.epsilon,
            },
            group: if norm.over == QkWidth::All {
                n * d_head
            } else {
                d_head
            },
        })
    }
}
