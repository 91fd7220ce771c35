//! A transformer with hook points: what GPT-2, Llama and their relatives share, and with other ends and without a mask the
//! encoders of texts (BERT) and of images (ViT, CLIP's). A family is one file in `families` that says in the decoder's
//! terms what its configuration and its tensors' names say.

mod attention;
mod block;
mod build;
mod build_ends;
mod embedding;
mod families;
mod parts;
mod read_out;
mod rotary;
mod rotary_fields;
mod spec;

use std::sync::Arc;

use datafusion::error::{DataFusionError, Result};

use self::block::Block;
use self::embedding::{Embedding, Reads};
use self::families::FAMILIES;
use self::read_out::ReadOut;
use self::rotary::{Rotary, Turns};
use super::config::Config;
use super::error::invalid;
use super::linear::Linear;
use super::pass::{Floats, Pass};
use super::{
    HookPoint, Hooks, Input, LayerInfo, LayerNorm, LogitWriter, Model, NeuronWeights, PatchGrid,
    Site, Unwatched,
};
use crate::files::tensors::Tensors;
use crate::options::Word as _;

struct Decoder {
    family: &'static str,
    d_model: usize,
    /// 0 of a model of images.
    d_vocab: usize,
    n_ctx: usize,
    /// Whether a position sees only those before it.
    causal: bool,
    layers: Vec<LayerInfo>,
    sites: Vec<Site>,
    embedding: Embedding,
    rotaries: Vec<Rotary>,
    blocks: Vec<Block>,
    read_out: ReadOut,
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

impl Decoder {
    /// Documents and their length, once the input is one that this reads.
    fn shape(&self, input: Input<'_>) -> Result<[usize; 2]> {
        match (&self.embedding.source, input) {
            (Reads::Tokens(_), Input::Tokens { ids, seq }) => self.tokens(ids, seq),
            (Reads::Tokens(_), Input::Vectors { .. }) => {
                Err(self.invalid("token ids are required, got vectors".to_string()))
            }
            (Reads::Patches(patches), Input::Vectors { values, width }) => {
                let grid = patches.grid;
                if width != grid.values()
                    || values.is_empty()
                    || !values.len().is_multiple_of(width)
                {
                    return Err(self.invalid(format!(
                        "images of {} channels of {} x {} pixels are required, got {} values in images of {width}",
                        grid.channels,
                        grid.image[0],
                        grid.image[1],
                        values.len()
                    )));
                }
                Ok([values.len() / width, self.n_ctx])
            }
            (Reads::Patches(_), Input::Tokens { .. }) => {
                Err(self.invalid("images are required, got token ids".to_string()))
            }
        }
    }

    fn tokens(&self, ids: &[u32], seq: usize) -> Result<[usize; 2]> {
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
        Ok([ids.len() / seq, seq])
    }

    fn invalid(&self, message: String) -> DataFusionError {
        invalid(format!("{}: {message}", self.family))
    }

    /// The residual stream after the last block, or none if the hooks ended the pass.
    fn run(&self, input: Input<'_>, pass: &mut Pass<'_>) -> Result<Option<Floats>> {
        let turns: Vec<Turns> = self.rotaries.iter().map(|r| r.turns(pass.seq)).collect();
        let mut resid = Arc::new(self.embedding.forward(input, self.d_model, pass));
        for block in &self.blocks {
            resid = block.forward(resid, &turns, pass)?;
            if pass.done() {
                return Ok(None);
            }
        }
        Ok(Some(resid))
    }

    /// What the head receives.
    fn read_out(&self, resid: Floats, pass: &mut Pass<'_>) -> Result<Floats> {
        let last = self.blocks.len() - 1;
        self.read_out.forward(last, resid, self.d_model, pass)
    }

    /// The head; an error that names what it is required for.
    fn head(&self, of: &str) -> Result<&Linear> {
        let none = || {
            self.invalid(format!(
                "a head is required for {of}, got a model stored without"
            ))
        };
        self.read_out.head.as_ref().ok_or_else(none)
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

    fn causal(&self) -> bool {
        self.causal
    }

    fn image(&self) -> Option<PatchGrid> {
        self.embedding.grid()
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
                let why = match block.attn_norms.stream {
                    Some(_) => {
                        "the norm before the MLP makes the residual stream, too, so that its scale is no part of the weights"
                    }
                    None => {
                        "no norm stands right before the MLP whose scale could count as weights"
                    }
                };
                return Err(self.invalid(format!(
                    "layer_norm 'raw' is required, since {why}, got '{}'",
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
        let widest = widest.unwrap_or(0).max(self.embedding.bytes_a_row());
        let values = rows.saturating_mul(widest);
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
        self.read_out.logits_bytes(documents, seq)
    }

    fn forward(&self, input: Input<'_>, hooks: &mut dyn Hooks) -> Result<()> {
        let [batch, seq] = self.shape(input)?;
        let mut pass = Pass::new(hooks, batch, seq);
        let resid = self.run(input, &mut pass)?;
        if let Some(resid) = resid
            && pass.wants(self.blocks.len() - 1, Site::LnFinalOut)
        {
            self.read_out(resid, &mut pass)?;
        }
        Ok(())
    }

    fn logits(&self, input: Input<'_>, hooks: &mut dyn Hooks) -> Result<Vec<f32>> {
        let [batch, seq] = self.shape(input)?;
        let head = self.head("logits")?;
        let mut pass = Pass::new(hooks, batch, seq);
        let Some(resid) = self.run(input, &mut pass)? else {
            return Err(self.invalid("logits need a whole pass, got one ended by its hooks".into()));
        };
        let x = self.read_out(resid, &mut pass)?;
        Ok(self.read_out.logits(head, &x, &mut pass))
    }

    fn norm_before_logits(&self) -> bool {
        self.read_out.final_norm.is_some()
    }

    fn logit_effects(&self, of: LogitWriter, written: &[f32], folded: bool) -> Result<Vec<f32>> {
        let head = self.head("effects on logits")?;
        let d = self.d_model;
        if written.is_empty() || !written.len().is_multiple_of(d) {
            return Err(self.invalid(format!(
                "vectors of width {d} are required for effects on logits, got {} values",
                written.len()
            )));
        }
        let between = || {
            self.invalid(
                "a residual stream that is only added to and then normalised and read is required for direct effects on \
                 logits, got one with norms or neurons in between"
                    .to_string(),
            )
        };
        if self.blocks.iter().any(Block::changes_stream) {
            return Err(between());
        }
        let mut x = written.to_vec();
        if let LogitWriter::Neurons(layer) = of
            && let Some(norm) = &self.block(layer)?.mlp_norms.after
            && folded
        {
            norm.linear_part(&mut x);
        }
        let (mut unwatched, n) = (Unwatched, written.len() / d);
        let mut pass = Pass::new(&mut unwatched, n, 1);
        let effects = self.read_out.effects(head, x, folded, &mut pass);
        effects.ok_or_else(between)
    }
}
