//! Dot products of many padded rows on the widest vector unit the machine has. Every unsafe block of the kernels
//! is here or in its parts: each is a load inside a [`Line`], or a call of code compiled for features that were found at
//! run time.
//!
//! All vector units add the same sixteen partial sums in the same order, so the AVX-512, AVX2 and NEON paths give
//! equal bits; the portable one has no fused multiply-add and differs by rounding.
//! Over 400 lines so that all unsafe code stands in one file.

mod cross;
mod gram;

pub(super) use gram::{Panels, Weighted};

use gram::{Ahead, Tile};

/// Floats in a [`Line`].
pub(super) const WIDTH: usize = 16;

/// Rows are padded to a multiple of this, so that no tile has a remainder.
pub(super) const TILE: usize = 4;

/// Lines summed in float32 before the sum is put aside: 48 additions per partial sum keep the rounding of
/// same-signed products, the worst case, below 1e-6 at any width.
const BLOCK_LINES: usize = 48;

/// Columns that stay in the first-level cache while rows pass by: 4 rows of 48 lines are 12 KiB, and so are the rows
/// of a tile; 8 columns leave too little of 32 KiB to these.
const GROUP_COLUMNS: usize = 4;

/// Sums of magnitudes between which squares, their sums and the products of two reciprocal norms are normal numbers.
const PLAIN: std::ops::Range<f32> = 1e-9..1e9;

// No closure may hold an intrinsic: it is compiled without its surroundings' features, and not inlined.

/// Sixteen floats on one cache line: no load is unaligned, and no row has a remainder.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
pub(super) struct Line([f32; WIDTH]);

impl Line {
    /// All floats of some lines.
    fn flat(lines: &[Self]) -> &[f32] {
        // SAFETY: a line is sixteen floats and nothing else.
        unsafe { std::slice::from_raw_parts(lines.as_ptr().cast(), lines.len() * WIDTH) }
    }

    /// All floats of some lines, to be written.
    fn flat_mut(lines: &mut [Self]) -> &mut [f32] {
        // SAFETY: as above.
        unsafe { std::slice::from_raw_parts_mut(lines.as_mut_ptr().cast(), lines.len() * WIDTH) }
    }
}

/// One line of each of four rows. The rows of a tile lie interleaved, so that it reads two streams, not eight.
pub(super) type Quad = [Line; TILE];

/// Four rows of zeros.
pub(super) const ZERO: Quad = [Line([0.0; WIDTH]); TILE];

/// What became of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Embedded {
    Direction,
    /// All elements are zero.
    Zero,
    /// An element is NaN or infinite, or the product of two is.
    NonFinite,
}

