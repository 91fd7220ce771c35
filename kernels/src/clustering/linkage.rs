//! Condensed dissimilarities become the merges of a dendrogram.
//!
//! A thin layer over the crate kodama (Müllner 2011) and, for average linkage of small groups, the module
//! `chain`: buffers are reused, the caller's matrix survives, and merges carry SciPy's labels, `n + i` for the cluster
//! that step `i` makes.
//! Cost: n² for all but centroid and median linkage, which are n³ at worst.

use super::dendrogram::Step;
use crate::clustering::nn_chain::{Chain, MOST};
use crate::simd::wide;

/// How the dissimilarity of a merged cluster to another follows from its parts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Linkage {
    /// The mean over all pairs (UPGMA).
    #[default]
    Average,
    /// The least over all pairs.
    Single,
    /// The largest over all pairs.
    Complete,
    /// The mean of the two parts' (WPGMA).
    Weighted,
    /// The growth of the squared error.
    Ward,
    /// Between centroids (UPGMC); a merge may lie below an earlier one.
    Centroid,
    /// Between midpoints of merged centroids (WPGMC); a merge may lie below an earlier one.
    Median,
}

impl Linkage {
    /// Every linkage, the default first.
    pub const ALL: [Self; 7] = [
        Self::Average,
        Self::Single,
        Self::Complete,
        Self::Weighted,
        Self::Ward,
        Self::Centroid,
        Self::Median,
    ];

    /// The linkage of this name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|linkage| linkage.name() == name)
    }

    /// SciPy's name for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Average => "average",
            Self::Single => "single",
            Self::Complete => "complete",
            Self::Weighted => "weighted",
            Self::Ward => "ward",
            Self::Centroid => "centroid",
            Self::Median => "median",
        }
    }

    fn method(self) -> kodama::Method {
        match self {
            Self::Average => kodama::Method::Average,
            Self::Single => kodama::Method::Single,
            Self::Complete => kodama::Method::Complete,
            Self::Weighted => kodama::Method::Weighted,
            Self::Ward => kodama::Method::Ward,
            Self::Centroid => kodama::Method::Centroid,
            Self::Median => kodama::Method::Median,
        }
    }
}

/// Merges one matrix after another in the same buffers.
pub struct Linker {
    chain: Chain,
    state: kodama::LinkageState<f32>,
    dendrogram: kodama::Dendrogram<f32>,
    matrix: Vec<f32>,
    steps: Vec<Step>,
}

impl Default for Linker {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Debug for Linker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Linker").finish_non_exhaustive()
    }
}

impl Linker {
    /// Empty buffers.
    pub fn new() -> Self {
        Self {
            chain: Chain::default(),
            state: kodama::LinkageState::new(),
            dendrogram: kodama::Dendrogram::new(0),
            matrix: Vec::new(),
            steps: Vec::new(),
        }
    }

    /// The `n - 1` merges of `n` observations, in the order they are made.
    ///
    /// # Panics
    /// If `condensed` does not hold `n (n - 1) / 2` finite values, none negative.
    pub fn link(&mut self, condensed: &[f32], n: usize, linkage: Linkage) -> &[Step] {
        assert_eq!(
            condensed.len(),
            n * n.saturating_sub(1) / 2,
            "one dissimilarity per pair"
        );
        // As whole numbers, all negative floats but -0, which the sum makes 0, and NaN are beyond infinity.
        let bits = |x: &f32| (x + 0.0).to_bits();
        assert!(
            wide!(condensed.iter().map(bits).fold(0, u32::max)) < f32::INFINITY.to_bits(),
            "no dissimilarity is negative or not finite"
        );
        self.steps.clear();
        self.steps.reserve_exact(n);
        if linkage == Linkage::Average && n <= MOST {
            self.chain.average(condensed, n, &mut self.steps);
            return &self.steps;
        }
        self.by_kodama(condensed, n, linkage);
        &self.steps
    }

    fn by_kodama(&mut self, condensed: &[f32], n: usize, linkage: Linkage) {
        self.matrix.clear();
        self.matrix.reserve_exact(condensed.len());
        self.matrix.extend_from_slice(condensed);
        let (state, matrix) = (&mut self.state, &mut self.matrix);
        kodama::linkage_with(state, matrix, n, linkage.method(), &mut self.dendrogram);
        self.steps
            .extend(self.dendrogram.steps().iter().map(|step| Step {
                cluster1: step.cluster1 as u32,
                cluster2: step.cluster2 as u32,
                dissimilarity: step.dissimilarity,
                size: step.size as u32,
            }));
    }

    /// Bytes held after `n` observations: a copy of the matrix, and at most this much per observation for kodama's
    /// lists, its dendrogram and our steps.
    pub fn bytes(n: usize) -> usize {
        let copy = match n <= MOST {
            true => Chain::bytes(n),
            false => n * n.saturating_sub(1) / 2 * size_of::<f32>(),
        };
        copy + n * 256
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Random, reference_cases, square};

