//! From what a model reads to the first vectors of the residual stream: tokens, or the patches of an image, at their
//! positions.

use std::sync::Arc;

use polysema_kernels::network::bias;
use polysema_kernels::network::matmul::Output;

use super::super::linear::{Linear, Norm};
use super::super::pass::{Pass, for_rows};
use super::super::{Input, PatchGrid};
use crate::files::weight::Weight;

/// The sum of what stands at a position.
pub(super) struct Embedding {
    pub(super) source: Reads,
    /// The kind of token that all are of, or empty. `[d_model]`
    pub(super) kind: Vec<f32>,
    /// `[n_ctx, d_model]`
    pub(super) positions: Option<Weight>,
    /// Of the sum.
    pub(super) norm: Option<Norm>,
}

/// What a model reads.
pub(super) enum Reads {
    Tokens(TokenTable),
    Patches(Patches),
}

/// A vector a token.
pub(super) struct TokenTable {
    /// `[d_vocab, width]`
    pub(super) table: Weight,
    pub(super) width: usize,
    pub(super) scale: f32,
    /// From the embedding's width to the model's.
    pub(super) inward: Option<Linear>,
}

/// A vector a patch of an image, behind one that is the same in all.
pub(super) struct Patches {
    pub(super) grid: PatchGrid,
    /// From a patch's pixels, channel by channel.
    pub(super) map: Linear,
    /// What stands at the first position. `[d_model]`
    pub(super) class: Vec<f32>,
}

impl Embedding {
    /// How images are cut, of a model that reads them.
    pub(super) fn grid(&self) -> Option<PatchGrid> {
        match &self.source {
            Reads::Tokens(_) => None,
            Reads::Patches(patches) => Some(patches.grid),
        }
    }

    /// Bytes of a position beside the residual stream.
    pub(super) fn bytes_a_row(&self) -> usize {
        match &self.source {
            Reads::Tokens(_) => 0,
            Reads::Patches(patches) => patches.map.d_in * size_of::<f32>(),
        }
    }

    /// `[batch, seq, d_model]` of an input that fits.
    pub(super) fn forward(&self, input: Input<'_>, d: usize, pass: &mut Pass<'_>) -> Vec<f32> {
        let mut out = match (&self.source, input) {
            (Reads::Tokens(tokens), Input::Tokens { ids, .. }) => tokens.forward(ids, d, pass),
            (Reads::Patches(patches), Input::Vectors { values, .. }) => {
                patches.forward(values, d, pass)
            }
            _ => pass.buffer(0),
        };
        let kind = &self.kind;
        if !kind.is_empty() {
            for_rows(&mut out, d, |_, rows| bias::add_bias(kind, rows));
        }
        if let Some(positions) = &self.positions {
            let seq = pass.seq;
            for_rows(&mut out, d, |start, rows| {
                let mut scratch = vec![];
                for (i, row) in rows.chunks_exact_mut(d).enumerate() {
                    let pos = (start / d + i) % seq * d;
                    bias::add_bias(positions.floats(pos..pos + d, &mut scratch), row);
                }
            });
        }
        if let Some(norm) = &self.norm {
            let mut normed = pass.buffer(out.len());
            norm.rows(&out, &mut normed);
            pass.recycle(Arc::new(std::mem::replace(&mut out, normed)));
        }
        out
    }
}

impl TokenTable {
    fn forward(&self, ids: &[u32], d: usize, pass: &mut Pass<'_>) -> Vec<f32> {
        let mut out = pass.buffer(ids.len() * self.width);
        let width = self.width;
        for_rows(&mut out, width, |start, rows| {
            let mut scratch = vec![];
            for (row, id) in rows.chunks_exact_mut(width).zip(&ids[start / width..]) {
                let first = *id as usize * width;
                row.copy_from_slice(self.table.floats(first..first + width, &mut scratch));
                if self.scale != 1.0 {
                    row.iter_mut().for_each(|x| *x *= self.scale);
                }
            }
        });
        if let Some(inward) = &self.inward {
            let mut wide = pass.buffer(ids.len() * d);
            inward.multiply(&out, Output::Replace, &mut wide, d, pass);
            pass.recycle(Arc::new(std::mem::replace(&mut out, wide)));
        }
        out
    }
}

impl Patches {
    /// A convolution whose steps are as wide as its kernel is a product with the pixels of each patch.
    fn forward(&self, images: &[f32], d: usize, pass: &mut Pass<'_>) -> Vec<f32> {
        let (grid, width, seq) = (self.grid, self.map.d_in, pass.seq);
        let mut cut = pass.buffer(pass.batch * seq * width);
        for_rows(&mut cut, width, |start, rows| {
            for (i, row) in rows.chunks_exact_mut(width).enumerate() {
                let (image, pos) = ((start / width + i) / seq, (start / width + i) % seq);
                match pos {
                    0 => row.fill(0.0),
                    _ => grid.cut(&images[image * grid.values()..][..grid.values()], pos, row),
                }
            }
        });
        let mut out = pass.buffer(pass.batch * seq * d);
        self.map.multiply(&cut, Output::Replace, &mut out, d, pass);
        pass.recycle(Arc::new(cut));
        for_rows(&mut out, d, |start, rows| {
            for (i, row) in rows.chunks_exact_mut(d).enumerate() {
                match (start / d + i) % seq {
                    0 => row.copy_from_slice(&self.class),
                    _ => bias::add_bias(&self.map.bias, row),
                }
            }
        });
        out
    }
}