/// A vector unit this machine has: only [`Isa::available`] makes one, which is what makes its methods safe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Isa(Kind);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
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
    pub(super) fn available() -> impl Iterator<Item = Self> {
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
    pub(super) fn portable() -> Self {
        Self(Kind::Portable)
    }

    /// The widest vector unit of this machine.
    pub(super) fn best() -> Self {
        Self::available().last().unwrap_or(Self::portable())
    }

    /// Writes `h ⊙ w` (or `h`) padded with zeros as row `lane` of `quads`, times a power of two where its squares
    /// could leave float32's range. `ahead`, the row that comes next, is fetched from memory on the way.
    pub(super) fn embed(
        self,
        h: &[f32],
        ahead: &[f32],
        w: Option<&[f32]>,
        quads: &mut [Quad],
        lane: usize,
    ) -> Embedded {
        assert_eq!(
            quads.len(),
            h.len().div_ceil(WIDTH),
            "a row fills its lines"
        );
        assert!(
            w.is_none_or(|w| w.len() == h.len()),
            "one weight per element"
        );
        assert!(lane < TILE, "a tile has {TILE} rows");
        let magnitude = match self.0 {
            Kind::Portable => embed(h, ahead, w, quads, lane),
            // SAFETY: an `Isa` of this kind exists only where its features were detected.
            #[cfg(target_arch = "x86_64")]
            Kind::Avx2 => unsafe { embed_avx2(h, ahead, w, quads, lane) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Kind::Avx512 => unsafe { embed_avx512(h, ahead, w, quads, lane) },
            // Plain code already uses NEON there: it is part of the architecture's baseline.
            #[cfg(target_arch = "aarch64")]
            Kind::Neon => embed(h, ahead, w, quads, lane),
        };
        match PLAIN.contains(&magnitude) {
            true => Embedded::Direction,
            false => bring_into_range(quads, lane),
        }
    }

    /// Cosine distances, in place, from condensed dot products and the reciprocal norms of the rows.
    pub(super) fn cosine_distances(self, condensed: &mut [f32], reciprocal_norms: &[f64]) {
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
fn embed_avx2(h: &[f32], ahead: &[f32], w: Option<&[f32]>, quads: &mut [Quad], lane: usize) -> f32 {
    embed(h, ahead, w, quads, lane)
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
fn embed_avx512(
    h: &[f32],
    ahead: &[f32],
    w: Option<&[f32]>,
    quads: &mut [Quad],
    lane: usize,
) -> f32 {
    embed(h, ahead, w, quads, lane)
}

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

/// Returns the sum of the row's magnitudes, which is not finite if an element is not.
#[inline(always)]
fn embed(h: &[f32], ahead: &[f32], w: Option<&[f32]>, quads: &mut [Quad], lane: usize) -> f32 {
    let mut magnitudes = [0.0f32; WIDTH];
    let (whole, rest) = h.as_chunks::<WIDTH>();
    let n_whole = whole.len();
    let put = |quad: &mut Quad, e: [f32; WIDTH], magnitudes: &mut [f32; WIDTH]| {
        for (sum, x) in magnitudes.iter_mut().zip(&e) {
            *sum += x.abs();
        }
        quad[lane].0 = e;
    };
    if let Some(w) = w {
        let weights = w.as_chunks::<WIDTH>().0;
        for (k, ((quad, h), w)) in quads.iter_mut().zip(whole).zip(weights).enumerate() {
            prefetch(ahead, k * WIDTH);
            put(quad, std::array::from_fn(|k| h[k] * w[k]), &mut magnitudes);
        }
    } else {
        for (k, (quad, h)) in quads.iter_mut().zip(whole).enumerate() {
            prefetch(ahead, k * WIDTH);
            put(quad, *h, &mut magnitudes);
        }
    }
    if !rest.is_empty() {
        let mut e = [0.0; WIDTH];
        for (k, (e, h)) in e.iter_mut().zip(rest).enumerate() {
            *e = w.map_or(*h, |w| h * w[n_whole * WIDTH + k]);
        }
        put(&mut quads[n_whole], e, &mut magnitudes);
    }
    magnitudes.iter().sum()
}

/// Asks for the cache line of a float that will be read soon.
#[inline(always)]
fn prefetch(floats: &[f32], at: usize) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch reads nothing, wherever it points, and is part of the architecture's baseline.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(floats.as_ptr().wrapping_add(at).cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (floats, at);
}

/// Multiplies a row by the power of two that makes its largest magnitude about one: exact, whatever it was.
#[cold]
fn bring_into_range(quads: &mut [Quad], lane: usize) -> Embedded {
    let row = || quads.iter().flat_map(|quad| quad[lane].0);
    if row().any(|x| !x.is_finite()) {
        return Embedded::NonFinite;
    }
    let largest = row().fold(0.0f32, |largest, x| largest.max(x.abs()));
    if largest == 0.0 {
        return Embedded::Zero;
    }
    let factor = 2f64.powi(-f64::from(largest).log2().floor() as i32);
    for quad in quads {
        for x in &mut quad[lane].0 {
            *x = (f64::from(*x) * factor) as f32;
        }
    }
    Embedded::Direction
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

/// The dot products of four rows with four, `M` rows at a time.
///
/// # Safety
/// The caller is compiled with the features `V` needs, and the machine has them.
#[inline(always)]
unsafe fn tile<V: Vector, const M: usize>(a: &[Quad], b: &[Quad]) -> [[f32; TILE]; TILE] {
    let mut dots = [[0.0; TILE]; TILE];
    for (place, dots) in dots.as_chunks_mut::<M>().0.iter_mut().enumerate() {
        let first = place * M;
        // SAFETY: the caller's promise; `M` divides `TILE`, and each part lies inside a line.
        let sums: [[V; TILE]; M] = unsafe {
            match WIDTH / V::LANES {
                1 => partial_sums(a, b, first, 0),
                2 => add_sums(partial_sums(a, b, first, 0), partial_sums(a, b, first, 1)),
                _ => add_sums(
                    add_sums(partial_sums(a, b, first, 0), partial_sums(a, b, first, 2)),
                    add_sums(partial_sums(a, b, first, 1), partial_sums(a, b, first, 3)),
                ),
            }
        };
        for (dots, sums) in dots.iter_mut().zip(sums) {
            // SAFETY: the caller's promise.
            *dots = unsafe { V::total(sums) };
        }
    }
    dots
}

/// The partial sums of one part of every line, for rows `first .. first + M`. Narrow units take several passes
/// rather than several registers per product: the sums then fit the registers, and the rows the first-level cache.
///
/// # Safety
/// As [`tile`], and `part` is below `WIDTH / V::LANES`.
#[inline(always)]
unsafe fn partial_sums<V: Vector, const M: usize>(
    a: &[Quad],
    b: &[Quad],
    first: usize,
    part: usize,
) -> [[V; TILE]; M] {
    // SAFETY: the caller's promise.
    unsafe {
        let mut sums = [[V::zero(); TILE]; M];
        for (a, b) in a.iter().zip(b) {
            let mut y = [V::zero(); TILE];
            for (y, line) in y.iter_mut().zip(b) {
                *y = V::load(line, part);
            }
            for (sums, line) in sums.iter_mut().zip(&a[first..first + M]) {
                let x = V::load(line, part);
                for (sum, y) in sums.iter_mut().zip(y) {
                    *sum = V::mul_add(x, y, *sum);
                }
            }
        }
        sums
    }
}

/// # Safety
/// As [`tile`].
#[inline(always)]
unsafe fn add_sums<V: Vector, const M: usize>(
    mut a: [[V; TILE]; M],
    b: [[V; TILE]; M],
) -> [[V; TILE]; M] {
    for (a, b) in a.iter_mut().flatten().zip(b.iter().flatten()) {
        // SAFETY: the caller's promise.
        *a = unsafe { V::add(*a, *b) };
    }
    a
}

/// A register of floats.
///
/// # Safety
/// Every function needs its caller to be compiled with the features of the type, on a machine that has them.
trait Vector: Copy {
    const LANES: usize;

    unsafe fn zero() -> Self;

    /// The same float in every lane.
    unsafe fn splat(x: f32) -> Self;

    /// Lanes `part * LANES ..` of a line; `part` is below `WIDTH / LANES`.
    unsafe fn load(line: &Line, part: usize) -> Self;

    /// The first `LANES` floats, of at least as many.
    unsafe fn load_floats(floats: &[f32]) -> Self;

    /// Overwrites the first `LANES` floats, of at least as many.
    unsafe fn store(self, floats: &mut [f32]);

    /// `a * b + c`.
    unsafe fn mul_add(a: Self, b: Self, c: Self) -> Self;

    unsafe fn add(a: Self, b: Self) -> Self;

    /// The sum of each register's lanes: its halves are added, then theirs, down to one lane.
    unsafe fn total(four: [Self; 4]) -> [f32; 4];

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

    /// [`gram::multiply`] for this register: a function of its own, so that its loop has all registers.
    unsafe fn multiply<const L: usize>(tile: Tile<'_, L>, ahead: &mut Ahead<'_>);
}

impl Vector for [f32; 4] {
    const LANES: usize = 4;

    #[inline(always)]
    unsafe fn zero() -> Self {
        [0.0; 4]
    }

    #[inline(always)]
    unsafe fn splat(x: f32) -> Self {
        [x; 4]
    }

    #[inline(always)]
    unsafe fn load(line: &Line, part: usize) -> Self {
        line.0.as_chunks().0[part]
    }

    #[inline(always)]
    unsafe fn load_floats(floats: &[f32]) -> Self {
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

    #[inline(always)]
    unsafe fn total(four: [Self; 4]) -> [f32; 4] {
        four.map(|x| (x[0] + x[2]) + (x[1] + x[3]))
    }

    unsafe fn multiply<const L: usize>(tile: Tile<'_, L>, ahead: &mut Ahead<'_>) {
        // SAFETY: the caller's promise.
        unsafe { gram::multiply::<Self, L>(tile, ahead) }
    }
}

#[cfg(target_arch = "x86_64")]
mod x86;

#[cfg(target_arch = "aarch64")]
mod arm;
