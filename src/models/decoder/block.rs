//! One block: attention and MLP, each added to the residual stream, one after the other or both at once.

use std::sync::Arc;

use datafusion::error::Result;
use polysema_kernels::network::activation::Activation;
use polysema_kernels::network::bias;
use polysema_kernels::network::layer_norm;
use polysema_kernels::network::matmul::Output;

use super::super::linear::{Linear, Norm};
use super::super::pass::{Floats, Pass, for_rows};
use super::super::{LayerNorm, NeuronWeights, Site, Up};
use super::attention::Attention;
use super::rotary::Turns;

/// Parameters of one block.
pub(super) struct Block {
    pub(super) layer: usize,
    pub(super) d_model: usize,
    pub(super) attention: Attention,
    /// One map to queries, keys and values side by side, or one to each.
    pub(super) qkv: Vec<Linear>,
    pub(super) attn_out: Linear,
    pub(super) attn_norms: Norms,
    pub(super) mlp: Neurons,
    pub(super) mlp_norms: Norms,
    /// Whether attention and MLP read the same stream. Without a norm of its own the MLP then reads attention's.
    pub(super) parallel: bool,
}

/// Norms around attention or MLP.
pub(super) struct Norms {
    /// Of what it reads.
    pub(super) before: Option<Norm>,
    /// Of what it gives, before that is added.
    pub(super) after: Option<Norm>,
    /// Of the stream once that is added.
    pub(super) stream: Option<Norm>,
}

/// The neurons of a block.
pub(super) struct Neurons {
    pub(super) activation: Activation,
    /// The gate of gated neurons.
    pub(super) inward: Linear,
    /// What a gate lets through.
    pub(super) up: Option<Linear>,
    pub(super) out: Linear,
}

impl Block {
    /// Bytes of a position in all values that are alive at once: the residual stream, its sum and its normalised and
    /// scaled copies, queries, keys and values before and after they are turned, heads before and after they lie side
    /// by side, and the neurons' values with one that a hook may keep.
    pub(super) fn bytes_a_row(&self) -> usize {
        let (heads, neurons) = (self.attention.heads, self.d_mlp());
        let parts = [
            self.d_model.saturating_mul(4),
            heads.width().saturating_mul(2),
            heads.d_queries().saturating_mul(2),
            neurons.saturating_mul(if self.mlp.up.is_some() { 4 } else { 2 }),
        ];
        let floats = parts.into_iter().fold(0, usize::saturating_add);
        floats.saturating_mul(size_of::<f32>())
    }

    /// Bytes of the widest map as float32, where it does not lie so.
    pub(super) fn widened_bytes(&self) -> usize {
        let maps = self
            .qkv
            .iter()
            .chain([&self.attn_out, &self.mlp.inward, &self.mlp.out]);
        let bytes = maps
            .chain(&self.mlp.up)
            .map(|map| map.weight.scratch_bytes(map.weight.len()));
        bytes.max().unwrap_or(0)
    }

    pub(super) fn d_mlp(&self) -> usize {
        self.mlp.inward.d_out()
    }

    /// Whether a norm changes the whole residual stream, not only what is added to it.
    pub(super) fn changes_stream(&self) -> bool {
        self.attn_norms.stream.is_some() || self.mlp_norms.stream.is_some()
    }

    /// The norm of what the neurons receive.
    pub(super) fn neuron_norm(&self) -> Option<&Norm> {
        let shared = self.attn_norms.before.as_ref().filter(|_| self.parallel);
        self.mlp_norms.before.as_ref().or(shared)
    }

    /// The residual stream after the block; what it is by then where the hooks end the pass at the neurons' activations.
    /// `turns` are those of the model's rotary positions.
    pub(super) fn forward(
        &self,
        resid: Floats,
        turns: &[Turns],
        pass: &mut Pass<'_>,
    ) -> Result<Floats> {
        let (layer, d) = (self.layer, self.d_model);
        let resid = pass.offer(layer, Site::ResidPre, resid, d)?;
        let shared = self.parallel && self.mlp_norms.before.is_none();
        let normalized = shared.then_some(Site::Normalized);
        let x = match &self.attn_norms.before {
            Some(norm) => {
                Some(norm.forward(layer, [normalized, Some(Site::Ln1Out)], &resid, pass)?)
            }
            None => None,
        };
        let z = self.attend(x.as_ref().unwrap_or(&resid), turns, pass)?;
        let (x, read) = if shared { (x, None) } else { (None, x) };
        read.into_iter().for_each(|x| pass.recycle(x));
        if self.parallel {
            let post = self.neurons(&resid, x, pass)?;
            if pass.done() {
                return Ok(resid);
            }
            let resid = self.join(resid, z, Site::AttnOut, None, pass)?;
            return self.join(resid, post, Site::MlpOut, Some(Site::ResidPost), pass);
        }
        let resid = self.join(resid, z, Site::AttnOut, Some(Site::ResidMid), pass)?;
        let post = self.neurons(&resid, None, pass)?;
        if pass.done() {
            return Ok(resid);
        }
        self.join(resid, post, Site::MlpOut, Some(Site::ResidPost), pass)
    }

