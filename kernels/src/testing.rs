//! What the kernels' tests share: reproducible random numbers, and definitions written as plainly as they read.

use std::collections::BTreeMap;
#[cfg(target_arch = "x86_64")]
use std::sync::OnceLock;

use serde_json::Value;

/// The crate's random numbers from the seed in the field, with what tests make of them.
pub(super) struct Random(pub(super) u64);

impl Random {
    /// Uniform in [0, 1).
    pub(super) fn uniform(&mut self) -> f64 {
        let mut stream = crate::random::Random::new(self.0);
        let found = stream.uniform();
        self.0 = stream.state();
        found
    }

    /// Below `end`.
    pub(super) fn index(&mut self, end: usize) -> usize {
        (self.uniform() * end as f64) as usize
    }

    /// Elements in [-1, 1).
    pub(super) fn vector(&mut self, d: usize) -> Vec<f32> {
        (0..d)
            .map(|_| (2.0 * self.uniform() - 1.0) as f32)
            .collect()
    }

    /// Vectors that gather around three directions.
    pub(super) fn rows(&mut self, n: usize, d: usize) -> Vec<Vec<f32>> {
        let topics: Vec<Vec<f32>> = (0..3).map(|_| self.vector(d)).collect();
        let row = |topic: &Vec<f32>, noise: Vec<f32>| {
            topic.iter().zip(noise).map(|(t, x)| t + 0.6 * x).collect()
        };
        (0..n)
            .map(|_| row(&topics[self.index(3)], self.vector(d)))
            .collect()
    }

    /// `0 .. n` in some order.
    pub(super) fn permutation(&mut self, n: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..n).collect();
        for i in (1..n).rev() {
            order.swap(i, self.index(i + 1));
        }
        order
    }
}

/// Borrowed rows.
pub(super) fn slices(rows: &[Vec<f32>]) -> Vec<&[f32]> {
    rows.iter().map(Vec::as_slice).collect()
}

/// The pairs of a condensed matrix, in its order.
pub(super) fn pairs(n: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..n).flat_map(move |i| (i + 1..n).map(move |j| (i, j)))
}

/// A condensed matrix as a square one with zeros on the diagonal.
pub(super) fn square(condensed: &[f32], n: usize) -> Vec<Vec<f64>> {
    let mut square = vec![vec![0.0; n]; n];
    for ((i, j), &x) in pairs(n).zip(condensed) {
        square[i][j] = f64::from(x);
        square[j][i] = f64::from(x);
    }
    square
}

/// Cosine distance in float64, term by term.
pub(super) fn naive_distance(a: &[f32], b: &[f32], w: Option<&[f32]>) -> f64 {
    // The embedding is a float32 vector: its products are rounded before anything else happens to them.
    let weight = |k: usize| w.map_or(1.0, |w| w[k]);
    let (mut ab, mut aa, mut bb) = (0.0, 0.0, 0.0);
    for k in 0..a.len() {
        let (x, y) = (f64::from(a[k] * weight(k)), f64::from(b[k] * weight(k)));
        ab += x * y;
        aa += x * x;
        bb += y * y;
    }
    1.0 - ab / (aa.sqrt() * bb.sqrt())
}

/// One matrix with every linkage's results, from tests/reference/linkage.json.
pub(super) struct ReferenceCase {
    pub(super) name: String,
    pub(super) n: usize,
    pub(super) condensed: Vec<f32>,
    pub(super) methods: BTreeMap<String, ReferenceMethod>,
    /// Of average linkage's clusters, by threshold.
    pub(super) silhouettes: Vec<(f64, Option<f64>)>,
}

/// SciPy's merges, its labels by threshold and by number of clusters, its cophenetic correlation.
pub(super) struct ReferenceMethod {
    pub(super) steps: Vec<(u32, u32, f64, u32)>,
    pub(super) cuts: Vec<(f64, Vec<u32>)>,
    pub(super) at_most: Vec<(usize, Vec<u32>)>,
    pub(super) cophenetic_correlation: Option<f64>,
}

/// The cases of tests/reference/linkage.json.
pub(super) fn reference_cases() -> Vec<ReferenceCase> {
    let text = include_str!("../../tests/reference/linkage.json");
    let json: Value = serde_json::from_str(text).unwrap();
    let list = |value: &Value| value.as_array().unwrap().clone();
    let int = |value: &Value| value.as_u64().unwrap() as u32;
    let labels = |value: &Value| list(value).iter().map(int).collect::<Vec<u32>>();
    let cuts = |value: &Value| value.as_object().unwrap().clone();
    let method = |value: &Value| ReferenceMethod {
        steps: list(&value["steps"])
            .iter()
            .map(|s| (int(&s[0]), int(&s[1]), s[2].as_f64().unwrap(), int(&s[3])))
            .collect(),
        cuts: cuts(&value["cuts"])
            .iter()
            .map(|(threshold, found)| (threshold.parse().unwrap(), labels(found)))
            .collect(),
        at_most: cuts(&value["at_most"])
            .iter()
            .map(|(n_clusters, found)| (n_clusters.parse().unwrap(), labels(found)))
            .collect(),
        cophenetic_correlation: value["cophenetic_correlation"].as_f64(),
    };
    let case = |value: &Value| ReferenceCase {
        name: value["name"].as_str().unwrap().to_string(),
        n: int(&value["n"]) as usize,
        condensed: list(&value["condensed"])
            .iter()
            .map(|x| x.as_f64().unwrap() as f32)
            .collect(),
        silhouettes: cuts(&value["silhouettes"])
            .iter()
            .map(|(threshold, found)| (threshold.parse().unwrap(), found.as_f64()))
            .collect(),
        methods: value["methods"]
            .as_object()
            .unwrap()
            .iter()
            .map(|(name, value)| (name.clone(), method(value)))
            .collect(),
    };
    list(&json["cases"]).iter().map(case).collect()
}

/// Whether a vector unit is used: those that are not wider than the one which the variable POLYSEMA_UNIT names.
#[cfg(target_arch = "x86_64")]
pub(super) fn is_used(name: &str) -> bool {
    const UNITS: [&str; 3] = ["portable", "avx2", "avx512"];
    static WIDEST: OnceLock<usize> = OnceLock::new();
    let width = |name: &str| {
        let found = UNITS.iter().position(|unit| *unit == name);
        found.unwrap_or_else(|| panic!("one of {UNITS:?} is required, got '{name}'"))
    };
    let named = || std::env::var("POLYSEMA_UNIT").map_or(UNITS.len(), |name| width(&name));
    width(name) <= *WIDEST.get_or_init(named)
}
