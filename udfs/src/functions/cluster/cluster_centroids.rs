//! The centre of each feature cluster of a neuron.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, Int32Array};
use datafusion::arrow::datatypes::{DataType, Schema, SchemaRef};
use datafusion::common::Result;
use polysema_kernels::vector::norm;

use crate::arrow::vectors::{VectorBuilder, vector_type};
use crate::calls::{Function, FunctionDoc};
use crate::per_neuron::{
    CLUSTERS_OF_LAYERS, ClusterOptions, Group, InputColumns, LAYER_NEURON, NeuronFunction,
    OutputColumns, PerNeuron, Scratch, fields, table_function,
};

static DOC: FunctionDoc = FunctionDoc {
    name: "cluster_centroids",
    chapter: "cluster",
    summary: "One row per feature cluster: its centre, the mean of its examples' embeddings, each scaled to length 1.",
    arguments: LAYER_NEURON,
    required: 0,
    options: CLUSTERS_OF_LAYERS,
    returns: "layer, neuron, cluster (0 is the largest), size (its examples), centroid (List<Float32> [d_in], [2 d_in] of \
              embedding 'gate_up'; 1 - centroid . u is the mean cosine distance of its examples to a vector u of length \
              1), sign (as neuron_polysemanticity gives it)",
    example: "SELECT cluster, size, round(vector_norm(centroid), 3) AS norm FROM cluster_centroids(0, 1)",
    replaces: None,
};

static PER_NEURON: PerNeuron = PerNeuron {
    doc: &DOC,
    schema,
    check: ClusterOptions::check,
    bind: |arguments, state| {
        let options = ClusterOptions::resolve(arguments, state)?;
        Ok(Arc::new(ClusterCentroids { options }))
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
        ("cluster", DataType::Int32, false),
        ("size", DataType::Int32, false),
        ("centroid", vector_type(), false),
        ("sign", DataType::Utf8, true),
    ])))
}

#[derive(Debug)]
struct ClusterCentroids {
    options: ClusterOptions,
}

impl NeuronFunction for ClusterCentroids {
    fn inputs(&self, _: &OutputColumns) -> InputColumns {
        self.options.embedding.inputs(vec![])
    }

    fn clustering(&self) -> Option<&ClusterOptions> {
        Some(&self.options)
    }

    fn rows(
        &self,
        group: &Group,
        _: &OutputColumns,
        scratch: &mut Scratch,
    ) -> Result<Vec<ArrayRef>> {
        let clustering = scratch.cluster(group, &self.options)?;
        let sizes = clustering.clusters.sizes.iter().map(|&size| size as i32);
        let sizes: ArrayRef = Arc::new(Int32Array::from_iter_values(sizes));
        let n_clusters = sizes.len();
        let mut centroids = VectorBuilder::new();
        let vectors = group.vectors()?;
        let width = group.embedding_width(vectors.width());
        let vectors = vectors.rows();
        let mut embedding = vec![0.0; width];
        for members in clustering.members() {
            let mut sum = vec![0.0; width];
            for &row in &members {
                group.embed(vectors[row], &mut embedding);
                let length = norm(&embedding);
                (sum.iter_mut().zip(&embedding)).for_each(|(s, &e)| *s += f64::from(e) / length);
            }
            centroids.append_with(width, |mean| {
                let n = members.len() as f64;
                (mean.iter_mut().zip(&sum)).for_each(|(mean, sum)| *mean = (sum / n) as f32);
            });
        }
        let [layer, neuron] = group.key_columns(n_clusters);
        Ok(vec![
            layer,
            neuron,
            Arc::new(Int32Array::from_iter_values(0..n_clusters as i32)),
            sizes,
            Arc::new(centroids.finish()),
            group.sign_column(n_clusters),
        ])
    }

    fn describe(&self) -> String {
        self.options.describe()
    }
}
