//! Condensed dissimilarities become the merges of a dendrogram.
//!
//! A thin layer over the crate kodama (Müllner 2011): buffers are reused, the caller's matrix survives, and
//! merges carry SciPy's labels, `n + i` for the cluster that step `i` makes.
//! Cost: n² for all but centroid and median linkage, which are n³ at worst.

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

/// One merge.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Step {
    /// The smaller label: an observation below `n`, the cluster of step `i` at `n + i`.
    pub cluster1: u32,
    /// The larger label.
    pub cluster2: u32,
    /// Between the two, under the linkage.
    pub dissimilarity: f32,
    /// Observations in the merged cluster.
    pub size: u32,
}

/// Merges one matrix after another in the same buffers.
pub struct Linker {
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

impl Linker {
    /// Empty buffers.
    pub fn new() -> Self {
        Self {
            state: kodama::LinkageState::new(),
            dendrogram: kodama::Dendrogram::new(0),
            matrix: Vec::new(),
            steps: Vec::new(),
        }
    }

    /// The `n - 1` merges of `n` observations, in the order they are made.
    ///
    /// # Panics
    /// If `condensed` does not hold `n (n - 1) / 2` finite values.
    pub fn link(&mut self, condensed: &[f32], n: usize, linkage: Linkage) -> &[Step] {
        assert_eq!(
            condensed.len(),
            n * n.saturating_sub(1) / 2,
            "one dissimilarity per pair"
        );
        self.matrix.clear();
        self.matrix.reserve_exact(condensed.len());
        self.matrix.extend_from_slice(condensed);
        let (state, matrix) = (&mut self.state, &mut self.matrix);
        kodama::linkage_with(state, matrix, n, linkage.method(), &mut self.dendrogram);
        self.steps.clear();
        self.steps
            .extend(self.dendrogram.steps().iter().map(|step| Step {
                cluster1: step.cluster1 as u32,
                cluster2: step.cluster2 as u32,
                dissimilarity: step.dissimilarity,
                size: step.size as u32,
            }));
        &self.steps
    }

    /// Bytes held after `n` observations: the copy of the matrix, and at most this much per observation for
    /// kodama's lists, its dendrogram and our steps.
    pub fn bytes(n: usize) -> usize {
        n * n.saturating_sub(1) / 2 * size_of::<f32>() + n * 256
    }
}
