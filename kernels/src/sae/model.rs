//! The parameters of a sparse autoencoder.

/// The parameters of one sparse autoencoder, or of a transcoder, which gives back what stands at another place.
#[derive(Debug, Clone, PartialEq)]
pub struct Sae {
    /// Width of the vectors it reads.
    pub d_in: usize,
    /// Number of latents.
    pub d_sae: usize,
    /// What makes the code sparse.
    pub variant: Variant,
    /// Whether `b_dec` is taken off a vector before it is encoded.
    pub centered: bool,
    /// What a latent looks for. `[d_sae, d_in]`, row-major
    pub w_enc: Vec<f32>,
    /// `[d_sae]`; unused by a gated one
    pub b_enc: Vec<f32>,
    /// What a latent writes. `[d_sae, d_out]`, row-major
    pub w_dec: Vec<f32>,
    /// `[d_out]`
    pub b_dec: Vec<f32>,
    /// What is done to a vector before anything else, and undone at the end.
    pub norm: InputNorm,
    /// What the vector itself adds to what is given back, `W_skip x`. `[d_out, d_in]`, row-major; empty if it adds nothing
    pub w_skip: Vec<f32>,
    /// Whether what is given back stands for another vector than the one it reads, as a transcoder's does.
    pub transcodes: bool,
}

/// How the length of each vector is taken off it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum InputNorm {
    /// Not at all.
    #[default]
    None,
    /// `x / rms(x)`; zeros stay.
    Rms,
    /// `(x - mean(x)) / (std(x) + 1e-5)`, with the standard deviation of a sample; undone without the `1e-5`.
    Standard,
}

impl InputNorm {
    /// All of them under the names that files write.
    pub const NAMES: [(&'static str, Self); 3] = [
        ("none", Self::None),
        ("rms", Self::Rms),
        ("standard", Self::Standard),
    ];
    const EPSILON: f64 = 1e-5;

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Rms => "rms",
            Self::Standard => "standard",
        }
    }

    /// Mean and length that are taken off a vector.
    pub(crate) fn of(self, x: &[f32]) -> [f64; 2] {
        let n = x.len() as f64;
        let mean = match self {
            Self::Standard => x.iter().map(|x| f64::from(*x)).sum::<f64>() / n,
            _ => 0.0,
        };
        let squares: f64 = x.iter().map(|x| (f64::from(*x) - mean).powi(2)).sum();
        match self {
            Self::None => [0.0, 1.0],
            Self::Rms => [0.0, (squares / n).sqrt()],
            Self::Standard => [mean, (squares / (n - 1.0)).sqrt()],
        }
    }

    /// Writes a vector as it is encoded.
    pub(crate) fn apply(self, x: &[f32], out: &mut [f32]) {
        let [mean, length] = self.of(x);
        let divisor = match self {
            Self::Standard => length + Self::EPSILON,
            _ if length == 0.0 => 1.0,
            _ => length,
        };
        for (out, x) in out.iter_mut().zip(x) {
            *out = ((f64::from(*x) - mean) / divisor) as f32;
        }
    }
}

impl Sae {
    /// Width of the vectors it gives back.
    pub fn d_out(&self) -> usize {
        self.b_dec.len()
    }

    /// Whether what it gives back depends on more of a vector than its code.
    pub fn reads_vector_again(&self) -> bool {
        self.norm != InputNorm::None || !self.w_skip.is_empty()
    }

    /// The same autoencoder for vectors `scale` times as long: their codes are those of the shorter ones.
    pub fn for_vectors_scaled_by(mut self, scale: f32) -> Self {
        self.w_enc.iter_mut().for_each(|w| *w /= scale);
        self.w_dec.iter_mut().for_each(|w| *w *= scale);
        self.b_dec.iter_mut().for_each(|b| *b *= scale);
        self
    }
}

/// The nonlinearity between encoder and decoder, with the parameters that only it has.
#[derive(Debug, Clone, PartialEq)]
pub enum Variant {
    /// `a = max(z, 0)`.
    Relu,
    /// The `k` largest of `max(z, 0)` of each vector.
    TopK {
        /// Latents that may be active.
        k: usize,
    },
    /// While training the `k` largest a vector on average over a batch; afterwards every `z` above `threshold`.
    BatchTopK {
        /// Latents that are active on average.
        k: usize,
        /// Least activation once trained.
        threshold: f32,
    },
    /// `a = z` where `z` is above the latent's threshold.
    JumpRelu {
        /// `[d_sae]`, not negative
        threshold: Vec<f32>,
    },
    /// `a = max(exp(r_mag) (W_enc x) + b_mag, 0)` where `W_enc x + b_gate > 0`; x less `b_dec` if centered.
    Gated {
        /// `[d_sae]`
        b_gate: Vec<f32>,
        /// `[d_sae]`
        r_mag: Vec<f32>,
        /// `[d_sae]`
        b_mag: Vec<f32>,
    },
}

impl Variant {
    /// Names of the variants, as options and files write them.
    pub const NAMES: [&'static str; 5] = ["relu", "topk", "batch_topk", "jump_relu", "gated"];

    /// Its name.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Relu => "relu",
            Self::TopK { .. } => "topk",
            Self::BatchTopK { .. } => "batch_topk",
            Self::JumpRelu { .. } => "jump_relu",
            Self::Gated { .. } => "gated",
        }
    }
}
