//! A causal decoder with hook points: what GPT-2, Llama and their relatives share. A family is one file in `families` that
//! says in the decoder's terms what its configuration and its tensors' names say.

mod attention;
mod block;
mod build;
mod families;
mod rotary;
mod rotary_fields;
mod spec;

use std::sync::Arc;

use datafusion::error::{DataFusionError, Result};
use polysema_kernels::network::attention::soft_cap;
use polysema_kernels::network::bias;
use polysema_kernels::network::matmul::{Output, product_within};

use self::block::Block;
use self::families::FAMILIES;
use self::rotary::{Rotary, Turns};
use super::config::Config;
use super::error::invalid;
use super::linear::{Linear, Norm};
use super::pass::{Floats, Pass, for_rows};
use super::{HookPoint, Hooks, Input, LayerInfo, LayerNorm, Model, NeuronWeights, Site};
use crate::files::tensors::Tensors;
use crate::files::weight::Weight;
use crate::options::Word as _;

/// Logits of a position that are made at a time where the head lies in a narrower type. Chosen, not tuned.
const LOGITS: usize = 8192;

struct Decoder {
    family: &'static str,
    d_model: usize,
    d_vocab: usize,
    n_ctx: usize,
    layers: Vec<LayerInfo>,
    sites: Vec<Site>,
    embedding: Embedding,
    rotaries: Vec<Rotary>,
    blocks: Vec<Block>,
    final_norm: Option<Norm>,
    /// None of a model that was stored without.
    head: Option<Linear>,
    logit_cap: Option<f32>,
}

/// From a token at a position to the first vector of the residual stream.
struct Embedding {
    /// `[d_vocab, width]`
    tokens: Weight,
    width: usize,
    scale: f32,
    /// `[n_ctx, d_model]`
    positions: Option<Weight>,
    /// From the embedding's width to the model's, and back before the head.
    projections: Option<[Linear; 2]>,
}

/// The families' names.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    FAMILIES.into_iter().map(|(name, _)| name)
}

/// Builds a model of the family of this name, if it is one.
pub(super) fn build(
    name: &str,
    config: &Config,
    tensors: Tensors,
) -> Option<Result<Arc<dyn Model>>> {
    let (name, family) = FAMILIES.into_iter().find(|(known, _)| *known == name)?;
    let built = || -> Result<Arc<dyn Model>> {
        let spec = family(config)?;
        config.finish()?;
        Ok(Arc::new(build::build(name, config, spec, tensors)?))
    };
    Some(built())
}

impl Embedding {
    /// `[tokens, d_model]`
    fn forward(&self, ids: &[u32], d: usize, pass: &mut Pass<'_>) -> Vec<f32> {
        let mut out = pass.buffer(ids.len() * self.width);
        let width = self.width;
        for_rows(&mut out, width, |start, rows| {
            let mut scratch = vec![];
            for (row, id) in rows.chunks_exact_mut(width).zip(&ids[start / width..]) {
                let first = *id as usize * width;
                row.copy_from_slice(self.tokens.floats(first..first + width, &mut scratch));
                if self.scale != 1.0 {
                    row.iter_mut().for_each(|x| *x *= self.scale);
                }
            }
        });
        if let Some([inward, _]) = &self.projections {
            let mut wide = pass.buffer(ids.len() * d);
            inward.multiply(&out, Output::Replace, &mut wide, d, pass);
            pass.recycle(Arc::new(std::mem::replace(&mut out, wide)));
        }
        if let Some(positions) = &self.positions {
            let seq = pass.seq;
            for_rows(&mut out, d, |start, rows| {
                let mut scratch = vec![];
                for (i, row) in rows.chunks_exact_mut(d).enumerate() {
                    let pos = (start / d + i) % seq * d;
                    bias::add_bias(positions.floats(pos..pos + d, &mut scratch), row);
                }
            });
        }
        out
    }
}

