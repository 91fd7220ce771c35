//! A training's whole state as named arrays, so that it can be stored and gone on with to the same bits.

use std::fmt;

use super::trainer::Trainer;
use crate::sae::Variant;

/// One array of a training's state.
#[derive(Debug, Clone, PartialEq)]
pub struct Named<'a> {
    /// Parameters have their own names, moments the prefixes `mean.` and `mean_square.`.
    pub name: &'static str,
    /// Row-major.
    pub dims: Vec<usize>,
    /// As many as the dims say.
    pub values: Values<'a>,
}

/// The numbers of one array.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Values<'a> {
    /// Parameters, moments, averages.
    F32(&'a [f32]),
    /// Counters.
    U64(&'a [u64]),
    /// Flags, 0 or 1.
    U8(&'a [u8]),
}

impl Values<'_> {
    fn len(&self) -> usize {
        match self {
            Self::F32(x) => x.len(),
            Self::U64(x) => x.len(),
            Self::U8(x) => x.len(),
        }
    }

    fn kind(&self) -> &'static str {
        match self {
            Self::F32(_) => "f32",
            Self::U64(_) => "u64",
            Self::U8(_) => "u8",
        }
    }
}

/// A state that does not belong to this training.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WrongState {
    /// The array.
    pub name: &'static str,
    /// What it has to be.
    pub required: String,
    /// What it is.
    pub got: String,
}

impl fmt::Display for WrongState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} must be {}, got {}",
            self.name, self.required, self.got
        )
    }
}

impl std::error::Error for WrongState {}

/// An array that can be written to.
enum Target<'a> {
    F32(&'a mut [f32]),
    U64(&'a mut [u64]),
    U8(&'a mut [u8]),
}

impl<'a> Target<'a> {
    fn read(self) -> Values<'a> {
        match self {
            Self::F32(x) => Values::F32(x),
            Self::U64(x) => Values::U64(x),
            Self::U8(x) => Values::U8(x),
        }
    }
}

impl Trainer {
    /// Everything a training needs to go on: parameters, moments, averages, counters.
    pub fn state(&mut self) -> Vec<Named<'_>> {
        let targets = self.targets().into_iter();
        targets
            .map(|(name, dims, target)| Named {
                name,
                dims,
                values: target.read(),
            })
            .collect()
    }

    /// Takes over a state of [`Trainer::state`], found by name; the trainer was made with the same options and an
    /// autoencoder of the same shape and variant.
    ///
    /// Errors: a missing array, another type or length. The trainer is then not to be used.
    pub fn restore<'v>(
        &mut self,
        find: impl Fn(&str) -> Option<Values<'v>>,
    ) -> Result<(), WrongState> {
        for (name, dims, target) in self.targets() {
            let n: usize = dims.iter().product();
            let found = find(name);
            match (target, found) {
                (Target::F32(to), Some(Values::F32(from))) if from.len() == n => {
                    to.copy_from_slice(from);
                }
                (Target::U64(to), Some(Values::U64(from))) if from.len() == n => {
                    to.copy_from_slice(from);
                }
                (Target::U8(to), Some(Values::U8(from))) if from.len() == n => {
                    to.copy_from_slice(from);
                }
                (target, found) => {
                    return Err(WrongState {
                        name,
                        required: format!("{n} values of type {}", target.read().kind()),
                        got: found.map_or("none".into(), |found| {
                            format!("{} of type {}", found.len(), found.kind())
                        }),
                    });
                }
            }
        }
        Ok(())
    }

    fn targets(&mut self) -> Vec<(&'static str, Vec<usize>, Target<'_>)> {
        let (d, m) = (self.sae.d_in, self.sae.d_sae);
        let averaged = self.averages.seen.len();
        let sae = &mut self.sae;
        let mut found = Vec::new();
        let mut add = |name, dims: &[usize], target| found.push((name, dims.to_vec(), target));
        let mut parameters = vec![
            (W_ENC, vec![m, d], &mut sae.w_enc, &mut self.w_enc),
            (W_DEC, vec![m, d], &mut sae.w_dec, &mut self.w_dec),
            (B_DEC, vec![d], &mut sae.b_dec, &mut self.b_dec),
        ];
        let mut vectors = Vec::new();
        match &mut sae.variant {
            Variant::Gated {
                b_gate,
                r_mag,
                b_mag,
            } => {
                // Not trained.
                add("b_enc", &[m], Target::F32(&mut sae.b_enc));
                vectors.extend([(B_GATE, b_gate), (R_MAG, r_mag), (B_MAG, b_mag)]);
            }
            Variant::JumpRelu { threshold } => {
                add("threshold", &[m], Target::F32(threshold));
                vectors.push((B_ENC, &mut sae.b_enc));
                vectors.push((LOG_THRESHOLD, &mut self.log_threshold));
            }
            Variant::BatchTopK { threshold, .. } => {
                add(
                    "threshold",
                    &[1],
                    Target::F32(std::slice::from_mut(threshold)),
                );
                vectors.push((B_ENC, &mut sae.b_enc));
            }
            _ => vectors.push((B_ENC, &mut sae.b_enc)),
        }
        for ((names, values), moments) in vectors.into_iter().zip(&mut self.latents) {
            parameters.push((names, vec![m], values, moments));
        }
        for (names, dims, values, moments) in parameters {
            add(names[0], &dims, Target::F32(values));
            add(names[1], &dims, Target::F32(&mut moments.m));
            add(names[2], &dims, Target::F32(&mut moments.v));
        }
        let averages = &mut self.averages;
        add("average_h", &[averaged, d], Target::F32(&mut averages.h));
        add("seen", &[averaged], Target::U8(&mut averages.seen));
        add("idle_steps", &[m], Target::U64(&mut self.idle));
        add("counters", &[2], Target::U64(&mut self.counters));
        found
    }
}

const W_ENC: [&str; 3] = ["w_enc", "mean.w_enc", "mean_square.w_enc"];
const W_DEC: [&str; 3] = ["w_dec", "mean.w_dec", "mean_square.w_dec"];
const B_DEC: [&str; 3] = ["b_dec", "mean.b_dec", "mean_square.b_dec"];
const B_ENC: [&str; 3] = ["b_enc", "mean.b_enc", "mean_square.b_enc"];
const B_GATE: [&str; 3] = ["b_gate", "mean.b_gate", "mean_square.b_gate"];
const R_MAG: [&str; 3] = ["r_mag", "mean.r_mag", "mean_square.r_mag"];
const B_MAG: [&str; 3] = ["b_mag", "mean.b_mag", "mean_square.b_mag"];
const LOG_THRESHOLD: [&str; 3] = [
    "log_threshold",
    "mean.log_threshold",
    "mean_square.log_threshold",
];
