//! Named places of a forward pass, and what reads or replaces the values there.

use std::fmt;
use std::sync::Arc;

use datafusion::common::{exec_datafusion_err, plan_err};
use datafusion::error::Result;

use crate::options::Word;

/// A place in a block where activations can be read or replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Site {
    /// `ln2.normalized`: the vector that the MLP receives before its norm's scale and bias. `[batch, seq, d_model]`
    Normalized,
    /// `ln2.out`: what the MLP receives. `[batch, seq, d_model]`
    Ln2Out,
    /// `mlp.pre`: before the nonlinearity. `[batch, seq, d_mlp]`
    MlpPre,
    /// `mlp.gate`: `mlp.pre` of gated neurons, what their nonlinearity receives. `[batch, seq, d_mlp]`
    MlpGate,
    /// `mlp.up`: what the gate of gated neurons is multiplied with. `[batch, seq, d_mlp]`
    MlpUp,
    /// `mlp.post`: a neuron's activation, after nonlinearity and gate. `[batch, seq, d_mlp]`
    MlpPost,
    /// `mlp.out`: what the MLP adds to the residual stream. `[batch, seq, d_model]`
    MlpOut,
    /// `resid.post`: the residual stream after the block. `[batch, seq, d_model]`
    ResidPost,
    /// `mlp.in`: what a layer without a layer norm before it receives. `[batch, seq, d_in]`
    MlpIn,
    /// `resid.pre`: the residual stream before the block; before the first, the embedding. `[batch, seq, d_model]`
    ResidPre,
    /// `ln1.out`: what the attention receives. `[batch, seq, d_model]`
    Ln1Out,
    /// `attn.qkv`: queries, keys and values side by side, each with its heads side by side, as projected: before they are
    /// normalised or turned. `[batch, seq, (n_heads + 2 n_kv_heads) d_head]`
    AttnQkv,
    /// `attn.scores`: scaled and capped, before the mask. `[batch, n_heads, seq, seq]`
    AttnScores,
    /// `attn.pattern`: after mask and softmax. `[batch, n_heads, seq, seq]`
    AttnPattern,
    /// `attn.z`: values mixed by the pattern, heads side by side. `[batch, seq, n_heads d_head]`
    AttnZ,
    /// `attn.out`: what the attention adds to the residual stream. `[batch, seq, d_model]`
    AttnOut,
    /// `resid.mid`: the residual stream between attention and MLP. `[batch, seq, d_model]`
    ResidMid,
    /// `ln_final.out`: what the head receives; its layer is the last, and only `logits` gets there.
    /// `[batch, seq, d_model]`
    LnFinalOut,
}

/// One named place: `blocks.{layer}.{site}`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct HookPoint {
    /// Block index.
    pub layer: usize,
    /// Place within the block.
    pub site: Site,
}

/// The sites within a block under their names; `ln_final.out` lies in none.
const SITES: [(Site, &str); 17] = [
    (Site::ResidPre, "resid.pre"),
    (Site::Ln1Out, "ln1.out"),
    (Site::AttnQkv, "attn.qkv"),
    (Site::AttnScores, "attn.scores"),
    (Site::AttnPattern, "attn.pattern"),
    (Site::AttnZ, "attn.z"),
    (Site::AttnOut, "attn.out"),
    (Site::ResidMid, "resid.mid"),
    (Site::Normalized, "ln2.normalized"),
    (Site::Ln2Out, "ln2.out"),
    (Site::MlpIn, "mlp.in"),
    (Site::MlpPre, "mlp.pre"),
    (Site::MlpGate, "mlp.gate"),
    (Site::MlpUp, "mlp.up"),
    (Site::MlpPost, "mlp.post"),
    (Site::MlpOut, "mlp.out"),
    (Site::ResidPost, "resid.post"),
];

