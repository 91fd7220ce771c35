//! Training: rows of a source through a shuffling buffer into the trainer's steps, with progress, checkpoints and an
//! end that is whole or not there. Above 400 lines, since reading, stepping and ending share one state.

use std::time::{Duration, Instant};

use datafusion::arrow::datatypes::ToByteSlice;
use datafusion::common::{exec_datafusion_err, exec_err, plan_err, resources_err};
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::memory_pool::MemoryReservation;
use polysema_kernels::sae::{Sae, Spread, StepLosses, Trainer, Values};
use polysema_kernels::vector::first_non_finite;
use polysema_udfs::arrow::memory::refused;
use serde_json::json;

use super::checkpoint::{Checkpoints, TrainingState, difference};
use super::curve::Curve;
use super::options::{BATCH_SIZE, BUFFER, CHECKPOINT_EVERY, COOLDOWN, REPLACE, RESUME, SEED};
use super::progress::{TrainSaeProgress, TrainSaeRequest};
use super::publish::{Done, Vectors, check_place, publish};
use super::shuffle::{Handed, Shuffle};
use super::weights;
use crate::corpus::VectorSource;
use crate::jobs::JobContext;
use crate::store::{SaeManifest, SaeWriter, Store};

/// Two of these fit into half a second, the longest a reader is left without news.
const INTERVAL: Duration = Duration::from_millis(200);

/// Trains an autoencoder, finds its latents' dataset examples, and commits both.
///
/// `progress` is called several times a second. Once `context` is cancelled the work ends within a second or two with an
/// error; a checkpoint is then left, from which the same call goes on. After any error nothing is visible. What training
/// holds is reserved in the memory of `context` before it is allocated.
pub fn train_sae(
    store: &Store,
    request: &TrainSaeRequest,
    mut vectors: Vectors<'_>,
    context: &JobContext,
    progress: &mut dyn FnMut(TrainSaeProgress),
) -> Result<SaeManifest> {
    let options = &request.options;
    check_place(store, &request.name, &vectors)?;
    let replaces = store.has_sae(&request.name);
    let writer = store.begin_sae(&request.name, options.get(REPLACE))?;
    let checkpoints = Checkpoints::new(writer.training());
    if !options.get(RESUME) {
        checkpoints.remove()?;
    } else if replaces {
        checkpoints.remove_done()?;
    }
    let mut training = Training::begin(request, &mut vectors, &writer, context, progress)?;
    training.run(vectors.source())?;
    let (sae, done, _memory) = training.finish()?;
    publish(
        store, request, sae, done, vectors, writer, context, progress,
    )
}

/// A training that is under way.
struct Training<'a, 'p> {
    request: &'a TrainSaeRequest,
    /// What it is: options and source, as text.
    of: String,
    /// Of the rows seen.
    hasher: blake3::Hasher,
    checkpoints: Checkpoints,
    /// What the last checkpoint says, if one is gone on from.
    resumed: Option<TrainingState>,
    /// Width of the vectors, once one was seen.
    d_in: Option<usize>,
    trainer: Option<Trainer>,
    /// What vectors are divided by.
    spread: f32,
    /// The rows of a step, divided.
    scaled: Vec<f32>,
    /// The source, where the buffer holds all of it.
    whole: Option<Shuffle>,
    /// Rows to train on, as far as that is known.
    most: Option<u64>,
    /// Whether the end of the source was seen.
    is_read: bool,
    /// Rows at the end over which the learning rate falls.
    cooldown: f64,
    /// Of the trainer and the buffer.
    memory: MemoryReservation,
    steps: u64,
    rows: u64,
    /// Steps of the checkpoint, which the source is read past.
    skip: u64,
    losses: Option<StepLosses>,
    curve: Curve,
    started: Instant,
    last: Instant,
    context: &'a JobContext,
    progress: &'p mut dyn FnMut(TrainSaeProgress),
}

/// Why reading a source ended before its end.
enum Ended {
    /// All rows asked for were seen.
    Enough,
    /// The rows up to the checkpoint are not those it was made of.
    OtherRows,
    Failed(DataFusionError),
}

impl From<DataFusionError> for Ended {
    fn from(error: DataFusionError) -> Self {
        Self::Failed(error)
    }
}

