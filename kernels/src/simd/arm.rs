//! The registers of aarch64: NEON.

use super::vector_unit::{Outlined, Vector};
use std::arch::aarch64::*;

impl Vector for float32x4_t {
    const LANES: usize = 4;

    #[inline(always)]
    unsafe fn splat(x: f32) -> Self {
        // SAFETY: the caller has the feature.
        unsafe { vdupq_n_f32(x) }
    }

    #[inline(always)]
    unsafe fn load(floats: &[f32]) -> Self {
        // SAFETY: there are enough floats.
        unsafe { vld1q_f32(floats.as_ptr()) }
    }

    #[inline(always)]
    unsafe fn store(self, floats: &mut [f32]) {
        // SAFETY: there are enough floats.
        unsafe { vst1q_f32(floats.as_mut_ptr(), self) }
    }

    #[inline(always)]
    unsafe fn mul_add(a: Self, b: Self, c: Self) -> Self {
        // SAFETY: the caller has the feature.
        unsafe { vfmaq_f32(c, a, b) }
    }

    #[inline(always)]
    unsafe fn add(a: Self, b: Self) -> Self {
        // SAFETY: the caller has the feature.
        unsafe { vaddq_f32(a, b) }
    }

    #[target_feature(enable = "neon")]
    unsafe fn outlined<T: Outlined>(task: T) {
        // SAFETY: the caller's promise.
        unsafe { task.run::<Self>() }
    }
}
