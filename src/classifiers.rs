//! Labelled images into a classifier of the store.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use datafusion::common::{exec_err, plan_err};
use datafusion::error::Result;
use serde_json::json;

use crate::corpus::{Images, Split, find_corpus};
use crate::jobs::JobContext;
use crate::models::ClassifierTrainer;
use crate::options::{Key, Kind, Options, Spec, Usual};
use crate::store::{ModelWriter, Source, Store};
use polysema_kernels::random::Random;
use polysema_udfs::arrow::memory::hold;

/// Between two rows of progress.
const INTERVAL: Duration = Duration::from_millis(200);
/// Images classified at once to measure the accuracy.
const TEST_BATCH: usize = 1000;

/// What to train.
#[derive(Debug, Clone, PartialEq)]
pub struct TrainRequest {
    /// Name of the model in the store.
    pub name: String,
    /// Folder of idx files.
    pub corpus: PathBuf,
    /// How.
    pub options: Options,
}

/// An option a line.
#[rustfmt::skip]
mod keys {
    use super::*;

    pub(super) const HIDDEN: Key<Vec<usize>> = Key::new("hidden", Kind::Wholes { from: 1, to: 65_536, most: 16 }, Usual::Wholes(&[64]), "widths of the hidden layers");
    pub(super) const EPOCHS: Key<usize> = Key::count("epochs", 1, (1 << 31) - 1, 3, "how often each image is seen");
    pub(super) const BATCH_SIZE: Key<usize> = Key::count("batch_size", 1, 65_536, 128, "images of a step");
    pub(super) const LEARNING_RATE: Key<f64> = Key::new("learning_rate", Kind::above(0.0), Usual::Number(1e-3), "length of a step of AdamW");
    pub(super) const WEIGHT_DECAY: Key<f64> = Key::new("weight_decay", Kind::from(0.0), Usual::Number(0.01), "decoupled weight decay");
    pub(super) const SEED: Key<u64> = Key::new("seed", Kind::Whole { from: 0, to: (1 << 63) - 1 }, Usual::Whole(0), "decides the first weights and the order of the images");
    pub(super) const REPLACE: Key<bool> = Key::flag("replace", "whether a model of the same name is replaced");

    /// The options of `train_mlp`.
    pub const TRAIN_MLP: [Spec; 7] = [
        HIDDEN.spec, EPOCHS.spec, BATCH_SIZE.spec, LEARNING_RATE.spec, WEIGHT_DECAY.spec, SEED.spec,
        REPLACE.spec,
    ];
}

pub use keys::TRAIN_MLP;
use keys::*;

/// Numbers of all matrices together, of which training holds four copies: 1 GiB each.
const MOST_WEIGHTS: usize = 1 << 28;

/// One row of a training's progress.
#[derive(Debug, Clone, PartialEq)]
pub struct TrainProgress {
    /// Steps done.
    pub step: u64,
    /// The epoch they belong to, from 1.
    pub epoch: u64,
    /// Mean loss of the steps since the last row.
    pub loss: f64,
    /// Share of the test images whose class is found, at the end of an epoch.
    pub accuracy: Option<f64>,
    /// Images over seconds, since the beginning.
    pub rows_per_second: f64,
    /// Seconds since the beginning of the training.
    pub elapsed_seconds: f64,
    /// A sentence for people.
    pub message: String,
}

