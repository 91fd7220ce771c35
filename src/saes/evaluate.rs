//! How good an autoencoder is on rows it was not trained on, and what its reconstructions do to the model.
//!
//! The model is run with what it gives at the hook, with the reconstruction in its place and, for a language model,
//! with zeros; the formulas of the rest are in `polysema_kernels::sae::evaluation`.

use std::sync::Arc;

use datafusion::common::exec_err;
use datafusion::error::Result;
use datafusion::execution::memory_pool::MemoryReservation;
use polysema_kernels::sae::Sae;
use polysema_kernels::sae::evaluation::Evaluation;
use polysema_udfs::arrow::memory::refused;

use super::metric::{Effect, Metric, finish};
use crate::corpus::{CorpusReader, LossBatch, Pair, ReadBatch, VectorSource};
use crate::jobs::JobContext;
use crate::models::{HookPoint, Hooks, Input};
use crate::runs::require_width;

/// Numbers of the codes that are in memory at once: 32 MiB. Chosen, not tuned.
const BLOCK_NUMBERS: usize = 1 << 23;
/// Rows of a batch in `l1_per_batch`: the authors'.
const BATCH: usize = 128;
/// Rows a latent that are compared: the paper's number of dataset examples.
const MOST: usize = 100;

/// The metrics of `sae` on the rows of a source.
pub fn evaluate_rows(
    sae: &Sae,
    source: &mut dyn VectorSource,
    context: &JobContext,
) -> Result<Vec<Metric>> {
    let mut evaluation = Evaluation::new(sae, BATCH, MOST);
    let mut memory = context.memory("sae_metrics");
    let (mut input, mut codes, mut decoded) = (vec![], vec![], vec![]);
    let mut n = 0;
    // As many rows at once as codes may be in memory.
    let most = (BLOCK_NUMBERS / sae.d_sae).max(1);
    source.read(&mut |batch| {
        require_width(sae.d_in, batch.d)?;
        for x in batch.values.chunks(most * sae.d_in) {
            context.tick()?;
            reserve(&mut memory, sae, &evaluation, x.len() / sae.d_in)?;
            sae.encode(x, &mut codes);
            // What a transcoder should give back is not among the rows.
            if !sae.transcodes {
                sae.reconstruct(x, &codes, &mut decoded);
            }
            let pairs = (!sae.transcodes).then_some([x, decoded.as_slice()]);
            evaluation.add(sae.input(x, &mut input), &codes, pairs);
            n += x.len() / sae.d_in;
            context.say(format!("{n} rows measured"));
        }
        Ok(())
    })?;
    context.say(format!("{n} rows measured, comparing"));
    finish(sae, &evaluation, None)
}

/// Reserves what the codes of `n` rows take, and what is kept of those before.
fn reserve(
    memory: &mut MemoryReservation,
    sae: &Sae,
    evaluation: &Evaluation,
    n: usize,
) -> Result<()> {
    let codes =
        n.saturating_mul(sae.d_sae.saturating_add(2 * (sae.d_in + sae.d_out())) * size_of::<f32>());
    let needed = codes.saturating_add(evaluation.bytes_with(n));
    memory.try_resize(needed).map_err(|error| {
        let needs = format!(
            "{needed} bytes are needed for the codes of {n} rows and the rows that are compared"
        );
        refused(needs, error)
    })
}

/// The metrics of `sae` on what a model gives at `hook` for the documents of a corpus, those of the model among them if it is
/// run with reconstructions, too; what is given back stands for what the model gives at `target`.
pub fn evaluate_model(
    sae: &Sae,
    reader: &mut CorpusReader,
    [hook, target]: [HookPoint; 2],
    runs: bool,
    context: &JobContext,
) -> Result<Vec<Metric>> {
    reader.check_hook(hook)?;
    reader.check_hook(target)?;
    let labels = reader.labels().map(<[u32]>::to_vec);
    if runs && labels.is_none() && reader.model().d_vocab() == 0 {
        return exec_err!("images with labels are required, got none");
    }
    let mut evaluation = Evaluation::new(sae, BATCH, MOST);
    let mut effect = Effect::default();
    let mut memory = context.memory("sae_metrics");
    let skip = usize::from(reader.has_bos());
    let (mut rows, mut scaled) = (Reconstructed::default(), vec![]);
    let (mut done, of) = (0, reader.n_documents());
    if runs {
        reader.hold_logits();
    }
    reader.for_each_batch(&mut |model, batch, input| {
        context.tick()?;
        let mut given = Pair::new(hook, target, !runs);
        let own = match runs {
            true => Some(model.logits(input, &mut given)?),
            false => {
                model.forward(input, &mut given)?;
                None
            }
        };
        let [x, targets] = given.both()?;
        let n = batch.documents.len() * batch.seq;
        reserve(&mut memory, sae, &evaluation, n)?;
        rows.encode(sae, [&x, &targets], batch, skip)?;
        let x = sae.input(&rows.x, &mut scaled);
        evaluation.add(x, &rows.codes, Some([&rows.targets, &rows.decoded]));
        done += batch.documents.len();
        context.say(format!("{done} of {of} documents measured"));
        let Some(own) = own else { return Ok(()) };
        let seen = Seen {
            batch,
            input,
            labels: labels.as_deref(),
            skip,
        };
        let run = |rows: Option<&[f32]>| {
            let with = Some(replaced(&targets, rows, batch, skip));
            model.logits(input, &mut Replace { hook: target, with })
        };
        seen.weigh(&mut effect, own, &rows.decoded, &run)
    })?;
    let language = reader.model().d_vocab() > 0;
    finish(sae, &evaluation, runs.then_some((effect, language)))
}

