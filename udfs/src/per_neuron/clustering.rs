//! What every clustering function shares: the buffers it reuses from neuron to neuron, and the step from a group of
//! examples to feature clusters and what there is to say about them.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use datafusion::common::instant::Instant;
use datafusion::common::{DataFusionError, Result, exec_datafusion_err, exec_err};

use super::group::Group;
use super::options::{ClusterOptions, Cut, Method, as_height};
use polysema_kernels::clustering::centroid_metrics::UnitSums;
use polysema_kernels::clustering::{flat_clusters as clusters, metrics, quality};
use polysema_kernels::{
    CosineDistances, FlatClusters, Linker, MeanLinker, NonFinite, Polysemanticity, Step, Stop,
    SubClusters,
};

/// Buffers reused from neuron to neuron, with the time spent in them.
#[derive(Debug)]
pub struct Scratch {
    distances: CosineDistances,
    linker: Linker,
    means: MeanLinker,
    parts: SubClusters,
    /// Most bytes that the session may hold.
    pub(super) limit: usize,
    /// Set where nobody waits for the result any more.
    pub(super) cancelled: Arc<AtomicBool>,
    /// Time in distances since last taken.
    pub distance_time: Duration,
    /// Time in merges and cuts since last taken.
    pub linkage_time: Duration,
}

/// The clustering of one neuron's examples.
#[derive(Debug)]
pub struct Clustering<'a> {
    /// Rows that have a direction, ascending; clusters count only these.
    pub live: &'a [u32],
    /// The flat clusters at the cut.
    pub clusters: FlatClusters,
    basis: Basis<'a>,
}

/// What the clusters were made from, of which everything else is asked.
#[derive(Clone, Copy, Debug)]
enum Basis<'a> {
    Matrix {
        condensed: &'a [f32],
        steps: &'a [Step],
    },
    Units(Units<'a>),
}

