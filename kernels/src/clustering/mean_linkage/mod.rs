//! Average linkage on cosine distance without the matrix of distances.
//!
//! ```text
//! mean over the pairs of A and B of 1 - <u_a, u_b>  =  1 - <mean_A, mean_B>       exactly, u of length 1
//! merge    any two clusters that are each other's nearest: average linkage is reducible, so the tree is that of
//!          always merging the nearest pair
//! nearest  from lists of the 16 nearest of each cluster and bounds for the others (`lists`); where the list is not
//!          certain, by a scan of all clusters, of as many as are uncertain at once (`scan`)
//! ```
//!
//! Heights are the mean distance to 2⁻⁴⁰, rounded to a multiple of 2⁻²⁴. Of two neighbours whose distances differ by less than the
//! rounding of float32 products (about 1e-7, at most 5e-6) the scan may miss the nearer; so may a matrix of float32.
//! Ties go to the smallest names and otherwise, as in every linkage, to whom was looked at first.
//!
//! Errors: an embedding that is not finite. Cost: n² d / 2 multiplications for the first lists, about as many for all
//! scans together; memory 8 n d bytes. Source: Müllner 2011, figure 6; Murtagh 1983. Numbers: tests/reference/mean_linkage.py.

mod lists;
mod means;
mod scan;

use std::sync::atomic::{AtomicBool, Ordering};

use rayon::prelude::*;

use super::centroid_metrics::UnitSums;
use super::dendrogram::{Labels, Merge, Step};
use super::distance::NonFinite;
use super::flat_clusters::FlatClusters;
use lists::List;
use means::ClusterMeans;
use scan::PairSums;

/// Scans are gathered until there are so many, or twice as many as the last ones led to merges: what one costs in reading all means
/// others have for nothing.
const LEAST_SCANS: usize = 16;

/// Sums over pairs that merges make, each pair where it is joined.
#[derive(Clone, Copy, Debug, Default)]
struct JoinedSums {
    distance: f64,
    height: f64,
    height_squares: f64,
    products: f64,
}

/// Average linkage of one group of rows after another in the same buffers.
#[derive(Debug, Default)]
pub struct MeanLinker {
    means: ClusterMeans,
    live: Vec<u32>,
    lists: Vec<List>,
    /// Of each cluster's last merge.
    heights: Vec<f32>,
    /// The sweep in which a cluster was found to wait for a scan.
    waits: Vec<u32>,
    merges: Vec<Merge>,
    labels: Labels,
    steps: Vec<Step>,
    pairs: Option<PairSums>,
    joined: JoinedSums,
}

impl MeanLinker {
    /// Merges the embeddings of `rows` under the weights `w`, or the rows themselves. False, and nothing merged, where
    /// `cancelled` was set before the end: a hundred thousand rows take minutes.
    ///
    /// # Panics
    /// If a row or `w` differs in width from the first row.
    pub fn link(
        &mut self,
        rows: &[&[f32]],
        w: Option<&[f32]>,
        cancelled: &AtomicBool,
    ) -> Result<bool, NonFinite> {
        self.steps.clear();
        self.merges.clear();
        self.pairs = None;
        self.joined = JoinedSums::default();
        self.means.embed(rows, w, &mut self.live)?;
        let n = self.live.len();
        if n < 2 {
            return Ok(true);
        }
        self.merges.reserve_exact(n - 1);
        self.steps.reserve_exact(n - 1);
        self.heights.clear();
        self.heights.resize(n, 0.0);
        self.waits.clear();
        self.waits.resize(n, 0);
        self.first_lists(cancelled);
        if !self.merge(n, cancelled) {
            self.live.clear();
            self.pairs = None;
            return Ok(false);
        }
        self.labels.label(&self.merges, n, &mut self.steps);
        let again = self.means.rounded_mut().embed(rows, w, &mut self.live);
        again.expect("these rows were finite before");
        Ok(true)
    }

    fn first_lists(&mut self, cancelled: &AtomicBool) {
        let (found, pairs) = scan::nearest_of_all(self.means.rounded(), cancelled);
        self.pairs = Some(pairs);
        let error = scan::error(self.means.rounded().width());
        let list = |(name, found)| List::found(name, found, error, &self.means);
        let found = (0..found.len() as u32).into_par_iter().zip(&found);
        self.lists.clear();
        self.lists.par_extend(found.map(list));
    }

    /// False where it was cancelled.
    fn merge(&mut self, n: usize, cancelled: &AtomicBool) -> bool {
        let mut clusters: Vec<u32> = (0..n as u32).collect();
        let mut uncertain = Vec::new();
        let mut quota = LEAST_SCANS;
        let mut sweep = 0;
        while !cancelled.load(Ordering::Relaxed) {
            sweep += 1;
            let before = self.merges.len();
            let scanned = std::mem::take(&mut uncertain);
            for &start in scanned.iter().chain(&clusters) {
                if uncertain.len() >= quota {
                    break;
                }
                if self.means.is_cluster(start) && self.waits[start as usize] != sweep {
                    self.follow(start, sweep, &mut uncertain);
                }
            }
            if self.merges.len() == n - 1 {
                return true;
            }
            clusters.retain(|&name| self.means.is_cluster(name));
            self.scan(&uncertain, &clusters);
            quota = LEAST_SCANS.max(2 * (self.merges.len() - before));
        }
        false
    }

