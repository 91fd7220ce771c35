//! Feature clusters that fall apart at a lower threshold: the related but distinct behaviours of a neuron.
//!
//! A parent is a cluster at `upper`, its children are the clusters at `lower` inside it; parents that do not split have
//! no row. `lower` is 0.8 of `upper` by default: on a small language model half of the clusters split there, into two or
//! three children, where lower cuts mostly chip off single examples.
//!
//! Source: Foote 2024, section 3.2, on neurons with related behaviours.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, Float32Array, Int32Array};
use datafusion::arrow::datatypes::{DataType, Schema, SchemaRef};
use datafusion::catalog::Session;
use datafusion::common::{Result, internal_err, plan_err};

use crate::arrow::tokens::{top_tokens, top_tokens_type};
use crate::calls::settings::PolysemaOptions;
use crate::calls::{Arguments, Function, FunctionDoc, Parameter, RUN};
use crate::per_neuron::{
    ClusterOptions, Cut, EMBEDDING, Group, InputColumns, KIND, LAYER_NEURON, LINKAGE, N_TOKENS,
    NeuronFunction, OutputColumns, PerNeuron, STRICT, Scratch, fields, n_tokens, table_function,
};
use polysema_kernels::clustering::flat_clusters::joining_heights;

/// The lower threshold as a share of the upper; see the module for why.
const LOWER: f64 = 0.8;

static DOC: FunctionDoc = FunctionDoc {
    name: "feature_splits",
    chapter: "cluster",
    summary: "One row per part of a feature cluster that falls apart at a lower threshold: related but distinct behaviours.",
    arguments: LAYER_NEURON,
    required: 0,
    options: &[
        Parameter {
            name: "upper",
            kind: "number in [0, 2]",
            summary: "threshold of the parents; default polysema.threshold",
        },
        Parameter {
            name: "lower",
            kind: "number in [0, upper)",
            summary: "threshold of the children; default 0.8 of upper",
        },
        LINKAGE,
        EMBEDDING,
        STRICT,
        KIND,
        RUN,
        N_TOKENS,
    ],
    returns: "layer, neuron, parent (cluster at upper), cluster (the child, numbered as at lower), size (examples of \
              the child), parent_size (examples of the parent), dissimilarity (merge height at which the child joins \
              the rest of its parent), central_example (the medoid), top_tokens (by count, ties by first example); \
              by parent, then child",
    example: "SELECT neuron, parent, \"cluster\", size, dissimilarity, top_tokens FROM feature_splits(0, {lower: \
              0.1}) ORDER BY neuron, parent, \"cluster\" LIMIT 3",
    replaces: None,
};

static PER_NEURON: PerNeuron = PerNeuron {
    doc: &DOC,
    schema,
    check: |arguments| {
        // Under the widest threshold a session may have.
        let threshold = 2.0;
        let settings = PolysemaOptions {
            threshold,
            ..PolysemaOptions::default()
        };
        FeatureSplits::bind(arguments, &settings).map(|_| ())
    },
    bind: |arguments, state: &dyn Session| {
        let settings = PolysemaOptions::of(state.config_options())?;
        Ok(Arc::new(FeatureSplits::bind(arguments, &settings)?))
    },
};

/// The catalogue entry.
pub fn function() -> Function {
    table_function(&PER_NEURON)
}

fn schema() -> SchemaRef {
    Arc::new(Schema::new(fields(&[
        ("layer", DataType::Int32, false),
        ("neuron", DataType::Int32, false),
        ("parent", DataType::Int32, false),
        ("cluster", DataType::Int32, false),
        ("size", DataType::Int32, false),
        ("parent_size", DataType::Int32, false),
        ("dissimilarity", DataType::Float32, false),
        ("central_example", DataType::Int32, false),
        ("top_tokens", top_tokens_type(), true),
    ])))
}

#[derive(Debug)]
struct FeatureSplits {
    /// Cut at the lower threshold.
    options: ClusterOptions,
    lower: f64,
    upper: f64,
    n_tokens: usize,
}

