//! The per-neuron functions: one operator walks the neurons and hands each group of examples to a function.

mod bound;
mod clustering;
mod columns;
mod cursor;
mod function;
mod group;
mod inputs;
mod keys;
mod layer_filter;
mod metrics;
mod neuron_check;
mod operator;
mod options;
mod rows;
mod table;
mod texts;
mod turns;
mod worker;

pub use bound::{BoundOptions, Value, n_tokens};
pub use clustering::Clustering;
pub use columns::{
    ACTIVATION, CENTRAL_EXAMPLE, CLUSTER, CLUSTER_OF_EXAMPLE, CONTEXT, Column, DOC_ID, EXAMPLE,
    LAYER, MEAN_ACTIVATION, NEURON, Numbers, POS, SIGN_COLUMN, SIZE, TOKEN, TOP_TOKENS, double,
    fields, float, int, text,
};
pub use function::{BoundCall, Groundwork, PerNeuron};
pub use group::{Group, GroupVectors};
pub use keys::{KIND, KeyArguments, KeySelection, LAYER_NEURON, only};
pub use layer_filter::{LayerChoice, LayerFilterExec, LayerLookup, LayerRef};
pub use metrics::{
    INTER_CLUSTER_DISTANCE, INTRA_CLUSTER_DISTANCE, MAX_DISTANCE, MEAN_DISTANCE, N_CLUSTERS,
    N_EXAMPLES, number,
};
pub use neuron_check::NeuronCheck;
pub use operator::PerNeuronExec;
pub use options::{
    CLUSTERING, CLUSTERS_OF_LAYERS, ClusterOptions, Cut, EMBEDDING, Embedding, LINKAGE, Method,
    N_TOKENS, STRICT, TREE, by_means, joined, matrix_bytes, require_threshold,
};
pub use rows::{Each, NeuronRows, Parents};
pub use table::{per_neuron, table_function};
pub use texts::KnownNames;
