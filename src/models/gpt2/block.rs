//! One block: attention and MLP, each behind a layer norm and added to the residual stream.

use std::sync::Arc;

use datafusion::error::Result;
use polysema_kernels::network::activation::Activation;
use polysema_kernels::network::bias;
use polysema_kernels::network::layer_norm::{Affine, layer_norm, scale_rows};
use polysema_kernels::network::matmul::{Linear, Output};

use super::super::pass::{Floats, Pass, for_rows};
use super::super::{LayerNorm, NeuronWeights, Site};
use super::attention::Attention;

/// Parameters of one block.
pub(super) struct Block {
    pub(super) layer: usize,
    pub(super) d_model: usize,
    pub(super) d_mlp: usize,
    pub(super) n_heads: usize,
    /// What attention scores are multiplied with.
    pub(super) scale: f32,
    pub(super) activation: Activation,
    pub(super) ln1: Norm,
    pub(super) ln2: Norm,
    pub(super) attn_in: Linear,
    pub(super) attn_out: Linear,
    pub(super) mlp_in: Linear,
    pub(super) mlp_out: Linear,
}

/// A layer norm.
pub(super) struct Norm {
    pub(super) gamma: Vec<f32>,
    pub(super) beta: Vec<f32>,
    pub(super) epsilon: f32,
}

