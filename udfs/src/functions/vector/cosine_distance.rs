//! Cosine distance of two vectors: `1 - <a, b> / (|a| |b|)`, equation 3 of the paper.

use crate::calls::scalar::{Arithmetic, vector_function};
use crate::calls::{Function, FunctionDoc, Parameter};
use polysema_kernels::vector;

static DOC: FunctionDoc = FunctionDoc {
    name: "cosine_distance",
    chapter: "vector",
    summary: "One minus the cosine similarity of two vectors.",
    arguments: &[
        Parameter {
            name: "a",
            kind: "list of numbers [d]",
            summary: "a vector",
        },
        Parameter {
            name: "b",
            kind: "list of numbers [d]",
            summary: "another of the same width",
        },
    ],
    required: 2,
    options: &[],
    returns: "Float64 in [0, 2]; NULL for a NULL or zero vector or a NULL element",
    example: "SELECT cosine_distance([1.0, 0.0], [0.0, 1.0]) AS distance",
    replaces: Some(
        "DataFusion's cosine_distance: same contract, read without a copy to Float64 and clamped to [0, 2]",
    ),
};

/// The catalogue entry.
pub fn function() -> Function {
    vector_function(
        &DOC,
        Arithmetic::Binary(vector::cosine_distance, vector::cosine_distance),
    )
}