/// A batch whose predictions are weighed.
struct Seen<'a> {
    batch: &'a ReadBatch,
    input: Input<'a>,
    labels: Option<&'a [u32]>,
    skip: usize,
}

/// Runs a model with these values at a place, or with zeros, to its logits.
type Rerun<'a> = dyn Fn(Option<&[f32]>) -> Result<Vec<f32>> + 'a;

impl Seen<'_> {
    /// Adds what comes of the model's own values, of `decoded` and of zeros in their place; `run` runs the model so.
    fn weigh(
        &self,
        effect: &mut Effect,
        own: Vec<f32>,
        decoded: &[f32],
        run: &Rerun<'_>,
    ) -> Result<()> {
        // One after the other: the logits of a pass may be the largest thing in memory.
        self.score(effect, 0, &own);
        drop(own);
        self.score(effect, 1, &run(Some(decoded))?);
        effect.n += match self.input {
            Input::Tokens { .. } => {
                self.score(effect, 2, &run(None)?);
                predictions(self.batch, self.skip)
            }
            Input::Vectors { .. } => self.batch.documents.len() as u64,
        };
        Ok(())
    }

    fn score(&self, effect: &mut Effect, place: usize, logits: &[f32]) {
        match (self.input, self.labels) {
            (Input::Tokens { ids, .. }, _) => {
                let found = LossBatch::of(logits, self.batch, ids, self.skip);
                // In order, so that the sum does not depend on threads.
                effect.loss[place] += found.losses.into_iter().sum::<f64>();
            }
            (Input::Vectors { .. }, Some(labels)) => {
                effect.right[place] += right(logits, self.batch, labels);
            }
            (Input::Vectors { .. }, None) => {}
        }
    }
}

/// Puts another value in the place of that of the model.
struct Replace {
    hook: HookPoint,
    with: Option<Vec<f32>>,
}

impl Hooks for Replace {
    fn wants(&self, hook: HookPoint) -> bool {
        hook == self.hook
    }

    fn visit(&mut self, _: HookPoint, _: &Arc<Vec<f32>>, _: &[usize]) -> Result<Option<Vec<f32>>> {
        Ok(self.with.take())
    }
}

/// The real rows of a batch with their codes, reconstructions and what those should be.
#[derive(Default)]
struct Reconstructed {
    x: Vec<f32>,
    targets: Vec<f32>,
    codes: Vec<f32>,
    decoded: Vec<f32>,
}

impl Reconstructed {
    fn encode(
        &mut self,
        sae: &Sae,
        [x, targets]: [&[f32]; 2],
        batch: &ReadBatch,
        skip: usize,
    ) -> Result<()> {
        for (values, width, rows) in [
            (x, sae.d_in, &mut self.x),
            (targets, sae.d_out(), &mut self.targets),
        ] {
            let d = values.len() / (batch.documents.len() * batch.seq);
            require_width(width, d)?;
            rows.clear();
            for (place, (_, n_tokens)) in batch.documents.iter().enumerate() {
                let first = place * batch.seq;
                rows.extend_from_slice(&values[(first + skip) * d..(first + n_tokens) * d]);
            }
        }
        sae.encode(&self.x, &mut self.codes);
        sae.reconstruct(&self.x, &self.codes, &mut self.decoded);
        Ok(())
    }
}

/// The values of `x` with others in place of the real rows, or with zeros.
fn replaced(x: &[f32], rows: Option<&[f32]>, batch: &ReadBatch, skip: usize) -> Vec<f32> {
    let mut values = x.to_vec();
    let d = values.len() / (batch.documents.len() * batch.seq);
    let mut from = 0;
    for (place, (_, n_tokens)) in batch.documents.iter().enumerate() {
        let first = place * batch.seq;
        let out = &mut values[(first + skip) * d..(first + n_tokens) * d];
        match rows {
            Some(rows) => out.copy_from_slice(&rows[from..from + out.len()]),
            None => out.fill(0.0),
        }
        from += out.len();
    }
    values
}

/// Predictions of a batch: every token but a document's first.
fn predictions(batch: &ReadBatch, skip: usize) -> u64 {
    let counts = batch.documents.iter();
    counts.map(|(_, n)| n.saturating_sub(1 + skip) as u64).sum()
}

/// Images whose largest logit is that of their label, the first on ties.
fn right(logits: &[f32], batch: &ReadBatch, labels: &[u32]) -> u64 {
    let n_classes = logits.len() / batch.documents.len();
    let rows = logits.chunks_exact(n_classes).zip(&batch.documents);
    let mut right = 0;
    for (row, (document, _)) in rows {
        let best = (0..n_classes).reduce(|a, b| if row[b] > row[a] { b } else { a });
        right += u64::from(best == Some(labels[*document as usize] as usize));
    }
    right
}