impl FeatureSplits {
    fn bind(arguments: &Arguments, settings: &PolysemaOptions) -> Result<Self> {
        let upper = arguments.number("upper")?.unwrap_or(settings.threshold);
        if !(0.0..=2.0).contains(&upper) {
            return plan_err!("{}: upper must be in [0, 2], got {upper}", DOC.name);
        }
        let lower = arguments.number("lower")?.unwrap_or(LOWER * upper);
        if !(0.0..upper).contains(&lower) {
            return plan_err!(
                "{}: lower must be at least 0 and below upper, got {lower} and {upper}",
                DOC.name
            );
        }
        let mut options = ClusterOptions::hierarchical(arguments, settings)?;
        options.cut = Cut::Threshold(lower);
        Ok(Self {
            options,
            lower,
            upper,
            n_tokens: n_tokens(arguments)?,
        })
    }
}

impl NeuronFunction for FeatureSplits {
    fn inputs(&self, wanted: &OutputColumns) -> InputColumns {
        let mut examples = vec![];
        if wanted.column("top_tokens") {
            examples.push("token");
        }
        self.options.embedding.inputs(examples)
    }

    fn bytes(&self, n: usize, d: usize, limit: usize) -> usize {
        self.options.bytes(n, d, limit)
    }

    fn advice(&self, n: usize, d: usize, limit: usize) -> Option<String> {
        self.options.advice_on_merges(n, d, limit)
    }

    fn rows(
        &self,
        group: &Group,
        wanted: &OutputColumns,
        scratch: &mut Scratch,
    ) -> Result<Vec<ArrayRef>> {
        let ids = group.ids()?;
        let clustering = scratch.cluster(group, &self.options)?;
        let Some(steps) = clustering.steps() else {
            return internal_err!("{}: hierarchical clustering makes merges", DOC.name);
        };
        let children = &clustering.clusters;
        let n = children.labels.len();
        let parents = Cut::Threshold(self.upper).flat(steps, n, self.options.strict);
        let mut parent_of = vec![0; children.sizes.len()];
        for (&child, &parent) in children.labels.iter().zip(&parents.labels) {
            parent_of[child as usize] = parent as usize;
        }
        let mut split: Vec<usize> = (0..parent_of.len())
            .filter(|&child| children.sizes[child] < parents.sizes[parent_of[child]])
            .collect();
        split.sort_by_key(|&child| (parent_of[child], child));
        let heights = joining_heights(steps, children);
        let central = clustering.medoids();
        let integers = |of: &dyn Fn(usize) -> i32| -> ArrayRef {
            Arc::new(
                split
                    .iter()
                    .map(|&child| Some(of(child)))
                    .collect::<Int32Array>(),
            )
        };
        let [layer, neuron] = group.key_columns(split.len());
        let columns = vec![
            layer,
            neuron,
            integers(&|child| parent_of[child] as i32),
            integers(&|child| child as i32),
            integers(&|child| children.sizes[child] as i32),
            integers(&|child| parents.sizes[parent_of[child]] as i32),
            // What lies inside a larger cluster joins something.
            Arc::new(
                split
                    .iter()
                    .map(|&child| heights[child])
                    .collect::<Float32Array>(),
            ),
            integers(&|child| ids[central[child]]),
            wanted.or_null("top_tokens", split.len(), || {
                let mut members = clustering.members();
                let of_split = split
                    .iter()
                    .map(|&child| std::mem::take(&mut members[child]));
                let of_split: Vec<_> = of_split.collect();
                Ok(top_tokens(group.column("token")?, &of_split, self.n_tokens))
            })?,
        ];
        scratch.n_parents = parents.sizes.len();
        Ok(columns)
    }

    fn describe(&self) -> String {
        format!(
            "upper={}, lower={}, linkage={}, embedding={}{}, n_tokens={}",
            self.upper,
            self.lower,
            self.options.linkage.name(),
            self.options.embedding.name(),
            if self.options.strict { ", strict" } else { "" },
            self.n_tokens
        )
    }
}
