//! The words other tools have for places of a model, read and written.
//!
//! ```text
//! TransformerLens, SAELens   blocks.2.hook_resid_pre, blocks.2.ln2.hook_normalized
//! modules of Hugging Face    transformer.h.2.mlp, layers.2, gpt_neox.layers.2.attention: what the module gives
//! Gemma Scope 2              model.layers.2.output, model.layers.2.self_attn.o_proj.input
//! dictionary_learning        resid_post_layer_2, mlp_2
//! ```

use crate::models::{HookPoint, Site, TRANSFORMER_LENS};
use crate::options::Word;

/// SAELens lets TransformerLens fold layer norms into the weights, so that this is before scale and bias.
const FOLDED: (Site, &str) = (Site::Normalized, "ln2.hook_normalized");

/// Modules of a block by what they give; the block itself has no name.
const MODULES: [(Site, &str); 12] = [
    (Site::ResidPost, ""),
    (Site::Ln1Out, "ln_1"),
    (Site::AttnQkv, "attn.c_attn"),
    (Site::AttnOut, "attn"),
    (Site::AttnOut, "attn.c_proj"),
    (Site::Ln2Out, "ln_2"),
    (Site::MlpPre, "mlp.c_fc"),
    (Site::MlpPost, "mlp.act"),
    (Site::MlpOut, "mlp"),
    (Site::AttnOut, "attention"),
    (Site::AttnOut, "self_attn"),
    (Site::MlpPre, "mlp.dense_h_to_4h"),
];
/// Modules of Gemma's blocks, with which side of them is meant.
const SIDES: [(Site, &str); 4] = [
    (Site::ResidPost, "output"),
    (Site::AttnZ, "self_attn.o_proj.input"),
    (Site::Ln2Out, "pre_feedforward_layernorm.output"),
    (Site::MlpOut, "post_feedforward_layernorm.output"),
];

/// Words of dictionary_learning before the layer's number.
const SUBMODULES: [(Site, &str); 9] = [
    (Site::ResidPre, "resid_pre"),
    (Site::ResidMid, "resid_mid"),
    (Site::ResidPost, "resid_post"),
    (Site::ResidPost, "resid"),
    (Site::AttnOut, "attn_out"),
    (Site::AttnOut, "attn"),
    (Site::AttnOut, "attention"),
    (Site::MlpOut, "mlp_out"),
    (Site::MlpOut, "mlp"),
];

/// The place of a name; `layer` is its layer where the name has no number, and must be where it has one.
pub(super) fn parse(name: &str, layer: Option<usize>) -> Option<HookPoint> {
    let (number, site) = block(name)
        .or_else(|| module(name))
        .or_else(|| submodule(name))?;
    let found = number.or(layer)?;
    (layer.is_none_or(|layer| layer == found)).then_some(HookPoint { layer: found, site })
}

/// The name TransformerLens has for a place; ours where it has none.
pub fn transformer_lens(hook: HookPoint) -> String {
    let mut names = TRANSFORMER_LENS.iter().chain([&FOLDED]);
    match names.find(|(site, _)| *site == hook.site) {
        Some((_, name)) => format!("blocks.{}.{name}", hook.layer),
        None => hook.to_string(),
    }
}

fn find(table: &[(Site, &str)], name: &str) -> Option<Site> {
    let found = table.iter().find(|(_, known)| *known == name);
    found.map(|(site, _)| *site)
}

fn block(name: &str) -> Option<(Option<usize>, Site)> {
    let (layer, rest) = name.strip_prefix("blocks.")?.split_once('.')?;
    let site = find(&TRANSFORMER_LENS, rest)
        .or_else(|| find(&[FOLDED], rest))
        .or_else(|| Site::parse(rest))?;
    Some((Some(layer.parse().ok()?), site))
}

fn module(name: &str) -> Option<(Option<usize>, Site)> {
    let inner = ["transformer.", "model.", "gpt_neox."];
    let inner = inner.iter().find_map(|prefix| name.strip_prefix(prefix));
    let inner = inner.unwrap_or(name);
    let rest = inner
        .strip_prefix("h.")
        .or_else(|| inner.strip_prefix("layers."))?;
    let (layer, rest) = rest.split_once('.').unwrap_or((rest, ""));
    let site = find(&MODULES, rest).or_else(|| find(&SIDES, rest))?;
    Some((Some(layer.parse().ok()?), site))
}

