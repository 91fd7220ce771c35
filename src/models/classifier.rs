//! Trains a plain ReLU classifier: cross entropy, candle's gradients, AdamW.
//!
//! ```text
//! g = dL/dp,  m = b1 m + (1 - b1) g,  v = b2 v + (1 - b2) g^2
//! p = (1 - lr decay) p - lr (m / (1 - b1^t)) / (sqrt(v / (1 - b2^t)) + eps)
//! ```
//!
//! Deterministic for a seed. Source: Loshchilov and Hutter 2019, algorithm 2; defaults and the initialisation, uniform
//! within 1 / sqrt(d_in), are PyTorch's.

use std::collections::HashMap;
use std::path::Path;

use candle_core::{Device, Tensor, Var};
use datafusion::error::Result;

use polysema_kernels::random::Random;

use super::error::from_candle;

const BETA1: f64 = 0.9;
const BETA2: f64 = 0.999;
const EPSILON: f64 = 1e-8;

/// One tensor of the classifier with the optimizer's averages.
struct Parameter {
    var: Var,
    values: Vec<f32>,
    mean: Vec<f32>,
    square: Vec<f32>,
}

/// A classifier in training.
pub struct ClassifierTrainer {
    /// Weight `[d_out, d_in]` and bias `[d_out]` of each layer, one after the other.
    parameters: Vec<Parameter>,
    learning_rate: f64,
    weight_decay: f64,
    step: i32,
}

fn failed(error: candle_core::Error) -> datafusion::error::DataFusionError {
    from_candle("train_mlp", error)
}

impl ClassifierTrainer {
    /// A classifier of random weights; `widths` are those of the input, the hidden layers and the classes.
    pub fn new(
        widths: &[usize],
        learning_rate: f64,
        weight_decay: f64,
        random: &mut Random,
    ) -> Result<Self> {
        let mut parameters = vec![];
        for pair in widths.windows(2) {
            let (d_in, d_out) = (pair[0], pair[1]);
            let bound = 1.0 / (d_in as f64).sqrt();
            for dims in [vec![d_out, d_in], vec![d_out]] {
                let n: usize = dims.iter().product();
                let uniform = |_| ((2.0 * random.uniform() - 1.0) * bound) as f32;
                let values: Vec<f32> = (0..n).map(uniform).collect();
                let tensor = Tensor::from_slice(&values, dims, &Device::Cpu).map_err(failed)?;
                parameters.push(Parameter {
                    var: Var::from_tensor(&tensor).map_err(failed)?,
                    values,
                    mean: vec![0.0; n],
                    square: vec![0.0; n],
                });
            }
        }
        Ok(Self {
            parameters,
            learning_rate,
            weight_decay,
            step: 0,
        })
    }

    /// Bytes that training with batches of `n` rows holds at most: weights as tensors and as numbers, both moments, the
    /// gradients twice, and one of the matrices turned; a value and a gradient of each step from layer to layer.
    pub fn bytes(widths: &[usize], n: usize) -> usize {
        let weights = widths
            .windows(2)
            .map(|pair| pair[0].saturating_add(1).saturating_mul(pair[1]));
        let weights = weights.fold(0, usize::saturating_add).saturating_mul(7);
        let values = widths
            .iter()
            .fold(0, |sum, width| usize::saturating_add(sum, *width));
        let values = values.saturating_mul(n).saturating_mul(6);
        weights
            .saturating_add(values)
            .saturating_mul(size_of::<f32>())
    }

    /// The logits of rows `x: [n, d_in]`. `[n, n_classes]`
    fn forward(&self, x: &Tensor) -> candle_core::Result<Tensor> {
        let (layers, _) = self.parameters.as_chunks::<2>();
        let mut x = x.clone();
        for (i, [weight, bias]) in layers.iter().enumerate() {
            x = x.matmul(&weight.var.t()?)?.broadcast_add(&bias.var)?;
            if i + 1 < layers.len() {
                x = x.relu()?;
            }
        }
        Ok(x)
    }

    /// One step on a batch of rows and their classes; the loss before it.
    pub fn step(&mut self, rows: Vec<f32>, classes: &[u32]) -> Result<f32> {
        let (loss, gradients) = self.gradients(rows, classes).map_err(failed)?;
        self.step += 1;
        for (parameter, gradient) in self.parameters.iter_mut().zip(gradients) {
            parameter.update(&gradient, self.learning_rate, self.weight_decay, self.step);
            let dims = parameter.var.dims();
            let values = Tensor::from_slice(&parameter.values, dims, &Device::Cpu);
            let set = values.and_then(|values| parameter.var.set(&values));
            set.map_err(failed)?;
        }
        Ok(loss)
    }

    fn gradients(
        &self,
        rows: Vec<f32>,
        classes: &[u32],
    ) -> candle_core::Result<(f32, Vec<Vec<f32>>)> {
        let n = classes.len();
        let x = Tensor::from_vec(rows, (n, ()), &Device::Cpu)?;
        let classes = Tensor::from_slice(classes, (n, 1), &Device::Cpu)?;
        let logits = self.forward(&x)?;
        let picked = logits.gather(&classes, 1)?.squeeze(1)?;
        let loss = (logits.log_sum_exp(1)? - picked)?.mean_all()?;
        let gradients = loss.backward()?;
        let parameters = self.parameters.iter().map(|parameter| {
            let gradient = gradients.get(&parameter.var);
            let gradient = match gradient {
                Some(gradient) => gradient.clone(),
                None => parameter.var.zeros_like()?,
            };
            gradient.flatten_all()?.to_vec1()
        });
        Ok((
            loss.to_scalar()?,
            parameters.collect::<candle_core::Result<_>>()?,
        ))
    }

    /// The most likely class of each row.
    pub fn classes(&self, rows: Vec<f32>, n: usize) -> Result<Vec<u32>> {
        Tensor::from_vec(rows, (n, ()), &Device::Cpu)
            .and_then(|x| self.forward(&x)?.argmax(1)?.to_vec1())
            .map_err(failed)
    }

    /// Writes the weights as `layers.N.weight` and `layers.N.bias`.
    pub fn save(&self, path: &Path) -> Result<()> {
        let named = self.parameters.iter().enumerate().map(|(i, parameter)| {
            let name = ["weight", "bias"][i % 2];
            let tensor = parameter.var.as_tensor().clone();
            (format!("layers.{}.{name}", i / 2), tensor)
        });
        let tensors: HashMap<String, Tensor> = named.collect();
        candle_core::safetensors::save(&tensors, path)
            .map_err(|e| from_candle(format_args!("write {}", path.display()), e))
    }
}

impl Parameter {
    fn update(&mut self, gradient: &[f32], learning_rate: f64, weight_decay: f64, step: i32) {
        let (b1, b2) = (BETA1 as f32, BETA2 as f32);
        let keep = (1.0 - learning_rate * weight_decay) as f32;
        let rate = (learning_rate / (1.0 - BETA1.powi(step))) as f32;
        let unbias = (1.0 / (1.0 - BETA2.powi(step))) as f32;
        let averages = self.mean.iter_mut().zip(&mut self.square);
        for ((value, (mean, square)), g) in self.values.iter_mut().zip(averages).zip(gradient) {
            *mean = b1 * *mean + (1.0 - b1) * g;
            *square = b2 * *square + (1.0 - b2) * g * g;
            *value = keep * *value - rate * *mean / ((*square * unbias).sqrt() + EPSILON as f32);
        }
    }
}
