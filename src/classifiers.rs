//! Labelled images into a classifier of the store.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use datafusion::common::{exec_err, plan_err};
use datafusion::error::Result;
use serde_json::json;

use crate::corpus::{CorpusOptions, Images, Split, are_images};
use crate::jobs::JobContext;
use crate::models::ClassifierTrainer;
use crate::store::{ModelWriter, Source, Store};
use polysema_udfs::kernels::random::Random;

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
    /// Widths of the hidden layers.
    pub hidden: Vec<usize>,
    /// How often each image is seen.
    pub epochs: usize,
    /// Images of a step.
    pub batch_size: usize,
    /// Length of a step.
    pub learning_rate: f64,
    /// Decoupled weight decay.
    pub weight_decay: f64,
    /// Decides the first weights and the order of the images.
    pub seed: u64,
    /// Whether a model of the same name is replaced.
    pub replace: bool,
}

impl TrainRequest {
    /// A request with the default options.
    pub fn new(name: impl Into<String>, corpus: impl Into<PathBuf>) -> Self {
        Self {
            name: name.into(),
            corpus: corpus.into(),
            hidden: vec![64],
            epochs: 3,
            batch_size: 128,
            learning_rate: 1e-3,
            weight_decay: 0.01,
            seed: 0,
            replace: false,
        }
    }

    /// Refuses values outside their ranges.
    pub fn check(&self) -> Result<()> {
        if self.hidden.is_empty() || self.hidden.contains(&0) {
            return plan_err!(
                "hidden must be a list of one or more whole numbers from 1, got {:?}",
                self.hidden
            );
        }
        for (name, value) in [("epochs", self.epochs), ("batch_size", self.batch_size)] {
            if value == 0 {
                return plan_err!("{name} must be a whole number from 1, got 0");
            }
        }
        if !(self.learning_rate > 0.0 && self.learning_rate.is_finite()) {
            return plan_err!(
                "learning_rate must be a number above 0, got {}",
                self.learning_rate
            );
        }
        if !(self.weight_decay >= 0.0 && self.weight_decay.is_finite()) {
            return plan_err!(
                "weight_decay must be a number from 0, got {}",
                self.weight_decay
            );
        }
        Ok(())
    }
}

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
    request.check()?;
    let writer = store.begin_model(&request.name, request.replace)?;
    let set = Labelled::open(request, &mut || context.tick())?;
    let n_classes = set
        .labels
        .iter()
        .max()
        .map_or(0, |most| *most as usize + 1)
        .max(2);
    let mut random = Random::new(request.seed);
    let widths = [&[set.images.width], &request.hidden[..], &[n_classes]].concat();
    let (rate, decay) = (request.learning_rate, request.weight_decay);
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
    for epoch in 1..=request.epochs as u64 {
        random.shuffle(&mut order);
        let batches = order.chunks(request.batch_size);
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
            if i == last && epoch == request.epochs as u64 {
                save(request, &trainer, &row, &writer)?;
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

fn save(
    request: &TrainRequest,
    trainer: &ClassifierTrainer,
    last: &TrainProgress,
    writer: &ModelWriter,
) -> Result<()> {
    let config = json!({
        "kind": "mlp",
        "activation_function": "relu",
        "hidden": request.hidden,
        "training": {
            "corpus": Source::of(&request.corpus, "")?.path,
            "epochs": request.epochs,
            "batch_size": request.batch_size,
            "learning_rate": request.learning_rate,
            "weight_decay": request.weight_decay,
            "seed": request.seed,
            "test_accuracy": last.accuracy,
        },
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
    fn open(request: &TrainRequest, tick: &mut dyn FnMut() -> Result<()>) -> Result<Self> {
        let corpus = &request.corpus;
        if !are_images(corpus) || corpus.is_file() {
            return plan_err!(
                "a folder of idx files is required, got {}",
                corpus.display()
            );
        }
        let mut images = Images::open(corpus, &CorpusOptions::default(), tick)?;
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
