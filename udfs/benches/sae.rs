//! A training step of a sparse autoencoder beside `shared/bench/peer_sae.py`, whose data and settings these are, and
//! beside the products that a step with every latent active cannot do without. With the peer's weight of the sparsity
//! term nearly all latents fall silent on this data, which a step profits from; `dense` leaves the term out.

use std::hint::black_box;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use polysema_kernels::network::matmul::{Matrix, Output, Parallelism, multiply};
use polysema_kernels::random::Random;
use polysema_kernels::sae::{Init, Sae, TrainOptions, Trainer, Variant};

/// Batches that a benchmark goes through in turn.
const N_BATCHES: usize = 8;

/// Width in, dictionary width, rows of a batch.
type Shape = (usize, usize, usize);

fn batches((d, _, n): Shape) -> Vec<Vec<f32>> {
    let mut random = Random::new(0);
    let mut value = || (random.normal() as f32).max(0.0);
    let mut batch = || (0..n * d).map(|_| value()).collect();
    (0..N_BATCHES).map(|_| batch()).collect()
}

fn trainer((d, m, _): Shape, l1: f32, ne_loss: f32) -> Trainer {
    let sae = Sae::init(d, m, Variant::Relu, true, Init::Uniform, 0);
    let options = TrainOptions {
        l1,
        ne_loss,
        ne_start_step: 0,
        ..TrainOptions::foote_mnist()
    };
    Trainer::new(sae, options).expect("options in their ranges")
}

/// One product of each kind a step has.
struct Products {
    w: Vec<f32>,
    z: Vec<f32>,
    x: Vec<f32>,
}

impl Products {
    fn new((d, m, n): Shape) -> Self {
        let mut random = Random::new(1);
        let mut values = |len: usize| (0..len).map(|_| random.normal() as f32).collect();
        Self {
            w: values(m * d),
            z: values(m * n),
            x: values(n * d),
        }
    }

    /// Codes twice (forwards and back), reconstruction, two gradients; with the embedding loss four more.
    fn run(&mut self, (d, m, n): Shape, ne_loss: bool) {
        let pairs = if ne_loss { 4 } else { 2 };
        let mut z = vec![0.0; m * n];
        let mut w = vec![0.0; m * d];
        let mut x = vec![0.0; n * d];
        let all = Parallelism::Rayon(0);
        let (of_w, of_z, of_x) = (
            Matrix::new(&self.w, m, d, d),
            Matrix::new(&self.z, m, n, n),
            Matrix::new(&self.x, n, d, d),
        );
        for _ in 0..pairs {
            multiply(of_w, of_x.transposed(), 1.0, Output::Replace, &mut z, all);
            multiply(of_z, of_x, 1.0, Output::Replace, &mut w, all);
        }
        multiply(of_z.transposed(), of_w, 1.0, Output::Replace, &mut x, all);
        black_box((z, w, x));
    }
}

fn bench(c: &mut Criterion) {
    for shape in [(64, 512, 128), (768, 12_288, 2048)] {
        let batches = batches(shape);
        let (d, m, n) = shape;
        let name = format!("{d}_{m}_batch{n}");
        let mut group = c.benchmark_group("sae");
        if m > 1000 {
            // A step takes seconds.
            group.sample_size(10).warm_up_time(Duration::from_secs(1));
        }
        for (loss, ne_loss) in [("plain", 0.0), ("ne", 5e-3)] {
            for (kind, l1) in [("", 2e-4), ("_dense", 0.0)] {
                let mut trainer = trainer(shape, l1, ne_loss);
                let mut turn = batches.iter().cycle();
                group.bench_function(BenchmarkId::new(format!("{loss}{kind}"), &name), |b| {
                    b.iter(|| {
                        let batch = turn.next().expect("a cycle does not end");
                        black_box(trainer.step(batch).expect("finite"))
                    });
                });
            }
            let mut products = Products::new(shape);
            group.bench_function(BenchmarkId::new(format!("{loss}_products"), &name), |b| {
                b.iter(|| products.run(shape, ne_loss > 0.0));
            });
        }
        group.finish();
    }
}

criterion_group!(benches, bench);
criterion_main!(benches);
