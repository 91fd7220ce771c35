//! A plain classifier: linear layers with one nonlinearity between them, read from `layers.N.weight` and `.bias`.
//!
//! Its neurons are those of the hidden layers; the last layer gives the logits.

use std::sync::Arc;

use datafusion::error::Result;
use polysema_kernels::network::activation::Activation;
use polysema_kernels::network::bias;
use polysema_kernels::network::matmul::{Layout, Output, product};

use super::config::Config;
use super::error::invalid;
use super::linear::Linear;
use super::pass::{Floats, Pass, for_rows};
use super::{
    HookPoint, Hooks, Input, LayerInfo, LayerNorm, LogitWriter, Model, NeuronWeights, PatchGrid,
    Site,
};
use crate::files::tensors::Tensors;

struct Mlp {
    /// Width of the input, then of every layer.
    widths: Vec<usize>,
    linears: Vec<Linear>,
    activation: Activation,
    layers: Vec<LayerInfo>,
}

/// Builds the model; its sizes are the weights'.
pub(super) fn build(config: &Config, mut weights: Tensors) -> Result<Arc<dyn Model>> {
    let activation = config.activation(&["activation_function"], "")?;
    let (mut widths, mut linears) = (Vec::new(), Vec::new());
    // A hidden and an output layer at least.
    while linears.len() < 2 || weights.contains(&format!("layers.{}.weight", linears.len())) {
        let name = format!("layers.{}", linears.len());
        let dims = weights.dims(&format!("{name}.weight"))?.to_vec();
        let d_in = widths.last().or(dims.get(1)).copied().unwrap_or(0);
        let d_out = dims.first().copied().unwrap_or(0);
        let weight = weights.weight(&format!("{name}.weight"), &[d_out, d_in])?;
        if weight.is_empty() {
            return Err(config.invalid(format!(
                "{name}.weight with values is required, got {dims:?}"
            )));
        }
        let bias = weights.take(&format!("{name}.bias"), &[d_out])?;
        if widths.is_empty() {
            widths.push(d_in);
        }
        widths.push(d_out);
        linears.push(Linear {
            weight,
            bias,
            layout: Layout::OutIn,
            d_in,
        });
    }
    let layers = (0..linears.len() - 1)
        .map(|layer| LayerInfo {
            name: format!("blocks.{layer}.mlp"),
            d_in: widths[layer],
            n_neurons: widths[layer + 1],
            activation_function: activation.name().to_string(),
            gated: false,
        })
        .collect();
    Ok(Arc::new(Mlp {
        widths,
        linears,
        activation,
        layers,
    }))
}

impl Mlp {
    /// What the last layer receives, or none if the hooks ended the pass.
    fn run<'h>(
        &self,
        input: Input<'_>,
        hooks: &'h mut dyn Hooks,
    ) -> Result<Option<(Pass<'h>, Floats)>> {
        let Input::Vectors { values, width } = input else {
            return Err(invalid(
                "mlp: vectors are required, got token ids".to_string(),
            ));
        };
        if width != self.widths[0] {
            return Err(invalid(format!(
                "mlp: vectors of width {} are required, got {width}",
                self.widths[0]
            )));
        }
        if values.is_empty() || !values.len().is_multiple_of(width) {
            return Err(invalid(format!(
                "mlp: whole vectors of width {width} are required, got {} values",
                values.len()
            )));
        }
        let batch = values.len() / width;
        let mut pass = Pass::new(hooks, batch, 1);
        let mut x = Arc::new(values.to_vec());
        for layer in 0..self.layers.len() {
            x = self.activations(layer, x, &mut pass)?;
            if pass.done() {
                return Ok(None);
            }
        }
        Ok(Some((pass, x)))
    }

    fn activations(&self, layer: usize, x: Floats, pass: &mut Pass<'_>) -> Result<Floats> {
        let (linear, d_out) = (&self.linears[layer], self.widths[layer + 1]);
        let x = pass.offer(layer, Site::MlpIn, x, linear.d_in)?;
        let mut pre = pass.buffer(pass.batch * d_out);
        linear.multiply(&x, Output::Replace, &mut pre, d_out, pass);
        pass.recycle(x);
        for_rows(&mut pre, d_out, |_, rows| {
            bias::add_bias(&linear.bias, rows)
        });
        let pre = pass.offer(layer, Site::MlpPre, Arc::new(pre), d_out)?;
        let mut post = Arc::unwrap_or_clone(pre);
        for_rows(&mut post, d_out, |_, rows| self.activation.apply(&[], rows));
        pass.offer(layer, Site::MlpPost, Arc::new(post), d_out)
    }
}