/// Who keeps unit vectors where no matrix is.
#[derive(Clone, Copy, Debug)]
enum Units<'a> {
    Means(&'a MeanLinker),
    SubClusters(&'a SubClusters),
}

impl<'a> Units<'a> {
    fn sums(self, clusters: &'a FlatClusters) -> UnitSums<'a> {
        match self {
            Self::Means(means) => means.sums(clusters),
            Self::SubClusters(parts) => parts.sums(clusters),
        }
    }

    fn max_distance(self) -> Option<f64> {
        match self {
            Self::Means(means) => means.max_distance(),
            Self::SubClusters(parts) => parts.max_distance(),
        }
    }
}

impl<'a> Clustering<'a> {
    /// Cluster of every example of the group; none for a zero vector.
    pub fn labels(&self, n: usize) -> Vec<Option<u32>> {
        let mut labels = vec![None; n];
        for (&row, &label) in self.live.iter().zip(&self.clusters.labels) {
            labels[row as usize] = Some(label);
        }
        labels
    }

    /// Label of a tree's node in a group of `n` examples: zero vectors, which are in no tree, keep their numbers.
    pub fn node(&self, node: u32, n: usize) -> i32 {
        match self.live.get(node as usize) {
            Some(&row) => row as i32,
            None => (node as usize - self.live.len() + n) as i32,
        }
    }

    /// The rows of the group in each cluster.
    pub fn members(&self) -> Vec<Vec<usize>> {
        let mut members = vec![Vec::new(); self.clusters.sizes.len()];
        for (&row, &label) in self.live.iter().zip(&self.clusters.labels) {
            members[label as usize].push(row as usize);
        }
        members
    }

    /// The row of the group that is central in each cluster.
    pub fn medoids(&self) -> Vec<usize> {
        let medoids = match self.basis {
            Basis::Matrix { condensed, .. } => clusters::medoids(condensed, &self.clusters),
            Basis::Units(units) => units.sums(&self.clusters).medoids(),
        };
        medoids
            .into_iter()
            .map(|medoid| self.live[medoid as usize] as usize)
            .collect()
    }

    /// The mean distance over the pairs inside each cluster; none for one member.
    pub fn mean_distances(&self) -> Vec<Option<f64>> {
        match self.basis {
            Basis::Matrix { condensed, .. } => clusters::mean_distances(condensed, &self.clusters),
            Basis::Units(units) => units.sums(&self.clusters).mean_distances(),
        }
    }

    /// The mean distance over the pairs of a member of cluster `from` and one of each cluster.
    pub fn mean_distances_from(&self, from: u32) -> Vec<Option<f64>> {
        match self.basis {
            Basis::Matrix { condensed, .. } => {
                clusters::mean_distances_from(condensed, &self.clusters, from)
            }
            Basis::Units(units) => units.sums(&self.clusters).mean_distances_from(from),
        }
    }

    /// The polysemanticity metrics.
    pub fn polysemanticity(&self) -> Polysemanticity {
        match self.basis {
            Basis::Matrix { condensed, .. } => metrics::polysemanticity(condensed, &self.clusters),
            Basis::Units(units) => {
                let sums = units.sums(&self.clusters);
                sums.polysemanticity(units.max_distance())
            }
        }
    }

    /// The mean silhouette; none below two clusters.
    pub fn silhouette(&self) -> Option<f64> {
        match self.basis {
            Basis::Matrix { condensed, .. } => quality::silhouette(condensed, &self.clusters),
            Basis::Units(units) => units.sums(&self.clusters).silhouette(),
        }
    }

    /// How well the merges keep the distances; none without merges or variance.
    pub fn cophenetic_correlation(&self) -> Option<f64> {
        match self.basis {
            Basis::Matrix { condensed, steps } => {
                quality::cophenetic_correlation(condensed, steps, self.live.len())
            }
            Basis::Units(Units::Means(means)) => means.cophenetic_correlation(),
            Basis::Units(Units::SubClusters(_)) => None,
        }
    }

    /// The merges; none are made by sub-cluster components.
    pub fn steps(&self) -> Option<&'a [Step]> {
        match self.basis {
            Basis::Matrix { steps, .. } => Some(steps),
            Basis::Units(Units::Means(means)) => Some(means.steps()),
            Basis::Units(Units::SubClusters(_)) => None,
        }
    }
}

impl Scratch {
    /// Empty buffers, under a limit of so many bytes.
    pub(super) fn new(limit: usize, cancelled: Arc<AtomicBool>) -> Self {
        Self {
            distances: CosineDistances::default(),
            linker: Linker::default(),
            means: MeanLinker::default(),
            parts: SubClusters::default(),
            limit,
            cancelled,
            distance_time: Duration::ZERO,
            linkage_time: Duration::ZERO,
        }
    }

    /// Gives its buffers back.
    pub(super) fn clear(&mut self) {
        *self = Self::new(self.limit, Arc::clone(&self.cancelled));
    }

    /// The condensed cosine distances of a group, over its rows that have a direction.
    ///
    /// Errors: an embedding that is not finite; layer, neuron and example are named.
    pub fn distances(&mut self, group: &Group) -> Result<(&[u32], &[f32])> {
        let started = Instant::now();
        let vectors = group.vectors()?;
        self.distances
            .compute(&vectors.rows(), group.scale().as_deref())
            .map_err(|error| not_finite(group, error))?;
        self.distance_time += started.elapsed();
        Ok((self.distances.live(), self.distances.condensed()))
    }

    /// The clusters of one group, with what they were made from.
    ///
    /// Errors: an embedding that is not finite; layer, neuron and example are named.
    pub fn cluster(&mut self, group: &Group, options: &ClusterOptions) -> Result<Clustering<'_>> {
        match options.method {
            Method::Hac if options.by_means(group.len(), group.width()?, self.limit) => {
                self.by_means(group, options)
            }
            Method::Hac => self.hierarchical(group, options),
            Method::Scc => self.sub_clusters(group, options),
        }
    }

    fn hierarchical(&mut self, group: &Group, options: &ClusterOptions) -> Result<Clustering<'_>> {
        self.distances(group)?;
        let started = Instant::now();
        let (live, condensed) = (self.distances.live(), self.distances.condensed());
        let steps = self.linker.link(condensed, live.len(), options.linkage);
        let clusters = options.cut.flat(steps, live.len(), options.strict);
        self.linkage_time += started.elapsed();
        Ok(Clustering {
            live,
            clusters,
            basis: Basis::Matrix { condensed, steps },
        })
    }

    /// Distances are looked at in merges, too: all of it counts as their time, which is nearly all of it.
    fn by_means(&mut self, group: &Group, options: &ClusterOptions) -> Result<Clustering<'_>> {
        let started = Instant::now();
        let vectors = group.vectors()?;
        let (rows, scale) = (vectors.rows(), group.scale());
        let finished = self
            .means
            .link(&rows, scale.as_deref(), &self.cancelled)
            .map_err(|error| not_finite(group, error))?;
        if !finished {
            return exec_err!("{}: cancelled", group.function);
        }
        let live = self.means.live();
        let clusters = options
            .cut
            .flat(self.means.steps(), live.len(), options.strict);
        self.distance_time += started.elapsed();
        Ok(Clustering {
            live,
            clusters,
            basis: Basis::Units(Units::Means(&self.means)),
        })
    }

    /// Distances and links alternate here: all of it counts as the time of distances, which are nearly all of it.
    fn sub_clusters(&mut self, group: &Group, options: &ClusterOptions) -> Result<Clustering<'_>> {
        let started = Instant::now();
        let vectors = group.vectors()?;
        let strict = options.strict;
        let stop = match options.cut {
            Cut::Threshold(threshold) => Stop::Threshold {
                threshold: as_height(threshold),
                strict,
            },
            Cut::AtMost(n_clusters) => Stop::AtMost(n_clusters),
        };
        let clusters = self
            .parts
            .cluster(&vectors.rows(), group.scale().as_deref(), stop)
            .map_err(|error| not_finite(group, error))?;
        self.distance_time += started.elapsed();
        Ok(Clustering {
            live: self.parts.live(),
            clusters,
            basis: Basis::Units(Units::SubClusters(&self.parts)),
        })
    }
}

fn not_finite(group: &Group, error: NonFinite) -> DataFusionError {
    exec_datafusion_err!(
        "{}: embeddings must be finite, got NaN or infinity in {}",
        group.function,
        group.place_of(error.row)
    )
}
