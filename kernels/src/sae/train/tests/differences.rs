//! Gradients against central differences of the loss in float64, every sum written as definitions write it.

use super::{Owned, normal, restore, state, untrained};
use crate::sae::{DeadLatents, Reduction, Sae, TrainOptions, Trainer, Variant};

/// Parameters in the order of `NAMES`; unused ones are empty.
type Parameters = Vec<Vec<f64>>;

const NAMES: [&str; 6] = ["w_enc", "w_dec", "b_dec", "b_enc", "r_mag", "b_mag"];

struct Naive<'a> {
    sae: &'a Sae,
    options: &'a TrainOptions,
    x: Vec<f64>,
    average: Vec<f64>,
    seen: Vec<u8>,
    dead: Vec<usize>,
    /// Where derivatives do not go.
    frozen: Parameters,
}

fn wide(x: &[f32]) -> Vec<f64> {
    x.iter().map(|x| f64::from(*x)).collect()
}

/// Indices of the `k` largest.
fn largest(values: &[f64], k: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|i, j| values[*j].total_cmp(&values[*i]));
    order.truncate(k);
    order
}

impl Naive<'_> {
    /// `W_enc x + b` of all rows `[n, d_sae]`.
    fn pre(&self, p: &Parameters, bias: bool) -> Vec<f64> {
        let (d, m) = (self.sae.d_in, self.sae.d_sae);
        let mut z = Vec::new();
        for x in self.x.chunks(d) {
            for j in 0..m {
                let centre = |k: usize| if self.sae.centered { p[2][k] } else { 0.0 };
                let sum: f64 = (0..d).map(|k| p[0][j * d + k] * (x[k] - centre(k))).sum();
                z.push(sum + if bias { p[3][j] } else { 0.0 });
            }
        }
        z
    }

    /// Activations and the sparsity term.
    fn codes(&self, p: &Parameters) -> (Vec<f64>, f64) {
        let m = self.sae.d_sae;
        let z = self.pre(p, true);
        let positive: Vec<f64> = z.iter().map(|z| z.max(0.0)).collect();
        let keep = |places: Vec<usize>, a: &mut Vec<f64>| {
            places.into_iter().for_each(|i| a[i] = positive[i]);
        };
        let mut a = vec![0.0; z.len()];
        match &self.sae.variant {
            Variant::Relu => a.clone_from(&positive),
            Variant::TopK { k } => {
                for (b, row) in positive.chunks(m).enumerate() {
                    let places = largest(row, *k).into_iter().map(|j| b * m + j);
                    keep(places.collect(), &mut a);
                }
            }
            Variant::BatchTopK { k, .. } => keep(largest(&positive, k * z.len() / m), &mut a),
            Variant::JumpRelu { threshold } => {
                for (i, a) in a.iter_mut().enumerate() {
                    *a = if z[i] > f64::from(threshold[i % m]) {
                        z[i]
                    } else {
                        0.0
                    };
                }
                // Its sparsity term has no derivative but the estimated one.
                let l0 = a.iter().filter(|a| **a > 0.0).count();
                return (a, l0 as f64);
            }
            Variant::Gated { .. } => {
                let pre = self.pre(p, false);
                for (i, a) in a.iter_mut().enumerate() {
                    let magnitude = (p[4][i % m].exp() * pre[i] + p[5][i % m]).max(0.0);
                    *a = if z[i] > 0.0 { magnitude } else { 0.0 };
                }
                return (a, positive.iter().sum());
            }
        }
        let sum = a.iter().sum();
        (a, sum)
    }

    fn decode(&self, a: &[f64], p: &Parameters) -> Vec<f64> {
        let (d, m) = (self.sae.d_in, self.sae.d_sae);
        let row = |a: &[f64]| -> Vec<f64> {
            let sum = |k: usize| (0..m).map(|j| a[j] * p[1][j * d + k]).sum::<f64>();
            (0..d).map(|k| p[2][k] + sum(k)).collect()
        };
        a.chunks(m).flat_map(row).collect()
    }

    fn error(&self, y: &[f64], x: &[f64]) -> f64 {
        let square: f64 = y.iter().zip(x).map(|(y, x)| (y - x).powi(2)).sum();
        square / x.len() as f64
    }

    /// One embedding after the other.
    fn embedding_loss(&self, a: &[f64], p: &Parameters) -> f64 {
        let (d, m) = (self.sae.d_in, self.sae.d_sae);
        let mut loss = 0.0;
        for (i, _) in a.iter().enumerate().filter(|(_, a)| **a > 0.0) {
            let (b, j) = (i / m, i % m);
            if self.seen.get(j).is_none_or(|seen| *seen == 0) {
                continue;
            }
            let (mut ab, mut aa, mut bb) = (0.0, 0.0, 0.0);
            for k in 0..d {
                let w = p[0][j * d + k];
                let centre = if self.options.ne_centered {
                    p[2][k]
                } else {
                    0.0
                };
                let (x, y) = (
                    self.average[j * d + k] * w,
                    (self.x[b * d + k] - centre) * w,
                );
                ab += x * y;
                aa += x * x;
                bb += y * y;
            }
            loss += 1.0 - ab / (aa * bb).sqrt();
        }
        loss
    }

    fn auxiliary(&self, p: &Parameters) -> f64 {
        let (d, m) = (self.sae.d_in, self.sae.d_sae);
        let z = self.pre(p, true);
        if let Variant::Gated { .. } = self.sae.variant {
            let gate: Vec<f64> = z.iter().map(|z| z.max(0.0)).collect();
            return self.error(&self.decode(&gate, &self.frozen), &self.x);
        }
        let DeadLatents::Auxiliary { k, coefficient } = self.options.dead else {
            return 0.0;
        };
        let y = self.decode(&self.codes(&self.frozen).0, &self.frozen);
        let left: Vec<f64> = self.x.iter().zip(&y).map(|(x, y)| x - y).collect();
        let n = (left.len() / d) as f64;
        let mean = |i: usize| left.iter().skip(i).step_by(d).sum::<f64>() / n;
        let means: Vec<f64> = (0..d).map(mean).collect();
        let from_mean = |(b, e): (usize, &f64)| (e - means[b % d]).powi(2);
        let variance: f64 = left.iter().enumerate().map(from_mean).sum();
        let mut square = 0.0;
        for (b, z) in z.chunks(m).enumerate() {
            let of_dead: Vec<f64> = self.dead.iter().map(|j| z[*j].max(0.0)).collect();
            let chosen = largest(&of_dead, k);
            for i in 0..d {
                let terms = chosen
                    .iter()
                    .map(|c| of_dead[*c] * p[1][self.dead[*c] * d + i]);
                let error = terms.sum::<f64>() - left[b * d + i];
                square += error * error;
            }
        }
        f64::from(coefficient) * square / variance
    }

    fn loss(&self, p: &Parameters) -> f64 {
        let (a, sparsity) = self.codes(p);
        let n = self.x.len() / self.sae.d_in;
        let share = match self.options.reduction {
            Reduction::Sum => 1.0,
            Reduction::Mean => 1.0 / n as f64,
        };
        self.error(&self.decode(&a, p), &self.x)
            + share * f64::from(self.options.l1) * sparsity
            + share * f64::from(self.options.ne_loss) * self.embedding_loss(&a, p)
            + self.auxiliary(p)
    }
}

