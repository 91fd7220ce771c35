//! Pairs of vectors become one number: the scalar functions' arithmetic, with float64 sums for every input type.
//!
//! ```text
//! norm(a) = sqrt(<a, a>)    cosine_similarity(a, b) = <a, b> / (|a| |b|)    cosine_distance = 1 - similarity
//! ```
//!
//! A zero vector has no direction: `None`. A NaN or an infinity in a vector gives NaN, for the caller to reject.
//! Source: Foote 2024, equations 1 and 3.

/// Partial sums kept apart, so that additions do not wait for each other and fill vector registers.
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
    let mut lanes = [[0.0; LANES]; N];
    let (a_whole, a_rest) = a.as_chunks::<LANES>();
    let (b_whole, b_rest) = b.as_chunks::<LANES>();
    let mut add = |lane: usize, x: A, y: B| {
        for (sums, term) in lanes.iter_mut().zip(terms(x.into(), y.into())) {
            sums[lane] += term;
        }
    };
    for (a, b) in a_whole.iter().zip(b_whole) {
        for lane in 0..LANES {
            add(lane, a[lane], b[lane]);
        }
    }
    for (lane, (&x, &y)) in a_rest.iter().zip(b_rest).enumerate() {
        add(lane, x, y);
    }
    lanes.map(|sums| sums.iter().sum())
}
