//! What training does: it finds planted directions, goes on from a snapshot to the same bits, and survives dead rows.
//! Above 400 lines as a list of cases that share their helpers.

use super::{Owned, normal, restore, state, untrained};
use crate::random::Random;
use crate::sae::{
    DeadLatents, Diverged, Init, LossTerm, Sae, StepLosses, TrainOptions, Trainer, Variant,
};

/// Rows that are sums of `active` of the `m` unit directions, with factors in [0.5, 1.5).
struct Planted {
    d: usize,
    directions: Vec<Vec<f32>>,
    active: usize,
    random: Random,
}

impl Planted {
    fn new(d: usize, m: usize, active: usize, seed: u64) -> Self {
        let mut random = Random::new(seed);
        let mut direction = |_| {
            let x: Vec<f64> = (0..d).map(|_| random.normal()).collect();
            let norm = x.iter().map(|x| x * x).sum::<f64>().sqrt();
            x.iter().map(|x| (x / norm) as f32).collect()
        };
        Self {
            d,
            directions: (0..m).map(&mut direction).collect(),
            active,
            random,
        }
    }

    fn rows(&mut self, n: usize) -> Vec<f32> {
        let mut rows = vec![0.0; n * self.d];
        for row in rows.chunks_exact_mut(self.d) {
            for _ in 0..self.active {
                let direction = &self.directions[self.random.index(self.directions.len())];
                let factor = 0.5 + self.random.uniform() as f32;
                row.iter_mut()
                    .zip(direction)
                    .for_each(|(x, y)| *x += factor * y);
            }
        }
        rows
    }

    /// Mean over the planted directions of the largest cosine with a decoder row.
    fn recovered(&self, sae: &Sae) -> f64 {
        let cosine = |a: &[f32], b: &[f32]| {
            let dot = |a: &[f32], b: &[f32]| -> f64 {
                a.iter().zip(b).map(|(a, b)| f64::from(a * b)).sum()
            };
            dot(a, b) / (dot(a, a) * dot(b, b)).sqrt().max(1e-12)
        };
        let best = |x: &Vec<f32>| {
            let rows = sae.w_dec.chunks_exact(self.d);
            rows.map(|w| cosine(x, w)).fold(0.0, f64::max)
        };
        self.directions.iter().map(best).sum::<f64>() / self.directions.len() as f64
    }
}

fn train(sae: Sae, options: TrainOptions, n_steps: usize) -> (f64, StepLosses, StepLosses) {
    let mut planted = Planted::new(24, 32, 3, 1);
    let mut trainer = Trainer::new(sae, options).unwrap();
    let first = trainer.step(&planted.rows(128)).unwrap();
    let mut last = first;
    for _ in 1..n_steps {
        last = trainer.step(&planted.rows(128)).unwrap();
    }
    (planted.recovered(trainer.sae()), first, last)
}

#[test]
fn finds_planted_directions() {
    let options = |l1| TrainOptions {
        l1,
        learning_rate: 3e-3,
        warmup_steps: 50,
        unit_norm_decoder: true,
        bandwidth: 0.1,
        reduction: super::super::Reduction::Mean,
        dead: DeadLatents::Auxiliary {
            k: 8,
            coefficient: 0.03,
        },
        dead_after_steps: 100,
        ..TrainOptions::default()
    };
    for (name, l1) in [
        ("relu", 1e-2),
        ("topk", 0.0),
        ("batch_topk", 0.0),
        ("jump_relu", 2e-3),
        ("gated", 3e-2),
    ] {
        let mut variant = Variant::untrained(name, 48, 3).unwrap();
        if let Variant::JumpRelu { threshold } = &mut variant {
            threshold.fill(0.1);
        }
        let sae = Sae::init(24, 48, variant, true, Init::Tied, 5);
        let (cosine, first, last) = train(sae, options(l1), 1500);
        assert!(
            cosine > 0.95,
            "{name}: mean largest cosine {cosine}, {last:?}"
        );
        assert!(last.loss < 0.5 * first.loss, "{name}: {first:?} {last:?}");
        let explained = last.explained_variance.unwrap();
        assert!(explained > 0.8, "{name}: {last:?}");
    }
}

