//! Random numbers that are the same of the same seed, and how many of what a test does.
#![allow(dead_code, reason = "no test takes all of it")]

/// Knuth's 64-bit linear congruential generator.
pub struct Random(u64);

impl Random {
    /// Of the seed that the variable POLYSEMA_SEED says, or 1.
    pub fn new() -> Self {
        Self(given("POLYSEMA_SEED", 1))
    }

    /// From 0 to 1.
    pub fn share(&mut self) -> f64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// A whole number below an end.
    pub fn below(&mut self, end: usize) -> usize {
        (self.share() * end as f64) as usize
    }

    /// One of some.
    pub fn one_of<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.below(all.len())]
    }

    /// Two times of three.
    pub fn often(&mut self) -> bool {
        self.below(3) > 0
    }
}

/// A number that a variable may say in place of the usual one.
pub fn given(variable: &str, usual: u64) -> u64 {
    let said = std::env::var(variable).ok();
    said.map_or(usual, |said| said.parse().expect("a whole number"))
}
