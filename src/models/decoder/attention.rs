//! Self-attention, head by head: what a causal mask hides is not computed unless a hook looks at the scores.

use std::sync::Arc;

use datafusion::error::Result;
use polysema_kernels::network::attention::{causal_softmax, soft_cap, softmax};
use polysema_kernels::network::layer_norm::{normalize, scale_rows};
use polysema_kernels::network::matmul::{Matrix, Output, Parallelism, multiply};
use polysema_kernels::network::rotary::rotate;
use rayon::prelude::*;

use super::super::Site;
use super::super::linear::Norm;
use super::super::pass::{Floats, Pass, for_rows};
use super::rotary::Turns;
use super::spec::{AttentionSpec, Heads};

/// Queries handled at a time: their scores stay in a core's cache, and keys after the last of them are skipped.
/// Chosen, not tuned.
const QUERIES: usize = 64;

/// Bytes of the scores that all threads hold at once where no hook looks at them.
pub(super) fn scratch_bytes(seq: usize) -> usize {
    let scores = QUERIES.min(seq).saturating_mul(seq);
    let threads = rayon::current_num_threads() * size_of::<f32>();
    scores.saturating_mul(threads)
}

/// Attention of one block.
pub(super) struct Attention {
    pub(super) layer: usize,
    pub(super) heads: Heads,
    pub(super) spec: AttentionSpec,
    /// Whether a query sees only the keys up to it.
    pub(super) causal: bool,
    /// What scores are held below.
    pub(super) cap: Option<f32>,
    /// Largest magnitude of queries, keys and values.
    pub(super) clip: Option<f32>,
    /// Norms of queries and keys.
    pub(super) norms: Option<[HeadNorm; 2]>,
}

/// A norm of the heads of a position, which stand side by side.
pub(super) struct HeadNorm {
    /// Scale and bias of all heads.
    pub(super) norm: Norm,
    /// Values that are normalised together: a head's or all.
    pub(super) group: usize,
}

impl HeadNorm {
    fn apply(&self, heads: &mut [f32], scratch: &mut [Vec<f32>; 2]) {
        let [before, normalized] = scratch;
        before.clear();
        before.extend_from_slice(heads);
        normalized.resize(heads.len(), 0.0);
        let norm = &self.norm;
        normalize(
            norm.kind,
            before,
            self.group,
            norm.epsilon,
            None,
            normalized,
        );
        scale_rows(normalized, norm.affine(), heads);
    }
}

/// Queries, keys and values of one head of one document. `[seq, d_head]` each
struct Head<'a> {
    q: Matrix<'a>,
    k: Matrix<'a>,
    v: Matrix<'a>,
}

impl Attention {
    /// Queries and keys as they meet: normalised and turned. The clip comes earlier, with the projection.
    fn prepared(&self, qkv: Floats, turns: Option<&Turns>, pass: &Pass<'_>) -> Floats {
        if self.norms.is_none() && turns.is_none() {
            return qkv;
        }
        let (heads, seq) = (self.heads, pass.seq);
        let mut qkv = Arc::unwrap_or_clone(qkv);
        for_rows(&mut qkv, heads.width(), |start, rows| {
            let mut scratch = [vec![], vec![]];
            for (i, row) in rows.chunks_exact_mut(heads.width()).enumerate() {
                if let Some([queries, keys]) = &self.norms {
                    queries.apply(&mut row[..heads.d_queries()], &mut scratch);
                    keys.apply(&mut row[heads.keys()], &mut scratch);
                }
                if let Some(turns) = turns {
                    let (cos, sin) = turns.at((start / heads.width() + i) % seq);
                    rotate(&mut row[..heads.keys().end], heads.d_head, cos, sin);
                }
            }
        });
        Arc::new(qkv)
    }

    /// Values mixed by the pattern, of queries, keys and values as projected. `[batch, seq, n_heads d_head]`
    pub(super) fn forward(
        &self,
        qkv: Floats,
        turns: Option<&Turns>,
        pass: &mut Pass<'_>,
    ) -> Result<Floats> {
        let qkv = self.prepared(qkv, turns, pass);
        let (seq, d_head) = (pass.seq, self.heads.d_head);
        let mut by_head = pass.buffer(pass.batch * seq * self.heads.d_queries()); // [batch, n_heads, seq, d_head]
        let heads = by_head.par_chunks_mut(seq * d_head).enumerate();
        if pass.wants(self.layer, Site::AttnScores) || pass.wants(self.layer, Site::AttnPattern) {
            let pattern = self.pattern(&qkv, pass)?;
            heads.for_each(|(i, z)| {
                let pattern = Matrix::new(&pattern[i * seq * seq..], seq, seq, seq);
                multiply(
                    pattern,
                    self.head(&qkv, seq, i).v,
                    1.0,
                    Output::Replace,
                    z,
                    Parallelism::None,
                );
            });
        } else {
            let scratch = || vec![0.0; QUERIES.min(seq) * seq];
            heads.for_each_init(scratch, |scratch, (i, z)| {
                self.mix(&self.head(&qkv, seq, i), scratch, z);
            });
        }
        pass.recycle(qkv);
        let z = self.side_by_side(&by_head, pass);
        pass.recycle(Arc::new(by_head));
        Ok(Arc::new(z))
    }

