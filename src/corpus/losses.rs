//! What a language model's predictions cost: the cross-entropy of each token of a document given those before it.

use datafusion::common::{exec_err, plan_err};
use datafusion::error::Result;
use rayon::prelude::*;

use super::reader::{CorpusReader, ReadBatch};
use crate::models::{Input, Unwatched};

/// The predictions of a batch of documents.
#[derive(Debug, Clone, Default)]
pub struct LossBatch {
    /// Document of each predicted token. `[n]`
    pub doc_ids: Vec<u32>,
    /// Its position there. `[n]`
    pub pos: Vec<u32>,
    /// The token. `[n]`
    pub token_ids: Vec<u32>,
    /// -ln p(token), in nats. `[n]`
    pub losses: Vec<f64>,
}

impl LossBatch {
    /// Of the logits `[batch, seq, d_vocab]`: each token of a document but the first that is its own.
    pub(crate) fn of(logits: &[f32], batch: &ReadBatch, ids: &[u32], skip: usize) -> Self {
        let mut found = Self::default();
        let mut places = vec![];
        for (place, (doc_id, n_tokens)) in batch.documents.iter().enumerate() {
            let first = place * batch.seq;
            for pos in skip + 1..*n_tokens {
                found.doc_ids.push(*doc_id);
                found.pos.push(pos as u32);
                found.token_ids.push(ids[first + pos]);
                places.push(first + pos - 1);
            }
        }
        let d_vocab = logits.len() / ids.len();
        let loss = |place: &usize| {
            let row = &logits[place * d_vocab..(place + 1) * d_vocab];
            let max = f64::from(row.iter().copied().fold(f32::NEG_INFINITY, f32::max));
            let sum: f64 = row.iter().map(|x| (f64::from(*x) - max).exp()).sum();
            max + sum.ln() - f64::from(row[ids[place + 1] as usize])
        };
        found.losses = places.par_iter().map(loss).collect();
        found
    }
}

impl CorpusReader {
    /// Calls `f` with the predictions of every batch.
    ///
    /// Errors: the model predicts no next token.
    pub fn losses(&mut self, f: &mut dyn FnMut(LossBatch) -> Result<()>) -> Result<()> {
        let (model, skip) = (self.model(), usize::from(self.has_bos()));
        if model.d_vocab() == 0 || !model.causal() {
            return plan_err!(
                "a model that predicts the next token is required, got architecture {}",
                model.architecture()
            );
        }
        self.hold_logits();
        self.for_each_batch(&mut |model, batch, input| {
            let Input::Tokens { ids, .. } = input else {
                return Ok(());
            };
            let logits = model.logits(input, &mut Unwatched)?;
            let found = LossBatch::of(&logits, batch, ids, skip);
            if let Some(at) = found.losses.iter().position(|loss| !loss.is_finite()) {
                return exec_err!(
                    "finite losses are required, got {} in document {} position {}",
                    found.losses[at],
                    found.doc_ids[at],
                    found.pos[at]
                );
            }
            f(found)
        })
    }
}