/// The activations of a layer's neurons on the vectors they received: `h: [n, d_in]` to `out: [n, n_neurons]`.
pub fn neuron_activations(
    weights: &NeuronWeights,
    activation: Activation,
    h: &[f32],
    out: &mut Vec<f32>,
) {
    let n_neurons = weights.b_in.len();
    let d_in = weights.w_in.len() / n_neurons;
    out.clear();
    out.resize(h.len() / d_in * n_neurons, 0.0);
    product(h, &weights.w_in, Layout::OutIn, d_in, Output::Replace, out);
    for_rows(out, n_neurons, |_, rows| {
        activation.apply(&weights.b_in, rows)
    });
}

impl Model for Mlp {
    fn architecture(&self) -> &str {
        "mlp"
    }

    fn layers(&self) -> &[LayerInfo] {
        &self.layers
    }

    fn n_ctx(&self) -> usize {
        1
    }

    fn d_vocab(&self) -> usize {
        0
    }

    fn causal(&self) -> bool {
        true
    }

    fn image(&self) -> Option<PatchGrid> {
        None
    }

    /// No layer norm lies before the layers, so every convention gives the same weights.
    fn neuron_weights(&self, layer: usize, _: LayerNorm) -> Result<NeuronWeights> {
        if layer >= self.layers.len() {
            return Err(invalid(format!(
                "mlp: a layer below {} is required, got {layer}",
                self.layers.len()
            )));
        }
        let (linear, next) = (&self.linears[layer], &self.linears[layer + 1]);
        Ok(NeuronWeights {
            w_in: linear.rows(),
            b_in: linear.bias.clone(),
            up: None,
            w_out: next.columns(),
        })
    }

    fn neuron_bytes(&self, layer: usize) -> usize {
        match self.widths.get(layer..layer + 3) {
            Some(widths) => size_of::<f32>() * widths[1] * (widths[0] + widths[2] + 1),
            None => 0,
        }
    }

    fn folds(&self) -> bool {
        false
    }

    fn received_at(&self, layer: usize, _: LayerNorm) -> Result<HookPoint> {
        let site = Site::MlpIn;
        Ok(HookPoint { layer, site })
    }

    fn activation_at(&self, layer: usize) -> HookPoint {
        let site = Site::MlpPost;
        HookPoint { layer, site }
    }

    fn sites(&self) -> &[Site] {
        &[Site::MlpIn, Site::MlpPre, Site::MlpPost]
    }

    fn pass_bytes(&self, documents: usize, seq: usize) -> usize {
        // A value of each layer, and one that a hook keeps.
        let widest = self.widths.iter().max().copied().unwrap_or(0);
        let widths = self
            .widths
            .iter()
            .fold(widest, |sum, w| sum.saturating_add(*w));
        let values = documents.saturating_mul(seq).saturating_mul(widths);
        values.saturating_mul(size_of::<f32>())
    }

    fn logits_bytes(&self, documents: usize, _: usize) -> usize {
        let classes = self.widths.last().copied().unwrap_or(0);
        documents
            .saturating_mul(classes)
            .saturating_mul(size_of::<f32>())
    }

    fn forward(&self, input: Input<'_>, hooks: &mut dyn Hooks) -> Result<()> {
        self.run(input, hooks)?;
        Ok(())
    }

    fn logits(&self, input: Input<'_>, hooks: &mut dyn Hooks) -> Result<Vec<f32>> {
        let Some((mut pass, x)) = self.run(input, hooks)? else {
            return Err(invalid(
                "mlp: logits need a whole pass, got one ended by its hooks".into(),
            ));
        };
        let last = &self.linears[self.linears.len() - 1];
        let n_classes = last.d_out();
        let mut logits = vec![0.0; pass.batch * n_classes];
        last.multiply(&x, Output::Replace, &mut logits, n_classes, &mut pass);
        for_rows(&mut logits, n_classes, |_, rows| {
            bias::add_bias(&last.bias, rows)
        });
        Ok(logits)
    }

    fn norm_before_logits(&self) -> bool {
        false
    }

    /// The last hidden layer writes logits.
    fn logit_effects(&self, of: LogitWriter, written: &[f32], _: bool) -> Result<Vec<f32>> {
        let last = self.layers.len() - 1;
        match of {
            LogitWriter::Neurons(layer) if layer == last => Ok(written.to_vec()),
            LogitWriter::Neurons(layer) => Err(invalid(format!(
                "mlp: the last hidden layer, {last}, is required for direct effects on classes, since others reach them \
                 through it alone, got {layer}"
            ))),
            LogitWriter::Stream => Err(invalid(
                "mlp: neurons are required for direct effects on classes, got a residual stream, which there is none of"
                    .to_string(),
            )),
        }
    }
}
