//! The GPT-2 family: configuration, weights and the path through the blocks.
//!
//! Source: Radford et al. 2019; the tensor names and options of Hugging Face's `GPT2LMHeadModel`.

mod attention;
mod block;

use std::collections::HashMap;
use std::sync::Arc;

use datafusion::error::Result;
use polysema_kernels::network::activation::Activation;
use polysema_kernels::network::bias;
use polysema_kernels::network::matmul::{Layout, Linear, Output, product};
use serde::Deserialize;

use self::block::{Block, Norm};
use super::config::Config;
use super::error::invalid;
use super::pass::{Floats, Pass, for_rows};
use super::{HookPoint, Hooks, Input, LayerInfo, LayerNorm, Model, NeuronWeights, Site};
use crate::files::tensors::Tensors;

/// The fields of `config.json` that change the mathematics; defaults are Hugging Face's.
#[derive(Deserialize)]
struct Fields {
    n_layer: usize,
    n_head: usize,
    n_embd: usize,
    n_positions: usize,
    vocab_size: usize,
    n_inner: Option<usize>,
    #[serde(default = "gelu_new")]
    activation_function: String,
    #[serde(default = "epsilon")]
    layer_norm_epsilon: f32,
    #[serde(default = "yes")]
    scale_attn_weights: bool,
    #[serde(default)]
    scale_attn_by_inverse_layer_idx: bool,
    #[serde(default)]
    add_cross_attention: bool,
    #[serde(default = "yes")]
    tie_word_embeddings: bool,
    #[serde(default)]
    pruned_heads: HashMap<String, Vec<usize>>,
}

fn gelu_new() -> String {
    "gelu_new".to_string()
}

fn epsilon() -> f32 {
    1e-5
}

fn yes() -> bool {
    true
}

struct Gpt2 {
    d_model: usize,
    d_vocab: usize,
    n_ctx: usize,
    layers: Vec<LayerInfo>,
    /// `[d_vocab, d_model]`
    token_embedding: Vec<f32>,
    /// `[n_ctx, d_model]`
    position_embedding: Vec<f32>,
    blocks: Vec<Block>,
    final_norm: Norm,
    /// `[d_vocab, d_model]`; none where it is the token embedding.
    head: Option<Vec<f32>>,
}

/// Builds the model of a checked configuration.
pub(super) fn build(config: &Config, mut weights: Tensors) -> Result<Arc<dyn Model>> {
    let fields: Fields = config.fields()?;
    let activation = check(config, &fields)?;
    if fields.n_layer > weights.len() {
        return Err(config.invalid(format!(
            "n_layer must be at most the number of tensors, {}, got {}",
            weights.len(),
            fields.n_layer
        )));
    }
    let (d_model, d_vocab, n_ctx) = (fields.n_embd, fields.vocab_size, fields.n_positions);
    let prefix = if weights.contains("wte.weight") {
        ""
    } else {
        "transformer."
    };
    let mut take = |name: String, dims: &[usize]| weights.take(&name, dims);
    let token_embedding = take(format!("{prefix}wte.weight"), &[d_vocab, d_model])?;
    let position_embedding = take(format!("{prefix}wpe.weight"), &[n_ctx, d_model])?;
    let d_mlp = fields.n_inner.unwrap_or(4 * d_model);
    let mut blocks = vec![];
    for layer in 0..fields.n_layer {
        let mut take = |name: &str, dims: &[usize]| take(format!("{prefix}h.{layer}.{name}"), dims);
        let mut norm = |name: &str| -> Result<Norm> {
            Ok(Norm {
                gamma: take(&format!("{name}.weight"), &[d_model])?,
                beta: take(&format!("{name}.bias"), &[d_model])?,
                epsilon: fields.layer_norm_epsilon,
            })
        };
        let (ln1, ln2) = (norm("ln_1")?, norm("ln_2")?);
        let mut linear = |name: &str, d_in, d_out| -> Result<Linear> {
            Ok(Linear {
                weight: take(&format!("{name}.weight"), &[d_in, d_out])?,
                bias: take(&format!("{name}.bias"), &[d_out])?,
                layout: Layout::InOut,
            })
        };
        let mut scale = 1.0;
        if fields.scale_attn_weights {
            scale /= ((d_model / fields.n_head) as f32).sqrt();
        }
        if fields.scale_attn_by_inverse_layer_idx {
            scale /= (layer + 1) as f32;
        }
        blocks.push(Block {
            layer,
            d_model,
            d_mlp,
            n_heads: fields.n_head,
            scale,
            activation,
            ln1,
            ln2,
            attn_in: linear("attn.c_attn", d_model, 3 * d_model)?,
            attn_out: linear("attn.c_proj", d_model, d_model)?,
            mlp_in: linear("mlp.c_fc", d_model, d_mlp)?,
            mlp_out: linear("mlp.c_proj", d_mlp, d_model)?,
        });
    }
    let final_norm = Norm {
        gamma: take(format!("{prefix}ln_f.weight"), &[d_model])?,
        beta: take(format!("{prefix}ln_f.bias"), &[d_model])?,
        epsilon: fields.layer_norm_epsilon,
    };
    let head = match fields.tie_word_embeddings {
        true => None,
        false => Some(take("lm_head.weight".to_string(), &[d_vocab, d_model])?),
    };
    let layers = (0..fields.n_layer)
        .map(|layer| LayerInfo {
            name: format!("blocks.{layer}.mlp"),
            d_in: d_model,
            n_neurons: d_mlp,
            activation_function: activation.name().to_string(),
        })
        .collect();
    Ok(Arc::new(Gpt2 {
        d_model,
        d_vocab,
        n_ctx,
        layers,
        token_embedding,
        position_embedding,
        blocks,
        final_norm,
        head,
    }))
}

