//! Where vectors lie and how far from there: what training is normalized by.

/// The mean of some vectors and their distance from it.
#[derive(Debug, Clone, PartialEq)]
pub struct Spread {
    /// `[d]`
    pub mean: Vec<f32>,
    /// Root of the mean squared distance from the mean; 0 where all are equal.
    pub distance: f32,
}

impl Spread {
    /// Of the rows `x` `[n, d]`, n not 0.
    pub fn of(x: &[f32], d: usize) -> Self {
        let n = (x.len() / d) as f64;
        // From the first row, so that equal rows have no distance and a mean far from 0 takes no digits.
        let first: Vec<f64> = x[..d].iter().map(|x| f64::from(*x)).collect();
        let (mut sums, mut squares) = (vec![0.0; d], 0.0);
        for row in x.chunks_exact(d) {
            for ((sum, x), first) in sums.iter_mut().zip(row).zip(&first) {
                let from_first = f64::from(*x) - first;
                *sum += from_first;
                squares += from_first * from_first;
            }
        }
        let of_mean: f64 = sums.iter().map(|sum| (sum / n).powi(2)).sum();
        let mean = sums.iter().zip(&first);
        Self {
            mean: mean.map(|(sum, first)| (first + sum / n) as f32).collect(),
            distance: (squares / n - of_mean).max(0.0).sqrt() as f32,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_small_case_by_hand() {
        // Means 2 and 1e6 + 2; squared distances 1 + 4, 0, 1 + 4.
        let x = [1.0, 1e6, 2.0, 1e6 + 2.0, 3.0, 1e6 + 4.0];
        let found = Spread::of(&x, 2);
        assert_eq!(found.mean, [2.0, 1e6 + 2.0]);
        assert!((f64::from(found.distance) - (10.0f64 / 3.0).sqrt()).abs() < 1e-6);
        assert_eq!(Spread::of(&[0.1; 9], 3).distance, 0.0);
    }
}
