//! Dot products of some padded rows with others, where `gram` has those of rows among themselves.

use super::{BLOCK_LINES, GROUP_COLUMNS, Isa, Kind, Line, Quad, TILE, Vector, WIDTH, tile};

impl Line {
    /// Its floats.
    pub(crate) fn floats(&self) -> &[f32; WIDTH] {
        &self.0
    }

    /// Its floats, to be written.
    pub(crate) fn floats_mut(&mut self) -> &mut [f32; WIDTH] {
        &mut self.0
    }
}

impl Isa {
    /// Dot products of the first `n_a` rows of `a` with the first `n_b` rows of `b`, all `lines` long, in `out`
    /// `[n_a, n_b]`. A product has the same bits in either order of its rows.
    pub(crate) fn cross(
        self,
        (a, n_a): (&[Quad], usize),
        (b, n_b): (&[Quad], usize),
        lines: usize,
        out: &mut [f32],
    ) {
        for (quads, n) in [(a, n_a), (b, n_b)] {
            let whole = n.div_ceil(TILE) * lines;
            assert_eq!(quads.len(), whole, "rows are padded to whole tiles");
        }
        assert_eq!(out.len(), n_a * n_b, "one product per pair");
        let rows = Rows {
            a,
            n_a,
            b,
            n_b,
            lines,
        };
        match self.0 {
            // SAFETY: this vector type is plain Rust and needs no feature.
            Kind::Portable => unsafe { cross::<[f32; 4], 2>(&rows, out) },
            // SAFETY: an `Isa` of this kind exists only where its features were detected.
            #[cfg(target_arch = "x86_64")]
            Kind::Avx2 => unsafe { cross_avx2(&rows, out) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Kind::Avx512 => unsafe { cross_avx512(&rows, out) },
            // SAFETY: as above.
            #[cfg(target_arch = "aarch64")]
            Kind::Neon => unsafe { cross_neon(&rows, out) },
        }
    }
}

/// Checked arguments of [`Isa::cross`].
struct Rows<'a> {
    a: &'a [Quad],
    n_a: usize,
    b: &'a [Quad],
    n_b: usize,
    lines: usize,
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn cross_avx2(rows: &Rows<'_>, out: &mut [f32]) {
    // SAFETY: this function is compiled with the features the vector type needs.
    unsafe { cross::<std::arch::x86_64::__m256, 2>(rows, out) }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
fn cross_avx512(rows: &Rows<'_>, out: &mut [f32]) {
    // SAFETY: this function is compiled with the features the vector type needs.
    unsafe { cross::<std::arch::x86_64::__m512, 4>(rows, out) }
}

#[cfg(target_arch = "aarch64")]
#[target_feature(enable = "neon")]
fn cross_neon(rows: &Rows<'_>, out: &mut [f32]) {
    // SAFETY: this function is compiled with the features the vector type needs.
    unsafe { cross::<std::arch::aarch64::float32x4_t, 4>(rows, out) }
}

/// # Safety
/// The caller is compiled with the features `V` needs, and the machine has them.
#[inline(always)]
unsafe fn cross<V: Vector, const M: usize>(rows: &Rows<'_>, out: &mut [f32]) {
    let &Rows {
        a,
        n_a,
        b,
        n_b,
        lines,
    } = rows;
    out.fill(0.0);
    // The blocks of `gram`.
    let block = lines.div_ceil(lines.div_ceil(BLOCK_LINES).max(1)).max(1);
    for start in (0..lines).step_by(block) {
        let part = start..lines.min(start + block);
        for group in (0..n_b).step_by(GROUP_COLUMNS) {
            let group_end = n_b.min(group + GROUP_COLUMNS);
            for i in (0..n_a).step_by(TILE) {
                for j in (group..group_end).step_by(TILE) {
                    let [a, b] =
                        [(a, i), (b, j)].map(|(q, i)| &q[i / TILE * lines..][part.clone()]);
                    // SAFETY: the caller's promise.
                    let dots = unsafe { tile::<V, M>(a, b) };
                    let keep = TILE.min(n_b - j);
                    for (i, dots) in (i..n_a).zip(&dots) {
                        for (sum, dot) in out[i * n_b + j..][..keep].iter_mut().zip(dots) {
                            *sum += dot;
                        }
                    }
                }
            }
        }
    }
}