    /// The head `i`, counted through the documents; heads of queries share those of keys and values in turn.
    fn head<'a>(&self, qkv: &'a [f32], seq: usize, i: usize) -> Head<'a> {
        let Heads { n, n_kv, d_head } = self.heads;
        let width = self.heads.width();
        let (document, head) = ((i / n) * seq * width, i % n);
        let shared = head / (n / n_kv) * d_head;
        let part = |start: usize| Matrix::new(&qkv[document + start..], seq, d_head, width);
        let keys = self.heads.keys();
        Head {
            q: part(head * d_head),
            k: part(keys.start + shared),
            v: part(keys.end + shared),
        }
    }

    /// Scores as the softmax gets them.
    fn scores(&self, queries: Matrix<'_>, keys: Matrix<'_>, out: &mut [f32]) {
        let scale = self.spec.scale;
        multiply(
            queries,
            keys.transposed(),
            scale,
            Output::Replace,
            out,
            Parallelism::None,
        );
        if let Some(cap) = self.cap {
            soft_cap(out, cap);
        }
    }

    /// Scores to weights; the first query is at the place `ahead` of the keys.
    fn weigh(&self, scores: &mut [f32], n_keys: usize, ahead: usize) {
        match self.causal {
            false => softmax(scores, n_keys),
            true => causal_softmax(scores, n_keys, ahead, self.spec.window),
        }
    }

    /// One head without a trace of its scores; keys that no query of a group sees are skipped.
    fn mix(&self, head: &Head<'_>, scratch: &mut [f32], z: &mut [f32]) {
        let (window, seq) = (self.spec.window, z.len() / self.heads.d_head);
        for (i, z) in z.chunks_mut(QUERIES * self.heads.d_head).enumerate() {
            let (start, n) = (i * QUERIES, z.len() / self.heads.d_head);
            let (first, seen) = match self.causal {
                false => (0, seq),
                true => {
                    let first = window.map_or(0, |window| (start + 1).saturating_sub(window));
                    (first, start + n - first)
                }
            };
            let scores = &mut scratch[..n * seen];
            self.scores(head.q.rows(start, n), head.k.rows(first, seen), scores);
            self.weigh(scores, seen, start - first);
            multiply(
                Matrix::new(scores, n, seen, seen),
                head.v.rows(first, seen),
                1.0,
                Output::Replace,
                z,
                Parallelism::None,
            );
        }
    }

    /// Scores and pattern of every head in full, as the hooks want them. `[batch, n_heads, seq, seq]`
    fn pattern(&self, qkv: &[f32], pass: &mut Pass<'_>) -> Result<Floats> {
        let (seq, heads) = (pass.seq, pass.batch * self.heads.n);
        let dims = [pass.batch, self.heads.n, seq, seq];
        let mut scores = pass.buffer(heads * seq * seq);
        scores
            .par_chunks_mut(seq * seq)
            .enumerate()
            .for_each(|(i, scores)| {
                let head = self.head(qkv, seq, i);
                self.scores(head.q, head.k, scores);
            });
        let scores = pass.offer_shaped(self.layer, Site::AttnScores, Arc::new(scores), &dims)?;
        let mut pattern = Arc::unwrap_or_clone(scores);
        pattern
            .par_chunks_mut(seq * seq)
            .for_each(|pattern| self.weigh(pattern, seq, 0));
        pass.offer_shaped(self.layer, Site::AttnPattern, Arc::new(pattern), &dims)
    }

    /// `[batch, n_heads, seq, d_head]` to `[batch, seq, n_heads d_head]`.
    fn side_by_side(&self, by_head: &[f32], pass: &mut Pass<'_>) -> Vec<f32> {
        let (seq, d_head, width) = (pass.seq, self.heads.d_head, self.heads.d_queries());
        let mut z = pass.buffer(by_head.len());
        for_rows(&mut z, width, |start, rows| {
            for (i, row) in rows.chunks_exact_mut(width).enumerate() {
                let (document, pos) = ((start / width + i) / seq, (start / width + i) % seq);
                for (head, out) in row.chunks_exact_mut(d_head).enumerate() {
                    let from = ((document * self.heads.n + head) * seq + pos) * d_head;
                    out.copy_from_slice(&by_head[from..from + d_head]);
                }
            }
        });
        z
    }
}
