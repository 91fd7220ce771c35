//! What every clustering function shares: its options, the buffers it reuses from neuron to neuron, and the step from
//! a group of examples to feature clusters.

use std::time::Duration;

use datafusion::catalog::Session;
use datafusion::common::instant::Instant;
use datafusion::common::{Result, exec_datafusion_err, plan_err};

use super::{Group, Vectors};
use crate::bridge::arguments::Arguments;
use crate::bridge::document::Parameter;
use crate::bridge::settings::PolysemaOptions;
use crate::kernels::clusters::{FlatClusters, flat_clusters, flat_clusters_at_most};
use crate::kernels::distance::CosineDistances;
use crate::kernels::linkage::{Linkage, Linker, Step};

/// What is compared: the neuron embedding or the received vector alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Embedding {
    /// `h * w`, element by element.
    Neuron,
    /// `h`.
    PreMlp,
}

impl Embedding {
    fn parse(name: &str) -> Option<Self> {
        match name {
            "neuron" => Some(Self::Neuron),
            "pre_mlp" => Some(Self::PreMlp),
            _ => None,
        }
    }

    /// Name in SQL.
    pub fn name(self) -> &'static str {
        match self {
            Self::Neuron => "neuron",
            Self::PreMlp => "pre_mlp",
        }
    }
}

/// The option `embedding`, which functions of distances take.
pub const EMBEDDING: Parameter = Parameter {
    name: "embedding",
    kind: "text",
    summary: "'neuron' (the neuron embedding h * w) or 'pre_mlp' (the received vector h); default polysema.embedding",
};

/// The option `linkage`.
pub const LINKAGE: Parameter = Parameter {
    name: "linkage",
    kind: "text",
    summary: "average, single, complete, weighted, ward, centroid or median; default polysema.linkage. The last three take \
              cosine distances for Euclidean ones, as SciPy does with any matrix: their heights are no mean cosine \
              distances, ward's may exceed 2 (cut it by n_clusters), centroid's and median's may fall from merge to merge",
};

/// The option `threshold`.
pub const THRESHOLD: Parameter = Parameter {
    name: "threshold",
    kind: "number in [0, 2]",
    summary: "largest merge height inside a cluster; default polysema.threshold",
};

/// The option `n_clusters`.
pub const N_CLUSTERS: Parameter = Parameter {
    name: "n_clusters",
    kind: "whole number, at least 1",
    summary: "in place of a threshold: the cut with at most this many clusters, fewer where merges tie",
};

/// The option `strict`.
pub const STRICT: Parameter = Parameter {
    name: "strict",
    kind: "boolean",
    summary: "join only below the threshold, not at it; default polysema.strict",
};

/// Where a dendrogram is cut.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Cut {
    /// At this merge height, the largest inside a cluster.
    Threshold(f64),
    /// At the least merge height that leaves at most this many clusters.
    AtMost(usize),
}

impl Cut {
    /// Of the call, else the setting's threshold.
    fn bind(arguments: &Arguments, settings: &PolysemaOptions) -> Result<Self> {
        let function = arguments.function();
        let threshold = arguments.number("threshold")?;
        let Some(n_clusters) = arguments.integer("n_clusters")? else {
            let threshold = threshold.unwrap_or(settings.threshold);
            require_threshold(function, threshold)?;
            return Ok(Self::Threshold(threshold));
        };
        if let Some(threshold) = threshold {
            return plan_err!(
                "{function}: either threshold or n_clusters is required, got both {threshold} and {n_clusters}"
            );
        }
        match usize::try_from(n_clusters) {
            Ok(n_clusters) if n_clusters >= 1 => Ok(Self::AtMost(n_clusters)),
            _ => plan_err!("{function}: n_clusters must be at least 1, got {n_clusters}"),
        }
    }
}

/// Bound options of a clustering function.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ClusterOptions {
    /// Where the dendrogram is cut.
    pub cut: Cut,
    /// How clusters are joined.
    pub linkage: Linkage,
    /// What is compared.
    pub embedding: Embedding,
    /// Join below the threshold only.
    pub strict: bool,
}

impl ClusterOptions {
    /// Checks what was written in the call, before any table is touched.
    pub fn check(arguments: &Arguments) -> Result<()> {
        Self::bind(arguments, &PolysemaOptions::default()).map(|_| ())
    }

    /// The call's options over the session's settings.
    pub fn resolve(arguments: &Arguments, state: &dyn Session) -> Result<Self> {
        Self::bind(arguments, &PolysemaOptions::of(state.config_options()))
    }

    /// The session's settings alone, checked.
    pub fn from_settings(function: &'static str, settings: &PolysemaOptions) -> Result<Self> {
        Self::bind(&Arguments::none(function), settings)
    }

