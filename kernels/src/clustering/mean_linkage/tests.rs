//! Merges by means against SciPy in float64, the matrix and the definition (tests/reference/mean_linkage.py).

use serde_json::Value;

use super::*;
use crate::testing::{Random, naive_distance, slices};
use crate::{
    CosineDistances, Linkage, Linker, cophenetic_correlation, flat_clusters, polysemanticity,
};

static GO_ON: AtomicBool = AtomicBool::new(false);

fn means_of(rows: &[Vec<f32>], w: Option<&[f32]>) -> MeanLinker {
    let mut means = MeanLinker::default();
    assert!(means.link(&slices(rows), w, &GO_ON).unwrap());
    means
}

/// Float32 distances are at most 1e-6 from the exact ones (`distance`), and so are means of them; the matrix's means of
/// means are rounded at every merge.
const BOUND: f32 = 2e-6;

#[test]
fn heights_and_partitions_are_those_of_the_matrix() {
    let mut random = Random(71);
    let (mut distances, mut linker) = (CosineDistances::new(), Linker::new());
    // Around the lists' 16, tiles of 128 rows, and the most that the chain of the matrix takes.
    let shapes = [
        (2, 3),
        (3, 5),
        (9, 4),
        (16, 3),
        (17, 20),
        (18, 1),
        (40, 7),
        (127, 12),
        (128, 5),
        (129, 33),
        (300, 100),
        (700, 64),
        (1100, 40),
    ];
    for ((n, d), clustered) in shapes.into_iter().flat_map(|x| [(x, true), (x, false)]) {
        let rows = match clustered {
            true => random.rows(n, d),
            false => (0..n).map(|_| random.vector(d)).collect(),
        };
        let w = random.vector(d);
        let case = format!("n {n}, d {d}, clustered {clustered}");
        distances.compute(&slices(&rows), Some(&w)).unwrap();
        let expected = linker.link(distances.condensed(), n, Linkage::Average);
        let means = means_of(&rows, Some(&w));
        let steps = means.steps();
        assert_eq!(steps.len(), n - 1, "{case}");
        for (found, expected) in steps.iter().zip(expected) {
            let error = (found.dissimilarity - expected.dissimilarity).abs();
            assert!(error < BOUND, "{case}: {found:?}, {expected:?}");
        }
        for pair in expected.windows(2) {
            let [low, high] = [pair[0].dissimilarity, pair[1].dissimilarity];
            if high - low > 2.0 * BOUND {
                let threshold = f64::from(low + (high - low) / 2.0);
                let found = flat_clusters(steps, n, threshold, false);
                assert_eq!(
                    found,
                    flat_clusters(expected, n, threshold, false),
                    "{case}"
                );
            }
        }
        let correlation = cophenetic_correlation(distances.condensed(), expected, n);
        match (means.cophenetic_correlation(), correlation) {
            (Some(found), Some(expected)) => assert!((found - expected).abs() < 1e-5, "{case}"),
            (found, expected) => assert_eq!(found, expected, "{case}"),
        }
        let clusters = flat_clusters(steps, n, 0.5, false);
        let max = polysemanticity(distances.condensed(), &clusters).max_distance;
        let error = means.max_distance().unwrap() - max.unwrap();
        assert!(error.abs() < 1e-6, "{case}");
    }
}

/// The vectors of tests/reference/mean_linkage.py.
fn reference_rows(case: &Value) -> (Vec<Vec<f32>>, Vec<f32>) {
    let int = |name: &str| case[name].as_u64().unwrap() as usize;
    let [n, d, topics] = ["n", "d", "topics"].map(int);
    let [copies, opposites] = ["copies", "opposites"].map(int);
    let noise = case["noise"].as_f64().unwrap();
    let mut stream = crate::random::Random::new(int("seed") as u64);
    let vector = |stream: &mut crate::random::Random| -> Vec<f64> {
        (0..d).map(|_| 2.0 * stream.uniform() - 1.0).collect()
    };
    let centers: Vec<Vec<f64>> = (0..topics).map(|_| vector(&mut stream)).collect();
    let mut rows: Vec<Vec<f32>> = Vec::new();
    for i in 0..n {
        if i < n - copies - opposites {
            let topic = &centers[stream.index(topics)];
            let noisy = topic.iter().zip(vector(&mut stream));
            rows.push(noisy.map(|(t, x)| (t + noise * x) as f32).collect());
        } else {
            let sign = if i < n - opposites { 1.0 } else { -1.0 };
            let factor = (1 << (i % 3)) as f32 * sign;
            let of = &rows[stream.index(n - copies - opposites)];
            rows.push(of.iter().map(|x| x * factor).collect());
        }
    }
    if case["zeros"].as_bool().unwrap() {
        rows.iter_mut().step_by(100).for_each(|row| row.fill(0.0));
    }
    let w = vector(&mut stream).iter().map(|&x| x as f32).collect();
    (rows, w)
}

