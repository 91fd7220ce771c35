//! The options of `train_sae`: one table that says what each is, one parser. Above 400 lines because the table, the
//! fields and their tests are one list three times and are read side by side.

use std::str::FromStr;

use datafusion::common::plan_err;
use datafusion::error::Result;
use polysema_udfs::kernels::sae::{
    DeadLatents, Decay, Init, Reduction, Sae, TrainOptions, Variant,
};
use serde_json::{Map, Value, json};

use crate::corpus::OptionDoc;
use crate::models::{HookPoint, Site};
use crate::runs::{IngestOptions, OPTIONS as INGEST_OPTIONS};

/// Options that pick the latents' dataset examples, with ingest's meaning.
pub(super) const EXAMPLES: [&str; 6] = [
    "activation_threshold",
    "min_activation",
    "max_examples",
    "order",
    "window",
    "window_vectors",
];
/// Activation from which a document is an example of a latent: what Foote's MNIST page took.
pub(super) const MIN_ACTIVATION: f64 = 0.005;

const fn option(
    name: &'static str,
    range: &'static str,
    default: &'static str,
    meaning: &'static str,
) -> OptionDoc {
    OptionDoc {
        name,
        range,
        default,
        meaning,
    }
}

/// Every option but those that pick examples.
#[rustfmt::skip]
const OWN: &[OptionDoc] = &[
    option("preset", "'foote_mnist'", "", "settings that the other options then change: those of Foote 2024, section 4.2, the unstated ones reconstructed (d_sae 512, ne_loss 5e-3, weight_decay 0.01)"),
    option("hook", "'mlp.out', 'mlp.post', 'resid.post', ...", "", "the place in the layer whose vectors are read; default mlp.out, of a classifier mlp.post"),
    option("column", "text", "", "the source's column of vectors; may be left out where there is one"),
    option("d_sae", "integer from 1", "", "number of latents; default expansion times the vectors' width"),
    option("expansion", "integer from 1", "8", "number of latents over the vectors' width"),
    option("variant", "'relu', 'topk', 'batch_topk', 'jump_relu' or 'gated'", "relu", "what makes the codes sparse"),
    option("k", "integer from 1 to d_sae", "32", "latents active at once, of the top-k variants"),
    option("centered", "true or false", "true", "whether b_dec is taken off a vector before it is encoded"),
    option("init", "'uniform' or 'tied'", "", "weights before training: uniform in 1/sqrt(fan in), or decoder rows of norm 1 with the encoder equal to them; default uniform, of the top-k variants tied"),
    option("l1", "number from 0", "0.0002", "weight of the sparsity term, the sum of activations over a batch (of jump_relu: their number)"),
    option("ne_loss", "number from 0", "0", "weight of the neuron embedding loss"),
    option("ne_momentum", "number in [0, 1)", "0.9", "weight of the old average of a latent's vectors"),
    option("ne_start_step", "integer from 0", "200", "first step with the neuron embedding loss"),
    option("reduction", "'sum' or 'mean'", "sum", "whether both terms are sums over a batch, or means over its rows"),
    option("learning_rate", "number above 0", "0.001", "Adam's step size once warm"),
    option("warmup", "integer from 0", "0", "steps over which the learning rate rises linearly"),
    option("weight_decay", "number from 0", "0", "pull of every parameter towards 0"),
    option("decay", "'coupled' or 'decoupled'", "coupled", "whether that pull is added to the gradient (L2) or taken off beside the step (AdamW)"),
    option("clip_norm", "number above 0", "", "largest norm of the gradient"),
    option("bandwidth", "number above 0", "0.001", "width of the kernel that estimates the gradient of jump_relu's thresholds"),
    option("unit_norm_decoder", "true or false", "false", "whether decoder rows are held at norm 1"),
    option("dead_latents", "'leave', 'auxiliary' or 'resample'", "leave", "what is done for latents that are never active"),
    option("dead_after", "integer from 1", "1000", "steps without activity after which a latent counts as dead"),
    option("aux_k", "integer from 1", "256", "dead latents a row that reconstruct what the others leave"),
    option("aux_coefficient", "number from 0", "0.03125", "weight of that reconstruction's error"),
    option("resample_every", "integer from 1", "2500", "steps between two resamplings of dead latents"),
    option("batch_size", "integer from 1 below 2^31", "128", "rows of a step"),
    option("epochs", "integer from 1", "1", "times the source is read; with max_tokens alone, as often as it takes"),
    option("max_tokens", "integer from 1", "", "rows after which training ends"),
    option("buffer", "integer from 1", "65536", "rows that are shuffled together; memory is as many vectors"),
    option("seed", "integer from 0", "0", "seed of the first parameters and of the order of rows"),
    option("checkpoint_every", "integer from 1", "1000", "steps between two checkpoints"),
    option("resume", "true or false", "true", "whether an interrupted training of this name goes on; false begins anew"),
    option("replace", "true or false", "false", "whether an autoencoder of the same name is replaced"),
];

