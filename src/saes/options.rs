//! The options of `train_sae` and of every function that takes in an autoencoder.
//!
//! A new option is a key, its `spec` in the table, and what it does where it is read: `options.get(KEY)`. Above 400 lines
//! because a table is read as a whole.

use datafusion::common::plan_err;
use datafusion::error::Result;
use polysema_kernels::sae::{DeadLatents, Decay, Init, Reduction, Sae, TrainOptions, Variant};
use serde_json::{Map, Value};

use crate::corpus::MOST_TOKENS;
use crate::models::Site;
use crate::options::{Instead, Key, Kind, Options, Rule, Spec, Typed, Usual};
use crate::runs::{
    ACTIVATION_THRESHOLD, MAX_EXAMPLES, MIN_ACTIVATION, ORDER, WINDOW, WINDOW_VECTORS,
};

/// Steps and rows, as many as 63 bits count.
const fn steps(name: &'static str, from: u64, usual: u64, meaning: &'static str) -> Key<u64> {
    let to = (1 << 63) - 1;
    Key::new(name, Kind::Whole { from, to }, Usual::Whole(usual), meaning)
}

const fn number(name: &'static str, kind: Kind, usual: f64, meaning: &'static str) -> Key<f32> {
    Key::new(name, kind, Usual::Number(usual), meaning)
}

const TOP_K: &[&str] = &["topk", "batch_topk"];
/// Of an autoencoder's latents. Chosen: sixteen times those of the largest published one.
const MOST_LATENTS: u64 = 1 << 24;
/// Numbers of one matrix, which training holds a few times: 8 GiB.
const MOST_WEIGHTS: usize = 1 << 31;

/// The place whose vectors are read.
pub const HOOK: Key<Option<Site>> = Key::some_word(
    "hook",
    Usual::Said("mlp.out, of a classifier mlp.post"),
    "the place in the layer whose vectors are read",
);
/// Where a layer's model is now.
pub const MOVED_MODEL: Key<Option<String>> = Key::new(
    "model",
    Kind::Text,
    Usual::Said("where it was"),
    "where the run's model is now",
);
/// Where a layer's corpus is now.
pub const MOVED_CORPUS: Key<Option<String>> = Key::new(
    "corpus",
    Kind::Text,
    Usual::Said("where it was"),
    "where the run's corpus is now",
);
/// The column of vectors.
pub const VECTORS: Key<Option<String>> = Key::new(
    "column",
    Kind::Text,
    Usual::Nothing,
    "the source's column of vectors; may be left out where there is one",
);
/// Whether an autoencoder of the same name is replaced.
pub const REPLACE: Key<bool> = Key::flag(
    "replace",
    "whether an autoencoder of the same name is replaced",
);
/// Share of a latent's maximum that makes an example; usually there is none.
const SHARE: Key<f64> = ACTIVATION_THRESHOLD.usually(Usual::Nothing);
/// Activation from which a document is an example of a latent: what Foote's MNIST page took.
const LEAST: Key<Option<f64>> = MIN_ACTIVATION
    .usually(Usual::Number(0.005))
    .instead(&[Instead {
        option: "activation_threshold",
        words: &[],
        usual: Usual::Nothing,
    }]);

