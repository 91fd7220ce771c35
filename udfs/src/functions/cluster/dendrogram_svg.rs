//! The dendrogram of a neuron's examples as a picture that a browser shows.
//!
//! The tree lies from left to right, by height; a leaf is a line with its text around the key token, in the colour and with
//! the number of its feature cluster, the medoid in bold. Of two branches the larger comes first, then the one with the
//! lowest example.
//!
//! The picture is of itself: no style sheet, font, script or address is needed, texts are escaped, and characters that would
//! not be seen are written out. Classes (`cluster c0`, `faint`, `accent`) are for the style sheet of a page around it.
//!
//! Errors: embeddings that are not finite. Cost: n^2 d a neuron.

use std::fmt::Write;
use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, StringArray};
use datafusion::arrow::datatypes::{DataType, Schema, SchemaRef};
use datafusion::common::{Result, internal_err, plan_err};
use polysema_kernels::clustering::flat_clusters::joining_heights;
use polysema_kernels::{FlatClusters, Step};

use crate::calls::settings::PolysemaOptions;
use crate::calls::{Arguments, Function, FunctionDoc, Parameter, RUN};
use crate::per_neuron::{
    ClusterOptions, Cut, Group, InputColumns, KIND, LAYER_NEURON, NeuronFunction, OutputColumns,
    PerNeuron, Scratch, TREE, fields, joined, table_function,
};
use crate::svg::{About, Dendrogram, KeyInContext, dendrogram};

/// Leaves that are read one by one. Chosen, not tuned.
const MAX_LEAVES: i64 = 150;

const LEAVES: Parameter = Parameter {
    name: "max_leaves",
    kind: "whole number, at least 2",
    summary: "most rows of the picture: of more examples a feature cluster is one triangle, of more clusters some share one; \
              default 150",
};

static DOC: FunctionDoc = FunctionDoc {
    name: "dendrogram_svg",
    chapter: "cluster",
    summary: "One row per neuron: the dendrogram of its examples as an SVG picture, cut and coloured by feature cluster.",
    arguments: LAYER_NEURON,
    required: 0,
    options: &joined::<8>(&[TREE, &[LEAVES, KIND, RUN]]),
    returns: "layer, neuron, svg (a whole SVG document; clusters are those of hierarchical clustering, whatever \
              polysema.method), sign (as neuron_polysemanticity gives it)",
    example: "SELECT layer, neuron, starts_with(svg, '<svg') AS is_picture, regexp_count(svg, '<circle') AS leaves \
              FROM dendrogram_svg(0, 1)",
    replaces: None,
};

static PER_NEURON: PerNeuron = PerNeuron {
    doc: &DOC,
    schema,
    check: |arguments| {
        ClusterOptions::check(arguments)?;
        max_leaves(arguments).map(|_| ())
    },
    bind: |arguments, state| {
        let settings = PolysemaOptions::of(state.config_options())?;
        Ok(Arc::new(DendrogramSvg {
            options: ClusterOptions::hierarchical(arguments, &settings)?,
            max_leaves: max_leaves(arguments)?,
        }))
    },
};

/// The catalogue entry.
pub fn function() -> Function {
    table_function(&PER_NEURON)
}

fn max_leaves(arguments: &Arguments) -> Result<usize> {
    match arguments.integer(LEAVES.name)?.unwrap_or(MAX_LEAVES) {
        most if most >= 2 => Ok(most as usize),
        most => plan_err!("{}: max_leaves must be at least 2, got {most}", DOC.name),
    }
}

fn schema() -> SchemaRef {
    Arc::new(Schema::new(fields(&[
        ("layer", DataType::Int32, false),
        ("neuron", DataType::Int32, false),
        ("svg", DataType::Utf8, false),
        ("sign", DataType::Utf8, true),
    ])))
}

#[derive(Debug)]
struct DendrogramSvg {
    options: ClusterOptions,
    max_leaves: usize,
}

impl NeuronFunction for DendrogramSvg {
    fn inputs(&self, wanted: &OutputColumns) -> InputColumns {
        let texts = ["token", "pos", "window_tokens", "window_start"];
        let read = wanted.column("svg").then_some(texts);
        self.options
            .embedding
            .inputs(read.into_iter().flatten().collect())
    }

