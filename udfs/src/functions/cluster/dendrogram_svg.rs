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
use std::sync::{Arc, LazyLock};

use datafusion::arrow::array::{Array, AsArray, StringArray};
use datafusion::common::Result;
use polysema_kernels::clustering::flat_clusters::joining_heights;
use polysema_kernels::{FlatClusters, Step};

use crate::calls::{Function, FunctionDoc, Parameter, RUN};
use crate::per_neuron::{
    Column, Cut, Each, Groundwork, Group, KIND, LAYER, LAYER_NEURON, NEURON, NeuronRows, PerNeuron,
    SIGN_COLUMN, TREE, joined, table_function, text,
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

static DOC: LazyLock<FunctionDoc> = LazyLock::new(|| FunctionDoc {
    name: PER_NEURON.name,
    chapter: "cluster",
    summary: "One row per neuron: the dendrogram of its examples as an SVG picture, cut and coloured by feature cluster.",
    arguments: LAYER_NEURON,
    required: 0,
    options: const { &joined::<8>(&[TREE, &[LEAVES, KIND, RUN]]) },
    returns: PER_NEURON.returns(""),
    example: "SELECT layer, neuron, starts_with(svg, '<svg') AS is_picture, regexp_count(svg, '<circle') AS leaves \
              FROM dendrogram_svg(0, 1)",
    replaces: None,
});

static PER_NEURON: PerNeuron = PerNeuron {
    each: Each::Neuron,
    groundwork: Groundwork::Merges,
    columns: &[
        LAYER,
        NEURON,
        Column::new(
            "svg",
            text,
            "a whole SVG document; clusters are those of hierarchical clustering, whatever polysema.method",
            |rows| Ok(Arc::new(StringArray::from(vec![picture(rows)?]))),
        )
        .reading(&["token", "pos", "window_tokens", "window_start"]),
        SIGN_COLUMN,
    ],
    settle: |arguments, _, options| options.add_count(arguments, LEAVES, 2, Some(MAX_LEAVES)),
    ..PerNeuron::new("dendrogram_svg")
};

/// The catalogue entry.
pub fn function() -> Function {
    table_function(&DOC, &PER_NEURON)
}

fn picture(rows: &NeuronRows) -> Result<String> {
    let group = rows.group;
    let (ids, tokens, contexts) = (group.ids()?, group.column("token")?, group.texts(None)?);
    let tokens = tokens.as_string::<i32>();
    let (clustering, steps) = (rows.clustering()?, rows.steps()?);
    let (clusters, live) = (&clustering.clusters, clustering.live);
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
    let medoids: Vec<u32> = (rows.medoids()?.iter())
        .map(|&row| live.partition_point(|&other| (other as usize) < row) as u32)
        .collect();
    let threshold = match rows.options.clustering.cut {
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
        max_leaves: rows.options.count(LEAVES.name)?,
        notes: &notes,
    };
    Ok(dendrogram(&about(group, &tree), &tree))
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
