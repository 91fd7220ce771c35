//! Sub-Cluster Components: flat clusters of average linkage's kind without the matrix of distances.
//!
//! ```text
//! thresholds   geometric, the last is the one asked for
//! round        every sub-cluster links to its nearest other one (mean distance over pairs, ties by smallest member)
//!              if that is <= threshold (< if strict); what hangs together is a sub-cluster of the next round
//! level        rounds are repeated at a threshold until none links
//! distance     1 - <mean_A, mean_B> over means of unit vectors, which is the mean over pairs exactly
//! ```
//!
//! Errors: an embedding that is not finite. Cost: n² d / 2 multiplications for the first round, about three times that
//! for the others together on clustered data; memory n d and a block.
//! Source: Monath et al. 2021, algorithm 1. Numbers: tests/reference/scc.py. Over 400 lines because
//! the tests hold the definition written out.

use crate::clustering::centroid_metrics::UnitSums;
use crate::clustering::distance::NonFinite;
use crate::clustering::flat_clusters::{FlatClusters, number};
use crate::clustering::unit_vectors::RowMatrix;
use crate::simd::Products;

/// From one threshold to the next. Measured on 2,048 neurons of a language model: 2 gives a mean adjusted Rand index of
/// 0.71 with average linkage, 1.25 gives 0.80, 1.02 gives 0.97, for 0.9, 1.4 and 1.8 times n²
/// products (tests/reference/scc_agreement.py).
const RATIO: f64 = 1.02;

/// Thresholds down to 1/156 of the last. An empty round costs nothing but a look at each sub-cluster.
const N_LEVELS: usize = 256;

/// Rows and columns of a block of products. Chosen, not tuned.
const BLOCK: usize = 64;

/// Where the rounds end.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Stop {
    /// At this mean distance, joining at it unless strict.
    Threshold {
        /// The last threshold.
        threshold: f64,
        /// Link below the thresholds only.
        strict: bool,
    },
    /// At the first level with at most this many clusters; the last threshold is 2, where all are one.
    AtMost(usize),
}

/// The nearest other sub-cluster.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Nearest {
    distance: f32,
    place: u32,
}

const NONE: Nearest = Nearest {
    distance: f32::INFINITY,
    place: u32::MAX,
};

impl Nearest {
    fn offer(&mut self, distance: f32, place: u32) {
        if distance < self.distance || (distance == self.distance && place < self.place) {
            *self = Self { distance, place };
        }
    }
}

/// Clusters one group of rows after another in the same buffers.
#[derive(Debug, Default)]
pub struct SubClusters {
    /// Unit vectors; while rounds go on, the means of the sub-clusters, which stand in order of their smallest member.
    rows: RowMatrix,
    products: Products,
    /// Of a block of sub-clusters with others.
    similarities: Vec<f32>,
    live: Vec<u32>,
    /// The sub-cluster of each live row.
    parts: Vec<u32>,
    /// Rows in each sub-cluster.
    sizes: Vec<u32>,
    nearest: Vec<Nearest>,
    max_distance: Option<f64>,
}

impl SubClusters {
    /// Clusters the embeddings of `rows` under the weights `w`, or the rows themselves.
    ///
    /// # Panics
    /// If a row or `w` differs in width from the first row.
    pub fn cluster(
        &mut self,
        rows: &[&[f32]],
        w: Option<&[f32]>,
        stop: Stop,
    ) -> Result<FlatClusters, NonFinite> {
        self.rows.embed(rows, w, &mut self.live)?;
        let n = self.live.len();
        self.parts.clear();
        self.parts.extend(0..n as u32);
        self.sizes.clear();
        self.sizes.resize(n, 1);
        self.nearest.clear();
        self.nearest.resize(n, NONE);
        let all: Vec<u32> = (0..n as u32).collect();
        let farthest = self.find_nearest(&all);
        self.max_distance = (n > 1).then_some(f64::from(farthest));
        self.levels(stop);
        let clusters = number(&self.parts, n);
        if self.sizes.len() < n {
            let again = self.rows.embed(rows, w, &mut self.live);
            again.expect("these rows were finite before");
        }
        Ok(clusters)
    }