fn check(config: &Config, fields: &Fields) -> Result<Activation> {
    let sizes = [
        ("n_layer", fields.n_layer),
        ("n_head", fields.n_head),
        ("n_embd", fields.n_embd),
        ("n_positions", fields.n_positions),
        ("vocab_size", fields.vocab_size),
        ("n_inner", fields.n_inner.unwrap_or(1)),
    ];
    if let Some((name, _)) = sizes.iter().find(|(_, size)| *size == 0) {
        return Err(config.invalid(format!("{name} of at least 1 is required, got 0")));
    }
    if !fields.n_embd.is_multiple_of(fields.n_head) {
        return Err(config.invalid(format!(
            "n_embd divisible by n_head is required, got {} and {}",
            fields.n_embd, fields.n_head
        )));
    }
    if fields.add_cross_attention {
        return Err(config.invalid("add_cross_attention false is required, got true".to_string()));
    }
    if !fields.pruned_heads.is_empty() {
        return Err(config.invalid("no pruned_heads are required, got some".to_string()));
    }
    Activation::parse(&fields.activation_function).ok_or_else(|| {
        config.invalid(format!(
            "an activation_function of {} is required, got {}",
            Activation::NAMES.join(", "),
            fields.activation_function
        ))
    })
}

impl Gpt2 {
    /// Token ids and their length, checked.
    fn tokens<'a>(&self, input: Input<'a>) -> Result<(&'a [u32], usize)> {
        let Input::Tokens { ids, seq } = input else {
            return Err(invalid(
                "gpt2: token ids are required, got vectors".to_string(),
            ));
        };
        if seq == 0 || seq > self.n_ctx {
            return Err(invalid(format!(
                "gpt2: a context of 1 to {} positions is required, got {seq}",
                self.n_ctx
            )));
        }
        if ids.is_empty() || !ids.len().is_multiple_of(seq) {
            return Err(invalid(format!(
                "gpt2: whole documents of {seq} token ids are required, got {} token ids",
                ids.len()
            )));
        }
        if let Some(i) = ids.iter().position(|id| *id as usize >= self.d_vocab) {
            return Err(invalid(format!(
                "gpt2: token ids below {} are required, got {} in document {} of the batch at position {}",
                self.d_vocab,
                ids[i],
                i / seq,
                i % seq
            )));
        }
        Ok((ids, seq))
    }

    fn embed(&self, ids: &[u32], pass: &mut Pass<'_>) -> Floats {
        let d = self.d_model;
        let mut resid = pass.buffer(ids.len() * d);
        let seq = pass.seq;
        for_rows(&mut resid, d, |start, out| {
            for (i, out) in out.chunks_exact_mut(d).enumerate() {
                let i = start / d + i;
                let (token, pos) = (ids[i] as usize * d, (i % seq) * d);
                let token = &self.token_embedding[token..token + d];
                bias::add(token, &self.position_embedding[pos..pos + d], out);
            }
        });
        Arc::new(resid)
    }

    /// The residual stream after the last block, or none if the hooks ended the pass.
    fn run(&self, ids: &[u32], pass: &mut Pass<'_>) -> Result<Option<Floats>> {
        let mut resid = self.embed(ids, pass);
        for block in &self.blocks {
            resid = block.forward(resid, pass)?;
            if pass.done() {
                return Ok(None);
            }
        }
        Ok(Some(resid))
    }
}

