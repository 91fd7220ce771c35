//! From a family's description and its tensors to a decoder.

use std::fmt::Display;

use datafusion::error::Result;
use polysema_kernels::network::matmul::Layout;

use super::super::LayerInfo;
use super::super::config::Config;
use super::super::linear::{Linear, Norm};
use super::attention::{Attention, HeadNorm};
use super::block::{Block, Neurons, Norms};
use super::spec::{
    DecoderSpec, MlpNames, NormNames, NormSpec, Positions, QkNorm, QkWidth, QkvNames,
};
use super::{Decoder, Embedding};
use crate::files::tensors::Tensors;
use crate::files::weight::Weight;

/// Takes the tensors that a description names.
struct Builder<'a> {
    spec: &'a DecoderSpec,
    config: &'a Config,
    tensors: Tensors,
    /// Before the names of all but the head.
    prefix: &'static str,
}

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
    let (token_embedding, head) = builder.embedding_and_head()?;
    let position_embedding = match spec.positions {
        Positions::Rotary(_) => None,
        Positions::Learned { name, offset } => {
            let name = builder.inner(format!("{name}.weight"));
            let dims = [spec.n_ctx + offset, spec.d_model];
            let table = builder.tensors.weight(&name, &dims)?;
            Some(table.part(offset * spec.d_model..table.len()))
        }
    };
    let projections = match spec.d_embed == spec.d_model {
        true => None,
        false => {
            let [inward, outward] = spec.names.projections;
            let inward = builder.inner(inward);
            let outward = builder.inner(outward);
            Some([
                builder.linear(&inward, spec.d_embed, spec.d_model, false, Layout::OutIn)?,
                builder.linear(&outward, spec.d_model, spec.d_embed, false, Layout::OutIn)?,
            ])
        }
    };
    let final_norm = match spec.names.final_norm {
        None => None,
        Some(name) => {
            let name = builder.inner(name);
            Some(builder.norm(&name, spec.norm, spec.d_model)?)
        }
    };
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
        sites: Decoder::sites_of(&blocks),
        layers,
        embedding: Embedding {
            tokens: token_embedding,
            width: spec.d_embed,
            scale: spec.embedding_scale,
            positions: position_embedding,
            projections,
        },
        rotaries: match spec.positions {
            Positions::Rotary(rotaries) => rotaries,
            Positions::Learned { .. } => vec![],
        },
        blocks,
        final_norm,
        head,
        logit_cap: spec.logit_cap,
    })
}

impl Builder<'_> {
    /// The full name of a tensor that is not the head.
    fn inner(&self, name: impl Display) -> String {
        format!("{}{name}", self.prefix)
    }

    /// The token embedding and what turns vectors into logits, which a model may be stored without.
    fn embedding_and_head(&mut self) -> Result<(Weight, Option<Linear>)> {
        let (spec, names) = (self.spec, &self.spec.names);
        let embedding = self.inner(format!("{}.weight", names.embedding));
        let head = format!("{}.weight", names.head);
        let dims = [spec.d_vocab, spec.d_embed];
        // Some tied models are stored with the head alone. A head that is stored beside the embedding counts, whatever
        // the configuration says.
        let has_head = self.tensors.contains(&head);
        let head_alone = spec.tied && has_head && !self.tensors.contains(&embedding);
        let (tokens, weight) = match head_alone {
            true => {
                let both = self.tensors.weight(&head, &dims)?;
                (both.clone(), Some(both))
            }
            false => {
                let tokens = self.tensors.weight(&embedding, &dims)?;
                let weight = match has_head {
                    true => Some(self.tensors.weight(&head, &dims)?),
                    false => Some(tokens.clone()).filter(|_| spec.tied),
                };
                (tokens, weight)
            }
        };
        let bias = match spec.bias.head && weight.is_some() {
            true => self
                .tensors
                .take(&format!("{}.bias", names.head), &[spec.d_vocab])?,
            false => vec![],
        };
        let head = weight.map(|weight| Linear {
            weight,
            bias,
            layout: Layout::OutIn,
            d_in: spec.d_embed,
        });
        Ok((tokens, head))
    }

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

    fn norm(&mut self, name: &str, spec: NormSpec, d: usize) -> Result<Norm> {
        let mut gamma = match spec.scale {
            true => self.tensors.take(&format!("{name}.weight"), &[d])?,
            false => self.without(&format!("{name}.weight"), vec![1.0; d])?,
        };
        gamma.iter_mut().for_each(|g| *g += spec.offset);
        let bias = format!("{name}.bias");
        let beta = match spec.bias {
            true => self.tensors.take(&bias, &[d])?,
            false => self.without(&bias, vec![0.0; d])?,
        };
        Ok(Norm {
            kind: spec.kind,
            gamma,
            beta,
            epsilon: spec.epsilon,
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

    fn linear(
        &mut self,
        name: &str,
        d_in: usize,
        d_out: usize,
        bias: bool,
        layout: Layout,
    ) -> Result<Linear> {
        let dims = match layout {
            Layout::InOut => [d_in, d_out],
            Layout::OutIn => [d_out, d_in],
        };
        let weight = self.tensors.weight(&format!("{name}.weight"), &dims)?;
        let bias_name = format!("{name}.bias");
        let bias = match bias {
            true => self.tensors.take(&bias_name, &[d_out])?,
            false => self.without(&bias_name, vec![])?,
        };
        Ok(Linear {
            weight,
            bias,
            layout,
            d_in,
        })
    }

    /// What stands for a tensor that the configuration says there is not. One that is there would change what is
    /// computed.
    fn without(&self, name: &str, instead: Vec<f32>) -> Result<Vec<f32>> {
        match self.tensors.contains(name) {
            false => Ok(instead),
            true => Err(self.config.invalid(format!(
                "a configuration with {name} is required, got the tensor but no switch that says it counts"
            ))),
        }
    }
}
