//! The per-neuron functions: one operator walks the neurons and hands each group of examples to a function.

mod clustering;
mod columns;
mod cursor;
mod function;
mod group;
mod keys;
mod layer_filter;
mod neuron_check;
mod operator;
mod options;
mod table;
mod turns;
mod worker;

pub use clustering::{Clustering, Scratch};
pub use columns::{InputColumns, OutputColumns, fields};
pub use function::NeuronFunction;
pub use group::{Group, GroupVectors};
pub use keys::{KIND, KeyArguments, KeySelection, LAYER_NEURON, only};
pub use layer_filter::{LayerChoice, LayerFilterExec, LayerLookup, LayerRef};
pub use neuron_check::NeuronCheck;
pub use operator::PerNeuronExec;
pub use options::{
    CLUSTERING, CLUSTERS_OF_LAYERS, ClusterOptions, Cut, EMBEDDING, Embedding, LINKAGE, Method,
    N_TOKENS, STRICT, TREE, by_means, joined, matrix_bytes, n_tokens, require_threshold,
};
pub use table::{BoundFunction, PerNeuron, table_function};
