//! The per-neuron functions: one operator walks the neurons and hands each group of examples to a function.

mod clustering;
mod columns;
mod cursor;
mod function;
mod group;
mod operator;
mod options;
mod table;
mod worker;

pub use clustering::{Clustering, Scratch};
pub use columns::{InputColumns, OutputColumns};
pub use function::NeuronFunction;
pub use group::{Group, GroupVectors};
pub use operator::PerNeuronExec;
pub use options::{
    ClusterOptions, Cut, EMBEDDING, Embedding, LINKAGE, METHOD, Method, N_CLUSTERS, N_TOKENS,
    STRICT, THRESHOLD, hac_bytes, n_tokens, require_threshold,
};
pub use table::{BoundFunction, KeyArguments, LAYER_NEURON, PerNeuron, only, table_function};
