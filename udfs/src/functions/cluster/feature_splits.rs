//! Feature clusters that fall apart at a lower threshold: the related but distinct behaviours of a neuron.
//!
//! A parent is a cluster at `upper`, its children are the clusters at `lower` inside it; parents that do not split have
//! no row. `lower` is 0.8 of `upper` by default: on a small language model half of the clusters split there, into two or
//! three children, where lower cuts mostly chip off single examples.
//!
//! Source: Foote 2024, section 3.2, on neurons with related behaviours.

use std::sync::{Arc, LazyLock};

use datafusion::arrow::array::Float32Array;
use datafusion::common::{Result, plan_err};
use polysema_kernels::clustering::flat_clusters::joining_heights;

use crate::calls::settings::PolysemaOptions;
use crate::calls::{Arguments, Function, FunctionDoc, Parameter, RUN};
use crate::per_neuron::{
    BoundOptions, CENTRAL_EXAMPLE, CLUSTER, Column, Cut, EMBEDDING, Groundwork, KIND, LAYER,
    LAYER_NEURON, LINKAGE, N_TOKENS, NEURON, NeuronRows, Numbers, Parents, PerNeuron, SIZE, STRICT,
    TOP_TOKENS, Value, float, int, n_tokens, table_function,
};

/// The lower threshold as a share of the upper; see the module for why.
const SHARE: f64 = 0.8;

const UPPER: Parameter = Parameter {
    name: "upper",
    kind: "number in [0, 2]",
    summary: "threshold of the parents; default polysema.threshold",
};

const LOWER: Parameter = Parameter {
    name: "lower",
    kind: "number in [0, upper)",
    summary: "threshold of the children; default 0.8 of upper",
};

static DOC: LazyLock<FunctionDoc> = LazyLock::new(|| FunctionDoc {
    name: PER_NEURON.name,
    chapter: "cluster",
    summary: "One row per part of a feature cluster that falls apart at a lower threshold: related but distinct behaviours.",
    arguments: LAYER_NEURON,
    required: 0,
    options: &[
        UPPER, LOWER, LINKAGE, EMBEDDING, STRICT, KIND, RUN, N_TOKENS,
    ],
    returns: PER_NEURON.returns("; by parent, then child"),
    example: "SELECT neuron, parent, \"cluster\", size, dissimilarity, top_tokens FROM feature_splits(0, {lower: \
              0.1}) ORDER BY neuron, parent, \"cluster\" LIMIT 3",
    replaces: None,
});

static PER_NEURON: PerNeuron = PerNeuron {
    groundwork: Groundwork::Merges,
    columns: &[
        LAYER,
        NEURON,
        Column::new("parent", int, "cluster at upper", |rows| {
            let parents = rows.parents()?;
            rows.per_cluster(|child| parents.of[child] as i32)
        })
        .numbering(Numbers::Parents),
        CLUSTER.meaning("the child, numbered as at lower"),
        SIZE.meaning("examples of the child"),
        Column::new("parent_size", int, "examples of the parent", |rows| {
            let parents = rows.parents()?;
            rows.per_cluster(|child| parents.sizes[parents.of[child]] as i32)
        }),
        Column::new(
            "dissimilarity",
            float,
            "merge height at which the child joins the rest of its parent",
            |rows| {
                let heights = joining_heights(rows.steps()?, &rows.clustering()?.clusters);
                // What lies inside a larger cluster joins something.
                let heights = rows.clusters.iter().map(|&child| heights[child]);
                Ok(Arc::new(heights.collect::<Float32Array>()))
            },
        ),
        CENTRAL_EXAMPLE,
        TOP_TOKENS.nullable(),
    ],
    settle,
    choose: split,
    ..PerNeuron::new("feature_splits")
};

/// The catalogue entry.
pub fn function() -> Function {
    table_function(&DOC, &PER_NEURON)
}

/// Examples are clustered at the lower threshold.
fn settle(
    arguments: &Arguments,
    settings: &PolysemaOptions,
    options: &mut BoundOptions,
) -> Result<()> {
    let upper = arguments.number(UPPER.name)?.unwrap_or(settings.threshold);
    if !(0.0..=2.0).contains(&upper) {
        return plan_err!("{}: upper must be in [0, 2], got {upper}", PER_NEURON.name);
    }
    let lower = arguments.number(LOWER.name)?.unwrap_or(SHARE * upper);
    if !(0.0..upper).contains(&lower) {
        return plan_err!(
            "{}: lower must be at least 0 and below upper, got {lower} and {upper}",
            PER_NEURON.name
        );
    }
    options.clustering.cut = Cut::Threshold(lower);
    options.add(UPPER, Value::Number(upper));
    n_tokens(arguments, settings, options)
}

/// The children of parents that fall apart, by parent.
fn split(rows: &mut NeuronRows) -> Result<()> {
    let (steps, children) = (rows.steps()?, &rows.clustering()?.clusters);
    let (n, strict) = (children.labels.len(), rows.options.clustering.strict);
    let upper = Cut::Threshold(rows.options.number(UPPER.name)?);
    let found = upper.flat(steps, n, strict);
    let mut of = vec![0; children.sizes.len()];
    for (&child, &parent) in children.labels.iter().zip(&found.labels) {
        of[child as usize] = parent as usize;
    }
    let mut split: Vec<_> = (0..of.len())
        .filter(|&child| children.sizes[child] < found.sizes[of[child]])
        .collect();
    split.sort_by_key(|&child| (of[child], child));
    rows.clusters = split;
    let sizes = found.sizes;
    rows.parents = Some(Parents { of, sizes });
    Ok(())
}