const FOOTE_MNIST: &[&str] = &["foote_mnist"];
const PRESET: Key<Option<String>> = Key::new(
    "preset",
    Kind::Words(|| FOOTE_MNIST.to_vec()),
    Usual::Nothing,
    "settings that the other options then change: those of Foote 2024, section 4.2, the unstated ones reconstructed",
);
const D_SAE: Key<Option<usize>> = Key::new(
    "d_sae",
    Kind::Whole {
        from: 1,
        to: MOST_LATENTS,
    },
    Usual::Said("expansion times the vectors' width"),
    "number of latents",
)
.rules(&[Rule::Without("expansion")])
.instead(&[
    Instead {
        option: "expansion",
        words: &[],
        usual: Usual::Nothing,
    },
    Instead {
        option: "preset",
        words: FOOTE_MNIST,
        usual: Usual::Whole(512),
    },
]);
const EXPANSION: Key<usize> = Key::count(
    "expansion",
    1,
    65_536,
    8,
    "number of latents over the vectors' width",
);
const VARIANT: Key<String> = Key::new(
    "variant",
    Kind::Words(|| Variant::NAMES.to_vec()),
    Usual::Text("relu"),
    "what makes the codes sparse",
);
const K: Key<usize> = Key::count(
    "k",
    1,
    MOST_LATENTS,
    32,
    "latents active at once, at most d_sae",
)
.rules(&[Rule::With("variant", TOP_K)]);
const CENTERED: Key<bool> = Key::new(
    "centered",
    Kind::Flag,
    Usual::Flag(true),
    "whether b_dec is taken off a vector before it is encoded",
);
const INIT: Key<Init> = Key::word(
    "init",
    Usual::Text("uniform"),
    "weights before training: uniform in 1/sqrt(fan in), or decoder rows of norm 1 with the encoder equal to them",
)
.instead(&[Instead { option: "variant", words: TOP_K, usual: Usual::Text("tied") }]);
const L1: Key<f32> = number(
    "l1",
    Kind::from(0.0),
    2e-4,
    "weight of the sparsity term, the sum of activations over a batch (of jump_relu: their number)",
);
const NE_LOSS: Key<f32> = number(
    "ne_loss",
    Kind::from(0.0),
    0.0,
    "weight of the neuron embedding loss",
)
.instead(&[Instead {
    option: "preset",
    words: FOOTE_MNIST,
    usual: Usual::Number(5e-3),
}]);
const NE_MOMENTUM: Key<f32> = number(
    "ne_momentum",
    Kind::Number {
        from: 0.0,
        above: false,
        to: 1.0,
        below: true,
    },
    0.9,
    "weight of the old average of a latent's vectors",
)
.rules(&[Rule::Above0("ne_loss")]);
const NE_START_STEP: Key<u64> = steps(
    "ne_start_step",
    0,
    200,
    "first step with the neuron embedding loss",
)
.rules(&[Rule::Above0("ne_loss")]);
const REDUCTION: Key<Reduction> = Key::word(
    "reduction",
    Usual::Text("sum"),
    "whether both terms are sums over a batch, or means over its rows",
);
const LEARNING_RATE: Key<f32> = number(
    "learning_rate",
    Kind::above(0.0),
    1e-3,
    "Adam's step size once warm",
);
const WARMUP: Key<u64> = steps(
    "warmup",
    0,
    0,
    "steps over which the learning rate rises linearly",
);
const WEIGHT_DECAY: Key<f32> = number(
    "weight_decay",
    Kind::from(0.0),
    0.0,
    "pull of every parameter towards 0",
)
.instead(&[Instead {
    option: "preset",
    words: FOOTE_MNIST,
    usual: Usual::Number(1e-2),
}]);
const DECAY: Key<Decay> = Key::word(
    "decay",
    Usual::Text("coupled"),
    "whether that pull is added to the gradient (L2) or taken off beside the step (AdamW)",
)
.rules(&[Rule::Above0("weight_decay")]);
const CLIP_NORM: Key<Option<f32>> = Key::new(
    "clip_norm",
    Kind::above(0.0),
    Usual::Nothing,
    "largest norm of the gradient",
);
const BANDWIDTH: Key<f32> = number(
    "bandwidth",
    Kind::above(0.0),
    1e-3,
    "width of the kernel that estimates the gradient of the thresholds",
)
.rules(&[Rule::With("variant", &["jump_relu"])]);
const UNIT_NORM_DECODER: Key<bool> = Key::flag(
    "unit_norm_decoder",
    "whether decoder rows are held at norm 1",
);
const DEAD_LATENTS: Key<String> = Key::new(
    "dead_latents",
    Kind::Words(|| vec!["leave", "auxiliary", "resample"]),
    Usual::Text("leave"),
    "what is done for latents that are never active",
);
const DEAD_AFTER: Key<u64> = steps(
    "dead_after",
    1,
    1000,
    "steps without activity after which a latent counts as dead",
);
const AUX_K: Key<usize> = Key::count(
    "aux_k",
    1,
    MOST_LATENTS,
    256,
    "dead latents a row that reconstruct what the others leave",
)
.rules(&[Rule::With("dead_latents", &["auxiliary"])]);
const AUX_COEFFICIENT: Key<f32> = number(
    "aux_coefficient",
    Kind::from(0.0),
    1.0 / 32.0,
    "weight of that reconstruction's error",
)
.rules(&[Rule::With("dead_latents", &["auxiliary"])]);
const RESAMPLE_EVERY: Key<u64> = steps(
    "resample_every",
    1,
    2500,
    "steps between two resamplings of dead latents",
)
.rules(&[Rule::With("dead_latents", &["resample"])]);
/// Rows of a step.
pub(super) const BATCH_SIZE: Key<usize> =
    Key::count("batch_size", 1, 1 << 20, 128, "rows of a step");