impl Decoder {
    /// Token ids and their length, checked.
    fn tokens<'a>(&self, input: Input<'a>) -> Result<(&'a [u32], usize)> {
        let Input::Tokens { ids, seq } = input else {
            return Err(self.invalid("token ids are required, got vectors".to_string()));
        };
        if seq == 0 || seq > self.n_ctx {
            return Err(self.invalid(format!(
                "a context of 1 to {} positions is required, got {seq}",
                self.n_ctx
            )));
        }
        if ids.is_empty() || !ids.len().is_multiple_of(seq) {
            return Err(self.invalid(format!(
                "whole documents of {seq} token ids are required, got {} token ids",
                ids.len()
            )));
        }
        if let Some(i) = ids.iter().position(|id| *id as usize >= self.d_vocab) {
            return Err(self.invalid(format!(
                "token ids below {} are required, got {} in document {} of the batch at position {}",
                self.d_vocab,
                ids[i],
                i / seq,
                i % seq
            )));
        }
        Ok((ids, seq))
    }

    fn invalid(&self, message: String) -> DataFusionError {
        invalid(format!("{}: {message}", self.family))
    }

    /// The residual stream after the last block, or none if the hooks ended the pass.
    fn run(&self, ids: &[u32], pass: &mut Pass<'_>) -> Result<Option<Floats>> {
        let turns: Vec<Turns> = self.rotaries.iter().map(|r| r.turns(pass.seq)).collect();
        let mut resid = Arc::new(self.embedding.forward(ids, self.d_model, pass));
        for block in &self.blocks {
            resid = block.forward(resid, &turns, pass)?;
            if pass.done() {
                return Ok(None);
            }
        }
        Ok(Some(resid))
    }

    /// What the head receives. `[tokens, width of the embedding]`
    fn read_out(&self, resid: Floats, pass: &mut Pass<'_>) -> Result<Floats> {
        let mut x = match &self.final_norm {
            Some(norm) => norm.forward(0, [None, None], &resid, pass)?,
            None => resid,
        };
        if let Some([_, outward]) = &self.embedding.projections {
            let mut narrow = pass.buffer(pass.batch * pass.seq * self.embedding.width);
            outward.multiply(&x, Output::Replace, &mut narrow, self.embedding.width, pass);
            x = Arc::new(narrow);
        }
        let last = self.blocks.len() - 1;
        pass.offer(last, Site::LnFinalOut, x, self.embedding.width)
    }

    fn block(&self, layer: usize) -> Result<&Block> {
        self.blocks.get(layer).ok_or_else(|| {
            let n = self.blocks.len();
            self.invalid(format!("a layer below {n} is required, got {layer}"))
        })
    }

    /// The places where each position has one vector.
    fn sites_of(blocks: &[Block]) -> Vec<Site> {
        let Some(block) = blocks.first() else {
            return vec![];
        };
        let all = [
            (Site::ResidPre, true),
            (Site::Ln1Out, block.attn_norms.before.is_some()),
            (Site::AttnQkv, true),
            (Site::AttnZ, true),
            (Site::AttnOut, true),
            (Site::ResidMid, !block.parallel),
            (Site::Normalized, block.neuron_norm().is_some()),
            (Site::Ln2Out, block.neuron_norm().is_some()),
            (Site::MlpIn, block.neuron_norm().is_none()),
            (Site::MlpPre, true),
            (Site::MlpGate, block.mlp.up.is_some()),
            (Site::MlpUp, block.mlp.up.is_some()),
            (Site::MlpPost, true),
            (Site::MlpOut, true),
            (Site::ResidPost, true),
        ];
        let there = all.into_iter().filter(|(_, there)| *there);
        there.map(|(site, _)| site).collect()
    }
}

impl Model for Decoder {
    fn architecture(&self) -> &str {
        self.family
    }

    fn layers(&self) -> &[LayerInfo] {
        &self.layers
    }

    fn n_ctx(&self) -> usize {
        self.n_ctx
    }

    fn d_vocab(&self) -> usize {
        self.d_vocab
    }

    fn neuron_weights(&self, layer: usize, layer_norm: LayerNorm) -> Result<NeuronWeights> {
        self.received_at(layer, layer_norm)?;
        Ok(self.block(layer)?.neuron_weights(layer_norm))
    }

    fn neuron_bytes(&self, layer: usize) -> usize {
        let floats = |info: &LayerInfo| {
            let (vectors, numbers) = if info.gated { (3, 2) } else { (2, 1) };
            info.n_neurons * (vectors * info.d_in + numbers)
        };
        size_of::<f32>() * self.layers.get(layer).map_or(0, floats)
    }

