//! The centre of each feature cluster of a neuron.

use std::sync::{Arc, LazyLock};

use datafusion::arrow::array::ArrayRef;
use datafusion::common::Result;
use polysema_kernels::vector::norm;

use crate::arrow::vectors::{VectorBuilder, vector_type};
use crate::calls::{Function, FunctionDoc};
use crate::per_neuron::{
    CLUSTER, CLUSTERS_OF_LAYERS, Column, LAYER, LAYER_NEURON, NEURON, NeuronRows, PerNeuron,
    SIGN_COLUMN, SIZE, table_function,
};

static DOC: LazyLock<FunctionDoc> = LazyLock::new(|| FunctionDoc {
    name: PER_NEURON.name,
    chapter: "cluster",
    summary: "One row per feature cluster: its centre, the mean of its examples' embeddings, each scaled to length 1.",
    arguments: LAYER_NEURON,
    required: 0,
    options: CLUSTERS_OF_LAYERS,
    returns: PER_NEURON.returns(""),
    example: "SELECT cluster, size, round(vector_norm(centroid), 3) AS norm FROM cluster_centroids(0, 1)",
    replaces: None,
});

static PER_NEURON: PerNeuron = PerNeuron {
    columns: &[
        LAYER,
        NEURON,
        CLUSTER,
        SIZE,
        Column::new(
            "centroid",
            vector_type,
            "List<Float32> [d_in], [2 d_in] of embedding 'gate_up'; 1 - centroid . u is the mean cosine distance of its examples to a vector u of length 1",
            centroids,
        ),
        SIGN_COLUMN,
    ],
    ..PerNeuron::new("cluster_centroids")
};

/// The catalogue entry.
pub fn function() -> Function {
    table_function(&DOC, &PER_NEURON)
}

fn centroids(rows: &NeuronRows) -> Result<ArrayRef> {
    let (group, mut centroids) = (rows.group, VectorBuilder::new());
    let vectors = group.vectors()?;
    let width = group.embedding_width(vectors.width());
    let vectors = vectors.rows();
    let mut embedding = vec![0.0; width];
    for members in rows.members()? {
        let mut sum = vec![0.0; width];
        for &row in members {
            group.embed(vectors[row], &mut embedding);
            let length = norm(&embedding);
            (sum.iter_mut().zip(&embedding)).for_each(|(s, &e)| *s += f64::from(e) / length);
        }
        centroids.append_with(width, |mean| {
            let n = members.len() as f64;
            (mean.iter_mut().zip(&sum)).for_each(|(mean, sum)| *mean = (sum / n) as f32);
        });
    }
    Ok(Arc::new(centroids.finish()))
}