    fn levels(&mut self, stop: Stop) {
        let (last, strict, at_most) = match stop {
            Stop::Threshold { threshold, strict } => (threshold, strict, 0),
            Stop::AtMost(at_most) => (2.0, false, at_most),
        };
        let down = std::iter::successors(Some(last), |threshold| Some(threshold / RATIO));
        let mut thresholds: Vec<f64> = down.take(N_LEVELS).collect();
        let links = |distance: f32, threshold: f64| match strict {
            true => f64::from(distance) < threshold,
            false => f64::from(distance) <= threshold,
        };
        while self.sizes.len() > at_most.max(1) {
            // Thresholds at which nothing links are passed over in one look.
            let nearest = self.nearest.iter().map(|nearest| nearest.distance);
            let least = nearest.fold(f32::INFINITY, f32::min);
            while thresholds
                .pop_if(|threshold| !links(least, *threshold))
                .is_some()
            {}
            let Some(&threshold) = thresholds.last() else {
                break;
            };
            while self.round(|distance| links(distance, threshold)) {}
            thresholds.pop();
        }
    }

    /// Joins what links; false if nothing does.
    fn round(&mut self, links: impl Fn(f32) -> bool) -> bool {
        let k = self.sizes.len();
        let mut roots: Vec<u32> = (0..k as u32).collect();
        let mut linked = false;
        for (place, nearest) in self.nearest.iter().enumerate() {
            // Without another sub-cluster the nearest is infinitely far.
            if links(nearest.distance) {
                let [a, b] = [place as u32, nearest.place].map(|x| root(&mut roots, x));
                roots[a.max(b) as usize] = a.min(b);
                linked = true;
            }
        }
        if linked {
            self.join(&mut roots);
        }
        linked
    }

    /// Makes each tree of `roots`, whose root is its smallest place, one sub-cluster, and finds the nearest anew where
    /// they may have changed.
    fn join(&mut self, roots: &mut [u32]) {
        let k = roots.len();
        let (mut place_of, mut counts) = (vec![0; k], Vec::with_capacity(k));
        for old in 0..k as u32 {
            let root = root(roots, old);
            if root == old {
                place_of[old as usize] = counts.len() as u32;
                counts.push(0u32);
            } else {
                place_of[old as usize] = place_of[root as usize];
            }
            counts[place_of[old as usize] as usize] += 1;
        }
        // The old places of each new one, one list after another.
        let mut ends = Vec::with_capacity(counts.len());
        let mut end = 0;
        for &count in &counts {
            ends.push(end);
            end += count;
        }
        let mut joined = vec![0; k];
        for (old, &place) in place_of.iter().enumerate() {
            let end = &mut ends[place as usize];
            joined[*end as usize] = old as u32;
            *end += 1;
        }
        let mut sum = vec![0.0; self.rows.width()];
        let mut stale = Vec::new();
        // Places only move down, and a place is written after all that moved away from it was read.
        for (place, (&end, &count)) in ends.iter().zip(&counts).enumerate() {
            let olds = &joined[(end - count) as usize..end as usize];
            let first = olds[0] as usize;
            if olds.len() == 1 {
                let Nearest {
                    distance,
                    place: old,
                } = self.nearest[first];
                let nearest = place_of[old as usize];
                if place != first {
                    self.rows.copy_within(place, first);
                }
                self.sizes[place] = self.sizes[first];
                self.nearest[place] = Nearest {
                    distance,
                    place: nearest,
                };
                if counts[nearest as usize] > 1 {
                    stale.push(place as u32);
                }
                continue;
            }
            sum.fill(0.0);
            let mut size = 0;
            for &old in olds {
                let old_size = self.sizes[old as usize];
                self.rows
                    .add_to(old as usize, f64::from(old_size), &mut sum);
                size += old_size;
            }
            self.rows.set_mean(place, &sum, f64::from(size));
            self.sizes[place] = size;
            stale.push(place as u32);
        }
        self.rows.truncate(counts.len());
        self.sizes.truncate(counts.len());
        self.nearest.truncate(counts.len());
        for part in &mut self.parts {
            *part = place_of[*part as usize];
        }
        self.find_nearest(&stale);
    }

