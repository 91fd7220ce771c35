//! Loops compiled again for wider registers than the target's baseline, chosen at run time: by the crate pulp, whose
//! values stand for instructions that were found, so that what is compiled for them can be called safely.
//!
//! Only what is inlined is compiled again. The macros see to it for an expression; what it calls is to be marked
//! `#[inline(always)]` or as small as a closure of an iterator.

#[cfg(target_arch = "x86_64")]
use super::vector_unit::{avx2, avx512};

/// An expression in code compiled for AVX2 where the processor has it. Nothing in it may be fused by hand, so that a
/// result has the same bits on every processor.
macro_rules! wide {
    ($task:expr) => {
        $crate::simd::on_avx2(
            #[inline(always)]
            || $task,
        )
    };
}
pub(crate) use wide;

/// A call in code compiled for the widest registers of the processor. The function's parameter is whether a
/// multiplication and an addition are one instruction there.
macro_rules! widest {
    ($function:ident($($argument:expr),*)) => {
        $crate::simd::on_widest(
            #[inline(always)]
            |fused| match fused {
                true => $function::<true>($($argument),*),
                false => $function::<false>($($argument),*),
            },
        )
    };
}
pub(crate) use widest;

/// See [`wide`].
#[inline]
pub(crate) fn on_avx2<R>(task: impl FnOnce() -> R) -> R {
    #[cfg(target_arch = "x86_64")]
    if let Some(avx2) = avx2() {
        return avx2.vectorize(task);
    }
    task()
}

/// See [`widest`].
#[inline]
pub(crate) fn on_widest<R>(task: impl FnOnce(bool) -> R) -> R {
    #[cfg(target_arch = "x86_64")]
    {
        if let Some(avx512) = avx512() {
            return avx512.vectorize(
                #[inline(always)]
                || task(true),
            );
        }
        if let Some(avx2) = avx2() {
            return avx2.vectorize(
                #[inline(always)]
                || task(true),
            );
        }
    }
    task(false)
}
