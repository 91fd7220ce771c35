//! Causal softmax of attention scores, in place.
//!
//! ```text
//! pattern[i, j] = exp(s[i, j] - max) / sum over j <= i,   0 where j > i
//! ```
//!
//! Source: Vaswani et al. 2017, equation 1, with the mask of section 3.2.3.

use crate::network::activation::exp;
use crate::simd::widest;

/// Lanes of the partial maxima and sums.
const LANES: usize = 16;

/// Softmax of each row of `scores` (width `n_keys`) over the keys its query may see: row `i` is the query at
/// position `first_pos + i` and sees keys `0 ..= first_pos + i`, which must exist.
pub fn causal_softmax(scores: &mut [f32], n_keys: usize, first_pos: usize) {
    widest!(causal_softmax_as(scores, n_keys, first_pos));
}

#[inline(always)]
fn causal_softmax_as<const FMA: bool>(scores: &mut [f32], n_keys: usize, first_pos: usize) {
    for (i, row) in scores.chunks_exact_mut(n_keys).enumerate() {
        let (seen, masked) = row.split_at_mut(first_pos + i + 1);
        let max = reduce(seen, f32::NEG_INFINITY, |a, b| if b > a { b } else { a });
        seen.iter_mut().for_each(|s| *s = exp::<FMA>(*s - max));
        let inverse = 1.0 / reduce(seen, 0.0, |a, b| a + b);
        seen.iter_mut().for_each(|s| *s *= inverse);
        masked.fill(0.0);
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

    fn check(softmax: impl Fn(&mut [f32], usize, usize)) {
        for (n, n_keys, first_pos) in [
            (1, 1, 0),
            (11, 11, 0),
            (40, 40, 0),
            (8, 72, 64),
            (3, 50, 20),
        ] {
            let before = scores(n, n_keys);
            let mut after = before.clone();
            softmax(&mut after, n_keys, first_pos);
            for i in 0..n {
                let row = &before[i * n_keys..(i + 1) * n_keys];
                let seen = first_pos + i + 1;
                let total: f64 = row[..seen].iter().map(|s| f64::from(*s).exp()).sum();
                for (j, came) in after[i * n_keys..(i + 1) * n_keys].iter().enumerate() {
                    let expected = if j < seen {
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
    fn large_scores_do_not_overflow() {
        let mut row = vec![3e38, -3e38, 3e38];
        causal_softmax(&mut row, 3, 2);
        assert_eq!(row[0], 0.5);
        assert!(row[1] < 1e-30 && row[2] == 0.5);
    }
}