impl<'a, 'p> Training<'a, 'p> {
    /// A new training, or the interrupted one of this name.
    ///
    /// Errors: the interrupted one has other options or another source.
    fn begin(
        request: &'a TrainSaeRequest,
        vectors: &mut Vectors<'_>,
        writer: &SaeWriter,
        context: &'a JobContext,
        progress: &'p mut dyn FnMut(TrainSaeProgress),
    ) -> Result<Self> {
        let options = &request.options;
        let mut told = options.to_json();
        // What may be changed after a divergence.
        told.retain(|name, _| name != "learning_rate" && name != "clip_norm");
        let of = json!({"options": told, "vectors": vectors.identity()}).to_string();
        let checkpoints = Checkpoints::new(writer.training());
        let resumed = checkpoints.find()?;
        if let Some(resumed) = &resumed
            && resumed.of != of
        {
            return plan_err!(
                "the options and source of the interrupted training of '{}' are required, got other ones \
                 ({}): pass resume: false to begin anew",
                request.name,
                difference(&resumed.of, &of)
            );
        }
        let now = Instant::now();
        Ok(Self {
            request,
            of,
            hasher: blake3::Hasher::new(),
            checkpoints,
            skip: resumed.as_ref().map_or(0, |resumed| resumed.steps),
            resumed,
            d_in: None,
            trainer: None,
            spread: 1.0,
            scaled: vec![],
            whole: None,
            most: None,
            is_read: false,
            cooldown: 0.0,
            memory: context.memory("train_sae"),
            steps: 0,
            rows: 0,
            losses: None,
            curve: Curve::default(),
            started: now,
            last: now,
            context,
            progress,
        })
    }

    /// Reads the source, epoch by epoch, and trains on it.
    fn run(&mut self, source: &mut dyn VectorSource) -> Result<()> {
        let options = &self.request.options;
        if let Some(resumed) = self.resumed.clone()
            && resumed.done
        {
            self.prepare(resumed.d_in)?;
            self.begin_steps(resumed.d_in, &[])?;
            (self.steps, self.rows) = (resumed.steps, resumed.rows);
            return Ok(());
        }
        for epoch in 0.. {
            let enough = match self.epoch(source, epoch) {
                Ok(()) => false,
                Err(Ended::Enough) => true,
                Err(Ended::OtherRows) => return self.other_rows(source),
                Err(Ended::Failed(error)) => return Err(error),
            };
            let n_rows = self.rows;
            if epoch == 0 && n_rows < options.get(BATCH_SIZE) as u64 {
                return exec_err!(
                    "a source of at least batch_size, {}, rows is required, got {n_rows} rows of {}",
                    options.get(BATCH_SIZE),
                    source.describe()
                );
            }
            if enough || self.most.is_none_or(|most| n_rows >= most) {
                break;
            }
        }
        if self.steps < self.skip {
            return self.other_rows(source);
        }
        self.checkpoint(true)
    }

    fn other_rows(&self, source: &dyn VectorSource) -> Result<()> {
        plan_err!(
            "the rows that the interrupted training of '{}' has seen are required of {}, got other ones: pass \
             resume: false to begin anew",
            self.request.name,
            source.describe()
        )
    }

    fn epoch(&mut self, source: &mut dyn VectorSource, epoch: u64) -> Result<(), Ended> {
        let options = &self.request.options;
        let seed = options.get(SEED);
        if let Some(mut whole) = self.whole.take() {
            whole.restart(seed, epoch);
            let ended = whole.end(&mut |handed| self.take(handed));
            self.whole = Some(whole);
            return ended;
        }
        let mut shuffle: Option<Shuffle> = None;
        let mut ended = None;
        let read = source.read(&mut |batch| {
            if batch.n() == 0 {
                return Ok(());
            }
            self.prepare(batch.d)?;
            let shuffle = shuffle.get_or_insert_with(|| {
                let (rows, buffer) = (options.get(BATCH_SIZE), options.get(BUFFER));
                Shuffle::new(batch.d, rows, buffer, seed, epoch)
            });
            self.tick()?;
            self.reserve(batch.d, shuffle.bytes_with(batch.n()))?;
            let pushed = shuffle.push(&batch.values, &mut |handed| self.take(handed));
            if let Err(reason) = pushed {
                ended = Some(reason);
                // Ends the reading; what it was is in `ended`.
                return exec_err!("ended");
            }
            Ok(())
        });
        if let Some(reason) = ended {
            return Err(reason);
        }
        if read.is_err() {
            // A source that was cancelled ends so, too.
            self.tick()?;
        }
        read?;
        let Some(mut shuffle) = shuffle else {
            return Ok(());
        };
        let ended = shuffle.end(&mut |handed| self.take(handed));
        self.whole = shuffle.is_whole().then_some(shuffle);
        ended
    }

