//! Parameters before training.

use super::model::{InputNorm, Sae, Variant};
use crate::random::Random;

/// How parameters begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Init {
    /// Weights and biases uniform in `±1 / sqrt(fan_in)`, as torch's `Linear`: what Foote 2024 used.
    Uniform,
    /// Decoder rows of random directions and norm 1, the encoder equal to it, biases 0 (Gao et al. 2024, A.1).
    Tied,
}

impl Init {
    /// As options write them.
    pub const NAMES: [&'static str; 2] = ["uniform", "tied"];

    /// The way of a name.
    pub fn parse(name: &str) -> Option<Self> {
        match name {
            "uniform" => Some(Self::Uniform),
            "tied" => Some(Self::Tied),
            _ => None,
        }
    }
}

/// Where jump ReLU thresholds begin, for vectors whose squared distance from their mean is 1 on average. Chosen: those of
/// Rajamanoharan et al. 2024, 1e-3, take the millions of steps that theirs have.
const THRESHOLD: f32 = 0.03;

impl Variant {
    /// The variant of a name with its parameters before training; `k` matters to the top-k variants only.
    pub fn untrained(name: &str, d_sae: usize, k: usize) -> Option<Self> {
        Some(match name {
            "relu" => Self::Relu,
            "topk" => Self::TopK { k },
            "batch_topk" => Self::BatchTopK { k, threshold: 0.0 },
            "jump_relu" => Self::JumpRelu {
                threshold: vec![THRESHOLD; d_sae],
            },
            "gated" => Self::Gated {
                b_gate: vec![0.0; d_sae],
                r_mag: vec![0.0; d_sae],
                b_mag: vec![0.0; d_sae],
            },
            _ => return None,
        })
    }
}

impl Sae {
    /// An untrained autoencoder, a function of its arguments alone. `variant` is used as it is.
    pub fn init(
        d_in: usize,
        d_sae: usize,
        variant: Variant,
        centered: bool,
        init: Init,
        seed: u64,
    ) -> Self {
        let mut random = Random::new(seed);
        let mut uniform = |n: usize, fan_in: usize| -> Vec<f32> {
            let bound = 1.0 / (fan_in as f64).sqrt();
            let value = |_| ((2.0 * random.uniform() - 1.0) * bound) as f32;
            (0..n).map(value).collect()
        };
        let (w_enc, b_enc, w_dec, b_dec) = match init {
            Init::Uniform => (
                uniform(d_sae * d_in, d_in),
                uniform(d_sae, d_in),
                uniform(d_sae * d_in, d_sae),
                uniform(d_in, d_sae),
            ),
            Init::Tied => {
                let mut w: Vec<f32> = (0..d_sae * d_in).map(|_| random.normal() as f32).collect();
                w.chunks_exact_mut(d_in).for_each(normalise);
                (w.clone(), vec![0.0; d_sae], w, vec![0.0; d_in])
            }
        };
        // A gated one has its own biases.
        let b_enc = match variant {
            Variant::Gated { .. } => vec![0.0; d_sae],
            _ => b_enc,
        };
        Self {
            d_in,
            d_sae,
            variant,
            centered,
            w_enc,
            b_enc,
            w_dec,
            b_dec,
            norm: InputNorm::None,
            w_skip: vec![],
            transcodes: false,
        }
    }
}

/// Scales a row to norm 1; one of zeros stays.
pub(crate) fn normalise(row: &mut [f32]) {
    let square: f64 = row.iter().map(|x| f64::from(*x).powi(2)).sum();
    if square > 0.0 {
        let scale = (1.0 / square.sqrt()) as f32;
        row.iter_mut().for_each(|x| *x *= scale);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uniform_fills_torch_s_range() {
        let sae = Sae::init(64, 256, Variant::Relu, true, Init::Uniform, 7);
        for (values, bound) in [
            (&sae.w_enc, 0.125),
            (&sae.b_enc, 0.125),
            (&sae.w_dec, 0.0625),
            (&sae.b_dec, 0.0625),
        ] {
            let largest = values.iter().fold(0.0f32, |l, x| l.max(x.abs()));
            assert!(largest <= bound && largest > 0.9 * bound);
        }
        assert_eq!(
            sae,
            Sae::init(64, 256, Variant::Relu, true, Init::Uniform, 7)
        );
        assert_ne!(
            sae,
            Sae::init(64, 256, Variant::Relu, true, Init::Uniform, 8)
        );
    }

    #[test]
    fn tied_has_unit_rows() {
        let variant = Variant::untrained("topk", 32, 4).unwrap();
        let sae = Sae::init(10, 32, variant, true, Init::Tied, 1);
        assert_eq!(sae.w_enc, sae.w_dec);
        for row in sae.w_dec.chunks_exact(10) {
            let norm: f32 = row.iter().map(|x| x * x).sum();
            assert!((norm - 1.0).abs() < 1e-5);
        }
        assert!(sae.b_enc.iter().chain(&sae.b_dec).all(|b| *b == 0.0));
    }
}
