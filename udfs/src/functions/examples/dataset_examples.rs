//! The dataset examples of a neuron with their text, `docs/definitions.md` section 3.

use std::sync::LazyLock;

use crate::calls::{Function, FunctionDoc, RUN};
use crate::per_neuron::{
    ACTIVATION, CONTEXT, DOC_ID, EXAMPLE, Each, Groundwork, KIND, LAYER, LAYER_NEURON, NEURON, POS,
    PerNeuron, TOKEN, table_function,
};

static DOC: LazyLock<FunctionDoc> = LazyLock::new(|| FunctionDoc {
    name: PER_NEURON.name,
    chapter: "examples",
    summary: "One row per dataset example: a document on which the neuron fires, with the token it fires on.",
    arguments: LAYER_NEURON,
    required: 0,
    options: &[KIND, RUN],
    returns: PER_NEURON.returns(""),
    example: "SELECT token, activation, context FROM dataset_examples(0, 1) LIMIT 3",
    replaces: None,
});

static PER_NEURON: PerNeuron = PerNeuron {
    each: Each::Example,
    groundwork: Groundwork::Examples,
    columns: &[
        LAYER, NEURON, EXAMPLE, DOC_ID, POS, TOKEN, ACTIVATION, CONTEXT,
    ],
    ..PerNeuron::new("dataset_examples")
};

/// The catalogue entry.
pub fn function() -> Function {
    table_function(&DOC, &PER_NEURON)
}
