//! From the residual stream after the last block to what the head receives, and to logits.

use std::sync::Arc;

use datafusion::error::Result;
use polysema_kernels::network::activation::Activation;
use polysema_kernels::network::attention::soft_cap;
use polysema_kernels::network::bias;
use polysema_kernels::network::matmul::{Output, product_within};

use super::super::Site;
use super::super::linear::{Linear, Norm};
use super::super::pass::{Floats, Pass, for_rows};

/// Logits of a position that are made at a time where the head lies in a narrower type. Chosen, not tuned.
const LOGITS: usize = 8192;

/// What stands behind the blocks.
pub(super) struct ReadOut {
    pub(super) final_norm: Option<Norm>,
    /// From the model's width to the embedding's.
    pub(super) outward: Option<Linear>,
    pub(super) transform: Option<Transform>,
    pub(super) pooled: Pooled,
    /// None of a model that was stored without.
    pub(super) head: Option<Linear>,
    /// What logits are held below.
    pub(super) logit_cap: Option<f32>,
}

/// Neurons before the head that are no layer of their own.
pub(super) struct Transform {
    pub(super) map: Linear,
    pub(super) activation: Activation,
    pub(super) norm: Norm,
}

/// Where a document becomes one vector, that of its first position.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Pooled {
    Never,
    BeforeNorm,
    AfterNorm,
}

impl ReadOut {
    /// Bytes of the logits of so many positions of so many documents.
    pub(super) fn logits_bytes(&self, documents: usize, seq: usize) -> usize {
        let Some(head) = &self.head else { return 0 };
        let rows = match self.pooled {
            Pooled::Never => documents.saturating_mul(seq),
            _ => documents,
        };
        let values = rows.saturating_mul(head.d_out());
        let widened = head
            .weight
            .scratch_bytes(LOGITS.min(head.d_out()) * head.d_in);
        values
            .saturating_mul(size_of::<f32>())
            .saturating_add(widened)
    }

    /// What the head receives, or what it would of a document. `[batch, seq, width]`, or `[batch, width]`
    pub(super) fn forward(
        &self,
        layer: usize,
        resid: Floats,
        d: usize,
        pass: &mut Pass<'_>,
    ) -> Result<Floats> {
        let mut x = match self.pooled {
            Pooled::BeforeNorm => firsts(&resid, d, pass),
            _ => resid,
        };
        let mut width = d;
        if let Some(norm) = &self.final_norm {
            x = norm.forward(0, [None, None], &x, pass)?;
        }
        if let Some(outward) = &self.outward {
            width = outward.d_out();
            let mut narrow = pass.buffer(pass.batch * pass.seq * width);
            outward.multiply(&x, Output::Replace, &mut narrow, width, pass);
            x = Arc::new(narrow);
        }
        if let Some(transform) = &self.transform {
            x = transform.forward(&x, pass)?;
        }
        match self.pooled {
            Pooled::BeforeNorm => {
                let dims = [pass.batch, width];
                pass.offer_shaped(layer, Site::LnFinalOut, x, &dims)
            }
            _ => pass.offer(layer, Site::LnFinalOut, x, width),
        }
    }

    /// What vectors of the residual stream add to the logits, `[n, d_model]` to `[n, n_logits]`, the final norm's scale
    /// counted where `folded` says so; none where more than a norm and maps lies between.
    pub(super) fn effects(
        &self,
        head: &Linear,
        mut x: Vec<f32>,
        folded: bool,
        pass: &mut Pass<'_>,
    ) -> Option<Vec<f32>> {
        if self.transform.is_some() {
            return None;
        }
        if let Some(norm) = self.final_norm.as_ref().filter(|_| folded) {
            norm.linear_part(&mut x);
        }
        if let Some(outward) = &self.outward {
            let mut narrow = pass.buffer(x.len() / outward.d_in * outward.d_out());
            outward.multiply(&x, Output::Replace, &mut narrow, outward.d_out(), pass);
            x = narrow;
        }
        Some(products(head, &x, pass))
    }

    /// Logits of what the head receives.
    pub(super) fn logits(&self, head: &Linear, x: &Floats, pass: &mut Pass<'_>) -> Vec<f32> {
        let (d, n) = (head.d_in, head.d_out());
        let x = match self.pooled {
            Pooled::AfterNorm => &firsts(x, d, pass),
            _ => x,
        };
        let mut logits = products(head, x, pass);
        for_rows(&mut logits, n, |_, rows| {
            bias::add_bias(&head.bias, rows);
            if let Some(cap) = self.logit_cap {
                soft_cap(rows, cap);
            }
        });
        logits
    }
}

impl Transform {
    fn forward(&self, x: &[f32], pass: &mut Pass<'_>) -> Result<Floats> {
        let d = self.map.d_out();
        let mut out = pass.buffer(x.len() / self.map.d_in * d);
        self.map.multiply(x, Output::Replace, &mut out, d, pass);
        for_rows(&mut out, d, |_, rows| {
            self.activation.apply(&self.map.bias, rows);
        });
        self.norm.forward(0, [None, None], &Arc::new(out), pass)
    }
}

/// `x W` of the head without its bias. `[n, d]` to `[n, n_logits]`
fn products(head: &Linear, x: &[f32], pass: &mut Pass<'_>) -> Vec<f32> {
    let (d, n) = (head.d_in, head.d_out());
    let mut out = pass.buffer(x.len() / d * n);
    let step = match head.weight.scratch_bytes(1) {
        0 => n,
        _ => LOGITS,
    };
    for first in (0..n).step_by(step) {
        let rows = first * d..n.min(first + step) * d;
        let weight = head.weight.floats(rows, &mut pass.widened);
        let out = &mut out[first..];
        product_within(x, weight, head.layout, d, Output::Replace, out, n);
    }
    out
}

/// The first position of every document. `[batch, width]`
fn firsts(x: &[f32], width: usize, pass: &mut Pass<'_>) -> Floats {
    let mut out = pass.buffer(pass.batch * width);
    let documents = x.chunks_exact(pass.seq * width);
    for (row, document) in out.chunks_exact_mut(width).zip(documents) {
        row.copy_from_slice(&document[..width]);
    }
    Arc::new(out)
}
