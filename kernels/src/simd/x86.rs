//! The registers of x86-64: AVX2 and AVX-512.

use super::vector_unit::{Outlined, Vector};
use std::arch::x86_64::*;

impl Vector for __m256 {
    const LANES: usize = 8;

    #[inline(always)]
    unsafe fn splat(x: f32) -> Self {
        // SAFETY: the caller has the feature.
        unsafe { _mm256_set1_ps(x) }
    }

    #[inline(always)]
    unsafe fn load(floats: &[f32]) -> Self {
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
    unsafe fn columns(h: [&[f32; 8]; 8], w: &[f32; 8]) -> [[f32; 8]; 8] {
        // SAFETY: the caller has the feature, and every array is as long as a register.
        unsafe {
            let w = Self::load(w);
            let mut rows = [Self::splat(0.0); 8];
            for (row, h) in rows.iter_mut().zip(h) {
                *row = _mm256_mul_ps(Self::load(h), w);
            }
            // Pairs of rows, then pairs of pairs, then halves.
            let mut pairs = [Self::splat(0.0); 8];
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
    unsafe fn outlined<T: Outlined>(task: T) {
        // SAFETY: the caller's promise.
        unsafe { task.run::<Self>() }
    }
}

impl Vector for __m512 {
    const LANES: usize = 16;

    #[inline(always)]
    unsafe fn splat(x: f32) -> Self {
        // SAFETY: the caller has the feature.
        unsafe { _mm512_set1_ps(x) }
    }

    #[inline(always)]
    unsafe fn load(floats: &[f32]) -> Self {
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
    unsafe fn columns(h: [&[f32; 8]; 8], w: &[f32; 8]) -> [[f32; 8]; 8] {
        // SAFETY: the caller has the feature, which includes AVX2.
        unsafe { <__m256 as Vector>::columns(h, w) }
    }

    #[target_feature(enable = "avx512f")]
    unsafe fn outlined<T: Outlined>(task: T) {
        // SAFETY: the caller's promise.
        unsafe { task.run::<Self>() }
    }
}
