//! What is reserved before a group or a training is what it comes to hold, by an allocator that counts.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use polysema_kernels::random::Random;
use polysema_kernels::sae::{DeadLatents, Init, Sae, TrainOptions, Trainer, Variant};
use polysema_kernels::{CosineDistances, Linkage, Linker, MeanLinker, flat_clusters};

static HELD: AtomicUsize = AtomicUsize::new(0);
static MOST: AtomicUsize = AtomicUsize::new(0);

/// One measurement at a time: the counts are of the process.
static TURN: Mutex<()> = Mutex::new(());

/// Products keep a little per thread that is nobody's: `gemm`'s packed blocks, a pool's queues.
const OTHERS: usize = 8 << 20;

struct Counting;

// SAFETY: the system's allocator, with counts beside it.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let held = HELD.fetch_add(layout.size(), Ordering::Relaxed) + layout.size();
        MOST.fetch_max(held, Ordering::Relaxed);
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        HELD.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The most bytes held beyond those before, while `f` runs.
fn most(f: impl FnOnce()) -> usize {
    let before = HELD.load(Ordering::Relaxed);
    MOST.store(before, Ordering::Relaxed);
    f();
    MOST.load(Ordering::Relaxed) - before
}

fn normal(n: usize, seed: u64) -> Vec<f32> {
    let mut random = Random::new(seed);
    (0..n).map(|_| random.normal() as f32).collect()
}

#[test]
fn a_neuron() {
    let _turn = TURN.lock();
    for (n, d) in [(100, 768), (700, 64), (1500, 40)] {
        let values = normal(n * d, 1);
        let rows: Vec<&[f32]> = values.chunks_exact(d).collect();
        let held = most(|| {
            let mut distances = CosineDistances::new();
            distances.compute(&rows, None).expect("finite");
            Linker::new().link(distances.condensed(), n, Linkage::Average);
        });
        let reserved = CosineDistances::bytes(n, d) + Linker::bytes(n);
        assert!(held <= reserved, "n {n}, d {d}: {held} of {reserved}");
        assert!(held > reserved / 2, "n {n}, d {d}: {held} of {reserved}");
    }
}

#[test]
fn a_neuron_of_many_examples() {
    let _turn = TURN.lock();
    for (n, d) in [(2000, 300), (3000, 40), (200, 768)] {
        let values = normal(n * d, 1);
        let rows: Vec<&[f32]> = values.chunks_exact(d).collect();
        let held = most(|| {
            let mut linker = MeanLinker::default();
            let cancelled = AtomicBool::new(false);
            assert_eq!(linker.link(&rows, None, &cancelled), Ok(true));
            let clusters = flat_clusters(linker.steps(), n, 0.5, false);
            linker.sums(&clusters).silhouette();
        });
        let reserved = MeanLinker::bytes(n, d);
        let case = format!("n {n}, d {d}: {held} of {reserved}");
        assert!(held <= reserved, "{case}");
        assert!(held > reserved / 2, "{case}");
    }
}

#[test]
fn a_training() {
    let _turn = TURN.lock();
    let (d, m, n) = (256, 4096, 512);
    let x = normal(n * d, 2);
    let auxiliary = DeadLatents::Auxiliary {
        k: 8,
        coefficient: 0.1,
    };
    let resample = DeadLatents::Resample { every: 2 };
    for name in Variant::NAMES {
        for (dead, ne_loss) in [
            (DeadLatents::Leave, 0.0),
            (auxiliary, 0.01),
            (resample, 0.01),
        ] {
            let options = TrainOptions {
                ne_loss,
                dead,
                dead_after_steps: 1,
                ..TrainOptions::default()
            };
            let held = most(|| {
                let mut variant = Variant::untrained(name, m, 16).expect("a variant");
                if let Variant::JumpRelu { threshold } = &mut variant {
                    threshold.fill(2.0);
                }
                let sae = Sae::init(d, m, variant, true, Init::Uniform, 3);
                let mut trainer = Trainer::new(sae, options.clone()).expect("options");
                for _ in 0..4 {
                    trainer.step(&x).expect("finite");
                }
            });
            let reserved = Trainer::bytes(d, m, n, &options);
            let case = format!("{name}, {dead:?}, ne_loss {ne_loss}: {held} of {reserved}");
            assert!(held <= reserved + OTHERS, "{case}");
            // The auxiliary loss could find every latent dead.
            let likely = !matches!(dead, DeadLatents::Auxiliary { .. });
            assert!(!likely || held > reserved / 2, "{case}");
        }
    }
}
