//! The vector units of processors: the registers are those of the crate pulp, whose values stand for instructions that
//! were found.

use bytemuck::{Pod, Zeroable};
#[cfg(target_arch = "aarch64")]
use pulp::aarch64::Neon;
#[cfg(target_arch = "x86_64")]
use pulp::x86::{V3, V4};
use pulp::{Scalar128b, Simd};

#[cfg(all(test, target_arch = "x86_64"))]
use crate::testing::is_used;

/// Floats in a [`Line`].
pub(super) const WIDTH: usize = 16;

/// Sixteen floats on one cache line, so that no load of a panel is unaligned.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C, align(64))]
pub(super) struct Line([f32; WIDTH]);

impl Line {
    pub(super) const ZEROS: Self = Self([0.0; WIDTH]);
}

/// A vector unit this machine has.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Isa {
    /// Plain Rust.
    Portable,
    #[cfg(target_arch = "x86_64")]
    Avx2(V3),
    #[cfg(target_arch = "x86_64")]
    Avx512(V4),
    #[cfg(target_arch = "aarch64")]
    Neon(Neon),
}

/// AVX2 where the processor has it.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
pub(super) fn avx2() -> Option<V3> {
    V3::try_new().filter(|_| is_used("avx2"))
}

/// AVX-512 where the processor has it.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
pub(super) fn avx512() -> Option<V4> {
    V4::try_new().filter(|_| is_used("avx512"))
}

/// Every vector unit is.
#[cfg(all(not(test), target_arch = "x86_64"))]
#[inline(always)]
const fn is_used(_: &str) -> bool {
    true
}

impl Isa {
    /// The vector units of this machine, the widest last.
    pub(crate) fn available() -> impl Iterator<Item = Self> {
        #[cfg(target_arch = "x86_64")]
        let found = [avx2().map(Self::Avx2), avx512().map(Self::Avx512)];
        #[cfg(target_arch = "aarch64")]
        let found = [Neon::try_new().map(Self::Neon)];
        #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
        let found: [Option<Self>; 0] = [];
        std::iter::once(Self::Portable).chain(found.into_iter().flatten())
    }

    /// The widest vector unit of this machine.
    pub(crate) fn best() -> Self {
        Self::available().last().unwrap_or(Self::Portable)
    }
}

/// Asks for the cache line of a float that will be read soon.
#[inline(always)]
pub(super) fn prefetch(floats: &[f32], at: usize) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch reads nothing, wherever it points, and is part of the architecture's baseline.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(floats.as_ptr().wrapping_add(at).cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (floats, at);
}

/// What products need of a vector unit beside its registers.
pub(super) trait Unit: Simd {
    /// `a * b + c`, as one instruction.
    #[inline(always)]
    fn multiply_add(self, a: Self::f32s, b: Self::f32s, c: Self::f32s) -> Self::f32s {
        self.mul_add_f32s(a, b, c)
    }

    /// `h ⊙ w` for eight rows, as eight columns.
    #[inline(always)]
    fn columns(self, h: [&[f32; 8]; 8], w: &[f32; 8]) -> [[f32; 8]; 8] {
        let mut columns = [[0.0; 8]; 8];
        for (i, h) in h.iter().enumerate() {
            for (column, (h, w)) in columns.iter_mut().zip(h.iter().zip(w)) {
                column[i] = h * w;
            }
        }
        columns
    }
}

impl Unit for Scalar128b {
    /// As two: fused it would be a library call.
    #[inline(always)]
    fn multiply_add(self, a: Self::f32s, b: Self::f32s, c: Self::f32s) -> Self::f32s {
        self.add_f32s(self.mul_f32s(a, b), c)
    }
}

#[cfg(target_arch = "aarch64")]
impl Unit for Neon {}

#[cfg(target_arch = "x86_64")]
impl Unit for V3 {
    #[inline(always)]
    fn columns(self, h: [&[f32; 8]; 8], w: &[f32; 8]) -> [[f32; 8]; 8] {
        use std::arch::x86_64::__m256;
        let avx = self.avx;
        let w: __m256 = pulp::cast(*w);
        let mut rows = [w; 8];
        for (row, h) in rows.iter_mut().zip(h) {
            *row = avx._mm256_mul_ps(pulp::cast(*h), w);
        }
        // Pairs of rows, then pairs of pairs, then halves.
        let mut pairs = rows;
        for i in 0..4 {
            let [a, b] = [rows[2 * i], rows[2 * i + 1]];
            pairs[2 * i] = avx._mm256_unpacklo_ps(a, b);
            pairs[2 * i + 1] = avx._mm256_unpackhi_ps(a, b);
        }
        for i in [0, 1, 4, 5] {
            let [a, b] = [pairs[i], pairs[i + 2]];
            let first = i / 4 * 4 + i % 4 * 2;
            rows[first] = avx._mm256_shuffle_ps::<0x44>(a, b);
            rows[first + 1] = avx._mm256_shuffle_ps::<0xee>(a, b);
        }
        let mut columns = [[0.0; 8]; 8];
        for i in 0..4 {
            let [a, b] = [rows[i], rows[i + 4]];
            columns[i] = pulp::cast(avx._mm256_permute2f128_ps::<0x20>(a, b));
            columns[i + 4] = pulp::cast(avx._mm256_permute2f128_ps::<0x31>(a, b));
        }
        columns
    }
}

#[cfg(target_arch = "x86_64")]
impl Unit for V4 {
    #[inline(always)]
    fn columns(self, h: [&[f32; 8]; 8], w: &[f32; 8]) -> [[f32; 8]; 8] {
        (*self).columns(h, w)
    }
}

#[cfg(all(test, target_arch = "x86_64"))]
mod tests {
    use super::*;

    #[test]
    fn the_widest_unit_that_the_variable_allows_is_used() {
        let found = [
            ("avx512", std::arch::is_x86_feature_detected!("avx512f")),
            ("avx2", std::arch::is_x86_feature_detected!("avx2")),
        ];
        let allowed = match std::env::var("POLYSEMA_UNIT").as_deref() {
            Ok("portable") => &found[2..],
            Ok("avx2") => &found[1..],
            _ => &found[..],
        };
        let expected = allowed.iter().find(|(_, there)| *there);
        let best = match Isa::best() {
            Isa::Portable => "portable",
            Isa::Avx2(_) => "avx2",
            Isa::Avx512(_) => "avx512",
        };
        assert_eq!(best, expected.map_or("portable", |(name, _)| name));
    }
}