impl Model for Gpt2 {
    fn architecture(&self) -> &str {
        "gpt2"
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
        match self.blocks.get(layer) {
            Some(block) => Ok(block.neuron_weights(layer_norm)),
            None => Err(invalid(format!(
                "gpt2: a layer below {} is required, got {layer}",
                self.blocks.len()
            ))),
        }
    }

    fn neuron_bytes(&self, layer: usize) -> usize {
        let floats = |info: &LayerInfo| info.n_neurons * (2 * info.d_in + 1);
        size_of::<f32>() * self.layers.get(layer).map_or(0, floats)
    }

    fn received_at(&self, layer: usize, layer_norm: LayerNorm) -> Result<HookPoint> {
        let site = match layer_norm {
            LayerNorm::Raw => Site::Ln2Out,
            LayerNorm::Folded | LayerNorm::TlFolded => Site::Normalized,
        };
        Ok(HookPoint { layer, site })
    }

    fn activation_at(&self, layer: usize) -> HookPoint {
        let site = Site::MlpPost;
        HookPoint { layer, site }
    }

    fn sites(&self) -> &'static [Site] {
        &[
            Site::ResidPre,
            Site::Ln1Out,
            Site::AttnQkv,
            Site::AttnZ,
            Site::AttnOut,
            Site::ResidMid,
            Site::Normalized,
            Site::Ln2Out,
            Site::MlpPre,
            Site::MlpPost,
            Site::MlpOut,
            Site::ResidPost,
        ]
    }

    fn pass_bytes(&self, documents: usize, seq: usize) -> usize {
        let rows = documents.saturating_mul(seq);
        let widest = self.blocks.iter().map(|block| block.bytes_a_row()).max();
        let values = rows.saturating_mul(widest.unwrap_or(0));
        values.saturating_add(attention::scratch_bytes(seq))
    }

    fn logits_bytes(&self, documents: usize, seq: usize) -> usize {
        let values = documents.saturating_mul(seq).saturating_mul(self.d_vocab);
        values.saturating_mul(size_of::<f32>())
    }

    fn forward(&self, input: Input<'_>, hooks: &mut dyn Hooks) -> Result<()> {
        let (ids, seq) = self.tokens(input)?;
        self.run(ids, &mut Pass::new(hooks, ids.len() / seq, seq))?;
        Ok(())
    }

    fn logits(&self, input: Input<'_>, hooks: &mut dyn Hooks) -> Result<Vec<f32>> {
        let (ids, seq) = self.tokens(input)?;
        let mut pass = Pass::new(hooks, ids.len() / seq, seq);
        let Some(resid) = self.run(ids, &mut pass)? else {
            return Err(invalid(
                "gpt2: logits need a whole pass, got one ended by its hooks".into(),
            ));
        };
        let last = self.blocks.len() - 1;
        let x = self
            .final_norm
            .forward(last, [None, Some(Site::LnFinalOut)], &resid, &mut pass)?;
        let mut logits = pass.buffer(ids.len() * self.d_vocab);
        let head = self.head.as_ref().unwrap_or(&self.token_embedding);
        product(
            &x,
            head,
            Layout::OutIn,
            self.d_model,
            Output::Replace,
            &mut logits,
        );
        Ok(logits)
    }
}