    fn clustering(&self) -> Option<&ClusterOptions> {
        Some(&self.options)
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
        let svg = match wanted.column("svg") {
            true => self.picture(group, scratch)?,
            false => String::new(),
        };
        let [layer, neuron] = group.key_columns(1);
        Ok(vec![
            layer,
            neuron,
            Arc::new(StringArray::from(vec![svg])),
            group.sign_column(1),
        ])
    }

    fn one_row(&self) -> bool {
        true
    }

    fn describe(&self) -> String {
        format!(
            "{}, max_leaves={}",
            self.options.describe(),
            self.max_leaves
        )
    }
}

impl DendrogramSvg {
    fn picture(&self, group: &Group, scratch: &mut Scratch) -> Result<String> {
        let (ids, tokens, contexts) = (group.ids()?, group.column("token")?, group.texts(None)?);
        let tokens = tokens.as_string::<i32>();
        let clustering = scratch.cluster(group, &self.options)?;
        let (clusters, live) = (&clustering.clusters, clustering.live);
        let Some(steps) = clustering.steps() else {
            return internal_err!("{}: hierarchical clustering makes merges", DOC.name);
        };
        let row = |leaf: u32| live[leaf as usize] as usize;
        let text = |leaf: u32| {
            let row = row(leaf);
            let token = || match tokens.is_valid(row) {
                true => tokens.value(row).to_string(),
                false => format!("example {}", ids[row]),
            };
            let context = contexts[row].clone().unwrap_or_default();
            match context.key_and_after {
                Some((key, after)) => KeyInContext {
                    before: context.before,
                    key,
                    after,
                },
                None => KeyInContext {
                    key: token(),
                    ..KeyInContext::default()
                },
            }
        };
        let medoids: Vec<u32> = (clustering.medoids().into_iter())
            .map(|row| live.partition_point(|&other| (other as usize) < row) as u32)
            .collect();
        let threshold = match self.options.cut {
            Cut::Threshold(threshold) => Some(threshold),
            Cut::AtMost(_) => between(steps, clusters),
        };
        let n_zero = group.len() - live.len();
        let zero = (n_zero > 0).then(|| {
            let (s, are) = if n_zero == 1 {
                ("", "is")
            } else {
                ("s", "are")
            };
            format!("{n_zero} example{s} without a direction {are} in no cluster")
        });
        let notes: Vec<String> = zero.into_iter().collect();
        let tree = Dendrogram {
            steps,
            clusters,
            medoids: &medoids,
            threshold,
            text: &text,
            name: &|leaf| format!("example {}", ids[row(leaf)]),
            max_leaves: self.max_leaves,
            notes: &notes,
        };
        Ok(dendrogram(&about(group, &tree), &tree))
    }
}

/// A height between the merges inside clusters and those that join them.
fn between(steps: &[Step], clusters: &FlatClusters) -> Option<f64> {
    let joins = joining_heights(steps, clusters).into_iter().flatten();
    let above = joins.fold(f32::INFINITY, f32::min);
    let inside = steps.iter().map(|step| step.dissimilarity);
    let below = inside.filter(|h| *h < above).fold(0.0, f32::max);
    above
        .is_finite()
        .then(|| (f64::from(above) + f64::from(below)) / 2.0)
}

fn about(group: &Group, tree: &Dendrogram) -> About {
    /// Clusters that are said one by one.
    const SAID: usize = 8;
    let (layer, neuron, n) = (group.layer, group.neuron, group.len());
    let sign = group
        .sign
        .map_or_else(String::new, |sign| format!(", {sign}"));
    let sizes = &tree.clusters.sizes;
    let (n_clusters, plural) = (sizes.len(), if sizes.len() == 1 { "" } else { "s" });
    let mut description = format!("A tree of {n} examples in {n_clusters} feature cluster{plural}");
    if let Some(threshold) = tree.threshold {
        let _ = write!(description, ", cut at {}", (threshold * 1e6).round() / 1e6);
    }
    description.push('.');
    for (cluster, (size, medoid)) in sizes.iter().zip(tree.medoids).enumerate().take(SAID) {
        let key = (tree.text)(*medoid).key;
        let _ = write!(
            description,
            " Cluster {cluster}: {size}, central token '{key}'."
        );
    }
    if n_clusters > SAID {
        let _ = write!(description, " And {} more.", n_clusters - SAID);
    }
    About {
        id: format!("dendrogram-{layer}-{neuron}{}", sign.replace(", ", "-")),
        title: format!("Dendrogram of layer {layer}, neuron {neuron}{sign}"),
        description,
    }
}