    /// Follows nearest neighbours from one cluster on, merging those that are each other's, until one waits for a scan
    /// or `start` is merged.
    fn follow(&mut self, start: u32, sweep: u32, uncertain: &mut Vec<u32>) {
        // Each with the distance to the one before.
        let mut chain = vec![(start, f64::INFINITY)];
        while let Some(&(name, distance)) = chain.last() {
            let nearest = self.lists[name as usize].nearest(name, &self.means);
            match nearest {
                // Distances fall along a chain, so it never meets itself.
                Some(nearest) if nearest.distance < distance => {
                    if self.waits[nearest.name as usize] == sweep {
                        break;
                    }
                    chain.push((nearest.name, nearest.distance));
                }
                _ if chain.len() > 1
                    && (nearest.is_some() || distance <= self.lists[name as usize].bound()) =>
                {
                    chain.pop();
                    let (before, _) = chain.pop().expect("two are in the chain");
                    self.join(before, name, distance);
                }
                _ => {
                    uncertain.push(name);
                    break;
                }
            }
        }
        for (name, _) in chain {
            self.waits[name as usize] = sweep;
        }
    }

    fn join(&mut self, a: u32, b: u32, distance: f64) {
        let sizes = [a, b].map(|name| self.means.size(name));
        // As distances of the matrix are; rounding never puts a merge below its parts.
        let rounded = (distance * 16_777_216.0).round() / 16_777_216.0;
        let height = [a, b].iter().fold(rounded as f32, |height, &part| {
            height.max(self.heights[part as usize])
        });
        let pairs = f64::from(sizes[0]) * f64::from(sizes[1]);
        let h = f64::from(height);
        self.joined.distance += pairs * distance;
        self.joined.height += pairs * h;
        self.joined.height_squares += pairs * h * h;
        self.joined.products += pairs * h * distance;
        self.merges.push(Merge {
            first: a,
            second: b,
            dissimilarity: height,
        });
        self.means.join(a, b);
        let name = a.min(b);
        self.heights[name as usize] = height;
        let parts = [
            (&self.lists[a as usize], sizes[0]),
            (&self.lists[b as usize], sizes[1]),
        ];
        self.lists[name as usize] = List::joined(name, parts, &self.means);
    }

    fn scan(&mut self, uncertain: &[u32], clusters: &[u32]) {
        let rows = self.means.rounded();
        let found = scan::nearest_of(rows, uncertain, clusters);
        let error = scan::error(rows.width());
        let list = |(&name, found)| (name, List::found(name, found, error, &self.means));
        let found: Vec<(u32, List)> = uncertain.par_iter().zip(&found).map(list).collect();
        for (name, list) in found {
            self.lists[name as usize] = list;
        }
    }

    /// The rows that have a direction, ascending: observation `i` of the merges is row `live()[i]`.
    pub fn live(&self) -> &[u32] {
        &self.live
    }

    /// The merges, one less than live rows, in the order of their heights.
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// The largest distance between two live rows; `None` below two.
    pub fn max_distance(&self) -> Option<f64> {
        let least = self.pairs?.least;
        Some(f64::from((1.0 - least).clamp(0.0, 2.0)))
    }

    /// The cophenetic correlation, as [`crate::cophenetic_correlation`]: the sum over pairs of distance times height is one over merges,
    /// since a height is the mean distance of the pairs that it joins.
    pub fn cophenetic_correlation(&self) -> Option<f64> {
        let n = self.live.len() as f64;
        let pairs = n * (n - 1.0) / 2.0;
        let PairSums { sum, squares, .. } = self.pairs?;
        let heights = &self.steps;
        if heights.len() < 2 || heights[0].dissimilarity == heights[heights.len() - 1].dissimilarity
        {
            return None;
        }
        let variance = |squares: f64, sum: f64| squares / pairs - (sum / pairs).powi(2);
        let JoinedSums {
            distance,
            height,
            height_squares,
            products,
        } = self.joined;
        let covariance = products / pairs - distance / pairs * (height / pairs);
        let (distances, heights) = (variance(squares, sum), variance(height_squares, height));
        Some((covariance / (distances * heights).sqrt()).clamp(-1.0, 1.0))
    }

    /// What there is to say about `clusters` of the rows last merged.
    ///
    /// # Panics
    /// If the clusters are of other rows.
    pub fn sums<'a>(&'a self, clusters: &'a FlatClusters) -> UnitSums<'a> {
        UnitSums::new(self.means.rounded(), clusters)
    }

    /// Bytes held for `n` rows of width `d`, those of [`UnitSums`] included.
    pub fn bytes(n: usize, d: usize) -> usize {
        let per_row = size_of::<List>()
            + size_of::<Merge>()
            + size_of::<Step>()
            + size_of::<f32>()
            // Live rows, waiting ones, clusters, twice the uncertain.
            + 5 * size_of::<u32>()
            + size_of::<(u32, List)>();
        ClusterMeans::bytes(n, d)
            + n * per_row
            + Labels::bytes(n)
            + scan::bytes(n, d)
            + UnitSums::bytes(n, d)
    }
}

#[cfg(test)]
mod tests;