/// Trains a classifier on a folder's training images and stores it as a model.
///
/// `progress` is called several times a second and at the end of every epoch. Once `context` is cancelled the work ends
/// with an error; after any error there is no model, and one that was to be replaced is untouched.
pub fn train_mlp(
    store: &Store,
    request: &TrainRequest,
    context: &JobContext,
    progress: &mut dyn FnMut(TrainProgress),
) -> Result<()> {
    let options = &request.options;
    let writer = store.begin_model(&request.name, options.get(REPLACE))?;
    let corpus = find_corpus(&request.corpus, &mut context.fetch())?;
    let set = Labelled::open(&corpus.place, context)?;
    let n_classes = set
        .labels
        .iter()
        .max()
        .map_or(0, |most| *most as usize + 1)
        .max(2);
    let mut random = Random::new(options.get(SEED));
    let widths = [&[set.images.width], &options.get(HIDDEN)[..], &[n_classes]].concat();
    check_size(&widths)?;
    let (rate, decay) = (options.get(LEARNING_RATE), options.get(WEIGHT_DECAY));
    let (epochs, batch_size) = (options.get(EPOCHS) as u64, options.get(BATCH_SIZE));
    let memory = context.memory("train_mlp");
    let order_bytes = set.n_train * size_of::<usize>();
    let needed = ClassifierTrainer::bytes(&widths, batch_size.max(TEST_BATCH));
    let of = format_args!(
        "training layers of the widths {widths:?} (narrower hidden layers or a smaller batch_size need fewer)"
    );
    hold(&memory, needed.saturating_add(order_bytes), of)?;
    let mut trainer = ClassifierTrainer::new(&widths, rate, decay, &mut random)?;
    let started = Instant::now();
    let mut reported = started;
    let mut row = TrainProgress {
        step: 0,
        epoch: 0,
        loss: 0.0,
        accuracy: None,
        rows_per_second: 0.0,
        elapsed_seconds: 0.0,
        message: format!("training {} on {} images", request.name, set.n_train),
    };
    let mut order: Vec<usize> = (0..set.n_train).collect();
    let (mut seen, mut losses, mut n_losses) = (0, 0.0, 0);
    for epoch in 1..=epochs {
        random.shuffle(&mut order);
        let batches = order.chunks(batch_size);
        let last = batches.len() - 1;
        for (i, batch) in batches.enumerate() {
            context.tick()?;
            let (rows, classes) = set.rows(batch.iter().copied());
            let loss = trainer.step(rows, &classes)?;
            row.step += 1;
            if !loss.is_finite() {
                return exec_err!(
                    "a finite loss is required, got {loss} at step {}; a learning_rate below {rate} may help",
                    row.step
                );
            }
            seen += batch.len();
            losses += f64::from(loss);
            n_losses += 1;
            if i < last && reported.elapsed() < INTERVAL {
                continue;
            }
            row.epoch = epoch;
            row.loss = losses / f64::from(n_losses);
            row.elapsed_seconds = started.elapsed().as_secs_f64();
            row.rows_per_second = seen as f64 / row.elapsed_seconds.max(1e-9);
            row.accuracy = None;
            if i == last {
                let accuracy = set.accuracy(&trainer)?;
                row.accuracy = Some(accuracy);
                row.message = format!("epoch {epoch}: test accuracy {:.2} %", 100.0 * accuracy);
            }
            if i == last && epoch == epochs {
                save(request, &corpus.source()?, &trainer, &row, &writer)?;
                context.tick()?;
                break;
            }
            progress(row.clone());
            (losses, n_losses) = (0.0, 0);
            reported = Instant::now();
        }
    }
    writer.commit()?;
    row.message = format!("model {}: {}", request.name, row.message);
    progress(row);
    Ok(())
}

/// Refuses a network that memory is not meant for.
fn check_size(widths: &[usize]) -> Result<()> {
    let sizes = widths
        .windows(2)
        .map(|pair| pair[0].saturating_mul(pair[1]));
    match sizes.fold(0_usize, usize::saturating_add) {
        ..=MOST_WEIGHTS => Ok(()),
        n => plan_err!("hidden must make at most {MOST_WEIGHTS} weights, got {n}"),
    }
}

fn save(
    request: &TrainRequest,
    corpus: &Source,
    trainer: &ClassifierTrainer,
    last: &TrainProgress,
    writer: &ModelWriter,
) -> Result<()> {
    let mut training = request.options.to_json();
    training.remove(REPLACE.spec.name);
    let hidden = training.remove(HIDDEN.spec.name);
    training.insert("corpus".into(), corpus.path.clone().into());
    training.insert("test_accuracy".into(), last.accuracy.into());
    let config = json!({
        "kind": "mlp",
        "activation_function": "relu",
        "hidden": hidden,
        "training": training,
    });
    writer.write("config.json", format!("{config:#}\n").as_bytes())?;
    trainer.save(&writer.folder().join("model.safetensors"))
}

/// The images of both splits with their classes: the training ones first.
struct Labelled {
    images: Images,
    labels: Vec<u32>,
    n_train: usize,
}

impl Labelled {
    fn open(corpus: &Path, context: &JobContext) -> Result<Self> {
        if !corpus.is_dir() {
            return plan_err!(
                "a folder of idx files is required, got {}",
                corpus.display()
            );
        }
        let (memory, tick) = (context.memory("images"), &mut || context.tick());
        let mut images = Images::open(corpus, &Options::default(), memory, tick)?;
        let n_train = images.count(Split::Train);
        let (Some(labels), true) = (images.labels.take(), (1..images.len()).contains(&n_train))
        else {
            return exec_err!(
                "labelled images to train on and to test with are required, got {n_train} and {} in {}",
                images.count(Split::Test),
                corpus.display()
            );
        };
        Ok(Self {
            images,
            labels,
            n_train,
        })
    }

    fn rows(&self, images: impl Iterator<Item = usize>) -> (Vec<f32>, Vec<u32>) {
        let (mut rows, mut classes) = (vec![], vec![]);
        for image in images {
            self.images.normalised(image, &mut rows);
            classes.push(self.labels[image]);
        }
        (rows, classes)
    }

    /// Share of the test images whose class the classifier finds.
    fn accuracy(&self, trainer: &ClassifierTrainer) -> Result<f64> {
        let n = self.images.len();
        let mut right = 0;
        for first in (self.n_train..n).step_by(TEST_BATCH) {
            let (rows, classes) = self.rows(first..n.min(first + TEST_BATCH));
            let found = trainer.classes(rows, classes.len())?;
            right += found.iter().zip(&classes).filter(|(a, b)| a == b).count();
        }
        Ok(right as f64 / (n - self.n_train) as f64)
    }
}