    /// What a buffer hands out: a step for each batch.
    fn take(&mut self, handed: Handed<'_>) -> Result<(), Ended> {
        let d_in = self.d_in.unwrap_or_default();
        match handed {
            Handed::Full { rows, last } => {
                if self.trainer.is_none() {
                    self.begin_steps(d_in, rows)?;
                }
                if last && !self.is_read {
                    self.is_read = true;
                    let n = self.rows + (rows.len() / d_in) as u64;
                    self.most = self.request.options.rows(Some(n));
                    self.set_cooldown();
                }
                Ok(())
            }
            Handed::Batch(rows) => self.step(rows),
        }
    }

    /// Over how many of the rows to come the learning rate falls.
    fn set_cooldown(&mut self) {
        let Some(most) = self.most else {
            return;
        };
        let share = f64::from(self.request.options.get(COOLDOWN));
        let left = most.saturating_sub(self.rows) as f64;
        self.cooldown = (share * most as f64).min(left);
    }

    /// Checks the width of the vectors, and reserves what a training on such ones holds.
    fn prepare(&mut self, d_in: usize) -> Result<()> {
        match self.d_in {
            Some(required) if required != d_in => {
                exec_err!("vectors of one width, {required}, are required, got {d_in}")
            }
            Some(_) => Ok(()),
            None => {
                self.request.options.check(d_in)?;
                self.d_in = Some(d_in);
                self.most = self.request.options.rows(None);
                self.set_cooldown();
                self.reserve(d_in, 0)
            }
        }
    }

    /// Makes the trainer, by the rows that are shuffled together first or by the checkpoint.
    fn begin_steps(&mut self, d_in: usize, rows: &[f32]) -> Result<()> {
        let options = &self.request.options;
        let mut sae = options.untrained(d_in)?;
        if options.normalizes() && !rows.is_empty() {
            let Spread { mean, distance } = Spread::of(rows, d_in);
            // Rows that do not vary are their mean.
            self.spread = if distance > 0.0 { distance } else { 1.0 };
            sae.b_dec = mean.iter().map(|x| x / self.spread).collect();
        }
        let trainer = Trainer::new(sae, options.train_options(d_in));
        let mut trainer = trainer.map_err(|e| exec_datafusion_err!("{e}"))?;
        if let Some(resumed) = &self.resumed {
            self.spread = resumed.spread;
            self.curve = self.checkpoints.restore(&mut trainer)?;
        }
        self.trainer = Some(trainer);
        Ok(())
    }

    /// Reserves what the trainer and a buffer of this size hold.
    fn reserve(&mut self, d_in: usize, buffer: usize) -> Result<()> {
        let options = &self.request.options;
        let d_sae = options.d_sae(d_in)?;
        let trainer = Trainer::bytes(
            d_in,
            d_sae,
            options.get(BATCH_SIZE),
            &options.train_options(d_in),
        );
        // The buffer's batch, divided.
        let batch = options
            .get(BATCH_SIZE)
            .saturating_mul(d_in * size_of::<f32>());
        let needed = trainer.saturating_add(buffer).saturating_add(batch);
        self.memory.try_resize(needed).map_err(|error| {
            let needs = format!(
                "{needed} bytes are needed for {d_sae} latents of width {d_in} and the rows that are \
                 shuffled together (a smaller d_sae, buffer or batch_size needs fewer)"
            );
            refused(needs, error)
        })?;
        // Where the pool has no limit the machine has one: asked for at once, what it cannot have is refused.
        match Vec::<u8>::new().try_reserve_exact(needed) {
            Ok(()) => Ok(()),
            Err(error) => resources_err!(
                "{needed} bytes are needed for {d_sae} latents of width {d_in} (a smaller d_sae or batch_size needs fewer), \
                 got: {error}"
            ),
        }
    }

    fn step(&mut self, rows: &[f32]) -> Result<(), Ended> {
        let options = &self.request.options;
        let Some(trainer) = &mut self.trainer else {
            return Ok(());
        };
        let d_in = trainer.sae().d_in;
        let n = (rows.len() / d_in) as u64;
        let left = self.most.map(|most| most.saturating_sub(self.rows));
        if left.is_some_and(|left| n > left) {
            return Err(Ended::Enough);
        }
        self.steps += 1;
        self.rows += n;
        self.hasher.update(rows.to_byte_slice());
        if self.steps <= self.skip {
            if self.steps == self.skip
                && let Some(resumed) = &self.resumed
                && resumed.seen != self.hasher.finalize().to_hex().as_str()
            {
                return Err(Ended::OtherRows);
            }
            self.tick()?;
            return Ok(());
        }
        trainer.set_rate(match left {
            Some(left) if (left as f64) < self.cooldown => (left as f64 / self.cooldown) as f32,
            _ => 1.0,
        });
        self.scaled.clear();
        self.scaled.extend(rows.iter().map(|x| x / self.spread));
        let stepped = trainer.step(&self.scaled);
        let mut losses = stepped.map_err(|e| self.diverged(&e.to_string()))?;
        let unit = f64::from(options.loss_unit(d_in));
        losses.loss *= unit;
        losses.auxiliary *= unit;
        losses.mse *= f64::from(self.spread).powi(2);
        self.losses = Some(losses);
        self.curve.push(&losses, self.steps, self.rows);
        if self.most == Some(self.rows) {
            return Err(Ended::Enough);
        }
        if self.steps.is_multiple_of(options.get(CHECKPOINT_EVERY)) {
            self.checkpoint(false)?;
        }
        self.tick()?;
        Ok(())
    }

