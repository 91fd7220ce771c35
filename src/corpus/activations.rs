//! What a model gives at one of its places for every token of a corpus.

use datafusion::common::{exec_err, plan_err};
use datafusion::error::Result;
use polysema_kernels::vector::first_non_finite;
use polysema_udfs::arrow::memory::at_least;

use super::reader::CorpusReader;
use crate::models::{Capture, HookPoint};
use crate::options::Word;

/// The vectors at one place for the tokens of some documents, without padding.
#[derive(Debug, Clone, Copy)]
pub struct ActivationBatch<'a> {
    /// Document of each row. `[n]`
    pub doc_ids: &'a [u32],
    /// Position of each row in its document. `[n]`
    pub pos: &'a [u32],
    /// `[n, d]`, row-major
    pub values: &'a [f32],
    /// Width of a vector.
    pub d: usize,
}

impl CorpusReader {
    /// Calls `f` with the vectors at a place, for every token of every document but the first ones of `bos`. Passes
    /// end after the block of the place.
    pub fn activations(
        &mut self,
        hook: HookPoint,
        f: &mut dyn FnMut(&ActivationBatch<'_>) -> Result<()>,
    ) -> Result<()> {
        self.check_hook(hook)?;
        let skip = usize::from(self.has_bos());
        let (mut doc_ids, mut pos, mut gathered) = (vec![], vec![], vec![]);
        let memory = self.pass.new_empty();
        self.for_each_batch(&mut |model, batch, input| {
            let mut capture = Capture::new([hook]);
            model.forward(input, &mut capture)?;
            let values = capture.at(hook)?.as_slice();
            let rows = batch.documents.len() * batch.seq;
            let d = values.len() / rows;
            let copy = rows * (d + 2) * size_of::<f32>();
            let n = batch.documents.len();
            at_least(&memory, copy, format_args!("the vectors of {n} documents"))?;
            doc_ids.clear();
            pos.clear();
            gathered.clear();
            let whole = skip == 0 && batch.documents.iter().all(|(_, n)| *n == batch.seq);
            for (place, (doc_id, n_tokens)) in batch.documents.iter().enumerate() {
                let rows = skip..*n_tokens;
                doc_ids.extend(rows.clone().map(|_| *doc_id));
                pos.extend(rows.clone().map(|pos| pos as u32));
                if !whole {
                    let first = place * batch.seq;
                    let rows = (first + rows.start) * d..(first + rows.end) * d;
                    gathered.extend_from_slice(&values[rows]);
                }
            }
            let values = if whole { values } else { &gathered };
            if let Some(at) = first_non_finite(values) {
                return exec_err!(
                    "finite activations are required, got {} at {hook} in document {} position {}",
                    values[at],
                    doc_ids[at / d],
                    pos[at / d]
                );
            }
            f(&ActivationBatch {
                doc_ids: &doc_ids,
                pos: &pos,
                values,
                d,
            })
        })
    }

    /// Refuses a place the model does not have, or where a position has no vector.
    pub fn check_hook(&self, hook: HookPoint) -> Result<()> {
        let model = self.model();
        let n_layers = model.layers().len();
        if hook.layer >= n_layers {
            return plan_err!(
                "a hook in one of the model's {n_layers} blocks is required, got {hook}"
            );
        }
        if !model.sites().contains(&hook.site) {
            let known: Vec<_> = model.sites().iter().map(|site| site.name()).collect();
            return plan_err!(
                "a hook at {} is required of architecture {}, got {hook}",
                known.join(", "),
                model.architecture()
            );
        }
        Ok(())
    }
}
