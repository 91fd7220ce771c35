//! Rotary positions: pairs of a query's or key's values, turned by an angle that grows with the position.
//!
//! ```text
//! x[k], x[k + n / 2]  ->  x[k] cos - x[k + n / 2] sin,  x[k + n / 2] cos + x[k] sin      k < n / 2
//! ```
//!
//! Source: Su et al. 2021, section 3.4.2, with the pairs half a width apart, as Hugging Face's weights have them.

/// Turns the first `2 cos.len()` values of every head of `heads`, which are `d_head` wide each; what lies beyond
/// stays. `cos` and `sin` are those of one position.
pub fn rotate(heads: &mut [f32], d_head: usize, cos: &[f32], sin: &[f32]) {
    let half = cos.len();
    for head in heads.chunks_exact_mut(d_head) {
        let (low, high) = head.split_at_mut(half);
        for ((a, b), (cos, sin)) in low.iter_mut().zip(high).zip(cos.iter().zip(sin)) {
            (*a, *b) = (*a * cos - *b * sin, *b * cos + *a * sin);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_half_a_width_apart_are_turned_and_the_rest_stays() {
        // Quarter and half a turn.
        let (cos, sin) = ([0.0, -1.0], [1.0, 0.0]);
        let mut heads = [
            1.0, 2.0, 3.0, 4.0, 5.0, //
            10.0, 20.0, 30.0, 40.0, 50.0,
        ];
        rotate(&mut heads, 5, &cos, &sin);
        let expected = [
            -3.0, -2.0, 1.0, -4.0, 5.0, //
            -30.0, -20.0, 10.0, -40.0, 50.0,
        ];
        assert_eq!(heads, expected);
    }
}