fn k_of(sae: &Sae) -> Option<usize> {
    match sae.variant {
        Variant::TopK { k } | Variant::BatchTopK { k, .. } => Some(k),
        _ => None,
    }
}

fn parameters(sae: &Sae) -> Parameters {
    let mut found = vec![wide(&sae.w_enc), wide(&sae.w_dec), wide(&sae.b_dec)];
    match &sae.variant {
        Variant::Gated {
            b_gate,
            r_mag,
            b_mag,
        } => found.extend([wide(b_gate), wide(r_mag), wide(b_mag)]),
        _ => found.extend([wide(&sae.b_enc), vec![], vec![]]),
    }
    found
}

/// Trains two steps, so that averages and dead latents exist, and compares loss and gradient on a third batch.
fn check(mut sae: Sae, options: TrainOptions, what: &str) {
    let (d, n) = (sae.d_in, 9);
    // Latents that never are active.
    for j in 0..3 {
        match &mut sae.variant {
            Variant::Gated { b_gate, .. } => b_gate[j] = -9.0,
            _ => sae.b_enc[j] = -9.0,
        }
    }
    let mut trainer = Trainer::new(sae, options.clone()).unwrap();
    trainer.step(&normal(n * d, 0.3, 1)).unwrap();
    trainer.step(&normal(n * d, 0.3, 2)).unwrap();
    let x = normal(n * d, 0.3, 4);
    let before = state(&mut trainer);
    let find = |name: &str| before.iter().find(|(n, _)| *n == name).unwrap().1.clone();
    let (Owned::F32(average), Owned::U8(seen)) = (find("average_h"), find("seen")) else {
        panic!("average_h and seen have their types");
    };
    let Owned::U64(idle) = find("idle_steps") else {
        panic!("idle_steps is of u64");
    };
    let sae = trainer.sae().clone();
    let dead = (0..idle.len()).filter(|j| idle[*j] >= options.dead_after_steps);
    let p = parameters(&sae);
    let naive = Naive {
        sae: &sae,
        options: &options,
        x: wide(&x),
        average: wide(&average),
        seen,
        dead: dead.collect(),
        frozen: p.clone(),
    };
    let (losses, grads) = trainer.losses_and_gradients(&x).unwrap();
    let expected = naive.loss(&p);
    assert!(
        (losses.loss - expected).abs() < 1e-5 * expected.abs().max(1.0),
        "{what}: loss {}, expected {expected}",
        losses.loss
    );
    assert_eq!(losses.ne_loss > 0.0, options.ne_loss > 0.0, "{what}");
    // A ReLU's dead latents have no activation above 0, those that a top-k leaves out do.
    let revives = matches!(options.dead, DeadLatents::Auxiliary { .. }) && k_of(&sae).is_some();
    assert!(losses.auxiliary > 0.0 || !revives, "{what}");
    for (name, grad) in grads {
        check_gradient(&naive, name, &grad, what);
    }
    assert_eq!(before, state(&mut trainer), "{what}: nothing was updated");
    restore(&mut trainer, &before);
}