    fn folds(&self) -> bool {
        self.sites.contains(&Site::Normalized)
    }

    fn received_at(&self, layer: usize, layer_norm: LayerNorm) -> Result<HookPoint> {
        let block = self.block(layer)?;
        let site = match (layer_norm, self.folds()) {
            (LayerNorm::Raw, true) => Site::Ln2Out,
            (LayerNorm::Raw, false) => Site::MlpIn,
            (_, false) => {
                return Err(self.invalid(format!(
                    "layer_norm 'raw' is required, since no norm stands right before the MLP whose scale could count as \
                     weights, got '{}'",
                    layer_norm.name()
                )));
            }
            (LayerNorm::TlFolded, true) if !block.centres() => {
                return Err(self.invalid(
                    "layer_norm 'folded' or 'raw' is required, since an RMS norm does not centre what the neurons receive \
                     and TransformerLens then leaves weights uncentred, got 'tl_folded'"
                        .to_string(),
                ));
            }
            (LayerNorm::Folded | LayerNorm::TlFolded, true) => Site::Normalized,
        };
        Ok(HookPoint { layer, site })
    }

    fn activation_at(&self, layer: usize) -> HookPoint {
        let site = Site::MlpPost;
        HookPoint { layer, site }
    }

    fn sites(&self) -> &[Site] {
        &self.sites
    }

    fn pass_bytes(&self, documents: usize, seq: usize) -> usize {
        let rows = documents.saturating_mul(seq);
        let widest = self.blocks.iter().map(Block::bytes_a_row).max();
        let values = rows.saturating_mul(widest.unwrap_or(0));
        let widened = self.blocks.iter().map(Block::widened_bytes).max();
        let turns = self.rotaries.iter().map(|rotary| rotary.width);
        let turns = turns
            .fold(0, usize::saturating_add)
            .saturating_mul(seq * size_of::<f32>());
        [widened.unwrap_or(0), turns, attention::scratch_bytes(seq)]
            .into_iter()
            .fold(values, usize::saturating_add)
    }

    fn logits_bytes(&self, documents: usize, seq: usize) -> usize {
        let values = documents.saturating_mul(seq).saturating_mul(self.d_vocab);
        let rows = self.head.as_ref().map_or(0, |head| {
            head.weight
                .scratch_bytes(LOGITS.min(self.d_vocab) * head.d_in)
        });
        values.saturating_mul(size_of::<f32>()).saturating_add(rows)
    }

    fn forward(&self, input: Input<'_>, hooks: &mut dyn Hooks) -> Result<()> {
        let (ids, seq) = self.tokens(input)?;
        self.run(ids, &mut Pass::new(hooks, ids.len() / seq, seq))?;
        Ok(())
    }

    fn logits(&self, input: Input<'_>, hooks: &mut dyn Hooks) -> Result<Vec<f32>> {
        let (ids, seq) = self.tokens(input)?;
        let Some(head) = &self.head else {
            return Err(
                self.invalid("a head is required for logits, got a model stored without".into())
            );
        };
        let mut pass = Pass::new(hooks, ids.len() / seq, seq);
        let Some(resid) = self.run(ids, &mut pass)? else {
            return Err(self.invalid("logits need a whole pass, got one ended by its hooks".into()));
        };
        let x = self.read_out(resid, &mut pass)?;
        let mut logits = pass.buffer(ids.len() * self.d_vocab);
        let step = match head.weight.scratch_bytes(1) {
            0 => self.d_vocab,
            _ => LOGITS,
        };
        let d = head.d_in;
        for first in (0..self.d_vocab).step_by(step) {
            let rows = first * d..self.d_vocab.min(first + step) * d;
            let weight = head.weight.floats(rows, &mut pass.widened);
            let out = &mut logits[first..];
            product_within(
                &x,
                weight,
                head.layout,
                d,
                Output::Replace,
                out,
                self.d_vocab,
            );
        }
        for_rows(&mut logits, self.d_vocab, |_, rows| {
            bias::add_bias(&head.bias, rows);
            if let Some(cap) = self.logit_cap {
                soft_cap(rows, cap);
            }
        });
        Ok(logits)
    }
}