/// Whether a name is that of an MLP or an attention as a module, which stands for what the module itself gives.
pub fn names_module(name: &str) -> bool {
    let site = module(name).map(|(_, site)| site);
    let side = SIDES.iter().any(|(_, side)| name.ends_with(side));
    matches!(site, Some(Site::MlpOut | Site::AttnOut)) && !side
}

/// The name of what goes into a module, which stands for what it gives.
pub(super) fn input_name(name: &str) -> Option<String> {
    Some(input_of(parse(name, None)?)?.to_string())
}

fn submodule(name: &str) -> Option<(Option<usize>, Site)> {
    let word = name.trim_end_matches(|c: char| c.is_ascii_digit());
    let layer = name[word.len()..].parse().ok();
    let word = word.trim_end_matches('_');
    let word = word.strip_suffix("_layer").unwrap_or(word);
    Some((layer, find(&SUBMODULES, word)?))
}

/// Where a module that gives this place takes its input from, if that is a place, too.
pub(super) fn input_of(hook: HookPoint) -> Option<HookPoint> {
    let site = match hook.site {
        Site::ResidPost => Site::ResidPre,
        Site::MlpOut => Site::Ln2Out,
        Site::AttnOut => Site::Ln1Out,
        _ => return None,
    };
    Some(HookPoint { site, ..hook })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_mean_places() {
        for (name, expected) in [
            ("blocks.2.hook_resid_pre", "blocks.2.resid.pre"),
            ("blocks.11.hook_resid_post", "blocks.11.resid.post"),
            ("blocks.2.hook_mlp_out", "blocks.2.mlp.out"),
            ("blocks.2.hook_attn_out", "blocks.2.attn.out"),
            ("blocks.2.ln2.hook_normalized", "blocks.2.ln2.normalized"),
            ("blocks.0.mlp.hook_post", "blocks.0.mlp.post"),
            ("blocks.0.attn.hook_z", "blocks.0.attn.z"),
            ("blocks.0.ln2.out", "blocks.0.ln2.out"),
            ("transformer.h.3.mlp", "blocks.3.mlp.out"),
            ("transformer.h.3", "blocks.3.resid.post"),
            ("h.3.ln_2", "blocks.3.ln2.out"),
            ("layers.7", "blocks.7.resid.post"),
            ("gpt_neox.layers.7.mlp", "blocks.7.mlp.out"),
            ("gpt_neox.layers.7.attention", "blocks.7.attn.out"),
            ("model.layers.7.self_attn", "blocks.7.attn.out"),
            ("model.layers.2.output", "blocks.2.resid.post"),
            ("model.layers.2.self_attn.o_proj.input", "blocks.2.attn.z"),
            (
                "model.layers.2.pre_feedforward_layernorm.output",
                "blocks.2.ln2.out",
            ),
            (
                "model.layers.2.post_feedforward_layernorm.output",
                "blocks.2.mlp.out",
            ),
            ("resid_post_layer_2", "blocks.2.resid.post"),
            ("resid_pre_layer_2", "blocks.2.resid.pre"),
            ("attn_out_layer_0", "blocks.0.attn.out"),
            ("mlp_3", "blocks.3.mlp.out"),
            ("mlp3", "blocks.3.mlp.out"),
            ("resid12", "blocks.12.resid.post"),
        ] {
            let found = parse(name, None).map(|hook| hook.to_string());
            assert_eq!(found.as_deref(), Some(expected), "{name}");
        }
        for (site, _) in TRANSFORMER_LENS.into_iter().chain([FOLDED]) {
            let hook = HookPoint { layer: 5, site };
            assert_eq!(parse(&transformer_lens(hook), None), Some(hook));
        }
    }

    #[test]
    fn a_layer_beside_the_name_counts_and_must_agree() {
        assert_eq!(parse("mlp_out", Some(4)).map(|hook| hook.layer), Some(4));
        assert_eq!(parse("mlp_3", Some(3)).map(|hook| hook.layer), Some(3));
        assert_eq!(parse("mlp_3", Some(4)), None);
        assert_eq!(parse("mlp_out", None), None);
    }

    #[test]
    fn what_is_no_place_of_ours_is_none() {
        for name in [
            "",
            "hook_embed",
            "blocks.2.hook_mlp_in",
            "blocks.2.ln1.hook_normalized",
            "blocks.x.hook_mlp_out",
            "ln_final.hook_normalized",
            "transformer.wte",
            "layers.2.self_attn.o_proj",
            "embed",
        ] {
            assert_eq!(parse(name, None), None, "{name}");
        }
    }
}
