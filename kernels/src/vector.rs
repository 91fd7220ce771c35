//! Pairs of vectors become one number: the scalar functions' arithmetic, with float64 sums for every input type.
//!
//! ```text
//! norm(a) = sqrt(<a, a>)    cosine_similarity(a, b) = <a, b> / (|a| |b|)    cosine_distance = 1 - similarity
//! ```
//!
//! A zero vector has no direction: `None`. A NaN or an infinity in a vector gives NaN, for the caller to reject.
//! Source: Foote 2024, equations 1 and 3.

use crate::simd::sums_in_lanes;

/// Partial sums kept apart.
const LANES: usize = 8;

mod sealed {
    pub trait Sealed {}
    impl Sealed for f32 {}
    impl Sealed for f64 {}
}

/// A float that widens to float64 without loss.
pub trait Real: Copy + Into<f64> + sealed::Sealed {}
impl Real for f32 {}
impl Real for f64 {}

/// `Σ a[k] b[k]`.
///
/// # Panics
/// If the widths differ.
pub fn dot<A: Real, B: Real>(a: &[A], b: &[B]) -> f64 {
    let [sum] = sums(a, b, |x, y| [x * y]);
    sum
}

/// The Euclidean norm.
pub fn norm<A: Real>(a: &[A]) -> f64 {
    let [squares] = sums(a, a, |x, _| [x * x]);
    if is_safe(squares) {
        return squares.sqrt();
    }
    let scale = largest(a);
    if scale == 0.0 || scale.is_infinite() {
        return scale;
    }
    let [squares] = sums(a, a, |x, _| [(x / scale) * (x / scale)]);
    squares.sqrt() * scale
}

/// Cosine of the angle between two vectors, in [-1, 1]; `None` if one is zero.
///
/// # Panics
/// If the widths differ.
pub fn cosine_similarity<A: Real, B: Real>(a: &[A], b: &[B]) -> Option<f64> {
    let cosine = |[ab, aa, bb]: [f64; 3]| (ab / (aa.sqrt() * bb.sqrt())).clamp(-1.0, 1.0);
    let products = sums(a, b, |x, y| [x * y, x * x, y * y]);
    if is_safe(products[1]) && is_safe(products[2]) {
        return Some(cosine(products));
    }
    // Squares of a float64 under- or overflow long before its direction is lost.
    let (a_scale, b_scale) = (largest(a), largest(b));
    if a_scale == 0.0 || b_scale == 0.0 {
        return None;
    }
    Some(cosine(sums(a, b, |x, y| {
        let (x, y) = (x / a_scale, y / b_scale);
        [x * y, x * x, y * y]
    })))
}

/// `1 - cosine_similarity`, in [0, 2]; `None` if a vector is zero.
///
/// # Panics
/// If the widths differ.
pub fn cosine_distance<A: Real, B: Real>(a: &[A], b: &[B]) -> Option<f64> {
    cosine_similarity(a, b).map(|similarity| 1.0 - similarity)
}

/// The neuron embedding `h ⊙ w`, eq. (1).
///
/// # Panics
/// If the widths differ.
pub fn product(h: &[f32], w: &[f32], out: &mut [f32]) {
    assert_eq!(h.len(), w.len(), "one weight per element");
    assert_eq!(h.len(), out.len(), "one product per element");
    for ((out, h), w) in out.iter_mut().zip(h).zip(w) {
        *out = h * w;
    }
}

/// Whether a sum of squares kept its digits: far from underflow, and not infinite.
fn is_safe(squares: f64) -> bool {
    (1e-200..1e300).contains(&squares)
}

/// The largest magnitude; NaN if there is one.
fn largest<A: Real>(a: &[A]) -> f64 {
    a.iter()
        .map(|&x| x.into().abs())
        .fold(0.0, |m, x| if x > m || x.is_nan() { x } else { m })
}

/// Sums of `N` terms per element pair.
#[inline(always)]
fn sums<A: Real, B: Real, const N: usize>(
    a: &[A],
    b: &[B],
    terms: impl Fn(f64, f64) -> [f64; N],
) -> [f64; N] {
    assert_eq!(a.len(), b.len(), "vectors of one width");
    let lanes: [[f64; LANES]; N] = sums_in_lanes(a, b, |x, y| terms(x.into(), y.into()));
    lanes.map(|sums| sums.iter().sum())
}

