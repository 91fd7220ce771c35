//! The options of `train_sae` and of every function that takes in an autoencoder.
//!
//! A new option is a key, its `spec` in the table, and what it does where it is read: `options.get(KEY)`. Above 400 lines
//! because a table is read as a whole.

use polysema_kernels::sae::{Decay, Init, Reduction, Variant};

use crate::corpus::MOST_TOKENS;
use crate::models::Site;
use crate::options::{Instead, Key, Kind, Rule, Spec, Usual};
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

pub(super) const TOP_K: &[&str] = &["topk", "batch_topk"];
const JUMP_RELU: &[&str] = &["jump_relu"];
/// Variants whose codes are sparse by a term of the loss.
const PENALISED: &[&str] = &["relu", "gated", "jump_relu"];
/// Variants of which some latents are above 0 and left out, so that the auxiliary loss reaches them.
const LEAVING_OUT: &[&str] = &["topk", "batch_topk", "jump_relu"];
/// Steps of a training that is not told how long it takes: enough for explained variances above 0.9 on every source that
/// docs/sae.md names.
pub(super) const STEPS: u64 = 4000;
/// Adam's step size where it is not given, times the root of the vectors' width: rows of norm 1 then turn by the same
/// angle at each step, whatever the width.
pub(super) const RATE: f32 = 0.02;
/// Of an autoencoder's latents. Chosen: sixteen times those of the largest published one.
const MOST_LATENTS: u64 = 1 << 24;
/// Numbers of one matrix, which training holds a few times: 8 GiB.
pub(super) const MOST_WEIGHTS: usize = 1 << 31;

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

/// What the preset has in place of the default.
const fn as_foote(usual: Usual) -> Instead {
    Instead {
        option: "preset",
        words: FOOTE_MNIST,
        usual,
    }
}

/// What some variants have in place of the default.
const fn of_variant(words: &'static [&'static str], usual: Usual) -> Instead {
    Instead {
        option: "variant",
        words,
        usual,
    }
}

