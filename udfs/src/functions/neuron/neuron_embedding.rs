//! Neuron embedding of one received vector: `e = h * w`, element by element, equations 1 and 2 of the paper.

use crate::calls::scalar::{Arithmetic, vector_function};
use crate::calls::{Function, FunctionDoc, Parameter};
use polysema_kernels::vector;

static DOC: FunctionDoc = FunctionDoc {
    name: "neuron_embedding",
    chapter: "neuron",
    summary: "What a neuron receives times what it looks for, element by element; its sum plus the bias is the pre-activation.",
    arguments: &[
        Parameter {
            name: "h",
            kind: "list of numbers [d_in]",
            summary: "the vector the neuron receives",
        },
        Parameter {
            name: "w",
            kind: "list of numbers [d_in]",
            summary: "the neuron's input weights",
        },
    ],
    required: 2,
    options: &[],
    returns: "List<Float32> [d_in]; NULL for a NULL vector or element",
    example: "SELECT neuron_embedding([1.0, 2.0], [3.0, -1.0]) AS embedding",
    replaces: None,
};

/// The catalogue entry.
pub fn function() -> Function {
    vector_function(&DOC, Arithmetic::Elementwise(vector::product))
}