/// Every option of `train_sae`.
pub fn train_sae_options() -> Vec<OptionDoc> {
    let examples = INGEST_OPTIONS
        .iter()
        .filter(|option| EXAMPLES.contains(&option.name));
    let examples = examples.map(|option| OptionDoc {
        default: match option.name {
            "min_activation" => "0.005",
            "activation_threshold" => "",
            _ => option.default,
        },
        ..*option
    });
    OWN.iter().copied().chain(examples).collect()
}

/// The options of one training; [`train_sae_options`] says what each is.
#[derive(Debug, Clone, PartialEq)]
pub struct SaeOptions {
    hook: Option<Site>,
    column: Option<String>,
    d_sae: Option<usize>,
    expansion: usize,
    variant: &'static str,
    k: usize,
    centered: bool,
    init: Option<Init>,
    pub(super) train: TrainOptions,
    aux: (usize, f32),
    resample_every: u64,
    dead_latents: &'static str,
    pub(super) batch_size: usize,
    pub(super) epochs: u64,
    pub(super) max_tokens: Option<u64>,
    pub(super) buffer: usize,
    pub(super) seed: u64,
    pub(super) checkpoint_every: u64,
    pub(super) resume: bool,
    pub(super) replace: bool,
    pub(super) examples: IngestOptions,
}

impl Default for SaeOptions {
    fn default() -> Self {
        Self {
            hook: None,
            column: None,
            d_sae: None,
            expansion: 8,
            variant: "relu",
            k: 32,
            centered: true,
            init: None,
            train: TrainOptions::default(),
            aux: (256, 1.0 / 32.0),
            resample_every: 2500,
            dead_latents: "leave",
            batch_size: 128,
            epochs: 1,
            max_tokens: None,
            buffer: 1 << 16,
            seed: 0,
            checkpoint_every: 1000,
            resume: true,
            replace: false,
            examples: IngestOptions {
                min_activation: Some(MIN_ACTIVATION),
                ..IngestOptions::default()
            },
        }
    }
}

fn out_of_range<T>(name: &str, value: &str) -> Result<T> {
    let option = OWN.iter().find(|option| option.name == name);
    let range = option.map_or("a known option", |option| option.range);
    plan_err!("{name} requires {range}, got '{value}'")
}

fn parse<T: FromStr>(name: &str, value: &str, allowed: impl Fn(&T) -> bool) -> Result<T> {
    match value.trim().parse::<T>() {
        Ok(parsed) if allowed(&parsed) => Ok(parsed),
        _ => out_of_range(name, value),
    }
}