#[test]
fn goes_on_to_the_same_bits() {
    for name in Variant::NAMES {
        for dead in [
            DeadLatents::Leave,
            DeadLatents::Resample { every: 4 },
            DeadLatents::Auxiliary {
                k: 3,
                coefficient: 0.1,
            },
        ] {
            let options = TrainOptions {
                ne_start_step: 2,
                dead,
                dead_after_steps: 3,
                clip_norm: Some(1.0),
                ..TrainOptions::foote_mnist()
            };
            let new = || Trainer::new(untrained(name, (8, 40), 3, true), options.clone()).unwrap();
            let batch = |i: u64| normal(16 * 8, 0.0, 100 + i);
            let mut whole = new();
            (0..10).for_each(|i| {
                whole.step(&batch(i)).unwrap();
            });
            let mut first = new();
            (0..5).for_each(|i| {
                first.step(&batch(i)).unwrap();
            });
            let saved = state(&mut first);
            let mut second = new();
            restore(&mut second, &saved);
            (5..10).for_each(|i| {
                second.step(&batch(i)).unwrap();
            });
            assert_eq!(state(&mut second), state(&mut whole), "{name}, {dead:?}");
        }
    }
}

#[test]
fn does_not_depend_on_the_number_of_threads() {
    for (name, k, n) in [("relu", 0, 200), ("batch_topk", 4, 150), ("gated", 0, 64)] {
        let run = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
            pool.build().unwrap().install(|| {
                let options = TrainOptions {
                    ne_start_step: 1,
                    dead: DeadLatents::Auxiliary {
                        k: 16,
                        coefficient: 0.1,
                    },
                    dead_after_steps: 2,
                    clip_norm: Some(0.5),
                    ..TrainOptions::foote_mnist()
                };
                let sae = untrained(name, (33, 300), k, true);
                let mut trainer = Trainer::new(sae, options).unwrap();
                for i in 0..6 {
                    trainer.step(&normal(n * 33, 0.2, i)).unwrap();
                }
                state(&mut trainer)
            })
        };
        let one = run(1);
        assert_eq!(one, run(2), "{name}, 2 threads");
        assert_eq!(one, run(3), "{name}, 3 threads");
    }
}

#[test]
fn tiny_rows_give_no_nan() {
    for size in [0.0, 1e-38, 1e-25, 1e-20, 1e-16, 1e-14] {
        let mut sae = untrained("relu", (10, 32), 0, true);
        // Half of them active by their bias.
        for (j, w) in sae.w_enc.chunks_exact_mut(10).enumerate() {
            w.iter_mut().for_each(|w| *w *= size);
            sae.b_enc[j] = if j % 2 == 0 { 0.5 } else { -0.5 };
        }
        let options = TrainOptions {
            ne_start_step: 0,
            ..TrainOptions::foote_mnist()
        };
        let mut trainer = Trainer::new(sae, options).unwrap();
        for i in 0..5 {
            let losses = trainer.step(&normal(40 * 10, 0.5, i)).unwrap();
            assert!(losses.loss.is_finite(), "size {size}");
        }
        for (name, values) in state(&mut trainer) {
            if let Owned::F32(x) = values {
                let usual = x.iter().all(|x| *x == 0.0 || x.is_normal());
                assert!(usual, "size {size}: {name}");
            }
        }
    }
}

#[test]
fn the_decoder_keeps_norm_1() {
    let options = TrainOptions {
        unit_norm_decoder: true,
        ..TrainOptions::default()
    };
    let sae = Sae::init(8, 24, Variant::Relu, true, Init::Tied, 0);
    let mut trainer = Trainer::new(sae, options).unwrap();
    (0..5).for_each(|i| {
        trainer.step(&normal(160, 0.1, i)).unwrap();
    });
    for row in trainer.sae().w_dec.chunks_exact(8) {
        let square: f32 = row.iter().map(|x| x * x).sum();
        assert!((square - 1.0).abs() < 1e-6);
    }
}

