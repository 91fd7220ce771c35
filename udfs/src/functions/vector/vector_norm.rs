//! Euclidean norm of a vector: `sqrt(<v, v>)`.

use crate::calls::scalar::{Arithmetic, vector_function};
use crate::calls::{Function, FunctionDoc, Parameter};
use polysema_kernels::vector;

static DOC: FunctionDoc = FunctionDoc {
    name: "vector_norm",
    chapter: "vector",
    summary: "The Euclidean length of a vector.",
    arguments: &[Parameter {
        name: "v",
        kind: "list of numbers [d]",
        summary: "a vector",
    }],
    required: 1,
    options: &[],
    returns: "Float64, at least 0; NULL for a NULL vector or element",
    example: "SELECT vector_norm([3.0, 4.0]) AS norm",
    replaces: None,
};

/// The catalogue entry.
pub fn function() -> Function {
    vector_function(
        &DOC,
        Arithmetic::Unary(|v| Some(vector::norm(v)), |v| Some(vector::norm(v))),
    )
}