impl Norm {
    /// The norm of every row. The sites are those of the normalised vector and of the output; the first is only
    /// made where a hook wants it.
    pub(super) fn forward(
        &self,
        layer: usize,
        [normalized, out]: [Option<Site>; 2],
        x: &Floats,
        pass: &mut Pass<'_>,
    ) -> Result<Floats> {
        let d = self.gamma.len();
        let affine = Affine {
            gamma: &self.gamma,
            beta: &self.beta,
        };
        let mut scaled = pass.buffer(x.len());
        match normalized.filter(|site| pass.wants(layer, *site)) {
            None => for_rows(&mut scaled, d, |start, rows| {
                layer_norm(
                    &x[start..start + rows.len()],
                    d,
                    self.epsilon,
                    Some(affine),
                    rows,
                );
            }),
            Some(site) => {
                let mut normalized = pass.buffer(x.len());
                for_rows(&mut normalized, d, |start, rows| {
                    layer_norm(&x[start..start + rows.len()], d, self.epsilon, None, rows);
                });
                let normalized = pass.offer(layer, site, Arc::new(normalized), d)?;
                for_rows(&mut scaled, d, |start, rows| {
                    scale_rows(&normalized[start..start + rows.len()], affine, rows);
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

impl Block {
    /// Bytes of a position in all values that are alive at once: the residual stream and its normalised and scaled
    /// copies, queries, keys and values, heads before and after they lie side by side, and twice the activations, which
    /// a hook may keep.
    pub(super) fn bytes_a_row(&self) -> usize {
        let floats = self.d_model.saturating_mul(3 + 3 + 2);
        let floats = floats.saturating_add(self.d_mlp.saturating_mul(2));
        floats.saturating_mul(size_of::<f32>())
    }

    /// The residual stream after the block.
    pub(super) fn forward(&self, resid: Floats, pass: &mut Pass<'_>) -> Result<Floats> {
        let (layer, d) = (self.layer, self.d_model);
        let resid = pass.offer(layer, Site::ResidPre, resid, d)?;
        let z = self.attend(&resid, pass)?;
        let resid = self.join(resid, z, &self.attn_out, d, Site::AttnOut, pass)?;
        let resid = pass.offer(layer, Site::ResidMid, resid, d)?;
        let post = self.activations(&resid, pass)?;
        let resid = self.join(resid, post, &self.mlp_out, self.d_mlp, Site::MlpOut, pass)?;
        pass.offer(layer, Site::ResidPost, resid, d)
    }

    /// Values mixed by attention, heads side by side.
    fn attend(&self, resid: &Floats, pass: &mut Pass<'_>) -> Result<Floats> {
        let (layer, d) = (self.layer, self.d_model);
        let x = self
            .ln1
            .forward(layer, [None, Some(Site::Ln1Out)], resid, pass)?;
        let mut qkv = pass.buffer(3 * pass.batch * pass.seq * d);
        self.attn_in.multiply(&x, d, Output::Replace, &mut qkv);
        pass.recycle(x);
        for_rows(&mut qkv, 3 * d, |_, rows| {
            bias::add_bias(&self.attn_in.bias, rows)
        });
        let qkv = pass.offer(layer, Site::AttnQkv, Arc::new(qkv), 3 * d)?;
        let shape = Attention {
            layer,
            n_heads: self.n_heads,
            d_head: d / self.n_heads,
            scale: self.scale,
        };
        let z = shape.forward(&qkv, pass)?;
        pass.recycle(qkv);
        pass.offer(layer, Site::AttnZ, z, d)
    }

    /// Activations of the block's neurons.
    fn activations(&self, resid: &Floats, pass: &mut Pass<'_>) -> Result<Floats> {
        let (layer, d_mlp) = (self.layer, self.d_mlp);
        let sites = [Some(Site::Normalized), Some(Site::Ln2Out)];
        let x = self.ln2.forward(layer, sites, resid, pass)?;
        let mut pre = pass.buffer(pass.batch * pass.seq * d_mlp);
        self.mlp_in
            .multiply(&x, self.d_model, Output::Replace, &mut pre);
        pass.recycle(x);
        let bias = &self.mlp_in.bias;
        if !pass.wants(layer, Site::MlpPre) {
            for_rows(&mut pre, d_mlp, |_, rows| self.activation.apply(bias, rows));
            return pass.offer(layer, Site::MlpPost, Arc::new(pre), d_mlp);
        }
        for_rows(&mut pre, d_mlp, |_, rows| bias::add_bias(bias, rows));
        let pre = pass.offer(layer, Site::MlpPre, Arc::new(pre), d_mlp)?;
        let mut post = Arc::unwrap_or_clone(pre);
        for_rows(&mut post, d_mlp, |_, rows| self.activation.apply(&[], rows));
        pass.offer(layer, Site::MlpPost, Arc::new(post), d_mlp)
    }

    /// The residual stream with `x W + b` added; the sum itself is only made where a hook wants it.
    fn join(
        &self,
        resid: Floats,
        x: Floats,
        linear: &Linear,
        d_in: usize,
        site: Site,
        pass: &mut Pass<'_>,
    ) -> Result<Floats> {
        let d = self.d_model;
        if pass.wants(self.layer, site) {
            let mut out = pass.buffer(resid.len());
            linear.multiply(&x, d_in, Output::Replace, &mut out);
            pass.recycle(x);
            for_rows(&mut out, d, |_, rows| bias::add_bias(&linear.bias, rows));
            let out = pass.offer(self.layer, site, Arc::new(out), d)?;
            let mut sum = pass.buffer(resid.len());
            for_rows(&mut sum, d, |start, rows| {
                let end = start + rows.len();
                bias::add(&resid[start..end], &out[start..end], rows);
            });
            pass.recycle(resid);
            pass.recycle(out);
            return Ok(Arc::new(sum));
        }
        let mut sum = match Arc::try_unwrap(resid) {
            Ok(mut resid) => {
                for_rows(&mut resid, d, |_, rows| bias::add_bias(&linear.bias, rows));
                resid
            }
            // A hook has kept it.
            Err(resid) => {
                let mut sum = pass.buffer(resid.len());
                for_rows(&mut sum, d, |start, rows| {
                    bias::with_bias(&resid[start..start + rows.len()], &linear.bias, rows);
                });
                sum
            }
        };
        linear.multiply(&x, d_in, Output::Accumulate, &mut sum);
        pass.recycle(x);
        Ok(Arc::new(sum))
    }

    /// Weights of the block's neurons, `docs/definitions.md` section 1.
    pub(super) fn neuron_weights(&self, layer_norm: LayerNorm) -> NeuronWeights {
        let (d, n) = (self.d_model, self.d_mlp);
        let mut w_in = vec![0.0; n * d];
        let mut b_in = self.mlp_in.bias.clone();
        for (neuron, (w, b)) in w_in.chunks_exact_mut(d).zip(&mut b_in).enumerate() {
            let column = (0..d).map(|k| self.mlp_in.weight[k * n + neuron]);
            if layer_norm == LayerNorm::Raw {
                w.iter_mut().zip(column).for_each(|(w, c)| *w = c);
                continue;
            }
            let mut shift = 0.0;
            for ((w, c), (gamma, beta)) in w
                .iter_mut()
                .zip(column)
                .zip(self.ln2.gamma.iter().zip(&self.ln2.beta))
            {
                *w = gamma * c;
                shift += f64::from(*beta) * f64::from(c);
            }
            *b = (f64::from(*b) + shift) as f32;
            if layer_norm == LayerNorm::TlFolded {
                let mean = w.iter().map(|w| f64::from(*w)).sum::<f64>() / d as f64;
                w.iter_mut()
                    .for_each(|w| *w = (f64::from(*w) - mean) as f32);
            }
        }
        NeuronWeights {
            w_in,
            b_in,
            w_out: self.mlp_out.weight.clone(),
        }
    }
}