    fn bind(arguments: &Arguments, settings: &PolysemaOptions) -> Result<Self> {
        let function = arguments.function();
        let cut = Cut::bind(arguments, settings)?;
        let linkage = arguments
            .text("linkage")?
            .unwrap_or_else(|| settings.linkage.clone());
        let Some(linkage) = Linkage::parse(&linkage) else {
            let known = Linkage::ALL.map(Linkage::name).join(", ");
            return plan_err!("{function}: linkage must be one of {known}, got '{linkage}'");
        };
        let embedding = arguments
            .text("embedding")?
            .unwrap_or_else(|| settings.embedding.clone());
        let Some(embedding) = Embedding::parse(&embedding) else {
            return plan_err!("{function}: embedding must be neuron or pre_mlp, got '{embedding}'");
        };
        let strict = arguments.boolean("strict")?.unwrap_or(settings.strict);
        Ok(Self {
            cut,
            linkage,
            embedding,
            strict,
        })
    }

    /// As EXPLAIN shows them.
    pub fn describe(&self) -> String {
        let cut = match self.cut {
            Cut::Threshold(threshold) => format!("threshold={threshold}"),
            Cut::AtMost(n_clusters) => format!("n_clusters={n_clusters}"),
        };
        format!(
            "{cut}, linkage={}, embedding={}{}",
            self.linkage.name(),
            self.embedding.name(),
            if self.strict { ", strict" } else { "" }
        )
    }
}

/// Checks a cluster threshold.
pub fn require_threshold(function: &str, threshold: f64) -> Result<()> {
    if (0.0..=2.0).contains(&threshold) {
        return Ok(());
    }
    plan_err!("{function}: threshold must be in [0, 2], got {threshold}")
}

/// Buffers reused from neuron to neuron, with the time spent in them.
#[derive(Debug, Default)]
pub struct Scratch {
    distances: CosineDistances,
    linker: Linker,
    /// Time in distances since last taken.
    pub distance_time: Duration,
    /// Time in merges and cuts since last taken.
    pub linkage_time: Duration,
}

/// The clustering of one neuron's examples.
#[derive(Debug)]
pub struct Clustering<'a> {
    /// Rows that have a direction, ascending; what follows counts only these.
    pub live: &'a [u32],
    /// Condensed distances.
    pub condensed: &'a [f32],
    /// The merges.
    pub steps: &'a [Step],
    /// The flat clusters at the cut.
    pub clusters: FlatClusters,
}

impl Clustering<'_> {
    /// Cluster of every example of the group; none for a zero vector.
    pub fn labels(&self, n: usize) -> Vec<Option<u32>> {
        let mut labels = vec![None; n];
        for (&row, &label) in self.live.iter().zip(&self.clusters.labels) {
            labels[row as usize] = Some(label);
        }
        labels
    }
}

impl Scratch {
    /// Bytes held for `n` examples of width `d`.
    pub fn bytes(n: usize, d: usize) -> usize {
        CosineDistances::bytes(n, d) + Linker::bytes(n)
    }

    /// The condensed cosine distances of a group, over its rows that have a direction.
    ///
    /// Errors: an embedding that is not finite; layer, neuron and example are named.
    pub fn distances(&mut self, group: &Group, embedding: Embedding) -> Result<(&[u32], &[f32])> {
        let vectors = group.vectors()?;
        self.compute(group, &vectors, embedding)?;
        Ok((self.distances.live(), self.distances.condensed()))
    }

    fn compute(&mut self, group: &Group, vectors: &Vectors, embedding: Embedding) -> Result<()> {
        let started = Instant::now();
        let weights = match embedding {
            Embedding::Neuron => group.weights.as_deref(),
            Embedding::PreMlp => None,
        };
        self.distances
            .compute(&vectors.rows(), weights)
            .map_err(|error| {
                exec_datafusion_err!(
                    "{}: embeddings must be finite, got NaN or infinity in {}",
                    group.function,
                    group.place_of(error.row)
                )
            })?;
        self.distance_time += started.elapsed();
        Ok(())
    }

    /// Distances, merges and the cut of one group.
    pub fn cluster(&mut self, group: &Group, options: &ClusterOptions) -> Result<Clustering<'_>> {
        let vectors = group.vectors()?;
        self.compute(group, &vectors, options.embedding)?;
        let started = Instant::now();
        let n = self.distances.live().len();
        let steps = self
            .linker
            .link(self.distances.condensed(), n, options.linkage);
        let clusters = match options.cut {
            Cut::Threshold(threshold) => flat_clusters(steps, n, threshold, options.strict),
            Cut::AtMost(n_clusters) => flat_clusters_at_most(steps, n, n_clusters),
        };
        self.linkage_time += started.elapsed();
        Ok(Clustering {
            live: self.distances.live(),
            condensed: self.distances.condensed(),
            steps,
            clusters,
        })
    }
}