/// FNV-1a of the labels as four bytes, little end first.
fn hash(labels: &[u32]) -> String {
    let bytes = labels.iter().flat_map(|label| label.to_le_bytes());
    let hash = bytes.fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    format!("{hash:016x}")
}

/// Numbers: tests/reference/mean_linkage.py, SciPy 1.17.1 in float64.
#[test]
fn heights_and_partitions_are_scipys() {
    let text = include_str!("../../../../tests/reference/mean_linkage.json");
    let json: Value = serde_json::from_str(text).unwrap();
    let mut means = MeanLinker::default();
    for case in json["cases"].as_array().unwrap() {
        let name = case["name"].as_str().unwrap();
        let (rows, w) = reference_rows(case);
        assert!(means.link(&slices(&rows), Some(&w), &GO_ON).unwrap());
        let n = means.live().len();
        assert_eq!(n as u64, case["live"].as_u64().unwrap(), "{name}");
        let heights = case["heights"].as_array().unwrap();
        assert!(heights.len() > 40, "{name}");
        for height in heights {
            let place = height[0].as_u64().unwrap() as usize;
            let found = f64::from(means.steps()[place].dissimilarity);
            let expected = height[1].as_f64().unwrap();
            // A height is rounded to float32 once.
            let error = (found - expected).abs();
            assert!(error < 1.2e-7, "{name}, step {place}: {found}, {expected}");
        }
        let cuts = case["cuts"].as_array().unwrap();
        assert!(cuts.len() > 6, "{name}");
        for cut in cuts {
            let threshold = cut["threshold"].as_f64().unwrap();
            let clusters = flat_clusters(means.steps(), n, threshold, false);
            let sizes = cut["sizes"].as_array().unwrap();
            let sizes: Vec<u32> = sizes.iter().map(|x| x.as_u64().unwrap() as u32).collect();
            let place = format!("{name}, {threshold}");
            assert_eq!(clusters.sizes[..sizes.len()], sizes, "{place}");
            let n_clusters = cut["n_clusters"].as_u64().unwrap();
            assert_eq!(clusters.sizes.len() as u64, n_clusters, "{place}");
            let labels = cut["labels"].as_str().unwrap();
            assert_eq!(hash(&clusters.labels), labels, "{place}");
        }
        let clusters = flat_clusters(means.steps(), n, 0.5, false);
        let metrics = means.sums(&clusters).polysemanticity(means.max_distance());
        for (what, found, bound) in [
            ("max_distance", metrics.max_distance, 1e-6),
            ("mean_distance", metrics.mean_distance, 1e-7),
            (
                "cophenetic_correlation",
                means.cophenetic_correlation(),
                1e-6,
            ),
        ] {
            let error = found.unwrap() - case[what].as_f64().unwrap();
            assert!(error.abs() < bound, "{name}, {what}: {found:?}, {error}");
        }
    }
}

/// Whatever is taken of equal distances, a merge joins two clusters that no others are nearer than.
#[test]
fn where_distances_tie_every_merge_is_of_a_nearest_pair() {
    let mut random = Random(72);
    for (n, d, levels) in [(40, 2, 2), (60, 3, 2), (50, 4, 3), (130, 6, 2), (30, 1, 1)] {
        let mut digit = || random.index(2 * levels + 1) as f32 - levels as f32;
        let rows: Vec<Vec<f32>> = (0..n).map(|_| (0..d).map(|_| digit()).collect()).collect();
        let means = means_of(&rows, None);
        let live: Vec<&Vec<f32>> = means.live().iter().map(|&i| &rows[i as usize]).collect();
        let mut clusters: Vec<Option<Vec<usize>>> =
            (0..live.len()).map(|i| Some(vec![i])).collect();
        assert_eq!(means.steps().len(), live.len() - 1);
        for step in means.steps() {
            let mean = |a: &[usize], b: &[usize]| {
                let pairs = a.iter().flat_map(|&i| b.iter().map(move |&j| (i, j)));
                let sum: f64 = pairs
                    .map(|(i, j)| naive_distance(live[i], live[j], None))
                    .sum();
                sum / (a.len() * b.len()) as f64
            };
            let there: Vec<&Vec<usize>> = clusters.iter().flatten().collect();
            let pairs = (0..there.len()).flat_map(|i| (0..i).map(move |j| (i, j)));
            let least = pairs
                .map(|(i, j)| mean(there[i], there[j]))
                .fold(f64::INFINITY, f64::min);
            let [a, b] = [step.cluster1, step.cluster2]
                .map(|label| clusters[label as usize].take().expect("merged once"));
            let (height, exact) = (f64::from(step.dissimilarity), mean(&a, &b));
            assert!(
                (height - exact).abs() < 1.2e-7,
                "n {n}, d {d}: {step:?}, {exact}"
            );
            assert!(height - least < 1.2e-7, "n {n}, d {d}: {step:?}, {least}");
            clusters.push(Some([a, b].concat()));
        }
    }
}

