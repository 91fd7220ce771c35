//! The work of one neuron: embeddings -> distances -> average linkage -> cut -> metrics, whole and by stage, on one
//! core. The peer is `shared/bench/peer_hac.py`, whose recipe for the data this is: ten topics plus noise, times a
//! weight vector.

use std::hint::black_box;

use criterion::{BatchSize, BenchmarkId, Criterion, criterion_group, criterion_main};
use polysema_kernels::network::matmul::{Matrix, Output, Parallelism, multiply};
use polysema_kernels::random::Random;
use polysema_kernels::{CosineDistances, Linkage, Linker, flat_clusters, polysemanticity};

const THRESHOLD: f64 = 0.5;
const N_TOPICS: usize = 10;
const NOISE: f64 = 0.7;

/// Neurons that a benchmark goes through in turn, so that no neuron finds its rows in the first-level cache.
const N_NEURONS: usize = 48;

/// The received vectors of one neuron [n, d] and its weights [d].
struct Neuron {
    h: Vec<f32>,
    w: Vec<f32>,
}

impl Neuron {
    fn rows(&self) -> Vec<&[f32]> {
        self.h.chunks_exact(self.w.len()).collect()
    }
}

fn neurons(n: usize, d: usize) -> Vec<Neuron> {
    let mut random = Random::new(0);
    let vector = |random: &mut Random| (0..d).map(|_| random.normal()).collect::<Vec<f64>>();
    let topics: Vec<Vec<f64>> = (0..N_TOPICS).map(|_| vector(&mut random)).collect();
    let neuron = |_| {
        let mut h = Vec::with_capacity(n * d);
        for _ in 0..n {
            let topic = &topics[random.index(N_TOPICS)];
            h.extend(topic.iter().map(|x| (x + NOISE * random.normal()) as f32));
        }
        let w = vector(&mut random).iter().map(|&x| x as f32).collect();
        Neuron { h, w }
    };
    (0..N_NEURONS).map(neuron).collect()
}

fn bench(c: &mut Criterion) {
    for (n, d) in [
        (10, 128),
        (10, 768),
        (100, 128),
        (100, 768),
        (300, 128),
        (300, 768),
    ] {
        let neurons = neurons(n, d);
        let rows: Vec<Vec<&[f32]>> = neurons.iter().map(Neuron::rows).collect();
        let id = |stage: &str| BenchmarkId::new(stage, format!("n{n}_d{d}"));
        let (mut distances, mut linker) = (CosineDistances::new(), Linker::new());
        let mut group = c.benchmark_group("neuron");
        let mut turn = (0..N_NEURONS).cycle();
        let mut next = move || turn.next().expect("a cycle does not end");

        group.bench_function(id("whole"), |b| {
            b.iter(|| {
                let i = next();
                distances
                    .compute(&rows[i], Some(&neurons[i].w))
                    .expect("finite");
                let n = distances.live().len();
                let steps = linker.link(distances.condensed(), n, Linkage::Average);
                let clusters = flat_clusters(steps, n, THRESHOLD, false);
                black_box(polysemanticity(distances.condensed(), &clusters))
            });
        });
        group.bench_function(id("distances"), |b| {
            b.iter(|| {
                let i = next();
                distances
                    .compute(&rows[i], Some(&neurons[i].w))
                    .expect("finite");
                black_box(distances.condensed());
            });
        });
        // What the product alone would take by the library that is linked anyway: the embeddings made, then all pairs,
        // either order of each, without norms or distances.
        let mut embeddings = vec![0.0; n * d];
        let mut products = vec![0.0; n * n];
        group.bench_function(id("gram_by_gemm"), |b| {
            b.iter(|| {
                let Neuron { h, w } = &neurons[next()];
                for (e, h) in embeddings.chunks_exact_mut(d).zip(h.chunks_exact(d)) {
                    e.iter_mut()
                        .zip(h.iter().zip(w))
                        .for_each(|(e, (h, w))| *e = h * w);
                }
                let e = Matrix::new(&embeddings, n, d, d);
                let (one, to) = (Parallelism::None, Output::Replace);
                multiply(e, e.transposed(), 1.0, to, &mut products, one);
                black_box(&products);
            });
        });

        let matrices: Vec<Vec<f32>> = neurons
            .iter()
            .zip(&rows)
            .map(|(neuron, rows)| {
                distances.compute(rows, Some(&neuron.w)).expect("finite");
                distances.condensed().to_vec()
            })
            .collect();
        group.bench_function(id("linkage"), |b| {
            b.iter(|| {
                black_box(linker.link(&matrices[next()], n, Linkage::Average));
            });
        });
        group.bench_function(id("cut_and_metrics"), |b| {
            b.iter_batched(
                || {
                    let matrix = &matrices[next()];
                    (matrix, linker.link(matrix, n, Linkage::Average).to_vec())
                },
                |(matrix, steps)| {
                    let clusters = flat_clusters(&steps, n, THRESHOLD, false);
                    black_box(polysemanticity(matrix, &clusters))
                },
                BatchSize::SmallInput,
            );
        });
        group.finish();
    }
}

criterion_group!(benches, bench);
criterion_main!(benches);