    /// Values mixed by attention, heads side by side.
    fn attend(&self, x: &Floats, turns: &[Turns], pass: &mut Pass<'_>) -> Result<Floats> {
        let (layer, heads) = (self.layer, self.attention.heads);
        let width = heads.width();
        let mut qkv = pass.buffer(pass.batch * pass.seq * width);
        let mut start = 0;
        for map in &self.qkv {
            map.multiply(x, Output::Replace, &mut qkv[start..], width, pass);
            start += map.d_out();
        }
        let bias: Vec<f32> = self
            .qkv
            .iter()
            .flat_map(|map| map.bias.iter().copied())
            .collect();
        let clip = self.attention.clip;
        if !bias.is_empty() || clip.is_some() {
            for_rows(&mut qkv, width, |_, rows| {
                bias::add_bias(&bias, rows);
                if let Some(clip) = clip {
                    rows.iter_mut().for_each(|x| *x = x.clamp(-clip, clip));
                }
            });
        }
        let qkv = pass.offer(layer, Site::AttnQkv, Arc::new(qkv), width)?;
        let turns = self.attention.spec.rotary.map(|which| &turns[which]);
        let z = self.attention.forward(qkv, turns, pass)?;
        pass.offer(layer, Site::AttnZ, z, heads.d_queries())
    }

    /// Activations of the block's neurons. `shared` is the vector they read where attention reads the same one.
    fn neurons(
        &self,
        resid: &Floats,
        shared: Option<Floats>,
        pass: &mut Pass<'_>,
    ) -> Result<Floats> {
        let (layer, d) = (self.layer, self.d_model);
        let x = match (&self.mlp_norms.before, shared) {
            (Some(norm), _) => {
                let sites = [Some(Site::Normalized), Some(Site::Ln2Out)];
                norm.forward(layer, sites, resid, pass)?
            }
            (None, Some(x)) => pass.offer(layer, Site::Ln2Out, x, d)?,
            (None, None) => pass.offer(layer, Site::MlpIn, Arc::clone(resid), d)?,
        };
        let post = self.mlp.forward(layer, &x, pass)?;
        if !Arc::ptr_eq(&x, resid) {
            pass.recycle(x);
        }
        pass.offer(layer, Site::MlpPost, post, self.d_mlp())
    }

    /// The residual stream with what attention or the neurons add to it, shown at the sites `part` and `sum`; the part
    /// alone is only made where a hook wants it or a norm takes it. Between the two of a parallel block no stream is shown.
    fn join(
        &self,
        resid: Floats,
        x: Floats,
        part: Site,
        sum: Option<Site>,
        pass: &mut Pass<'_>,
    ) -> Result<Floats> {
        let (linear, norms) = match part {
            Site::AttnOut => (&self.attn_out, &self.attn_norms),
            _ => (&self.mlp.out, &self.mlp_norms),
        };
        let mut stream = match norms.after.is_some() || pass.wants(self.layer, part) {
            true => self.join_shown(resid, x, linear, norms.after.as_ref(), part, pass)?,
            false => self.join_onto(resid, x, linear, pass),
        };
        if let Some(norm) = &norms.stream {
            let normed = norm.forward(self.layer, [None, None], &stream, pass)?;
            pass.recycle(std::mem::replace(&mut stream, normed));
        }
        match sum {
            None => Ok(stream),
            Some(sum) => pass.offer(self.layer, sum, stream, self.d_model),
        }
    }

    /// With the part made, normalised and shown on its own.
    fn join_shown(
        &self,
        resid: Floats,
        x: Floats,
        linear: &Linear,
        norm: Option<&Norm>,
        site: Site,
        pass: &mut Pass<'_>,
    ) -> Result<Floats> {
        let d = self.d_model;
        let mut out = pass.buffer(resid.len());
        linear.multiply(&x, Output::Replace, &mut out, d, pass);
        pass.recycle(x);
        for_rows(&mut out, d, |_, rows| bias::add_bias(&linear.bias, rows));
        let mut out = Arc::new(out);
        if let Some(norm) = norm {
            let normed = norm.forward(self.layer, [None, None], &out, pass)?;
            pass.recycle(std::mem::replace(&mut out, normed));
        }
        let out = pass.offer(self.layer, site, out, d)?;
        let mut sum = pass.buffer(resid.len());
        for_rows(&mut sum, d, |start, rows| {
            let end = start + rows.len();
            bias::add(&resid[start..end], &out[start..end], rows);
        });
        pass.recycle(resid);
        pass.recycle(out);
        Ok(Arc::new(sum))
    }