    /// Finds the nearest of the sub-clusters at `stale`, ascending, and offers these to the others. The largest distance
    /// seen.
    fn find_nearest(&mut self, stale: &[u32]) -> f32 {
        let (k, mut farthest) = (self.rows.len(), 0.0f32);
        let mut is_stale = vec![false; k];
        for &place in stale {
            is_stale[place as usize] = true;
            self.nearest[place as usize] = NONE;
        }
        for part in stale.chunks(BLOCK) {
            let columns: Vec<&[f32]> = part.iter().map(|&a| self.rows.row(a as usize)).collect();
            for first in (0..k).step_by(BLOCK) {
                let end = k.min(first + BLOCK);
                // Two stale sub-clusters have met where the smaller was in the part.
                if end <= part[0] as usize && is_stale[first..end].iter().all(|&stale| stale) {
                    continue;
                }
                let rows = self.rows.rows(first..end);
                self.similarities.resize(rows.len() * part.len(), 0.0);
                let similarities = &mut self.similarities[..];
                self.products.cross(&rows, &columns, similarities);
                for (b, similarities) in (first as u32..).zip(similarities.chunks_exact(part.len()))
                {
                    let mut best = NONE;
                    for (&a, &dot) in part.iter().zip(similarities.iter()) {
                        if a != b {
                            let distance = (1.0 - dot).clamp(0.0, 2.0);
                            farthest = farthest.max(distance);
                            best.offer(distance, a);
                            self.nearest[a as usize].offer(distance, b);
                        }
                    }
                    self.nearest[b as usize].offer(best.distance, best.place);
                }
            }
        }
        farthest
    }

    /// The rows that have a direction, ascending: observation `i` of the clusters is row `live()[i]`.
    pub fn live(&self) -> &[u32] {
        &self.live
    }

    /// The largest distance between two live rows; `None` below two.
    pub fn max_distance(&self) -> Option<f64> {
        self.max_distance
    }

    /// What there is to say about `clusters` of the rows last clustered.
    ///
    /// # Panics
    /// If the clusters are of other rows.
    pub fn sums<'a>(&'a self, clusters: &'a FlatClusters) -> UnitSums<'a> {
        UnitSums::new(&self.rows, clusters)
    }

    /// Bytes held for `n` rows of width `d`, those of [`UnitSums`] included.
    pub fn bytes(n: usize, d: usize) -> usize {
        // Live rows, parts, sizes, stale places; of a round its roots, places, counts and lists; flags.
        let per_row = 10 * size_of::<u32>() + size_of::<Nearest>() + size_of::<bool>();
        let block = BLOCK.min(n);
        RowMatrix::bytes(n, d)
            + Products::bytes(block, d)
            + block * (block * size_of::<f32>() + 2 * size_of::<&[f32]>())
            + n * per_row
            + N_LEVELS * size_of::<f64>()
            + UnitSums::bytes(n, d)
    }
}