    /// UPGMA by its definition: every round merges the two clusters of least mean distance over their pairs.
    fn naive_average(condensed: &[f32], n: usize) -> Vec<f64> {
        let distances = square(condensed, n);
        let mut clusters: Vec<Vec<usize>> = (0..n).map(|i| vec![i]).collect();
        let mut heights = Vec::new();
        while clusters.len() > 1 {
            let mut best = (f64::INFINITY, 0, 0);
            for a in 0..clusters.len() {
                for b in a + 1..clusters.len() {
                    let all = clusters[a]
                        .iter()
                        .flat_map(|&i| clusters[b].iter().map(move |&j| (i, j)));
                    let sum: f64 = all.map(|(i, j)| distances[i][j]).sum();
                    let mean = sum / (clusters[a].len() * clusters[b].len()) as f64;
                    if mean < best.0 {
                        best = (mean, a, b);
                    }
                }
            }
            let merged = clusters.remove(best.2);
            clusters[best.1].extend(merged);
            heights.push(best.0);
        }
        heights
    }

    #[test]
    fn average_linkage_is_the_mean_over_pairs() {
        let mut random = Random(11);
        let mut linker = Linker::new();
        for n in [2, 3, 5, 12, 40, 7] {
            let condensed: Vec<f32> = (0..n * (n - 1) / 2)
                .map(|_| (2.0 * random.uniform()) as f32)
                .collect();
            let copy = condensed.clone();
            let steps = linker.link(&condensed, n, Linkage::Average);
            assert_eq!(condensed, copy, "the caller's matrix survives");
            assert_eq!(steps.len(), n - 1);
            for (step, height) in steps.iter().zip(naive_average(&condensed, n)) {
                assert!(
                    (f64::from(step.dissimilarity) - height).abs() < 1e-6,
                    "n {n}"
                );
            }
        }
    }

    /// Numbers: tests/reference/linkage.py, SciPy 1.17.1.
    #[test]
    fn every_linkage_makes_scipys_merges() {
        let mut linker = Linker::new();
        for case in reference_cases() {
            for linkage in Linkage::ALL {
                let expected = &case.methods[linkage.name()].steps;
                let steps = linker.link(&case.condensed, case.n, linkage);
                assert_eq!(steps.len(), expected.len());
                for (i, (step, &(a, b, height, size))) in steps.iter().zip(expected).enumerate() {
                    let place = format!("{}, {}, step {i}: {step:?}", case.name, linkage.name());
                    assert_eq!(
                        (step.cluster1, step.cluster2, step.size),
                        (a, b, size),
                        "{place}"
                    );
                    assert!(
                        (f64::from(step.dissimilarity) - height).abs() < 2e-6,
                        "{place}"
                    );
                }
            }
        }
    }

    /// Where many dissimilarities are equal, too, as between texts that repeat.
    #[test]
    fn chains_make_kodamas_merges() {
        let mut random = Random(12);
        let mut linker = Linker::new();
        let sizes = (0..40).chain([63, 64, 65, 100, 257, MOST, MOST + 1]);
        for (n, levels) in sizes.flat_map(|n| [1, 3, 20, 1 << 20].map(|levels| (n, levels))) {
            let condensed: Vec<f32> = (0..n * n.max(1).saturating_sub(1) / 2)
                .map(|_| random.index(levels) as f32 / levels as f32)
                .collect();
            let steps = linker.link(&condensed, n, Linkage::Average).to_vec();
            linker.steps.clear();
            linker.by_kodama(&condensed, n, Linkage::Average);
            assert_eq!(steps, linker.steps, "n {n}, {levels} levels");
        }
    }

    #[test]
    #[should_panic(expected = "no dissimilarity is negative or not finite")]
    fn dissimilarities_that_are_no_numbers_are_refused() {
        Linker::new().link(&[0.5, f32::NAN, 0.7], 3, Linkage::Average);
    }

    #[test]
    fn fewer_than_two_observations_make_no_merge() {
        let mut linker = Linker::new();
        linker.link(&[0.5, 0.6, 0.7], 3, Linkage::Average);
        for linkage in Linkage::ALL {
            assert_eq!(linker.link(&[], 0, linkage), []);
            assert_eq!(linker.link(&[], 1, linkage), []);
        }
    }

    #[test]
    fn names_are_read_back() {
        for linkage in Linkage::ALL {
            assert_eq!(Linkage::parse(linkage.name()), Some(linkage));
        }
        assert_eq!(Linkage::parse("Average"), None);
        assert_eq!(Linkage::ALL[0], Linkage::default());
    }
}
