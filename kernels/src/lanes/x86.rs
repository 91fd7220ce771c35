//! The registers of x86-64: AVX2 and AVX-512.

use super::gram::{self, Ahead, Tile};
use super::{Line, Vector};
use std::arch::x86_64::*;

/// The last two levels of the tree for four registers at once.
///
/// # Safety
/// As [`Vector`]; SSE is part of the architecture's baseline.
#[inline(always)]
unsafe fn total(x: [__m128; 4]) -> [f32; 4] {
    let mut out = [0.0; 4];
    // SAFETY: the machine has SSE, and four floats are written to an array of four.
    unsafe {
        let ab = _mm_add_ps(_mm_unpacklo_ps(x[0], x[1]), _mm_unpackhi_ps(x[0], x[1]));
        let cd = _mm_add_ps(_mm_unpacklo_ps(x[2], x[3]), _mm_unpackhi_ps(x[2], x[3]));
        let sums = _mm_add_ps(_mm_movelh_ps(ab, cd), _mm_movehl_ps(cd, ab));
        _mm_storeu_ps(out.as_mut_ptr(), sums);
    }
    out
}

impl Vector for __m256 {
    const LANES: usize = 8;

    #[inline(always)]
    unsafe fn zero() -> Self {
        // SAFETY: the caller has the feature.
        unsafe { _mm256_setzero_ps() }
    }

    #[inline(always)]
    unsafe fn splat(x: f32) -> Self {
        // SAFETY: the caller has the feature.
        unsafe { _mm256_set1_ps(x) }
    }

    #[inline(always)]
    unsafe fn load(line: &Line, part: usize) -> Self {
        // SAFETY: the part lies inside the line, whose alignment is 64.
        unsafe { _mm256_load_ps(line.0.as_ptr().add(part * Self::LANES)) }
    }

    #[inline(always)]
    unsafe fn load_floats(floats: &[f32]) -> Self {
        // SAFETY: there are enough floats.
        unsafe { _mm256_loadu_ps(floats.as_ptr()) }
    }

    #[inline(always)]
    unsafe fn store(self, floats: &mut [f32]) {
        // SAFETY: there are enough floats.
        unsafe { _mm256_storeu_ps(floats.as_mut_ptr(), self) }
    }

    #[inline(always)]
    unsafe fn mul_add(a: Self, b: Self, c: Self) -> Self {
        // SAFETY: the caller has the feature.
        unsafe { _mm256_fmadd_ps(a, b, c) }
    }

    #[inline(always)]
    unsafe fn add(a: Self, b: Self) -> Self {
        // SAFETY: the caller has the feature.
        unsafe { _mm256_add_ps(a, b) }
    }

    #[inline(always)]
    unsafe fn total(four: [Self; 4]) -> [f32; 4] {
        // SAFETY: the caller has the feature.
        unsafe {
            let mut halves = [_mm_setzero_ps(); 4];
            for (half, x) in halves.iter_mut().zip(four) {
                *half = _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps::<1>(x));
            }
            total(halves)
        }
    }

    #[inline(always)]
    unsafe fn columns(h: [&[f32; 8]; 8], w: &[f32; 8]) -> [[f32; 8]; 8] {
        // SAFETY: the caller has the feature, and every array is as long as a register.
        unsafe {
            let w = Self::load_floats(w);
            let mut rows = [Self::zero(); 8];
            for (row, h) in rows.iter_mut().zip(h) {
                *row = _mm256_mul_ps(Self::load_floats(h), w);
            }
            // Pairs of rows, then pairs of pairs, then halves.
            let mut pairs = [Self::zero(); 8];
            for i in 0..4 {
                let [a, b] = [rows[2 * i], rows[2 * i + 1]];
                pairs[2 * i] = _mm256_unpacklo_ps(a, b);
                pairs[2 * i + 1] = _mm256_unpackhi_ps(a, b);
            }
            for i in [0, 1, 4, 5] {
                let [a, b] = [pairs[i], pairs[i + 2]];
                let first = i / 4 * 4 + i % 4 * 2;
                rows[first] = _mm256_shuffle_ps::<0x44>(a, b);
                rows[first + 1] = _mm256_shuffle_ps::<0xee>(a, b);
            }
            let mut columns = [[0.0; 8]; 8];
            for i in 0..4 {
                let [a, b] = [rows[i], rows[i + 4]];
                _mm256_permute2f128_ps::<0x20>(a, b).store(&mut columns[i]);
                _mm256_permute2f128_ps::<0x31>(a, b).store(&mut columns[i + 4]);
            }
            columns
        }
    }

    #[target_feature(enable = "avx2,fma")]
    unsafe fn multiply<const L: usize>(tile: Tile<'_, L>, ahead: &mut Ahead<'_>) {
        // SAFETY: the caller's promise.
        unsafe { gram::multiply::<Self, L>(tile, ahead) }
    }
}

impl Vector for __m512 {
    const LANES: usize = 16;

    #[inline(always)]
    unsafe fn zero() -> Self {
        // SAFETY: the caller has the feature.
        unsafe { _mm512_setzero_ps() }
    }

    #[inline(always)]
    unsafe fn splat(x: f32) -> Self {
        // SAFETY: the caller has the feature.
        unsafe { _mm512_set1_ps(x) }
    }

    #[inline(always)]
    unsafe fn load(line: &Line, _part: usize) -> Self {
        // SAFETY: a line is one register wide, and its alignment is 64.
        unsafe { _mm512_load_ps(line.0.as_ptr()) }
    }

    #[inline(always)]
    unsafe fn load_floats(floats: &[f32]) -> Self {
        // SAFETY: there are enough floats.
        unsafe { _mm512_loadu_ps(floats.as_ptr()) }
    }

    #[inline(always)]
    unsafe fn store(self, floats: &mut [f32]) {
        // SAFETY: there are enough floats.
        unsafe { _mm512_storeu_ps(floats.as_mut_ptr(), self) }
    }

    #[inline(always)]
    unsafe fn mul_add(a: Self, b: Self, c: Self) -> Self {
        // SAFETY: the caller has the feature.
        unsafe { _mm512_fmadd_ps(a, b, c) }
    }

    #[inline(always)]
    unsafe fn add(a: Self, b: Self) -> Self {
        // SAFETY: the caller has the feature.
        unsafe { _mm512_add_ps(a, b) }
    }

    #[inline(always)]
    unsafe fn total(four: [Self; 4]) -> [f32; 4] {
        // SAFETY: the caller has the feature, which includes AVX2.
        unsafe {
            let mut halves = [_mm256_setzero_ps(); 4];
            for (half, x) in halves.iter_mut().zip(four) {
                let high = _mm512_extractf64x4_pd::<1>(_mm512_castps_pd(x));
                *half = _mm256_add_ps(_mm512_castps512_ps256(x), _mm256_castpd_ps(high));
            }
            <__m256 as Vector>::total(halves)
        }
    }

    #[inline(always)]
    unsafe fn columns(h: [&[f32; 8]; 8], w: &[f32; 8]) -> [[f32; 8]; 8] {
        // SAFETY: the caller has the feature, which includes AVX2.
        unsafe { <__m256 as Vector>::columns(h, w) }
    }

    #[target_feature(enable = "avx512f")]
    unsafe fn multiply<const L: usize>(tile: Tile<'_, L>, ahead: &mut Ahead<'_>) {
        // SAFETY: the caller's promise.
        unsafe { gram::multiply::<Self, L>(tile, ahead) }
    }
}
