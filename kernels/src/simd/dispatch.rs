//! Loops compiled a second time for wider registers than the target's baseline, chosen at run time.
//!
//! No fused multiply-add is used, so that a result has the same bits on every processor.

/// What [`wide`] runs: a closure that is small enough to be inlined, or a type of its own.
pub trait Task {
    /// What comes out.
    type Output;

    /// Does it. To be marked `#[inline(always)]`, like all it calls: other code is compiled for the baseline.
    fn run(self) -> Self::Output;
}

impl<R, F: FnOnce() -> R> Task for F {
    type Output = R;

    #[inline(always)]
    fn run(self) -> R {
        self()
    }
}

/// Does the work in code compiled for AVX2 where the processor has it.
#[inline]
pub fn wide<T: Task>(task: T) -> T::Output {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx2") {
        // SAFETY: the processor has the instructions.
        return unsafe { avx2(task) };
    }
    task.run()
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn avx2<T: Task>(task: T) -> T::Output {
    task.run()
}
