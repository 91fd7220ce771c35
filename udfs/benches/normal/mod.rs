//! Normal numbers from a fixed seed, so that every benchmark of every machine works on the same data.

/// SplitMix64 with the Box-Muller transform.
pub struct Normal(pub u64);

impl Normal {
    /// In (0, 1], the upper 53 bits.
    pub fn uniform(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (((z ^ (z >> 31)) >> 11) + 1) as f64 / (1u64 << 53) as f64
    }

    /// Of `0 .. n`.
    pub fn below(&mut self, n: usize) -> usize {
        (self.uniform() * n as f64) as usize % n
    }

    /// Standard normal.
    pub fn sample(&mut self) -> f64 {
        (-2.0 * self.uniform().ln()).sqrt() * (std::f64::consts::TAU * self.uniform()).cos()
    }

    /// `d` standard normal numbers.
    pub fn vector(&mut self, d: usize) -> Vec<f64> {
        (0..d).map(|_| self.sample()).collect()
    }
}
