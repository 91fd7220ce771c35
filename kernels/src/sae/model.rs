//! The parameters of a sparse autoencoder.

/// The parameters of one sparse autoencoder.
#[derive(Debug, Clone, PartialEq)]
pub struct Sae {
    /// Width of the vectors it reads and gives back.
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
    /// What a latent writes. `[d_sae, d_in]`, row-major
    pub w_dec: Vec<f32>,
    /// `[d_in]`
    pub b_dec: Vec<f32>,
}

impl Sae {
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
