//! Causal self-attention, head by head: what the mask hides is not computed unless a hook looks at the scores.

use std::sync::Arc;

use datafusion::error::Result;
use polysema_kernels::network::attention::causal_softmax;
use polysema_kernels::network::matmul::{Matrix, Output, Parallelism, multiply};
use rayon::prelude::*;

use super::super::Site;
use super::super::pass::{Floats, Pass, for_rows};

/// Queries handled at a time: their scores stay in a core's cache, and keys after the last of them are skipped.
/// Chosen, not tuned.
const QUERIES: usize = 64;

/// Bytes of the scores that all threads hold at once where no hook looks at them.
pub(super) fn scratch_bytes(seq: usize) -> usize {
    let scores = QUERIES.min(seq).saturating_mul(seq);
    let threads = rayon::current_num_threads() * size_of::<f32>();
    scores.saturating_mul(threads)
}

/// Shape of one block's attention.
pub(super) struct Attention {
    pub(super) layer: usize,
    pub(super) n_heads: usize,
    pub(super) d_head: usize,
    pub(super) scale: f32,
}

/// Queries, keys and values of one head of one document. `[seq, d_head]` each
struct Head<'a> {
    q: Matrix<'a>,
    k: Matrix<'a>,
    v: Matrix<'a>,
}

impl Attention {
    /// Values mixed by the pattern. `[batch, seq, n_heads d_head]`
    pub(super) fn forward(&self, qkv: &Floats, pass: &mut Pass<'_>) -> Result<Floats> {
        let (seq, d_head) = (pass.seq, self.d_head);
        let mut by_head = pass.buffer(qkv.len() / 3); // [batch, n_heads, seq, d_head]
        let heads = by_head.par_chunks_mut(seq * d_head).enumerate();
        if pass.wants(self.layer, Site::AttnScores) || pass.wants(self.layer, Site::AttnPattern) {
            let pattern = self.pattern(qkv, pass)?;
            heads.for_each(|(i, z)| {
                let pattern = Matrix::new(&pattern[i * seq * seq..], seq, seq, seq);
                multiply(
                    pattern,
                    self.head(qkv, seq, i).v,
                    1.0,
                    Output::Replace,
                    z,
                    Parallelism::None,
                );
            });
        } else {
            let scratch = || vec![0.0; QUERIES.min(seq) * seq];
            heads.for_each_init(scratch, |scratch, (i, z)| {
                self.mix(&self.head(qkv, seq, i), scratch, z);
            });
        }
        let z = self.side_by_side(&by_head, pass);
        pass.recycle(Arc::new(by_head));
        Ok(Arc::new(z))
    }

    /// The head `i`, counted through the documents.
    fn head<'a>(&self, qkv: &'a [f32], seq: usize, i: usize) -> Head<'a> {
        let d_model = self.n_heads * self.d_head;
        let document = (i / self.n_heads) * seq * 3 * d_model;
        let part = |part: usize| {
            let start = document + part * d_model + (i % self.n_heads) * self.d_head;
            Matrix::new(&qkv[start..], seq, self.d_head, 3 * d_model)
        };
        Head {
            q: part(0),
            k: part(1),
            v: part(2),
        }
    }

    /// One head without a trace of its scores.
    fn mix(&self, head: &Head<'_>, scratch: &mut [f32], z: &mut [f32]) {
        for (i, z) in z.chunks_mut(QUERIES * self.d_head).enumerate() {
            let (start, n) = (i * QUERIES, z.len() / self.d_head);
            let seen = start + n;
            let scores = &mut scratch[..n * seen];
            let keys = head.k.rows(0, seen).transposed();
            multiply(
                head.q.rows(start, n),
                keys,
                self.scale,
                Output::Replace,
                scores,
                Parallelism::None,
            );
            causal_softmax(scores, seen, start);
            let pattern = Matrix::new(scores, n, seen, seen);
            multiply(
                pattern,
                head.v.rows(0, seen),
                1.0,
                Output::Replace,
                z,
                Parallelism::None,
            );
        }
    }

    /// Scores and pattern of every head in full, as the hooks want them. `[batch, n_heads, seq, seq]`
    fn pattern(&self, qkv: &[f32], pass: &mut Pass<'_>) -> Result<Floats> {
        let (seq, heads) = (pass.seq, pass.batch * self.n_heads);
        let dims = [pass.batch, self.n_heads, seq, seq];
        let mut scores = pass.buffer(heads * seq * seq);
        scores
            .par_chunks_mut(seq * seq)
            .enumerate()
            .for_each(|(i, scores)| {
                let head = self.head(qkv, seq, i);
                let keys = head.k.transposed();
                multiply(
                    head.q,
                    keys,
                    self.scale,
                    Output::Replace,
                    scores,
                    Parallelism::None,
                );
            });
        let scores = pass.offer_shaped(self.layer, Site::AttnScores, Arc::new(scores), &dims)?;
        let mut pattern = Arc::unwrap_or_clone(scores);
        pattern
            .par_chunks_mut(seq * seq)
            .for_each(|pattern| causal_softmax(pattern, seq, 0));
        pass.offer_shaped(self.layer, Site::AttnPattern, Arc::new(pattern), &dims)
    }

    /// `[batch, n_heads, seq, d_head]` to `[batch, seq, n_heads d_head]`.
    fn side_by_side(&self, by_head: &[f32], pass: &mut Pass<'_>) -> Vec<f32> {
        let (seq, d_head, d_model) = (pass.seq, self.d_head, self.n_heads * self.d_head);
        let mut z = pass.buffer(by_head.len());
        for_rows(&mut z, d_model, |start, rows| {
            for (i, row) in rows.chunks_exact_mut(d_model).enumerate() {
                let (document, pos) = ((start / d_model + i) / seq, (start / d_model + i) % seq);
                for (head, out) in row.chunks_exact_mut(d_head).enumerate() {
                    let from = ((document * self.n_heads + head) * seq + pos) * d_head;
                    out.copy_from_slice(&by_head[from..from + d_head]);
                }
            }
        });
        z
    }
}
