//! The registers of aarch64: NEON.

use super::gram::{self, Ahead, Tile};
use super::{Line, Vector};
use std::arch::aarch64::*;

impl Vector for float32x4_t {
    const LANES: usize = 4;

    #[inline(always)]
    unsafe fn zero() -> Self {
        // SAFETY: the caller has the feature.
        unsafe { vdupq_n_f32(0.0) }
    }

    #[inline(always)]
    unsafe fn splat(x: f32) -> Self {
        // SAFETY: the caller has the feature.
        unsafe { vdupq_n_f32(x) }
    }

    #[inline(always)]
    unsafe fn load(line: &Line, part: usize) -> Self {
        // SAFETY: the part lies inside the line.
        unsafe { vld1q_f32(line.0.as_ptr().add(part * Self::LANES)) }
    }

    #[inline(always)]
    unsafe fn load_floats(floats: &[f32]) -> Self {
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

    #[inline(always)]
    unsafe fn total(four: [Self; 4]) -> [f32; 4] {
        // SAFETY: the caller has the feature.
        unsafe {
            let mut totals = [0.0; 4];
            for (total, x) in totals.iter_mut().zip(four) {
                let halves = vadd_f32(vget_low_f32(x), vget_high_f32(x));
                *total = vget_lane_f32::<0>(halves) + vget_lane_f32::<1>(halves);
            }
            totals
        }
    }

    #[target_feature(enable = "neon")]
    unsafe fn multiply<const L: usize>(tile: Tile<'_, L>, ahead: &mut Ahead<'_>) {
        // SAFETY: the caller's promise.
        unsafe { gram::multiply::<Self, L>(tile, ahead) }
    }
}
