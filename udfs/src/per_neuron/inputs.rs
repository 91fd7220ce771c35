//! What a per-neuron function reads of each neuron.

/// What a function reads of each neuron.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InputColumns {
    /// Columns of `examples` besides layer, neuron, example and the vectors.
    pub examples: Vec<&'static str>,
    /// The column of `examples` that holds their vectors, where they are read.
    pub vectors: Option<&'static str>,
    /// Columns of `neurons` that are read as the neuron's weights: none, one or, for the one after the other, two.
    pub weights: &'static [&'static str],
}

/// The column of `examples` that tells lists of the greatest and the least activations apart, where there are both.
pub(super) const SIGN: &str = "sign";
/// The column of `examples` with what the neuron received at the key token.
pub(super) const PRE_MLP: &str = "pre_mlp";
/// The column of `examples` with the mean of what it received up to the key token, weighted by its activations.
pub(super) const WEIGHTED_PRE_MLP: &str = "weighted_pre_mlp";
