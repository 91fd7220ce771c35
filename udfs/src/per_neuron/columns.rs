//! Which columns a per-neuron function gives and which it reads.

/// Which columns of its result a query reads, so that a function makes no others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutputColumns(Vec<bool>);

impl OutputColumns {
    /// From a projection of `n_columns`; none is all.
    pub fn new(n_columns: usize, projection: Option<&Vec<usize>>) -> Self {
        match projection {
            None => Self(vec![true; n_columns]),
            Some(projection) => Self((0..n_columns).map(|i| projection.contains(&i)).collect()),
        }
    }

    /// Whether column `i` of the function's schema is read.
    pub fn column(&self, i: usize) -> bool {
        self.0[i]
    }
}

/// What a function reads of each neuron.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InputColumns {
    /// Columns of `examples` besides layer, neuron, example and the vectors.
    pub examples: Vec<&'static str>,
    /// The column of `examples` that holds their vectors, where they are read.
    pub vectors: Option<&'static str>,
    /// Whether the neuron's weights `w_in` are read.
    pub weights: bool,
}

/// The column of `examples` with what the neuron received at the key token.
pub(super) const PRE_MLP: &str = "pre_mlp";
/// The column of `examples` with the mean of what it received up to the key token, weighted by its activations.
pub(super) const WEIGHTED_PRE_MLP: &str = "weighted_pre_mlp";