/// The root of `place`, with the way there shortened.
fn root(roots: &mut [u32], mut place: u32) -> u32 {
    while roots[place as usize] != place {
        roots[place as usize] = roots[roots[place as usize] as usize];
        place = roots[place as usize];
    }
    place
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::testing::{Random, naive_distance, slices};
    use crate::{CosineDistances, Linkage, Linker, flat_clusters, polysemanticity};

    /// The definition, with every distance from the pairs in every round.
    fn naive(rows: &[Vec<f32>], stop: Stop) -> Vec<Vec<usize>> {
        let mut parts: Vec<Vec<usize>> = (0..rows.len()).map(|i| vec![i]).collect();
        let (last, strict, at_most) = match stop {
            Stop::Threshold { threshold, strict } => (threshold, strict, 0),
            Stop::AtMost(at_most) => (2.0, false, at_most),
        };
        let mut thresholds = vec![last];
        (1..N_LEVELS).for_each(|i| thresholds.push(thresholds[i - 1] / RATIO));
        for &threshold in thresholds.iter().rev() {
            while parts.len() > at_most.max(1) {
                let mean = |a: &Vec<usize>, b: &Vec<usize>| {
                    let pairs = a.iter().flat_map(|&i| b.iter().map(move |&j| (i, j)));
                    let sum: f64 = pairs
                        .map(|(i, j)| naive_distance(&rows[i], &rows[j], None))
                        .sum();
                    sum / (a.len() * b.len()) as f64
                };
                let mut group: Vec<usize> = (0..parts.len()).collect();
                let mut linked = false;
                for a in 0..parts.len() {
                    let others = (0..parts.len())
                        .filter(|&b| b != a)
                        .map(|b| (mean(&parts[a], &parts[b]), b));
                    let (distance, b) = others.min_by(|x, y| x.partial_cmp(y).unwrap()).unwrap();
                    if distance < threshold || (!strict && distance == threshold) {
                        linked = true;
                        let (from, to) = (group[a].max(group[b]), group[a].min(group[b]));
                        group
                            .iter_mut()
                            .filter(|g| **g == from)
                            .for_each(|g| *g = to);
                    }
                }
                if !linked {
                    break;
                }
                let mut joined: Vec<Vec<usize>> = vec![vec![]; parts.len()];
                for (part, group) in parts.iter().zip(group) {
                    joined[group].extend(part);
                }
                joined.retain(|part| !part.is_empty());
                parts = joined;
            }
            if parts.len() <= at_most {
                break;
            }
        }
        parts.iter_mut().for_each(|part| part.sort_unstable());
        parts.sort_by_key(|part| (std::cmp::Reverse(part.len()), part[0]));
        parts
    }

    fn members(clusters: &FlatClusters) -> Vec<Vec<usize>> {
        let members = clusters.members().into_iter();
        members
            .map(|members| members.into_iter().map(|i| i as usize).collect())
            .collect()
    }

    #[test]
    fn clusters_follow_the_definition() {
        let mut random = Random(61);
        let mut found = SubClusters::default();
        for n in [0, 1, 2, 3, 10, 33, 70] {
            let rows = random.rows(n, 12);
            let thresholds = [0.05, 0.2, 0.4, 0.8, 1.2, 2.0];
            let stops = thresholds.into_iter().map(|threshold| Stop::Threshold {
                threshold,
                strict: false,
            });
            for stop in stops.chain([1, 2, 5, 33].map(Stop::AtMost)) {
                let clusters = found.cluster(&slices(&rows), None, stop).unwrap();
                assert_eq!(members(&clusters), naive(&rows, stop), "n {n}, {stop:?}");
            }
        }
    }

    /// Numbers: tests/reference/scc.py, NumPy 2 and scikit-learn 1.9.1.
    #[test]
    fn clusters_and_metrics_are_those_of_the_reference() {
        let text = include_str!("../../../tests/reference/scc.json");
        let json: Value = serde_json::from_str(text).unwrap();
        let floats = |value: &Value| -> Vec<f32> {
            value
                .as_array()
                .unwrap()
                .iter()
                .map(|x| x.as_f64().unwrap() as f32)
                .collect()
        };
        let mut found = SubClusters::default();
        for case in json["cases"].as_array().unwrap() {
            let rows: Vec<Vec<f32>> = case["h"].as_array().unwrap().iter().map(floats).collect();
            let w = floats(&case["w"]);
            for cut in case["cuts"].as_array().unwrap() {
                let stop = match cut["threshold"].as_f64() {
                    Some(threshold) => Stop::Threshold {
                        threshold,
                        strict: false,
                    },
                    None => Stop::AtMost(cut["n_clusters"].as_u64().unwrap() as usize),
                };
                let clusters = found.cluster(&slices(&rows), Some(&w), stop).unwrap();
                let place = format!("{}, {stop:?}", case["name"]);
                let labels = cut["labels"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .map(|x| x.as_u64().unwrap() as u32);
                assert_eq!(clusters.labels, labels.collect::<Vec<_>>(), "{place}");
                let sums = found.sums(&clusters);
                let metrics = sums.polysemanticity(found.max_distance());
                let medoids = cut["medoids"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .map(|x| x.as_u64().unwrap() as u32);
                assert_eq!(sums.medoids(), medoids.collect::<Vec<_>>(), "{place}");
                for (name, value) in [
                    ("max_distance", metrics.max_distance),
                    ("mean_distance", metrics.mean_distance),
                    ("intra_cluster_distance", metrics.intra_cluster_distance),
                    ("inter_cluster_distance", metrics.inter_cluster_distance),
                    ("silhouette", sums.silhouette()),
                ] {
                    let near = match (value, cut[name].as_f64()) {
                        (Some(found), Some(expected)) => (found - expected).abs() < 2e-6,
                        (found, expected) => found == expected,
                    };
                    assert!(near, "{place}: {name} {value:?}, {}", cut[name]);
                }
            }
        }
    }

    #[test]
    fn well_separated_topics_are_those_of_average_linkage() {
        let mut random = Random(62);
        let (mut found, mut distances, mut linker) = (
            SubClusters::default(),
            CosineDistances::new(),
            Linker::new(),
        );
        for n in [20, 200] {
            let rows = random.rows(n, 300);
            distances.compute(&slices(&rows), None).unwrap();
            let steps = linker.link(distances.condensed(), n, Linkage::Average);
            let expected = flat_clusters(steps, n, 0.5, false);
            let stop = Stop::Threshold {
                threshold: 0.5,
                strict: false,
            };
            let clusters = found.cluster(&slices(&rows), None, stop).unwrap();
            assert_eq!(clusters, expected);
            assert_eq!(clusters.sizes.len(), 3);
            let max = polysemanticity(distances.condensed(), &expected).max_distance;
            let error = found.max_distance().unwrap() - max.unwrap();
            assert!(error.abs() < 1e-6, "{error}");
        }
    }

    #[test]
    fn the_threshold_itself_links_unless_strict() {
        let rows: [&[f32]; 3] = [&[1.0, 0.0], &[0.0, 0.0], &[0.0, 1.0]];
        let mut found = SubClusters::default();
        for (strict, expected) in [(false, vec![0, 0]), (true, vec![0, 1])] {
            let stop = Stop::Threshold {
                threshold: 1.0,
                strict,
            };
            assert_eq!(found.cluster(&rows, None, stop).unwrap().labels, expected);
        }
        assert_eq!(found.live(), [0, 2], "a zero row is in no cluster");
    }

    #[test]
    fn ties_go_to_the_smallest() {
        // Each is equally far from the two beside it: 1 links to 0, not to 2, and all hang together through 2 and 3.
        let rows: [&[f32]; 4] = [&[1.0, 0.0], &[0.0, 1.0], &[-1.0, 0.0], &[0.0, -1.0]];
        let mut found = SubClusters::default();
        let stop = Stop::Threshold {
            threshold: 1.0,
            strict: false,
        };
        assert_eq!(
            found.cluster(&rows, None, stop).unwrap().labels,
            [0, 0, 0, 0]
        );
        let near = found.find_nearest(&[]);
        assert_eq!(near, 0.0, "nothing to look at");
    }

    #[test]
    fn buffers_forget_the_group_before_and_hold_what_they_say() {
        let mut random = Random(63);
        let mut reused = SubClusters::default();
        for (n, d) in [(90, 100), (3, 200), (131, 5), (1, 1), (70, 33)] {
            let rows = random.rows(n, d);
            for stop in [
                Stop::AtMost(4),
                Stop::Threshold {
                    threshold: 0.3,
                    strict: false,
                },
            ] {
                let mut fresh = SubClusters::default();
                let found = reused.cluster(&slices(&rows), None, stop).unwrap();
                assert_eq!(found, fresh.cluster(&slices(&rows), None, stop).unwrap());
                assert_eq!(reused.max_distance(), fresh.max_distance());
            }
        }
        for (n, d) in [(1000, 64), (10_000, 768)] {
            assert!(SubClusters::bytes(n, d) < CosineDistances::bytes(n, d) + Linker::bytes(n));
        }
        let held = SubClusters::bytes(100_000, 768);
        assert!(
            held < 100_000 * 768 * 4 * 11 / 10,
            "{held}: the rows and a tenth"
        );
    }

    #[test]
    fn a_row_that_is_not_finite_is_named() {
        let found =
            SubClusters::default().cluster(&[&[1.0], &[f32::INFINITY]], None, Stop::AtMost(1));
        assert_eq!(found, Err(NonFinite { row: 1 }));
    }
}
