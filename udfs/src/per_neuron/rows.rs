//! One neuron while its rows are made: what is computed of it once, for all of its columns.

use std::cell::OnceCell;
use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, BooleanArray, Int32Array, UInt32Array};
use datafusion::arrow::compute::take;
use datafusion::common::{Result, internal_datafusion_err, internal_err};
use polysema_kernels::{Polysemanticity, Step};

use super::bound::BoundOptions;
use super::clustering::Clustering;
use super::group::Group;

/// What a row is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Each {
    /// The neuron.
    Neuron,
    /// One of its examples.
    Example,
    /// Two of them.
    Pair,
    /// One of its feature clusters.
    Cluster,
    /// One merge of their tree.
    Merge,
}

/// Clusters at a second, higher threshold.
#[derive(Debug)]
pub struct Parents {
    /// The one that each cluster at the cut lies in.
    pub of: Vec<usize>,
    /// How many examples each of them has.
    pub sizes: Vec<u32>,
}

/// One neuron with what was computed of it.
#[derive(Debug)]
pub struct NeuronRows<'a> {
    /// The neuron and its examples.
    pub group: &'a Group,
    /// The options of the call.
    pub options: &'a BoundOptions,
    each: Each,
    /// Its clusters, where the function asks for them.
    clustering: Option<Clustering<'a>>,
    medoids: OnceCell<Vec<usize>>,
    members: OnceCell<Vec<Vec<usize>>>,
    metrics: OnceCell<Polysemanticity>,
    /// Rows of the group that have a direction, and their distances, where the function asks for these alone.
    distances: Option<(&'a [u32], &'a [f32])>,
    /// The examples that are rows, as places in the group, where they are not all in their order.
    pub examples: Option<UInt32Array>,
    /// The clusters that are rows, in their order.
    pub clusters: Vec<usize>,
    /// Those examples of each of these clusters that count, where it is not all.
    pub counted: Option<Vec<Vec<usize>>>,
    /// The clusters at a second threshold.
    pub parents: Option<Parents>,
}

impl<'a> NeuronRows<'a> {
    pub(super) fn new(
        group: &'a Group,
        options: &'a BoundOptions,
        each: Each,
        clustering: Option<Clustering<'a>>,
        distances: Option<(&'a [u32], &'a [f32])>,
    ) -> Self {
        let n_clusters = clustering.as_ref().map_or(0, |c| c.clusters.sizes.len());
        Self {
            group,
            options,
            each,
            clustering,
            medoids: OnceCell::new(),
            members: OnceCell::new(),
            metrics: OnceCell::new(),
            distances,
            examples: None,
            clusters: (0..n_clusters).collect(),
            counted: None,
            parents: None,
        }
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        let n = self.group.len();
        match self.each {
            Each::Neuron => 1,
            Each::Example => self.examples.as_ref().map_or(n, |rows| rows.len()),
            Each::Pair => n * n.saturating_sub(1) / 2,
            Each::Cluster => self.clusters.len(),
            Each::Merge => self.steps().map_or(0, <[Step]>::len),
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Its clusters.
    pub fn clustering(&self) -> Result<&Clustering<'a>> {
        let none =
            || internal_datafusion_err!("{}: clusters were not asked for", self.group.function);
        self.clustering.as_ref().ok_or_else(none)
    }

    /// The condensed distances of its examples, behind the rows that have a direction.
    pub fn distances(&self) -> Result<(&'a [u32], &'a [f32])> {
        let none =
            || internal_datafusion_err!("{}: distances were not asked for", self.group.function);
        self.distances.ok_or_else(none)
    }

    /// The merges of its tree.
    pub fn steps(&self) -> Result<&'a [Step]> {
        match self.clustering()?.steps() {
            Some(steps) => Ok(steps),
            None => internal_err!(
                "{}: hierarchical clustering makes merges",
                self.group.function
            ),
        }
    }

    /// The clusters at a second threshold, where the function chose one.
    pub fn parents(&self) -> Result<&Parents> {
        let none = || internal_datafusion_err!("{}: no parents were found", self.group.function);
        self.parents.as_ref().ok_or_else(none)
    }

    /// The row of the group that is central in each cluster.
    pub fn medoids(&self) -> Result<&[usize]> {
        let clustering = self.clustering()?;
        Ok(self.medoids.get_or_init(|| clustering.medoids()))
    }

    /// The cluster of each example of the group; NULL for a zero vector.
    pub fn labels(&self) -> Result<ArrayRef> {
        let labels = self.clustering()?.labels(self.group.len());
        let labels = labels.into_iter().map(|label| label.map(|l| l as i32));
        Ok(Arc::new(labels.collect::<Int32Array>()))
    }

    /// Whether each example of the group is central in its cluster.
    pub fn is_central(&self) -> Result<ArrayRef> {
        let mut is_central = vec![false; self.group.len()];
        for &row in self.medoids()? {
            is_central[row] = true;
        }
        Ok(Arc::new(BooleanArray::from(is_central)))
    }

    /// Places in the group of the examples behind the rows; none where they are all in their order.
    fn places(&self) -> Result<Option<UInt32Array>> {
        if self.each != Each::Cluster {
            return Ok(self.examples.clone());
        }
        if self.clusters.is_empty() {
            return Ok(Some(UInt32Array::from(vec![0; 0])));
        }
        let medoids = self.medoids()?;
        let places = self.clusters.iter().map(|&cluster| medoids[cluster] as u32);
        Ok(Some(places.collect()))
    }

    /// A value of every example of the group, as one of the example behind each row; of a cluster that is its medoid.
    pub fn in_order(&self, values: &ArrayRef) -> Result<ArrayRef> {
        match self.places()? {
            None => Ok(Arc::clone(values)),
            Some(places) => Ok(take(values, &places, None)?),
        }
    }

    /// A column of the example behind each row.
    pub fn example(&self, name: &str) -> Result<ArrayRef> {
        self.in_order(self.group.column(name)?)
    }

    /// The text around the key token of the example behind each row.
    pub fn contexts(&self) -> Result<ArrayRef> {
        self.group.contexts(self.places()?.as_ref())
    }

    /// A number for each cluster that is a row.
    pub fn per_cluster(&self, of: impl Fn(usize) -> i32) -> Result<ArrayRef> {
        let numbers = self.clusters.iter().map(|&cluster| of(cluster));
        Ok(Arc::new(Int32Array::from_iter_values(numbers)))
    }

    /// The rows of the group in each cluster that is a row, of those that count.
    pub fn members(&self) -> Result<&[Vec<usize>]> {
        if let Some(counted) = &self.counted {
            return Ok(counted);
        }
        let clustering = self.clustering()?;
        Ok(self.members.get_or_init(|| {
            let mut members = clustering.members();
            let clusters = self.clusters.iter();
            clusters
                .map(|&cluster| std::mem::take(&mut members[cluster]))
                .collect()
        }))
    }

    /// The metrics of its clusters.
    pub fn metrics(&self) -> Result<&Polysemanticity> {
        let clustering = self.clustering()?;
        Ok(self.metrics.get_or_init(|| clustering.polysemanticity()))
    }
}