fn word<T: Copy>(name: &str, value: &str, known: &[(&'static str, T)]) -> Result<T> {
    match known.iter().find(|(word, _)| *word == value.trim()) {
        Some((_, meaning)) => Ok(*meaning),
        None => out_of_range(name, value),
    }
}

impl SaeOptions {
    /// The defaults, changed by `(name, value)` pairs; a preset comes first wherever it stands.
    pub fn from_pairs<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Self> {
        let mut options = Self::default();
        let pairs: Vec<_> = pairs.into_iter().collect();
        for (name, value) in pairs.iter().filter(|(name, _)| *name == "preset") {
            word(name, value, &[("foote_mnist", ())])?;
            options.d_sae = Some(512);
            options.train = TrainOptions::foote_mnist();
        }
        let given = |name: &str| pairs.iter().any(|(known, _)| *known == name);
        if given("activation_threshold") && !given("min_activation") {
            options.examples.min_activation = None;
        }
        if given("activation_threshold") && given("min_activation") {
            return plan_err!(
                "one of activation_threshold and min_activation is required, got both"
            );
        }
        if given("d_sae") && given("expansion") {
            return plan_err!("one of d_sae and expansion is required, got both");
        }
        for (name, value) in pairs.iter().filter(|(name, _)| *name != "preset") {
            options.set(name, value)?;
        }
        options.examples.replace = options.replace;
        if let Some(most) = options.max_tokens {
            if most < options.batch_size as u64 {
                return plan_err!(
                    "max_tokens requires at least batch_size, {}, got {most}",
                    options.batch_size
                );
            }
            if !given("epochs") {
                options.epochs = u64::MAX;
            }
        }
        Ok(options)
    }

    /// The source's column of vectors, if it is named.
    pub fn column(&self) -> Option<&str> {
        self.column.as_deref()
    }

    /// The place in a layer, if it is named.
    pub fn hook(&self) -> Option<Site> {
        self.hook
    }

    fn set(&mut self, name: &str, value: &str) -> Result<()> {
        let count = || parse::<usize>(name, value, |&n| n >= 1);
        let steps = |least: u64| parse::<u64>(name, value, move |&n| n >= least);
        // Rows are numbered in 32 bits.
        let rows = || parse::<usize>(name, value, |&n| (1..1 << 31).contains(&n));
        let flag = || parse::<bool>(name, value, |_| true);
        let weight = || parse::<f32>(name, value, |&x| x >= 0.0 && x.is_finite());
        let positive = || parse::<f32>(name, value, |&x| x > 0.0 && x.is_finite());
        let train = &mut self.train;
        match name {
            "hook" => {
                let hook = HookPoint::parse(&format!("blocks.0.{}", value.trim()));
                self.hook = Some(hook?.site);
            }
            "column" => self.column = Some(value.to_string()),
            "d_sae" => self.d_sae = Some(count()?),
            "expansion" => {
                self.expansion = count()?;
                self.d_sae = None;
            }
            "variant" => self.variant = word(name, value, &Variant::NAMES.map(|n| (n, n)))?,
            "k" => self.k = count()?,
            "centered" => self.centered = flag()?,
            "init" => {
                let known = [("uniform", Init::Uniform), ("tied", Init::Tied)];
                self.init = Some(word(name, value, &known)?);
            }
            "l1" => train.l1 = weight()?,
            "ne_loss" => train.ne_loss = weight()?,
            "ne_momentum" => train.ne_momentum = parse(name, value, |x| (0.0..1.0).contains(x))?,
            "ne_start_step" => train.ne_start_step = steps(0)?,
            "reduction" => {
                let known = [("sum", Reduction::Sum), ("mean", Reduction::Mean)];
                train.reduction = word(name, value, &known)?;
            }
            "learning_rate" => train.learning_rate = positive()?,
            "warmup" => train.warmup_steps = steps(0)?,
            "weight_decay" => train.weight_decay = weight()?,
            "decay" => {
                let known = [("coupled", Decay::Coupled), ("decoupled", Decay::Decoupled)];
                train.decay = word(name, value, &known)?;
            }
            "clip_norm" => train.clip_norm = Some(positive()?),
            "bandwidth" => train.bandwidth = positive()?,
            "unit_norm_decoder" => train.unit_norm_decoder = flag()?,
            "dead_latents" => {
                let known = ["leave", "auxiliary", "resample"];
                self.dead_latents = word(name, value, &known.map(|n| (n, n)))?;
            }
            "dead_after" => train.dead_after_steps = steps(1)?,
            "aux_k" => self.aux.0 = count()?,
            "aux_coefficient" => self.aux.1 = weight()?,
            "resample_every" => self.resample_every = steps(1)?,
            "batch_size" => self.batch_size = rows()?,
            "epochs" => self.epochs = steps(1)?,
            "max_tokens" => self.max_tokens = Some(steps(1)?),
            "buffer" => self.buffer = rows()?,
            "seed" => self.seed = steps(0)?,
            "checkpoint_every" => self.checkpoint_every = steps(1)?,
            "resume" => self.resume = flag()?,
            "replace" => self.replace = flag()?,
            _ if EXAMPLES.contains(&name) => self.examples.set(name, value)?,
            _ => {
                let known: Vec<_> = train_sae_options().iter().map(|o| o.name).collect();
                return plan_err!(
                    "an option of {} is required, got '{name}'",
                    known.join(", ")
                );
            }
        }
        Ok(())
    }

    /// Latents for vectors of this width.
    ///
    /// Errors: more than could be addressed.
    pub(super) fn d_sae(&self, d_in: usize) -> Result<usize> {
        let d_sae = self.d_sae.unwrap_or(self.expansion.saturating_mul(d_in));
        // Two matrices with their gradients and moments must be addressable; more than that is a slip of the pen.
        if d_sae.checked_mul(d_in).is_none_or(|n| n > 1 << 36) {
            return plan_err!(
                "d_sae times the vectors' width, {d_in}, requires at most 2^36, got d_sae {d_sae}"
            );
        }
        Ok(d_sae)
    }

    /// How it is trained.
    pub(super) fn train_options(&self) -> TrainOptions {
        let ((k, coefficient), every) = (self.aux, self.resample_every);
        let dead = match self.dead_latents {
            "auxiliary" => DeadLatents::Auxiliary { k, coefficient },
            "resample" => DeadLatents::Resample { every },
            _ => DeadLatents::Leave,
        };
        TrainOptions {
            dead,
            seed: self.seed,
            ..self.train.clone()
        }
    }

    /// The autoencoder before training.
    ///
    /// Errors: k above the number of latents, more latents than could be addressed.
    pub(super) fn untrained(&self, d_in: usize) -> Result<Sae> {
        let d_sae = self.d_sae(d_in)?;
        let top_k = self.variant.ends_with("topk");
        if top_k && self.k > d_sae {
            return plan_err!(
                "k requires integer from 1 to d_sae, {d_sae}, got {}",
                self.k
            );
        }
        let Some(variant) = Variant::untrained(self.variant, d_sae, self.k) else {
            return out_of_range("variant", self.variant);
        };
        let usual = if top_k { Init::Tied } else { Init::Uniform };
        let init = self.init.unwrap_or(usual);
        let (centered, seed) = (self.centered, self.seed);
        Ok(Sae::init(d_in, d_sae, variant, centered, init, seed))
    }

    /// Every option, given or default, for the manifest. What does not change the result is left out, so that two
    /// trainings of equal options are the same training.
    pub(super) fn to_json(&self) -> Map<String, Value> {
        let train = &self.train;
        let values = [
            ("hook", json!(self.hook.map(Site::name))),
            ("column", json!(self.column)),
            ("d_sae", json!(self.d_sae)),
            ("expansion", json!(self.expansion)),
            ("variant", json!(self.variant)),
            ("k", json!(self.k)),
            ("centered", json!(self.centered)),
            (
                "init",
                json!(self.init.map(|init| format!("{init:?}").to_lowercase())),
            ),
            ("l1", json!(train.l1)),
            ("ne_loss", json!(train.ne_loss)),
            ("ne_momentum", json!(train.ne_momentum)),
            ("ne_start_step", json!(train.ne_start_step)),
            (
                "reduction",
                json!(format!("{:?}", train.reduction).to_lowercase()),
            ),
            ("learning_rate", json!(train.learning_rate)),
            ("warmup", json!(train.warmup_steps)),
            ("weight_decay", json!(train.weight_decay)),
            ("decay", json!(format!("{:?}", train.decay).to_lowercase())),
            ("clip_norm", json!(train.clip_norm)),
            ("bandwidth", json!(train.bandwidth)),
            ("unit_norm_decoder", json!(train.unit_norm_decoder)),
            ("dead_latents", json!(self.dead_latents)),
            ("dead_after", json!(train.dead_after_steps)),
            ("aux_k", json!(self.aux.0)),
            ("aux_coefficient", json!(self.aux.1)),
            ("resample_every", json!(self.resample_every)),
            ("batch_size", json!(self.batch_size)),
            ("epochs", json!(self.epochs)),
            ("max_tokens", json!(self.max_tokens)),
            ("buffer", json!(self.buffer)),
            ("seed", json!(self.seed)),
        ];
        let examples = self.examples.to_json();
        let examples = examples
            .into_iter()
            .filter(|(name, _)| EXAMPLES.contains(&name.as_str()));
        let own = values
            .into_iter()
            .map(|(name, value)| (name.to_string(), value));
        own.chain(examples).collect()
    }
}