    fn kept(&self) -> String {
        match self.checkpoints.find() {
            Ok(Some(kept)) => format!(
                "the checkpoint of step {} is kept, from which the same call goes on",
                kept.steps
            ),
            _ => "nothing was kept".to_string(),
        }
    }

    fn diverged(&self, place: &str) -> DataFusionError {
        let kept = self.kept();
        exec_datafusion_err!(
            "finite numbers are required, got NaN or infinity in {place} (a lower learning_rate, or \
             clip_norm, may help, and may be changed to go on); {kept}"
        )
    }

    fn checkpoint(&mut self, done: bool) -> Result<()> {
        let seconds = self.seconds();
        let Some(trainer) = &mut self.trainer else {
            return Ok(());
        };
        let bad = trainer.state().into_iter().find(|part| match part.values {
            Values::F32(values) => first_non_finite(values).is_some(),
            _ => false,
        });
        if let Some(name) = bad.map(|part| part.name) {
            return Err(self.diverged(&format!("{name} after step {}", self.steps)));
        }
        let Some(trainer) = &mut self.trainer else {
            return Ok(());
        };
        let progress = TrainingState {
            of: self.of.clone(),
            d_in: trainer.sae().d_in,
            steps: self.steps,
            rows: self.rows,
            seen: self.hasher.finalize().to_hex().to_string(),
            spread: self.spread,
            seconds,
            done,
        };
        self.checkpoints.write(trainer, &self.curve, &progress)
    }

    /// Called many times a second: sends a row when one is due, ends the work when nobody wants it.
    fn tick(&mut self) -> Result<()> {
        if self.context.is_cancelled() {
            if self.steps > self.skip {
                self.checkpoint(false)?;
            }
            let state = format!("cancelled at step {}; {}", self.steps, self.kept());
            return self.context.give_up(&state);
        }
        if self.last.elapsed() >= INTERVAL {
            self.send();
        }
        Ok(())
    }

    /// Seconds of this training, those before an interruption included.
    fn seconds(&self) -> f64 {
        let before = self.resumed.as_ref().map_or(0.0, |resumed| resumed.seconds);
        before + self.started.elapsed().as_secs_f64()
    }

    fn send(&mut self) {
        self.last = Instant::now();
        let elapsed = self.started.elapsed().as_secs_f64();
        let skipped = self.resumed.as_ref().map_or(0, |resumed| resumed.rows);
        let message = match self.steps <= self.skip && self.skip > 0 {
            true => format!("reading up to step {}, where it was interrupted", self.skip),
            false => format!("training {}", self.request.name),
        };
        let row = TrainSaeProgress {
            phase: "train",
            step: self.steps,
            rows_seen: self.rows,
            losses: self.losses,
            d_sae: self.trainer.as_ref().map_or(0, |t| t.sae().d_sae),
            rows_per_second: self.rows.saturating_sub(skipped) as f64 / elapsed.max(1e-9),
            elapsed_seconds: self.seconds(),
            message,
        };
        (self.progress)(row);
    }

    /// What was trained, and the memory it holds until it is written.
    fn finish(mut self) -> Result<(Sae, Done, MemoryReservation)> {
        self.send();
        let done = Done {
            steps: self.steps,
            rows: self.rows,
            losses: self.losses,
            curve: std::mem::take(&mut self.curve),
            seconds: self.seconds(),
        };
        match self.trainer {
            // What vectors were divided by goes into the weights, so that they are plain ones.
            Some(trainer) => {
                let sae = trainer.into_sae().for_vectors_scaled_by(self.spread);
                weights::hold(&self.memory, &sae)?;
                Ok((sae, done, self.memory))
            }
            None => exec_err!("a source with rows is required, got none"),
        }
    }
}