const EPOCHS: Key<u64> = steps(
    "epochs",
    1,
    1,
    "times the source is read; with max_tokens alone, as often as it takes",
);
/// Rows after which training ends.
pub(super) const MAX_TOKENS: Key<Option<u64>> = Key::new(
    "max_tokens",
    Kind::Whole {
        from: 1,
        to: (1 << 63) - 1,
    },
    Usual::Nothing,
    "rows after which training ends, at least batch_size",
);
/// Rows that are shuffled together. They are numbered in 32 bits.
pub(super) const BUFFER: Key<usize> = Key::count(
    "buffer",
    1,
    (1 << 31) - 1,
    65_536,
    "rows that are shuffled together; memory is as many vectors",
);
/// Seed of the first parameters and of the order of rows.
pub(super) const SEED: Key<u64> = steps(
    "seed",
    0,
    0,
    "seed of the first parameters and of the order of rows",
);
/// Steps between two checkpoints.
pub(super) const CHECKPOINT_EVERY: Key<u64> =
    steps("checkpoint_every", 1, 1000, "steps between two checkpoints");
/// Whether an interrupted training goes on.
pub(super) const RESUME: Key<bool> = Key::new(
    "resume",
    Kind::Flag,
    Usual::Flag(true),
    "whether an interrupted training of this name goes on; false begins anew",
);

/// The options of `train_sae`.
pub const TRAIN_SAE: [Spec; 42] = [
    PRESET.spec,
    HOOK.spec,
    MOVED_MODEL.spec,
    MOVED_CORPUS.spec,
    VECTORS.spec,
    D_SAE.spec,
    EXPANSION.spec,
    VARIANT.spec,
    K.spec,
    CENTERED.spec,
    INIT.spec,
    L1.spec,
    NE_LOSS.spec,
    NE_MOMENTUM.spec,
    NE_START_STEP.spec,
    REDUCTION.spec,
    LEARNING_RATE.spec,
    WARMUP.spec,
    WEIGHT_DECAY.spec,
    DECAY.spec,
    CLIP_NORM.spec,
    BANDWIDTH.spec,
    UNIT_NORM_DECODER.spec,
    DEAD_LATENTS.spec,
    DEAD_AFTER.spec,
    AUX_K.spec,
    AUX_COEFFICIENT.spec,
    RESAMPLE_EVERY.spec,
    BATCH_SIZE.spec,
    EPOCHS.spec,
    MAX_TOKENS.spec,
    BUFFER.spec,
    SEED.spec,
    CHECKPOINT_EVERY.spec,
    RESUME.spec,
    REPLACE.spec,
    SHARE.spec,
    LEAST.spec,
    MAX_EXAMPLES.spec,
    ORDER.spec,
    WINDOW.spec,
    WINDOW_VECTORS.spec,
];
/// The model of an imported autoencoder, in place of what its file says.
pub(super) const MODEL_NAME: Key<Option<String>> = Key::new(
    "model_name",
    Kind::Text,
    Usual::Said("the file's"),
    "the model it is of; must be the run's",
);
/// Whether its documents began with the model's first token, in place of what its file says.
pub(super) const BOS: Key<Option<bool>> = Key::new(
    "bos",
    Kind::Flag,
    Usual::Said("the file's"),
    "whether its documents began with the model's first token; must be so in the run",
);
/// Tokens of its documents, in place of what its file says.
pub(super) const CONTEXT: Key<Option<usize>> = Key::new(
    "context",
    Kind::Whole {
        from: 1,
        to: MOST_TOKENS,
    },
    Usual::Said("the file's"),
    "tokens of its documents; at least the run's",
);