#[test]
fn says_what_is_not_finite_and_updates_nothing() {
    let cases = [
        (vec![f32::NAN; 4], LossTerm::Batch { row: 1 }),
        (vec![1e30; 4], LossTerm::Mse),
    ];
    for (row, term) in cases {
        let mut trainer = Trainer::new(
            untrained("relu", (4, 9), 0, true),
            TrainOptions::foote_mnist(),
        )
        .unwrap();
        trainer.step(&normal(12, 0.0, 0)).unwrap();
        let before = state(&mut trainer);
        let mut batch = normal(12, 0.0, 1);
        batch[4..8].copy_from_slice(&row);
        assert_eq!(trainer.step(&batch), Err(Diverged { step: 1, term }));
        assert_eq!(state(&mut trainer), before);
    }
    let message = Diverged {
        step: 7,
        term: LossTerm::NeLoss,
    };
    assert_eq!(message.to_string(), "ne_loss of step 7");
}

#[test]
fn options_are_checked() {
    let sae = || untrained("relu", (4, 9), 0, true);
    let refuse = |options: TrainOptions| Trainer::new(sae(), options).unwrap_err().to_string();
    let l1 = TrainOptions {
        l1: -1.0,
        ..TrainOptions::default()
    };
    assert_eq!(refuse(l1), "l1 must be a number not below 0, got -1");
    let momentum = TrainOptions {
        ne_momentum: 1.0,
        ..TrainOptions::default()
    };
    assert_eq!(
        refuse(momentum),
        "ne_momentum must be a number in [0, 1), got 1"
    );
    let every = TrainOptions {
        dead: DeadLatents::Resample { every: 0 },
        ..TrainOptions::default()
    };
    assert_eq!(
        refuse(every),
        "resample_every must be a number of steps above 0, got 0"
    );
}

/// Half of the latents never are active; of a jump ReLU, since their thresholds have run away.
fn half_dead(name: &str, options: TrainOptions) -> Trainer {
    let mut sae = untrained(name, (8, 24), 3, true);
    let never = |bias: &mut Vec<f32>| bias.iter_mut().take(12).for_each(|b| *b = -100.0);
    match &mut sae.variant {
        Variant::Gated { b_gate, .. } => never(b_gate),
        Variant::JumpRelu { .. } => {}
        _ => never(&mut sae.b_enc),
    }
    let mut trainer = Trainer::new(sae, options).unwrap();
    let mut saved = state(&mut trainer);
    for (name, values) in &mut saved {
        if let ("threshold" | "log_threshold", Owned::F32(values)) = (*name, values)
            && values.len() == 24
        {
            let far: f32 = if *name == "threshold" {
                100.0
            } else {
                100f32.ln()
            };
            values.iter_mut().take(12).for_each(|t| *t = far);
        }
    }
    restore(&mut trainer, &saved);
    trainer
}

#[test]
fn resampling_revives() {
    for name in Variant::NAMES {
        let options = TrainOptions {
            dead: DeadLatents::Resample { every: 5 },
            dead_after_steps: 4,
            ..TrainOptions::default()
        };
        let mut trainer = half_dead(name, options);
        let losses: Vec<_> = (0..9)
            .map(|i| trainer.step(&normal(256, 0.0, i)).unwrap())
            .collect();
        assert!(losses[4].n_dead >= 12, "{name}");
        // As many steps after it as it takes to be dead again. A new row of a fifth of the others' length is seldom
        // among the largest.
        let most = if name.ends_with("topk") { 10 } else { 4 };
        assert!(losses[8].n_dead < most, "{name}: {:?}", losses[8]);
        if let Variant::JumpRelu { threshold } = &trainer.sae().variant {
            assert!(threshold.iter().all(|t| *t < 0.25), "{threshold:?}");
        }
    }
}

#[test]
fn the_auxiliary_loss_revives() {
    let trained = |dead| {
        let mut planted = Planted::new(24, 32, 3, 1);
        let variant = Variant::untrained("topk", 48, 3).unwrap();
        let mut sae = Sae::init(24, 48, variant, true, Init::Tied, 5);
        // Too short to be among the largest, though they look into every direction.
        sae.w_enc.iter_mut().take(24 * 24).for_each(|w| *w *= 1e-3);
        let options = TrainOptions {
            learning_rate: 1e-3,
            warmup_steps: 100,
            l1: 0.0,
            unit_norm_decoder: true,
            dead,
            dead_after_steps: 50,
            ..TrainOptions::default()
        };
        let mut trainer = Trainer::new(sae, options).unwrap();
        let steps = (0..1500).map(|_| trainer.step(&planted.rows(128)).unwrap());
        steps.last().unwrap()
    };
    let left = trained(DeadLatents::Leave);
    let revived = trained(DeadLatents::Auxiliary {
        k: 12,
        coefficient: 1.0 / 32.0,
    });
    assert!(left.n_dead > 20, "{left:?}");
    assert!(revived.n_dead < 10, "{revived:?}");
    assert!(revived.mse < 0.7 * left.mse, "{revived:?} {left:?}");
}