/// TransformerLens' names within a block for values that are ours where it leaves a model's weights as they are
/// (`from_pretrained_no_processing`, `TransformerBridge`).
pub const TRANSFORMER_LENS: [(Site, &str); 10] = [
    (Site::ResidPre, "hook_resid_pre"),
    (Site::AttnPattern, "attn.hook_pattern"),
    (Site::AttnZ, "attn.hook_z"),
    (Site::AttnOut, "hook_attn_out"),
    (Site::ResidMid, "hook_resid_mid"),
    (Site::MlpPre, "mlp.hook_pre"),
    (Site::MlpUp, "mlp.hook_pre_linear"),
    (Site::MlpPost, "mlp.hook_post"),
    (Site::MlpOut, "hook_mlp_out"),
    (Site::ResidPost, "hook_resid_post"),
];

const PART_OF_QKV: &str =
    "it is a third of attn.qkv, where queries, keys and values stand side by side";
const EMBEDDINGS: &str = "blocks.0.resid.pre is the sum of the embeddings of token and position";
/// Names of TransformerLens for values that are not ours, and why.
const OTHER_VALUES: [(&str, &str); 10] = [
    (
        "ln2.hook_normalized",
        "it is ln2.normalized where TransformerLens has folded the layer norm into the weights (from_pretrained does), and \
         ln2.out where it has not: write the one that is meant",
    ),
    (
        "ln1.hook_normalized",
        "it is ln1.out where TransformerLens has not folded the layer norm into the weights, and no place here where it has \
         (from_pretrained does)",
    ),
    (
        "attn.hook_attn_scores",
        "it is taken after the mask, attn.scores before it",
    ),
    ("attn.hook_q", PART_OF_QKV),
    ("attn.hook_k", PART_OF_QKV),
    ("attn.hook_v", PART_OF_QKV),
    (
        "hook_mlp_in",
        "it is the residual stream before the layer norm: write resid.mid",
    ),
    ("hook_embed", EMBEDDINGS),
    ("hook_pos_embed", EMBEDDINGS),
    (
        "ln_final.hook_normalized",
        "the last layer norm lies behind all blocks",
    ),
];

impl Word for Site {
    fn words() -> Vec<(&'static str, Self)> {
        SITES.iter().map(|(site, name)| (*name, *site)).collect()
    }

    /// TransformerLens' words.
    fn other(word: &str) -> Option<std::result::Result<Self, &'static str>> {
        let same = TRANSFORMER_LENS.iter().find(|(_, name)| *name == word);
        let differs = OTHER_VALUES.iter().find(|(name, _)| *name == word);
        same.map(|(site, _)| Ok(*site))
            .or(differs.map(|(_, why)| Err(*why)))
    }
}

impl HookPoint {
    /// The place within a block of this name, `blocks.2.mlp.out`, or of the name that TransformerLens has for it,
    /// `blocks.2.hook_mlp_out`.
    pub fn parse(text: &str) -> Result<Self> {
        let parts = text
            .strip_prefix("blocks.")
            .and_then(|rest| rest.split_once('.'));
        if let Some((layer, site)) = parts
            && let Ok(layer) = layer.parse()
            && let Some(site) = Site::parse(site).or_else(|| Site::other(site)?.ok())
        {
            return Ok(Self { layer, site });
        }
        let known = SITES.map(|(_, name)| name).join(", ");
        let why = Self::why_not(text).map_or_else(String::new, |why| format!(": {why}"));
        plan_err!("a hook blocks.LAYER.SITE with a site of {known} is required, got '{text}'{why}")
    }

    /// Why a name that TransformerLens has is no place here.
    pub fn why_not(text: &str) -> Option<&'static str> {
        let inner = text.strip_prefix("blocks.");
        let site = inner.and_then(|rest| Some(rest.split_once('.')?.1));
        Site::other(site.unwrap_or(text))?.err()
    }
}

impl fmt::Display for HookPoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.site {
            Site::LnFinalOut => f.write_str("ln_final.out"),
            site => write!(f, "blocks.{}.{}", self.layer, site.name()),
        }
    }
}

/// What reads or replaces activations during a forward pass.
pub trait Hooks {
    /// Whether this place is wanted; what nobody wants is not computed for its own sake.
    fn wants(&self, hook: HookPoint) -> bool;