#[test]
fn equal_rows_merge_at_zero_and_heights_never_fall() {
    let mut random = Random(73);
    let row = random.vector(31);
    let mut rows: Vec<Vec<f32>> = (0..300)
        .map(|i| row.iter().map(|x| x * (1 + i % 7) as f32).collect())
        .collect();
    rows.extend(random.rows(200, 31));
    let means = means_of(&rows, None);
    let zeros = means
        .steps()
        .iter()
        .filter(|step| step.dissimilarity == 0.0);
    assert_eq!(zeros.count(), 299);
    let mut below = vec![0.0; 500];
    for step in means.steps() {
        let parts = [step.cluster1, step.cluster2].map(|label| below[label as usize]);
        assert!(parts.iter().all(|&part| part <= step.dissimilarity));
        below.push(step.dissimilarity);
    }
    assert!(
        means
            .steps()
            .is_sorted_by(|a, b| a.dissimilarity <= b.dissimilarity)
    );
}

#[test]
fn opposite_rows_merge_at_two() {
    let rows: [&[f32]; 3] = [&[1.0, 0.0], &[-1.0, 0.0], &[-0.6, 0.8]];
    let mut means = MeanLinker::default();
    assert!(means.link(&rows, None, &GO_ON).unwrap());
    // 1 - 0.6, and the mean of 2 and 1.6.
    for (step, expected) in means.steps().iter().zip([0.4, 1.8]) {
        assert!((step.dissimilarity - expected).abs() < 1.2e-7, "{step:?}");
    }
    assert!(means.link(&rows[..2], None, &GO_ON).unwrap());
    assert_eq!(means.steps()[0].dissimilarity, 2.0);
    assert_eq!(means.max_distance(), Some(2.0));
}

#[test]
fn merges_do_not_depend_on_threads() {
    let mut random = Random(74);
    let rows = random.rows(900, 30);
    let [one, three] = [1, 3].map(|threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
        let pool = pool.build().unwrap();
        pool.install(|| means_of(&rows, None))
    });
    assert_eq!(one.steps(), three.steps());
    let correlation = one.cophenetic_correlation();
    assert_eq!(correlation, three.cophenetic_correlation());
    assert!(correlation.is_some());
}

#[test]
fn buffers_forget_the_group_before() {
    let mut random = Random(75);
    let mut reused = MeanLinker::default();
    for (n, d) in [(300, 20), (5, 40), (0, 3), (1, 3), (150, 3)] {
        let rows = random.rows(n, d);
        assert!(reused.link(&slices(&rows), None, &GO_ON).unwrap());
        let fresh = means_of(&rows, None);
        assert_eq!(reused.steps(), fresh.steps());
        assert_eq!(reused.live(), fresh.live());
        assert_eq!(reused.max_distance(), fresh.max_distance());
        assert_eq!(
            reused.cophenetic_correlation(),
            fresh.cophenetic_correlation()
        );
        assert_eq!(reused.max_distance().is_some(), n > 1);
    }
    let found = reused.link(&[&[1.0], &[f32::NAN]], None, &GO_ON);
    assert_eq!(found, Err(NonFinite { row: 1 }));
    assert!(reused.steps().is_empty() && reused.live().is_empty());
}

#[test]
fn the_correlation_is_null_where_nothing_varies() {
    let unit = |at: usize| {
        (0..5)
            .map(|k| if k == at { 1.0 } else { 0.0 })
            .collect::<Vec<f32>>()
    };
    let rows: Vec<Vec<f32>> = (0..5).map(unit).collect();
    let means = means_of(&rows, None);
    assert!(means.steps().iter().all(|step| step.dissimilarity == 1.0));
    assert_eq!(means.cophenetic_correlation(), None);
    assert_eq!(means_of(&rows[..2], None).cophenetic_correlation(), None);
}

#[test]
fn who_cancels_gets_nothing_and_the_buffers_serve_on() {
    let mut random = Random(76);
    let rows = random.rows(200, 9);
    let mut means = MeanLinker::default();
    let cancelled = AtomicBool::new(true);
    assert_eq!(means.link(&slices(&rows), None, &cancelled), Ok(false));
    assert!(means.steps().is_empty() && means.live().is_empty());
    assert_eq!(means.max_distance(), None);
    assert!(means.link(&slices(&rows), None, &GO_ON).unwrap());
    assert_eq!(means.steps(), means_of(&rows, None).steps());
}
