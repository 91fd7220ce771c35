//! Cosine similarity of two vectors: `<a, b> / (|a| |b|)`.

use crate::calls::scalar::{Arithmetic, vector_function};
use crate::calls::{Function, FunctionDoc, Parameter};
use polysema_kernels::vector;

static DOC: FunctionDoc = FunctionDoc {
    name: "cosine_similarity",
    chapter: "vector",
    summary: "How far two vectors point the same way.",
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
    returns: "Float64 in [-1, 1]; NULL for a NULL or zero vector or a NULL element",
    example: "SELECT cosine_similarity([1.0, 0.0], [1.0, 1.0]) AS similarity",
    replaces: None,
};

/// The catalogue entry.
pub fn function() -> Function {
    vector_function(
        &DOC,
        Arithmetic::Binary(vector::cosine_similarity, vector::cosine_similarity),
    )
}
