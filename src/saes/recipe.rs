//! What the options of a training come to for vectors of some width.

use datafusion::common::plan_err;
use datafusion::error::Result;
use polysema_kernels::sae::{DeadLatents, Sae, TrainOptions, Variant};
use serde_json::{Map, Value};

use super::options::{
    AUX_COEFFICIENT, AUX_K, BANDWIDTH, BATCH_SIZE, CENTERED, CHECKPOINT_EVERY, CLIP_NORM, D_SAE,
    DEAD_AFTER, DEAD_LATENTS, DECAY, EPOCHS, EXPANSION, HOOK, INIT, K, L1, LEARNING_RATE,
    MAX_TOKENS, MOST_WEIGHTS, MOVED_CORPUS, MOVED_MODEL, NE_LOSS, NE_MOMENTUM, NE_START_STEP,
    NORMALIZE, PRESET, RATE, REDUCTION, REPLACE, RESAMPLE_EVERY, RESUME, SEED, STEPS, TOP_K,
    UNIT_NORM_DECODER, VARIANT, WARMUP, WEIGHT_DECAY,
};
use crate::models::Site;
use crate::options::{Key, Options, Typed};

/// The options of one training.
#[derive(Debug, Clone, PartialEq)]
pub struct SaeOptions(pub(super) Options);

impl SaeOptions {
    /// Of options read against [`super::options::TRAIN_SAE`].
    ///
    /// Errors (planning): values that exclude each other.
    pub fn new(options: Options) -> Result<Self> {
        let (most, rows) = (options.get(MAX_TOKENS), options.get(BATCH_SIZE));
        match most {
            Some(most) if most < rows as u64 => {
                plan_err!("max_tokens must be at least batch_size, {rows}, got {most}")
            }
            _ => Ok(Self(options)),
        }
    }

    /// The same of the vectors at this place.
    #[must_use]
    pub fn at(self, site: Site) -> Self {
        Self(self.0.with(HOOK, Some(site)))
    }

    pub(super) fn get<T: Typed>(&self, key: Key<T>) -> T {
        self.0.get(key)
    }

    /// Rows to train on, as far as that is known: those of the source once it was read.
    pub(super) fn rows(&self, of_source: Option<u64>) -> Option<u64> {
        let (most, epochs) = (self.get(MAX_TOKENS), self.get(EPOCHS));
        let enough = STEPS.saturating_mul(self.get(BATCH_SIZE) as u64);
        let by_epochs = of_source.and_then(|n| match (epochs, most) {
            (Some(epochs), _) => Some(n.saturating_mul(epochs)),
            (None, Some(_)) => None,
            (None, None) => Some(n.max(enough)),
        });
        match (most, by_epochs) {
            (Some(most), Some(rows)) => Some(most.min(rows)),
            (most, rows) => most.or(rows),
        }
    }

    /// What is done for dead latents.
    pub(super) fn revives(&self) -> String {
        self.get(DEAD_LATENTS)
    }

    /// Whether vectors are divided by their spread.
    pub(super) fn normalizes(&self) -> bool {
        self.get(NORMALIZE) == "variance"
    }

    /// Latents for vectors of this width.
    ///
    /// Errors: more than memory is meant for.
    pub(super) fn d_sae(&self, d_in: usize) -> Result<usize> {
        let expanded = self.get(EXPANSION).saturating_mul(d_in);
        let d_sae = self.get(D_SAE).unwrap_or(expanded);
        let rows = self.get(BATCH_SIZE);
        for (what, factor) in [("the vectors' width", d_in), ("batch_size", rows)] {
            if d_sae.checked_mul(factor).is_none_or(|n| n > MOST_WEIGHTS) {
                return plan_err!(
                    "d_sae times {what}, {factor}, must be at most 2^31, got d_sae {d_sae}"
                );
            }
        }
        Ok(d_sae)
    }

    /// What the kernel's loss is multiplied with to be the one that weights are said for. Of normalized vectors the mean
    /// over dimensions is the share of variance over the width: the weights are divided by it instead, which is the same
    /// to Adam.
    pub(super) fn loss_unit(&self, d_in: usize) -> f32 {
        if self.normalizes() { d_in as f32 } else { 1.0 }
    }

    /// How it is trained on vectors of this width.
    pub(super) fn train_options(&self, d_in: usize) -> TrainOptions {
        let unit = self.loss_unit(d_in);
        let dead = match self.get(DEAD_LATENTS).as_str() {
            "auxiliary" => DeadLatents::Auxiliary {
                k: self.get(AUX_K).unwrap_or((d_in / 2).max(1)),
                coefficient: self.get(AUX_COEFFICIENT) / unit,
            },
            "resample" => DeadLatents::Resample {
                every: self.get(RESAMPLE_EVERY),
            },
            _ => DeadLatents::Leave,
        };
        TrainOptions {
            learning_rate: (self.get(LEARNING_RATE)).unwrap_or(RATE / (d_in as f32).sqrt()),
            warmup_steps: self.get(WARMUP),
            weight_decay: self.get(WEIGHT_DECAY),
            decay: self.get(DECAY),
            clip_norm: self.get(CLIP_NORM).map(|norm| norm / unit),
            l1: self.get(L1) / unit,
            ne_loss: self.get(NE_LOSS) / unit,
            ne_momentum: self.get(NE_MOMENTUM),
            ne_start_step: self.get(NE_START_STEP),
            reduction: self.get(REDUCTION),
            unit_norm_decoder: self.get(UNIT_NORM_DECODER),
            bandwidth: self.get(BANDWIDTH),
            dead,
            dead_after_steps: self.get(DEAD_AFTER),
            seed: self.get(SEED),
            ..TrainOptions::default()
        }
    }

    /// Latents of a top-k that are active at once.
    fn k(&self, d_in: usize, d_sae: usize) -> usize {
        let usual = (d_in / 4).clamp(1, 32).min(d_sae);
        self.get(K).unwrap_or(usual)
    }

    /// Refuses vectors of a width that the options do not go with.
    ///
    /// Errors: k above the number of latents, more latents than memory is meant for.
    pub(super) fn check(&self, d_in: usize) -> Result<()> {
        let d_sae = self.d_sae(d_in)?;
        let k = self.k(d_in, d_sae);
        match TOP_K.contains(&self.get(VARIANT).as_str()) && k > d_sae {
            true => plan_err!("k must be at most d_sae, {d_sae}, got {k}"),
            false => Ok(()),
        }
    }

    /// The autoencoder before training.
    ///
    /// Errors: those of [`Self::check`].
    pub(super) fn untrained(&self, d_in: usize) -> Result<Sae> {
        self.check(d_in)?;
        let (d_sae, name) = (self.d_sae(d_in)?, self.get(VARIANT));
        let k = self.k(d_in, d_sae);
        let Some(variant) = Variant::untrained(&name, d_sae, k) else {
            return plan_err!("variant must be one that trains, got '{name}'");
        };
        let (centered, init, seed) = (self.get(CENTERED), self.get(INIT), self.get(SEED));
        Ok(Sae::init(d_in, d_sae, variant, centered, init, seed))
    }

    /// Every option, given or not, for the manifest. What does not change the result is left out, so that two
    /// trainings of equal options are the same training.
    pub(super) fn to_json(&self) -> Map<String, Value> {
        let mut all = self.0.to_json();
        for spec in [
            CHECKPOINT_EVERY.spec,
            RESUME.spec,
            REPLACE.spec,
            PRESET.spec,
            MOVED_MODEL.spec,
            MOVED_CORPUS.spec,
        ] {
            all.remove(spec.name);
        }
        all
    }
}
