//! A linear map whose weights stay where they lie, and the norm of a row.

use std::sync::Arc;

use datafusion::error::Result;
use polysema_kernels::network::layer_norm::{self, Affine, normalize, scale_rows};
use polysema_kernels::network::matmul::{Layout, Output, product_within};

use super::Site;
use super::pass::{Floats, Pass, for_rows};
use crate::files::weight::Weight;

/// Weights and bias of `x W + b`.
pub(super) struct Linear {
    /// `[d_in, d_out]` or `[d_out, d_in]`, as `layout` says
    pub(super) weight: Weight,
    /// `[d_out]`, or empty
    pub(super) bias: Vec<f32>,
    pub(super) layout: Layout,
    pub(super) d_in: usize,
}

impl Linear {
    pub(super) fn d_out(&self) -> usize {
        self.weight.len() / self.d_in
    }

    /// `x W` without the bias, into or onto rows of `out` that begin `row_stride` values apart.
    pub(super) fn multiply(
        &self,
        x: &[f32],
        output: Output,
        out: &mut [f32],
        row_stride: usize,
        pass: &mut Pass<'_>,
    ) {
        let weight = self.weight.floats(0..self.weight.len(), &mut pass.widened);
        product_within(x, weight, self.layout, self.d_in, output, out, row_stride);
    }

    /// The weights of each output. `[d_out, d_in]`
    pub(super) fn rows(&self) -> Vec<f32> {
        self.oriented(Layout::OutIn)
    }

    /// The weights of each input. `[d_in, d_out]`
    pub(super) fn columns(&self) -> Vec<f32> {
        self.oriented(Layout::InOut)
    }

    fn oriented(&self, layout: Layout) -> Vec<f32> {
        let lying = self.weight.to_vec();
        if layout == self.layout {
            return lying;
        }
        let width = match self.layout {
            Layout::InOut => self.d_out(),
            Layout::OutIn => self.d_in,
        };
        let mut turned = vec![0.0; lying.len()];
        let height = lying.len() / width;
        for_rows(&mut turned, height, |start, rows| {
            let outputs = start / height..(start + rows.len()) / height;
            for (at, line) in lying.chunks_exact(width).enumerate() {
                let line = line[outputs.clone()].iter();
                let row = rows[at..].iter_mut().step_by(height);
                row.zip(line).for_each(|(out, x)| *out = *x);
            }
        });
        turned
    }
}

/// A norm with its scale and bias, which are 1 and 0 where it has none.
pub(super) struct Norm {
    pub(super) kind: layer_norm::Norm,
    pub(super) gamma: Vec<f32>,
    pub(super) beta: Vec<f32>,
    pub(super) epsilon: f32,
}

impl Norm {
    /// Scale and bias.
    pub(super) fn affine(&self) -> Affine<'_> {
        Affine {
            gamma: &self.gamma,
            beta: &self.beta,
        }
    }

    /// The part of it that is linear, at a standard deviation or root mean square of 1, on every row of `x`: what the rows
    /// add to what is normalised adds so much to the norm.
    pub(super) fn linear_part(&self, x: &mut [f32]) {
        let d = self.gamma.len();
        for_rows(x, d, |_, rows| {
            for row in rows.chunks_exact_mut(d) {
                let mean = match self.kind {
                    layer_norm::Norm::Layer => {
                        row.iter().map(|x| f64::from(*x)).sum::<f64>() / d as f64
                    }
                    layer_norm::Norm::Rms => 0.0,
                };
                for (x, gamma) in row.iter_mut().zip(&self.gamma) {
                    *x = ((f64::from(*x) - mean) * f64::from(*gamma)) as f32;
                }
            }
        });
    }

    /// The norm of every row of `x` into `out`.
    pub(super) fn rows(&self, x: &[f32], out: &mut [f32]) {
        let d = self.gamma.len();
        for_rows(out, d, |start, rows| {
            let x = &x[start..start + rows.len()];
            normalize(self.kind, x, d, self.epsilon, Some(self.affine()), rows);
        });
    }

    /// The norm of every row. The sites are those of the normalised vector and of the output; the first is only made
    /// where a hook wants it.
    pub(super) fn forward(
        &self,
        layer: usize,
        [normalized, out]: [Option<Site>; 2],
        x: &Floats,
        pass: &mut Pass<'_>,
    ) -> Result<Floats> {
        let d = self.gamma.len();
        let mut scaled = pass.buffer(x.len());
        match normalized.filter(|site| pass.wants(layer, *site)) {
            None => self.rows(x, &mut scaled),
            Some(site) => {
                let mut normalized = pass.buffer(x.len());
                for_rows(&mut normalized, d, |start, rows| {
                    let x = &x[start..start + rows.len()];
                    normalize(self.kind, x, d, self.epsilon, None, rows);
                });
                let normalized = pass.offer(layer, site, Arc::new(normalized), d)?;
                for_rows(&mut scaled, d, |start, rows| {
                    scale_rows(&normalized[start..start + rows.len()], self.affine(), rows);
                });
                pass.recycle(normalized);
            }
        }
        match out {
            Some(site) => pass.offer(layer, site, Arc::new(scaled), d),
            None => Ok(Arc::new(scaled)),
        }
    }
}