#[test]
fn explained_variance_does_not_cancel() {
    // Rows far from 0, and rows that are one and the same.
    let spread = normal(64 * 8, 0.0, 1);
    for mean in [0.0, 3e3, -2e5] {
        let x: Vec<f32> = spread.iter().map(|x| x + mean).collect();
        let mut sae = untrained("relu", (8, 24), 0, true);
        sae.b_dec.fill(mean);
        let (mut codes, mut back) = (vec![], vec![]);
        sae.encode(&x, &mut codes);
        sae.decode(&codes, &mut back);
        let (mut error, mut variance) = (0.0, 0.0);
        for k in 0..8 {
            let column = |x: &[f32]| -> Vec<f64> {
                x.iter().skip(k).step_by(8).map(|x| f64::from(*x)).collect()
            };
            let (x, y) = (column(&x), column(&back));
            let middle = x.iter().sum::<f64>() / 64.0;
            error += x.iter().zip(&y).map(|(x, y)| (x - y).powi(2)).sum::<f64>();
            variance += x.iter().map(|x| (x - middle).powi(2)).sum::<f64>();
        }
        let mut trainer = Trainer::new(sae, TrainOptions::default()).unwrap();
        let found = trainer.step(&x).unwrap().explained_variance.unwrap();
        let expected = 1.0 - error / variance;
        assert!(
            (found - expected).abs() < 1e-5,
            "{mean}: {found}, expected {expected}"
        );
    }
    let mut trainer = Trainer::new(untrained("relu", (8, 24), 0, true), TrainOptions::default());
    let same = normal(8, 5.0, 2).repeat(3);
    let losses = trainer.as_mut().unwrap().step(&same).unwrap();
    assert_eq!(losses.explained_variance, None);
}

#[test]
fn the_rate_of_a_step_can_be_lowered() {
    let moved = |factor: f32| {
        let sae = untrained("relu", (8, 24), 0, true);
        let before = sae.b_dec.clone();
        let mut trainer = Trainer::new(sae, TrainOptions::default()).unwrap();
        trainer.set_rate(factor);
        let losses = trainer.step(&normal(128, 1.0, 0)).unwrap();
        let by: f32 = (trainer.sae().b_dec.iter().zip(&before))
            .map(|(a, b)| (a - b).abs())
            .sum();
        (losses.learning_rate, by)
    };
    let (rate, by) = moved(1.0);
    let (quarter, by_quarter) = moved(0.25);
    assert!((quarter - 0.25 * rate).abs() < 1e-9 && rate > 0.0);
    assert!(
        (by_quarter - 0.25 * by).abs() < 1e-3 * by,
        "{by_quarter} {by}"
    );
}

#[test]
fn codes_stay_when_vectors_grow() {
    for name in Variant::NAMES {
        let mut sae = untrained(name, (8, 24), 3, true);
        sae.b_dec = normal(8, 0.0, 6);
        let x = normal(8 * 5, 0.2, 7);
        let longer: Vec<f32> = x.iter().map(|x| x * 37.0).collect();
        let (mut codes, mut same) = (vec![], vec![]);
        let (mut back, mut grown) = (vec![], vec![]);
        sae.encode(&x, &mut codes);
        sae.decode(&codes, &mut back);
        let sae = sae.for_vectors_scaled_by(37.0);
        sae.encode(&longer, &mut same);
        sae.decode(&same, &mut grown);
        for (a, b) in codes.iter().zip(&same) {
            assert!((a - b).abs() < 1e-5, "{name}: {a} {b}");
        }
        for (a, b) in back.iter().zip(&grown) {
            assert!((37.0 * a - b).abs() < 1e-3, "{name}: {a} {b}");
        }
    }
}
