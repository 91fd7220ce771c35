//! Random numbers that are the same of the same seed, and how many of what a test does.

pub use polysema_kernels::random::Random;

/// Those of the seed that the variable POLYSEMA_SEED says, or 1.
pub fn seeded() -> Random {
    Random::new(given("POLYSEMA_SEED", 1))
}

/// A number that a variable may say in place of the usual one.
pub fn given(variable: &str, usual: u64) -> u64 {
    let said = std::env::var(variable).ok();
    said.map_or(usual, |said| said.parse().expect("a whole number"))
}
