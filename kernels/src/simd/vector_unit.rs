//! The vector units of processors. Each unsafe block is a load or store inside a slice that was checked, or a call of
//! code compiled for features that were found at run time.

/// Floats in a [`Line`].
pub(super) const WIDTH: usize = 16;

// No closure may hold an intrinsic: it is compiled without its surroundings' features, and not inlined.

/// Sixteen floats on one cache line, so that no load of a panel is unaligned.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
pub(super) struct Line(pub(super) [f32; WIDTH]);

impl Line {
    /// All floats of some lines.
    pub(super) fn flat(lines: &[Self]) -> &[f32] {
        // SAFETY: a line is sixteen floats and nothing else.
        unsafe { std::slice::from_raw_parts(lines.as_ptr().cast(), lines.len() * WIDTH) }
    }

    /// All floats of some lines, to be written.
    pub(super) fn flat_mut(lines: &mut [Self]) -> &mut [f32] {
        // SAFETY: as above.
        unsafe { std::slice::from_raw_parts_mut(lines.as_mut_ptr().cast(), lines.len() * WIDTH) }
    }
}

/// A vector unit this machine has: only [`Isa::available`] makes one, which is what makes its methods safe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Isa(pub(super) Kind);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Portable,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    #[cfg(target_arch = "x86_64")]
    Avx512,
    #[cfg(target_arch = "aarch64")]
    Neon,
}

impl Isa {
    /// The vector units of this machine, the widest last.
    pub(crate) fn available() -> impl Iterator<Item = Self> {
        let mut kinds = [Some(Kind::Portable), None, None];
        #[cfg(target_arch = "x86_64")]
        {
            let avx2 = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
            kinds[1] = avx2.then_some(Kind::Avx2);
            kinds[2] = is_x86_feature_detected!("avx512f").then_some(Kind::Avx512);
        }
        #[cfg(target_arch = "aarch64")]
        {
            kinds[1] = std::arch::is_aarch64_feature_detected!("neon").then_some(Kind::Neon);
        }
        kinds.into_iter().flatten().map(Self)
    }

    /// Plain Rust.
    pub(crate) fn portable() -> Self {
        Self(Kind::Portable)
    }

    /// The widest vector unit of this machine.
    pub(crate) fn best() -> Self {
        Self::available().last().unwrap_or(Self::portable())
    }

    /// Cosine distances, in place, from condensed dot products and the reciprocal norms of the rows.
    pub(crate) fn cosine_distances(self, condensed: &mut [f32], reciprocal_norms: &[f64]) {
        match self.0 {
            Kind::Portable => cosine_distances(condensed, reciprocal_norms),
            // SAFETY: an `Isa` of this kind exists only where its features were detected.
            #[cfg(target_arch = "x86_64")]
            Kind::Avx2 => unsafe { cosine_distances_avx2(condensed, reciprocal_norms) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Kind::Avx512 => unsafe { cosine_distances_avx512(condensed, reciprocal_norms) },
            #[cfg(target_arch = "aarch64")]
            Kind::Neon => cosine_distances(condensed, reciprocal_norms),
        }
    }
}

// The same source compiled once per set of features: `inline(always)` bodies take the features of their caller.

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn cosine_distances_avx2(condensed: &mut [f32], reciprocal_norms: &[f64]) {
    cosine_distances(condensed, reciprocal_norms);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
fn cosine_distances_avx512(condensed: &mut [f32], reciprocal_norms: &[f64]) {
    cosine_distances(condensed, reciprocal_norms);
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

#[inline(always)]
fn cosine_distances(condensed: &mut [f32], reciprocal_norms: &[f64]) {
    let mut rest = condensed;
    for (i, &norm) in reciprocal_norms.iter().enumerate() {
        let (row, below) = rest.split_at_mut(reciprocal_norms.len() - i - 1);
        for (x, other) in row.iter_mut().zip(&reciprocal_norms[i + 1..]) {
            *x = (1.0 - (f64::from(*x) * (norm * other)) as f32).clamp(0.0, 2.0);
        }
        rest = below;
    }
}

/// A register of floats.
///
/// # Safety
/// Every function needs its caller to be compiled with the features of the type, on a machine that has them.
pub(super) trait Vector: Copy {
    const LANES: usize;

    /// The same float in every lane.
    unsafe fn splat(x: f32) -> Self;

    /// The first `LANES` floats, of at least as many.
    unsafe fn load(floats: &[f32]) -> Self;

    /// Overwrites the first `LANES` floats, of at least as many.
    unsafe fn store(self, floats: &mut [f32]);

    /// `a * b + c`.
    unsafe fn mul_add(a: Self, b: Self, c: Self) -> Self;

    unsafe fn add(a: Self, b: Self) -> Self;

    /// `h ⊙ w` for eight rows, as eight columns.
    #[inline(always)]
    unsafe fn columns(h: [&[f32; 8]; 8], w: &[f32; 8]) -> [[f32; 8]; 8] {
        let mut columns = [[0.0; 8]; 8];
        for (i, h) in h.iter().enumerate() {
            for (column, (h, w)) in columns.iter_mut().zip(h.iter().zip(w)) {
                column[i] = h * w;
            }
        }
        columns
    }

    /// Runs the task in a function of its own, so that its loop has all registers.
    unsafe fn outlined<T: Outlined>(task: T);
}

/// What [`Vector::outlined`] runs. To be marked `#[inline(always)]`, like all it calls.
pub(super) trait Outlined {
    /// # Safety
    /// The caller is compiled with the features `V` needs, and the machine has them.
    unsafe fn run<V: Vector>(self);
}

impl Vector for [f32; 4] {
    const LANES: usize = 4;

    #[inline(always)]
    unsafe fn splat(x: f32) -> Self {
        [x; 4]
    }

    #[inline(always)]
    unsafe fn load(floats: &[f32]) -> Self {
        floats.as_chunks().0[0]
    }

    #[inline(always)]
    unsafe fn store(self, floats: &mut [f32]) {
        floats.as_chunks_mut().0[0] = self;
    }

    #[inline(always)]
    unsafe fn mul_add(a: Self, b: Self, c: Self) -> Self {
        std::array::from_fn(|i| a[i] * b[i] + c[i])
    }

    #[inline(always)]
    unsafe fn add(a: Self, b: Self) -> Self {
        std::array::from_fn(|i| a[i] + b[i])
    }

    unsafe fn outlined<T: Outlined>(task: T) {
        // SAFETY: the caller's promise.
        unsafe { task.run::<Self>() }
    }
}