    /// With the part added to the stream as it is multiplied.
    fn join_onto(&self, resid: Floats, x: Floats, linear: &Linear, pass: &mut Pass<'_>) -> Floats {
        let d = self.d_model;
        let mut sum = match Arc::try_unwrap(resid) {
            Ok(mut resid) => {
                for_rows(&mut resid, d, |_, rows| bias::add_bias(&linear.bias, rows));
                resid
            }
            // A hook has kept it.
            Err(resid) => {
                let mut sum = pass.buffer(resid.len());
                for_rows(&mut sum, d, |start, rows| {
                    rows.copy_from_slice(&resid[start..start + rows.len()]);
                    bias::add_bias(&linear.bias, rows);
                });
                sum
            }
        };
        linear.multiply(&x, Output::Accumulate, &mut sum, d, pass);
        pass.recycle(x);
        Arc::new(sum)
    }

    /// Weights of the block's neurons, `docs/definitions.md` section 1; none where it has no norm to count them with.
    pub(super) fn neuron_weights(&self, layer_norm: LayerNorm) -> NeuronWeights {
        let norm = self.neuron_norm().filter(|_| layer_norm != LayerNorm::Raw);
        let centred = layer_norm == LayerNorm::TlFolded;
        let read = |map: &Linear| {
            let (mut rows, n) = (map.rows(), map.d_out());
            let mut bias = map.bias.clone();
            bias.resize(n, 0.0);
            if let Some(norm) = norm {
                fold(norm, centred, &mut rows, &mut bias);
            }
            (rows, bias)
        };
        let (w_in, b_in) = read(&self.mlp.inward);
        NeuronWeights {
            w_in,
            b_in,
            up: self.mlp.up.as_ref().map(|map| {
                let (w_up, b_up) = read(map);
                Up { w_up, b_up }
            }),
            w_out: self.mlp.out.columns(),
        }
    }

    /// Whether the norm of what the neurons receive centres it.
    pub(super) fn centres(&self) -> bool {
        self.neuron_norm()
            .is_some_and(|norm| norm.kind == layer_norm::Norm::Layer)
    }
}

impl Neurons {
    /// Activations of neurons that receive `x`.
    fn forward(&self, layer: usize, x: &[f32], pass: &mut Pass<'_>) -> Result<Floats> {
        let (d_mlp, inward) = (self.inward.d_out(), &self.inward);
        let mut pre = pass.buffer(pass.batch * pass.seq * d_mlp);
        inward.multiply(x, Output::Replace, &mut pre, d_mlp, pass);
        let up = match &self.up {
            None => None,
            Some(up) => {
                let mut values = pass.buffer(pre.len());
                up.multiply(x, Output::Replace, &mut values, d_mlp, pass);
                for_rows(&mut values, d_mlp, |_, rows| bias::add_bias(&up.bias, rows));
                Some(pass.offer(layer, Site::MlpUp, Arc::new(values), d_mlp)?)
            }
        };
        let shown = pass.wants(layer, Site::MlpPre) || pass.wants(layer, Site::MlpGate);
        let mut bias = &*inward.bias;
        if shown {
            for_rows(&mut pre, d_mlp, |_, rows| bias::add_bias(bias, rows));
            bias = &[];
            let mut value = pass.offer(layer, Site::MlpPre, Arc::new(pre), d_mlp)?;
            if up.is_some() {
                value = pass.offer(layer, Site::MlpGate, value, d_mlp)?;
            }
            pre = Arc::unwrap_or_clone(value);
        }
        for_rows(&mut pre, d_mlp, |start, rows| match &up {
            None => self.activation.apply(bias, rows),
            Some(up) => self
                .activation
                .gate(bias, rows, &up[start..start + rows.len()]),
        });
        up.into_iter().for_each(|up| pass.recycle(up));
        Ok(Arc::new(pre))
    }
}

/// Counts scale and bias of a norm as the neurons': `rows` are their weights.
fn fold(norm: &Norm, centred: bool, rows: &mut [f32], bias: &mut [f32]) {
    let d = norm.gamma.len();
    for (w, b) in rows.chunks_exact_mut(d).zip(bias) {
        let mut shift = 0.0;
        for (w, (gamma, beta)) in w.iter_mut().zip(norm.gamma.iter().zip(&norm.beta)) {
            shift += f64::from(*beta) * f64::from(*w);
            *w *= gamma;
        }
        *b = (f64::from(*b) + shift) as f32;
        if centred {
            let mean = w.iter().map(|w| f64::from(*w)).sum::<f64>() / d as f64;
            w.iter_mut()
                .for_each(|w| *w = (f64::from(*w) - mean) as f32);
        }
    }
}