/// First index whose value is infinite or not a number.
pub fn first_non_finite(x: &[f32]) -> Option<usize> {
    // Blocks without an early exit are vectorised.
    const BLOCK: usize = 4096;
    let block = x
        .chunks(BLOCK)
        .position(|b| b.iter().fold(false, |bad, v| bad | !v.is_finite()))?;
    let start = block * BLOCK;
    x[start..]
        .iter()
        .position(|v| !v.is_finite())
        .map(|i| start + i)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Random, naive_distance};

    #[test]
    fn sums_follow_their_definitions_at_every_width() {
        let mut random = Random(41);
        for d in [1, 2, 7, 8, 9, 16, 100, 769] {
            let (a, b) = (random.vector(d), random.vector(d));
            let wide: Vec<f64> = b.iter().copied().map(f64::from).collect();
            let plain: f64 = a.iter().zip(&wide).map(|(&x, y)| f64::from(x) * y).sum();
            assert!((dot(&a, &b) - plain).abs() < 1e-12);
            assert_eq!(dot(&a, &wide), dot(&a, &b), "mixed widths of float");
            let squares: f64 = wide.iter().map(|x| x * x).sum();
            assert!((norm(&b) - squares.sqrt()).abs() < 1e-12);
            let distance = cosine_distance(&a, &b).unwrap();
            assert!((distance - naive_distance(&a, &b, None)).abs() < 1e-12);
            assert!((0.0..=2.0).contains(&distance));
            assert_eq!(cosine_distance(&b, &a), Some(distance), "symmetric");
            let mut e = vec![0.0; d];
            product(&a, &b, &mut e);
            assert!(
                e.iter()
                    .zip(a.iter().zip(&b))
                    .all(|(e, (h, w))| *e == h * w)
            );
        }
        assert_eq!(dot::<f32, f32>(&[], &[]), 0.0);
    }

    #[test]
    fn magnitude_does_not_matter() {
        for scale in [1e-300, 1e-200, 1e-100, 1.0, 1e100, 1e200, 1e307] {
            let (a, b) = ([3.0 * scale, 4.0 * scale], [scale, 0.0]);
            assert!(
                (cosine_similarity(&a, &b).unwrap() - 0.6).abs() < 1e-15,
                "{scale}"
            );
            assert!((norm(&a) / scale - 5.0).abs() < 1e-14, "{scale}");
            assert!(
                (cosine_similarity(&a, &[5.0f32, 0.0]).unwrap() - 0.6).abs() < 1e-15,
                "{scale}"
            );
        }
        let least = f32::from_bits(1);
        assert_eq!(cosine_distance(&[least, 0.0], &[f32::MAX, 0.0]), Some(0.0));
    }

    #[test]
    fn a_zero_vector_has_no_direction() {
        assert_eq!(cosine_similarity(&[0.0f32, -0.0], &[1.0f32, 2.0]), None);
        assert_eq!(cosine_distance(&[1e-200, 0.0], &[0.0, 0.0]), None);
        assert_eq!(cosine_distance::<f32, f32>(&[], &[]), None);
        assert_eq!(norm(&[0.0f64; 9]), 0.0);
    }

    #[test]
    fn opposite_and_equal_directions_reach_the_ends_of_the_range() {
        let a = [0.1f64, 0.7, -0.3];
        assert!(cosine_distance(&a, &a.map(|x| 3.0 * x)).unwrap() < 1e-15);
        assert!(cosine_distance(&a, &a.map(|x| -0.2 * x)).unwrap() > 2.0 - 1e-15);
    }

    #[test]
    fn values_that_are_not_finite_give_nan() {
        for bad in [f64::NAN, f64::INFINITY] {
            assert!(
                cosine_similarity(&[1.0, bad], &[1.0, 2.0])
                    .unwrap()
                    .is_nan()
            );
            assert!(cosine_distance(&[1.0, 2.0], &[bad, 1.0]).unwrap().is_nan());
        }
        assert!(norm(&[1.0, f64::NAN]).is_nan());
        assert_eq!(norm(&[1.0, f64::NEG_INFINITY]), f64::INFINITY);
    }

    #[test]
    fn finds_the_first_non_finite() {
        let mut x = vec![1.0; 10_000];
        assert_eq!(first_non_finite(&x), None);
        x[9_000] = f32::NEG_INFINITY;
        x[5_001] = f32::NAN;
        assert_eq!(first_non_finite(&x), Some(5_001));
    }
}
