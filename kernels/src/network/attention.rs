//! Softmax of attention scores, causal or not, in place.
//!
//! ```text
//! pattern[i, j] = exp(s[i, j] - max) / sum over j <= i,   0 where j > i, or j <= i - window
//!                                              without a mask over all j
//! ```
//!
//! Source: Vaswani et al. 2017, equation 1, with the mask of section 3.2.3.

use crate::network::activation::exp;
use crate::simd::widest;

/// Lanes of the partial maxima and sums.
const LANES: usize = 16;

/// Softmax of each row of `scores` (width `n_keys`) over the keys its query may see: row `i` is the query at
/// position `first_pos + i` and sees the `window` keys up to `first_pos + i`, which must exist; all of them without.
pub fn causal_softmax(scores: &mut [f32], n_keys: usize, first_pos: usize, window: Option<usize>) {
    widest!(causal_softmax_as(scores, n_keys, first_pos, window));
}

#[inline(always)]
fn causal_softmax_as<const FMA: bool>(
    scores: &mut [f32],
    n_keys: usize,
    first_pos: usize,
    window: Option<usize>,
) {
    for (i, row) in scores.chunks_exact_mut(n_keys).enumerate() {
        let (seen, masked) = row.split_at_mut(first_pos + i + 1);
        let beyond = seen.len().saturating_sub(window.unwrap_or(usize::MAX));
        let (forgotten, seen) = seen.split_at_mut(beyond);
        forgotten.fill(0.0);
        softmax_row::<FMA>(seen);
        masked.fill(0.0);
    }
}

/// Softmax of each row of `scores` (width `n_keys`) over all keys.
pub fn softmax(scores: &mut [f32], n_keys: usize) {
    widest!(softmax_as(scores, n_keys));
}

#[inline(always)]
fn softmax_as<const FMA: bool>(scores: &mut [f32], n_keys: usize) {
    scores.chunks_exact_mut(n_keys).for_each(softmax_row::<FMA>);
}

#[inline(always)]
fn softmax_row<const FMA: bool>(row: &mut [f32]) {
    let max = reduce(row, f32::NEG_INFINITY, |a, b| if b > a { b } else { a });
    row.iter_mut().for_each(|s| *s = exp::<FMA>(*s - max));
    let inverse = 1.0 / reduce(row, 0.0, |a, b| a + b);
    row.iter_mut().for_each(|s| *s *= inverse);
}

/// `cap tanh(x / cap)` of every value: what large scores are held below.
///
/// Source: Gemma Team 2024 (Gemma 2), section 2.
pub fn soft_cap(values: &mut [f32], cap: f32) {
    for value in values {
        *value = cap * (*value / cap).tanh();
    }
}

#[inline(always)]
fn reduce(x: &[f32], start: f32, f: impl Fn(f32, f32) -> f32) -> f32 {
    let mut lanes = [start; LANES];
    let chunks = x.chunks_exact(LANES);
    let rest = chunks.remainder();
    for chunk in chunks {
        for (lane, v) in lanes.iter_mut().zip(chunk) {
            *lane = f(*lane, *v);
        }
    }
    for (lane, v) in lanes.iter_mut().zip(rest) {
        *lane = f(*lane, *v);
    }
    lanes.into_iter().fold(start, f)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scores(n: usize, n_keys: usize) -> Vec<f32> {
        (0..n * n_keys)
            .map(|i| ((i * 7919) % 613) as f32 / 20.0 - 15.0)
            .collect()
    }

    fn check(softmax: impl Fn(&mut [f32], usize, usize, Option<usize>)) {
        for (n, n_keys, first_pos, window) in [
            (1, 1, 0, None),
            (11, 11, 0, Some(1)),
            (40, 40, 0, Some(17)),
            (8, 72, 64, None),
            (3, 50, 20, Some(50)),
        ] {
            let before = scores(n, n_keys);
            let mut after = before.clone();
            softmax(&mut after, n_keys, first_pos, window);
            for i in 0..n {
                let row = &before[i * n_keys..(i + 1) * n_keys];
                let end = first_pos + i + 1;
                let seen = end.saturating_sub(window.unwrap_or(n_keys))..end;
                let total: f64 = row[seen.clone()].iter().map(|s| f64::from(*s).exp()).sum();
                for (j, came) in after[i * n_keys..(i + 1) * n_keys].iter().enumerate() {
                    let expected = if seen.contains(&j) {
                        f64::from(row[j]).exp() / total
                    } else {
                        0.0
                    };
                    assert!(
                        (f64::from(*came) - expected).abs() < 1e-6,
                        "{n} {n_keys} {i} {j}"
                    );
                }
            }
        }
    }

    #[test]
    fn agrees_with_float64() {
        check(causal_softmax);
        check(causal_softmax_as::<false>);
    }

    #[test]
    fn without_a_mask_every_key_is_seen() {
        for (n, n_keys) in [(1, 1), (3, 50), (40, 17)] {
            let mut expected = scores(n, n_keys);
            let mut came = expected.clone();
            softmax(&mut came, n_keys);
            for row in expected.chunks_exact_mut(n_keys) {
                causal_softmax(row, n_keys, n_keys - 1, None);
            }
            assert_eq!(came, expected, "{n} {n_keys}");
        }
    }

    #[test]
    fn large_scores_do_not_overflow() {
        let mut row = vec![3e38, -3e38, 3e38];
        causal_softmax(&mut row, 3, 2, None);
        assert_eq!(row[0], 0.5);
        assert!(row[1] < 1e-30 && row[2] == 0.5);
    }

    #[test]
    fn capped_values_stay_below_the_cap() {
        let mut values = [0.0, 1.0, -1.0, 1000.0];
        soft_cap(&mut values, 2.0);
        // 2 tanh(1/2)
        for (came, expected) in values.iter().zip([0.0, 0.924_234_3, -0.924_234_3, 2.0]) {
            assert!((came - expected).abs() < 1e-6, "{came} {expected}");
        }
    }
}