pub(super) const PRESET: Key<Option<String>> = Key::new(
    "preset",
    Kind::words(|| FOOTE_MNIST.to_vec()),
    Usual::Nothing,
    "settings that the other options then change: those of Foote 2024, section 4.2, the unstated ones reconstructed",
);
pub(super) const D_SAE: Key<Option<usize>> = Key::new(
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
pub(super) const EXPANSION: Key<usize> = Key::count(
    "expansion",
    1,
    65_536,
    8,
    "number of latents over the vectors' width",
);
pub(super) const VARIANT: Key<String> = Key::new(
    "variant",
    Kind::words(|| Variant::NAMES.to_vec()),
    Usual::Text("relu"),
    "what makes the codes sparse",
);
pub(super) const K: Key<Option<usize>> = Key::new(
    "k",
    Kind::Whole {
        from: 1,
        to: MOST_LATENTS,
    },
    Usual::Said("32, of vectors narrower than 128 a quarter of their width"),
    "latents active at once, at most d_sae",
)
.rules(&[Rule::With("variant", TOP_K)]);
pub(super) const CENTERED: Key<bool> = Key::new(
    "centered",
    Kind::Flag,
    Usual::Flag(true),
    "whether b_dec is taken off a vector before it is encoded",
);
pub(super) const INIT: Key<Init> = Key::word(
    "init",
    Usual::Text("tied"),
    "weights before training: uniform in 1/sqrt(fan in), or decoder rows of norm 1 with the encoder equal to them",
)
.instead(&[as_foote(Usual::Text("uniform"))]);
pub(super) const NORMALIZE: Key<String> = Key::new(
    "normalize",
    Kind::words(|| vec!["variance", "none"]),
    Usual::Text("variance"),
    "'variance': vectors are divided by their root mean square distance from their mean, both of the first buffer, b_dec \
     begins at the mean, the loss's first term is the share of variance that is not explained, and the division goes into \
     the weights at the end; 'none': vectors as they are, and the mean over rows and dimensions of the squared error",
)
.instead(&[as_foote(Usual::Text("none"))]);
pub(super) const L1: Key<f32> = number(
    "l1",
    Kind::from(0.0),
    0.1,
    "weight of the sparsity term, a row's sum of activations (of jump_relu: their number); of normalized vectors it means \
     the same whatever their width and scale: SAELens' l1_coefficient over the root of the width",
)
.rules(&[Rule::With("variant", PENALISED)])
.instead(&[
    of_variant(JUMP_RELU, Usual::Number(1e-3)),
    of_variant(TOP_K, Usual::Number(0.0)),
    as_foote(Usual::Number(2e-4)),
]);
pub(super) const NE_LOSS: Key<f32> = number(
    "ne_loss",
    Kind::from(0.0),
    0.0,
    "weight of the neuron embedding loss",
)
.instead(&[as_foote(Usual::Number(5e-3))]);
pub(super) const NE_MOMENTUM: Key<f32> = number(
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
pub(super) const NE_START_STEP: Key<u64> = steps(
    "ne_start_step",
    0,
    200,
    "first step with the neuron embedding loss",
)
.rules(&[Rule::Above0("ne_loss")]);
pub(super) const REDUCTION: Key<Reduction> = Key::word(
    "reduction",
    Usual::Text("mean"),
    "whether the terms of l1 and ne_loss are sums over a batch, or means over its rows",
)
.instead(&[as_foote(Usual::Text("sum"))]);
pub(super) const LEARNING_RATE: Key<Option<f32>> = Key::new(
    "learning_rate",
    Kind::above(0.0),
    Usual::Said("0.02 over the root of the vectors' width"),
    "Adam's step size once warm",
)
.instead(&[as_foote(Usual::Number(1e-3))]);
pub(super) const WARMUP: Key<u64> = steps(
    "warmup",
    0,
    500,
    "steps over which the learning rate rises linearly",
)
.instead(&[as_foote(Usual::Whole(0))]);
/// Share of the training at whose end the learning rate falls.
pub(super) const COOLDOWN: Key<f32> = number(
    "cooldown",
    Kind::Number {
        from: 0.0,
        above: false,
        to: 1.0,
        below: false,
    },
    0.2,
    "share of the training at whose end the learning rate falls linearly to 0; of a source whose end comes as a surprise \
     at most the last buffer",
)
.instead(&[as_foote(Usual::Number(0.0))]);
pub(super) const WEIGHT_DECAY: Key<f32> = number(
    "weight_decay",
    Kind::from(0.0),
    0.0,
    "pull of every parameter towards 0",
)
.instead(&[as_foote(Usual::Number(1e-2))]);
pub(super) const DECAY: Key<Decay> = Key::word(
    "decay",
    Usual::Text("coupled"),
    "whether that pull is added to the gradient (L2) or taken off beside the step (AdamW)",
)
.rules(&[Rule::Above0("weight_decay")]);
pub(super) const CLIP_NORM: Key<Option<f32>> = Key::new(
    "clip_norm",
    Kind::above(0.0),
    Usual::Nothing,
    "largest norm of the gradient",
);
pub(super) const BANDWIDTH: Key<f32> = number(
    "bandwidth",
    Kind::above(0.0),
    0.1,
    "width of the kernel that estimates the gradient of the thresholds",
)
.rules(&[Rule::With("variant", JUMP_RELU)]);
pub(super) const UNIT_NORM_DECODER: Key<bool> = Key::new(
    "unit_norm_decoder",
    Kind::Flag,
    Usual::Flag(true),
    "whether decoder rows are held at norm 1, of normalized vectors; longer ones would make the sparsity term small for nothing",
)
.instead(&[as_foote(Usual::Flag(false))]);
pub(super) const DEAD_LATENTS: Key<String> = Key::new(
    "dead_latents",
    Kind::words(|| vec!["leave", "auxiliary", "resample"]),
    Usual::Text("leave"),
    "what is done for latents that are never active: nothing, the auxiliary loss of Gao et al. 2024, or to begin anew as \
     in Bricken et al. 2023",
)
.instead(&[as_foote(Usual::Text("leave")), of_variant(LEAVING_OUT, Usual::Text("auxiliary"))]);
pub(super) const DEAD_AFTER: Key<u64> = steps(
    "dead_after",
    1,
    500,
    "steps without activity after which a latent counts as dead",
);
pub(super) const AUX_K: Key<Option<usize>> = Key::new(
    "aux_k",
    Kind::Whole {
        from: 1,
        to: MOST_LATENTS,
    },
    Usual::Said("half of the vectors' width"),
    "dead latents a row that reconstruct what the others leave",
)
.rules(&[Rule::With("dead_latents", &["auxiliary"])]);
pub(super) const AUX_COEFFICIENT: Key<f32> = number(
    "aux_coefficient",
    Kind::from(0.0),
    1.0 / 32.0,
    "weight of that reconstruction's error over the variance of what the others leave",
)
.rules(&[Rule::With("dead_latents", &["auxiliary"])]);
pub(super) const RESAMPLE_EVERY: Key<u64> = steps(
    "resample_every",
    1,
    2500,
    "steps between two resamplings of dead latents",
)
.rules(&[Rule::With("dead_latents", &["resample"])]);
/// Rows of a step.
pub(super) const BATCH_SIZE: Key<usize> =
    Key::count("batch_size", 1, 1 << 20, 128, "rows of a step");
pub(super) const EPOCHS: Key<Option<u64>> = Key::new(
    "epochs",
    Kind::Whole {
        from: 1,
        to: (1 << 63) - 1,
    },
    Usual::Said("as many as 4000 steps or max_tokens take"),
    "times the source is seen; one that fits into the buffer is read once",
)
.instead(&[as_foote(Usual::Whole(1))]);
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
pub const TRAIN_SAE: [Spec; 44] = [
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
    NORMALIZE.spec,
    L1.spec,
    NE_LOSS.spec,
    NE_MOMENTUM.spec,
    NE_START_STEP.spec,
    REDUCTION.spec,
    LEARNING_RATE.spec,
    WARMUP.spec,
    COOLDOWN.spec,
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

/// Which of a folder of many is imported.
pub const SUBFOLDER: Key<Option<String>> = Key::new(
    "subfolder",
    Kind::Text,
    Usual::Nothing,
    "the folder within path whose autoencoder it is, where there are several",
);
/// Where a transcoder gives its values, in place of what its file says.
pub(super) const HOOK_OUT: Key<Option<Site>> = Key::some_word(
    "hook_out",
    Usual::Said("what the file says"),
    "the place in the layer whose values a transcoder gives back",
);

/// The options of `import_sae`.
pub const IMPORT_SAE: [Spec; 16] = [
    HOOK.usually(Usual::Said(
        "what the file says, else mlp.out, of a classifier mlp.post",
    ))
    .spec,
    HOOK_OUT.spec,
    SUBFOLDER.spec,
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
pub const OF_LAYERS: [Spec; 9] = [
    HOOK.spec,
    HOOK_OUT.spec,
    MOVED_MODEL.spec,
    MOVED_CORPUS.spec,
    MODEL_NAME.spec,
    BOS.spec,
    CONTEXT.spec,
    WINDOW.spec,
    WINDOW_VECTORS.spec,
];