/// One parameter's gradient.
fn check_gradient(naive: &Naive<'_>, name: &str, grad: &[f32], what: &str) {
    // Thresholds have estimated derivatives only: tests/reference/sae.json has them.
    if name == "log_threshold" {
        return;
    }
    let mut p = naive.frozen.clone();
    let at = NAMES
        .iter()
        .position(|n| *n == name.replace("b_gate", "b_enc"))
        .unwrap();
    let largest = grad.iter().fold(1e-3f32, |l, g| l.max(g.abs()));
    for i in 0..grad.len() {
        let (value, step) = (p[at][i], 1e-6);
        p[at][i] = value + step;
        let above = naive.loss(&p);
        p[at][i] = value - step;
        let below = naive.loss(&p);
        p[at][i] = value;
        let expected = (above - below) / (2.0 * step);
        assert!(
            (f64::from(grad[i]) - expected).abs() < 2e-5 * f64::from(largest.max(1.0)),
            "{what}: {name} {i}: {}, expected {expected}",
            grad[i]
        );
    }
}

#[test]
fn of_every_variant() {
    for centered in [true, false] {
        for name in Variant::NAMES {
            let options = TrainOptions {
                l1: 0.02,
                ne_loss: 0.05,
                ne_start_step: 0,
                ..TrainOptions::default()
            };
            let what = format!("{name}, centered {centered}");
            // Both sides of the boundary between sums over active entries and products.
            check(
                untrained(name, (6, 18), 4, centered),
                options.clone(),
                &what,
            );
            check(
                untrained(name, (6, 90), 2, centered),
                options,
                &format!("{what}, sparse"),
            );
        }
    }
}

#[test]
fn of_every_option() {
    let base = TrainOptions {
        l1: 0.02,
        ne_loss: 0.05,
        ne_start_step: 0,
        ..TrainOptions::default()
    };
    let cases = [
        (
            "means",
            TrainOptions {
                reduction: Reduction::Mean,
                ..base.clone()
            },
        ),
        (
            "centred embeddings",
            TrainOptions {
                ne_centered: true,
                ..base.clone()
            },
        ),
        (
            "auxiliary loss",
            TrainOptions {
                dead: DeadLatents::Auxiliary {
                    k: 2,
                    coefficient: 0.4,
                },
                dead_after_steps: 2,
                ..base.clone()
            },
        ),
        (
            "no embeddings",
            TrainOptions {
                ne_loss: 0.0,
                ..base
            },
        ),
    ];
    for (what, options) in cases {
        for name in ["relu", "topk", "batch_topk", "jump_relu"] {
            check(
                untrained(name, (6, 40), 2, true),
                options.clone(),
                &format!("{what}, {name}"),
            );
        }
    }
}