    /// Called with the values at a wanted place, row-major in the shape `dims`; a clone keeps them without a copy.
    /// `Some` replaces them, one for one, for the rest of the pass.
    fn visit(
        &mut self,
        hook: HookPoint,
        values: &Arc<Vec<f32>>,
        dims: &[usize],
    ) -> Result<Option<Vec<f32>>>;

    /// Asked after the neurons' activations of every block and after the block: true ends the pass there (cancellation, or
    /// nothing deeper is wanted), which [`super::Model::logits`] reports as an error. Once true it stays so.
    fn done(&self) -> bool {
        false
    }
}

/// Looks at nothing: the pass itself.
#[derive(Debug)]
pub struct Unwatched;

impl Hooks for Unwatched {
    fn wants(&self, _: HookPoint) -> bool {
        false
    }

    fn visit(&mut self, _: HookPoint, _: &Arc<Vec<f32>>, _: &[usize]) -> Result<Option<Vec<f32>>> {
        Ok(None)
    }
}

/// Keeps the values at some places and ends the pass behind the last of them.
#[derive(Debug)]
pub struct Capture {
    places: Vec<(HookPoint, Option<Arc<Vec<f32>>>)>,
}

impl Capture {
    /// Nothing seen yet of these places.
    pub fn new(places: impl IntoIterator<Item = HookPoint>) -> Self {
        let places = places.into_iter().map(|hook| (hook, None));
        Self {
            places: places.collect(),
        }
    }

    /// The values at a place; an error if the pass did not reach it.
    pub fn at(&self, hook: HookPoint) -> Result<&Arc<Vec<f32>>> {
        let mut seen = self.places.iter();
        let seen = seen.find_map(|(place, seen)| seen.as_ref().filter(|_| *place == hook));
        seen.ok_or_else(|| exec_datafusion_err!("a pass that reaches {hook} is required, got none"))
    }
}

impl Hooks for Capture {
    fn wants(&self, hook: HookPoint) -> bool {
        self.places.iter().any(|(place, _)| *place == hook)
    }

    fn visit(
        &mut self,
        hook: HookPoint,
        values: &Arc<Vec<f32>>,
        _: &[usize],
    ) -> Result<Option<Vec<f32>>> {
        for (place, seen) in &mut self.places {
            if *place == hook {
                *seen = Some(Arc::clone(values));
            }
        }
        Ok(None)
    }

    fn done(&self) -> bool {
        self.places.iter().all(|(_, seen)| seen.is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_parsed_as_they_are_shown() {
        for (site, _) in SITES {
            let hook = HookPoint { layer: 11, site };
            assert_eq!(HookPoint::parse(&hook.to_string()).ok(), Some(hook));
        }
    }

    #[test]
    fn names_of_transformer_lens_mean_the_same_value_or_are_refused_with_the_reason() {
        for (name, site) in TRANSFORMER_LENS.map(|(site, name)| (name, site)) {
            let hook = HookPoint { layer: 2, site };
            assert_eq!(
                HookPoint::parse(&format!("blocks.2.{name}")).ok(),
                Some(hook)
            );
        }
        for (name, why) in OTHER_VALUES {
            for text in [name.to_string(), format!("blocks.2.{name}")] {
                let message = HookPoint::parse(&text).unwrap_err().strip_backtrace();
                assert!(
                    message.ends_with(&format!("got '{text}': {why}")),
                    "{message}"
                );
            }
        }
    }

    #[test]
    fn other_names_are_answered_with_the_sites() {
        for text in [
            "mlp.out",
            "blocks.mlp.out",
            "blocks.-1.mlp.out",
            "blocks.1.mlp",
            "ln_final.out",
            "",
        ] {
            let message = HookPoint::parse(text).unwrap_err().strip_backtrace();
            assert!(message.contains("resid.pre, ln1.out"), "{message}");
            assert!(message.ends_with(&format!("got '{text}'")), "{message}");
        }
    }
}