/// The options of `import_sae`.
pub const IMPORT_SAE: [Spec; 14] = [
    HOOK.usually(Usual::Said(
        "what the file says, else mlp.out, of a classifier mlp.post",
    ))
    .spec,
    MOVED_MODEL.spec,
    MOVED_CORPUS.spec,
    MODEL_NAME.spec,
    BOS.spec,
    CONTEXT.spec,
    VECTORS.spec,
    SHARE.spec,
    LEAST.spec,
    MAX_EXAMPLES.spec,
    ORDER.spec,
    WINDOW.spec,
    WINDOW_VECTORS.spec,
    REPLACE.spec,
];
/// Those that say something of a layer's vectors and nothing of rows.
pub const OF_LAYERS: [Spec; 8] = [
    HOOK.spec,
    MOVED_MODEL.spec,
    MOVED_CORPUS.spec,
    MODEL_NAME.spec,
    BOS.spec,
    CONTEXT.spec,
    WINDOW.spec,
    WINDOW_VECTORS.spec,
];

/// The options of one training.
#[derive(Debug, Clone, PartialEq)]
pub struct SaeOptions(pub(super) Options);

impl SaeOptions {
    /// Of options read against [`TRAIN_SAE`].
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

    pub(super) fn get<T: Typed>(&self, key: Key<T>) -> T {
        self.0.get(key)
    }

    /// Times the source is read.
    pub(super) fn epochs(&self) -> u64 {
        match self.get(MAX_TOKENS).is_some() && !self.0.given(EPOCHS) {
            true => u64::MAX,
            false => self.get(EPOCHS),
        }
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

    /// How it is trained.
    pub(super) fn train_options(&self) -> TrainOptions {
        let dead = match self.get(DEAD_LATENTS).as_str() {
            "auxiliary" => DeadLatents::Auxiliary {
                k: self.get(AUX_K),
                coefficient: self.get(AUX_COEFFICIENT),
            },
            "resample" => DeadLatents::Resample {
                every: self.get(RESAMPLE_EVERY),
            },
            _ => DeadLatents::Leave,
        };
        TrainOptions {
            learning_rate: self.get(LEARNING_RATE),
            warmup_steps: self.get(WARMUP),
            weight_decay: self.get(WEIGHT_DECAY),
            decay: self.get(DECAY),
            clip_norm: self.get(CLIP_NORM),
            l1: self.get(L1),
            ne_loss: self.get(NE_LOSS),
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

    /// The autoencoder before training.
    ///
    /// Errors: k above the number of latents, more latents than memory is meant for.
    pub(super) fn untrained(&self, d_in: usize) -> Result<Sae> {
        let (d_sae, k, name) = (self.d_sae(d_in)?, self.get(K), self.get(VARIANT));
        if TOP_K.contains(&name.as_str()) && k > d_sae {
            return plan_err!("k must be at most d_sae, {d_sae}, got {k}");
        }
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
