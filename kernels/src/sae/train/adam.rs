//! Adam (Kingma and Ba 2015, algorithm 1), one pass over memory that updates a parameter and both its moments.

use super::ne_loss::flush;
use super::options::{Decay, TrainOptions};
use crate::simd::wide;

/// Both moments of a parameter's gradient.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Moments {
    /// Mean.
    pub(super) m: Vec<f32>,
    /// Mean square.
    pub(super) v: Vec<f32>,
}

impl Moments {
    pub(super) fn new(len: usize) -> Self {
        Self {
            m: vec![0.0; len],
            v: vec![0.0; len],
        }
    }
}

/// The numbers of one step's updates.
#[derive(Debug, Clone, Copy)]
pub(super) struct Adam {
    beta1: f32,
    beta2: f32,
    epsilon: f32,
    /// Learning rate over the mean's bias correction.
    rate: f32,
    /// Square root of the mean square's bias correction.
    correction: f32,
    /// Added to the gradient, times the parameter.
    coupled: f32,
    /// Factor of the parameter.
    shrink: f32,
    /// Factor of the gradient.
    clip: f32,
}

impl Adam {
    /// Of step `step` from 0, with `rate` times the learning rate, for a gradient scaled by `clip`.
    pub(super) fn new(options: &TrainOptions, step: u64, rate: f32, clip: f32) -> Self {
        let t = (step + 1) as f64;
        let correction = |beta: f32| 1.0 - f64::from(beta).powf(t);
        let learning_rate = f64::from(rate) * learning_rate(options, step);
        let (coupled, decoupled) = match options.decay {
            Decay::Coupled => (options.weight_decay, 0.0),
            Decay::Decoupled => (0.0, options.weight_decay),
        };
        Self {
            beta1: options.beta1,
            beta2: options.beta2,
            epsilon: options.epsilon,
            rate: (learning_rate / correction(options.beta1)) as f32,
            correction: correction(options.beta2).sqrt() as f32,
            coupled,
            shrink: (1.0 - learning_rate * f64::from(decoupled)) as f32,
            clip,
        }
    }

    /// The same without weight decay.
    pub(super) fn without_decay(self) -> Self {
        Self {
            coupled: 0.0,
            shrink: 1.0,
            ..self
        }
    }

    /// Moves `p` by its gradient `g`; all equally long.
    pub(super) fn update(self, p: &mut [f32], g: &[f32], m: &mut [f32], v: &mut [f32]) {
        wide!({
            let n = p.len();
            let (g, m, v) = (&g[..n], &mut m[..n], &mut v[..n]);
            for i in 0..n {
                let g = g[i] * self.clip + self.coupled * p[i];
                // What is denormal would stay so for thousands of steps of a dead latent, each slow.
                m[i] = flush(self.beta1 * m[i] + (1.0 - self.beta1) * g);
                v[i] = flush(self.beta2 * v[i] + (1.0 - self.beta2) * (g * g));
                let root = v[i].sqrt() / self.correction + self.epsilon;
                p[i] = flush(p[i] * self.shrink - self.rate * m[i] / root);
            }
        });
    }
}

/// Of step `step`, from 0: it rises linearly to the full one at the last step of the warm-up.
pub(super) fn learning_rate(options: &TrainOptions, step: u64) -> f64 {
    let warm = (step + 1) as f64 / options.warmup_steps.max(1) as f64;
    f64::from(options.learning_rate) * warm.min(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Three updates of one parameter by the algorithm as written, in float64.
    #[test]
    fn follows_the_algorithm() {
        for decay in [Decay::Coupled, Decay::Decoupled] {
            let options = TrainOptions {
                weight_decay: 0.1,
                decay,
                warmup_steps: 2,
                ..TrainOptions::default()
            };
            let (mut p, mut moments) = (vec![0.5f32], Moments::new(1));
            let (mut theta, mut m, mut v) = (0.5f64, 0.0f64, 0.0f64);
            for (t, g) in [0.3f64, -0.2, 0.7].into_iter().enumerate() {
                let adam = Adam::new(&options, t as u64, 1.0, 1.0);
                adam.update(&mut p, &[g as f32], &mut moments.m, &mut moments.v);
                let rate = [5e-4, 1e-3, 1e-3][t];
                let (coupled, decoupled) = match decay {
                    Decay::Coupled => (0.1, 0.0),
                    Decay::Decoupled => (0.0, 0.1),
                };
                let g = g + coupled * theta;
                theta -= rate * decoupled * theta;
                m = 0.9 * m + 0.1 * g;
                v = 0.999 * v + 0.001 * g * g;
                let t = t as i32 + 1;
                let (m, v) = (m / (1.0 - 0.9f64.powi(t)), v / (1.0 - 0.999f64.powi(t)));
                theta -= rate * m / (v.sqrt() + 1e-8);
                assert!(
                    (f64::from(p[0]) - theta).abs() < 1e-6,
                    "{decay:?}, step {t}"
                );
            }
        }
    }

    #[test]
    fn denormals_become_zero() {
        let options = TrainOptions::default();
        let (mut p, mut m, mut v) = ([1e-38f32], [1e-38f32], [1.2e-38f32]);
        Adam::new(&options, 10_000, 1.0, 1.0).update(&mut p, &[0.0], &mut m, &mut v);
        assert_eq!((p, m), ([0.0], [0.0]));
        assert!(v[0] == 0.0 || v[0].is_normal());
    }
}
