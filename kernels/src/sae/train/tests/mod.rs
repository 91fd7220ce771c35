//! Checks of the whole step: against PyTorch, against finite differences of the loss as it reads, and in training.

mod differences;
mod reference;
mod training;

use crate::random::Random;
use crate::sae::{Init, Sae, Trainer, Values, Variant};

/// Values around `mean` with deviation 1.
fn normal(n: usize, mean: f64, seed: u64) -> Vec<f32> {
    let mut random = Random::new(seed);
    (0..n).map(|_| (random.normal() + mean) as f32).collect()
}

/// An untrained one.
fn untrained(name: &str, (d_in, d_sae): (usize, usize), k: usize, centered: bool) -> Sae {
    let mut variant = Variant::untrained(name, d_sae, k).unwrap();
    if let Variant::JumpRelu { threshold } = &mut variant {
        threshold.fill(0.2);
    }
    Sae::init(d_in, d_sae, variant, centered, Init::Uniform, 3)
}

/// The state as owned arrays.
#[derive(Debug, Clone, PartialEq)]
enum Owned {
    F32(Vec<f32>),
    U64(Vec<u64>),
    U8(Vec<u8>),
}

fn state(trainer: &mut Trainer) -> Vec<(&'static str, Owned)> {
    let named = trainer.state().into_iter();
    named
        .map(|named| {
            let n: usize = named.dims.iter().product();
            let values = match named.values {
                Values::F32(x) => Owned::F32(x.to_vec()),
                Values::U64(x) => Owned::U64(x.to_vec()),
                Values::U8(x) => Owned::U8(x.to_vec()),
            };
            let len = match &values {
                Owned::F32(x) => x.len(),
                Owned::U64(x) => x.len(),
                Owned::U8(x) => x.len(),
            };
            assert_eq!(n, len, "{}", named.name);
            (named.name, values)
        })
        .collect()
}

fn restore(trainer: &mut Trainer, state: &[(&'static str, Owned)]) {
    let find = |name: &str| {
        let (_, values) = state.iter().find(|(n, _)| *n == name)?;
        Some(match values {
            Owned::F32(x) => Values::F32(x),
            Owned::U64(x) => Values::U64(x),
            Owned::U8(x) => Values::U8(x),
        })
    };
    trainer.restore(find).expect("a state of the same training");
}
