//! Average linkage of one neuron of many examples: by the matrix of distances, by means, and sub-cluster components beside
//! them. `linkage.py` makes the vectors, and runs SciPy and fastcluster on them:
//!
//! ```text
//! python kernels/benches/linkage.py 10000 768 topics vectors.f32
//! cargo bench -p polysema-kernels --bench linkage -- vectors.f32 768 means matrix scc
//! ```

use std::sync::atomic::AtomicBool;
use std::time::Instant;

use polysema_kernels::{
    CosineDistances, Linkage, Linker, MeanLinker, Stop, SubClusters, flat_clusters,
};

const THRESHOLD: f64 = 0.5;

fn main() {
    let arguments: Vec<String> = std::env::args()
        .skip(1)
        .filter(|a| !a.starts_with("--"))
        .collect();
    let [file, d, methods @ ..] = arguments.as_slice() else {
        println!("FILE of float32, width, then any of means, matrix, scc");
        return;
    };
    let bytes = std::fs::read(file).expect("a file of float32");
    let values: Vec<f32> = bytes
        .chunks_exact(4)
        .map(|x| f32::from_le_bytes([x[0], x[1], x[2], x[3]]))
        .collect();
    drop(bytes);
    let rows: Vec<&[f32]> = values.chunks_exact(d.parse().expect("a width")).collect();
    let (n, threads) = (rows.len(), rayon::current_num_threads());
    let mut heights: Vec<(String, Vec<f32>)> = Vec::new();
    for method in methods {
        let started = Instant::now();
        let (clusters, found) = match method.as_str() {
            "means" => {
                let mut linker = MeanLinker::default();
                let cancelled = AtomicBool::new(false);
                linker.link(&rows, None, &cancelled).expect("finite");
                let steps = linker.steps();
                (
                    flat_clusters(steps, n, THRESHOLD, false),
                    steps.iter().map(|s| s.dissimilarity).collect(),
                )
            }
            "matrix" => {
                let (mut distances, mut linker) = (CosineDistances::new(), Linker::new());
                distances.compute(&rows, None).expect("finite");
                let steps = linker.link(distances.condensed(), n, Linkage::Average);
                (
                    flat_clusters(steps, n, THRESHOLD, false),
                    steps.iter().map(|s| s.dissimilarity).collect(),
                )
            }
            _ => {
                let stop = Stop::Threshold {
                    threshold: THRESHOLD,
                    strict: false,
                };
                (
                    SubClusters::default()
                        .cluster(&rows, None, stop)
                        .expect("finite"),
                    vec![],
                )
            }
        };
        let n_clusters = clusters.sizes.len();
        println!(
            "{method}: n {n}, {threads} threads, {:.2} s, {n_clusters} clusters at {THRESHOLD}",
            started.elapsed().as_secs_f64()
        );
        heights.push((method.clone(), found));
    }
    if let [(a, x), (b, y), ..] = heights.as_slice()
        && x.len() == y.len()
    {
        let worst = x
            .iter()
            .zip(y)
            .map(|(x, y)| (x - y).abs())
            .fold(0.0, f32::max);
        println!("heights of {a} and {b} differ by {worst:e} at most");
    }
}
