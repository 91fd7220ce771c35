//! Which activations of a batch a top-k keeps, in codes that lie latent-major `[d_sae, n]`.

use rayon::prelude::*;

use crate::sae::encode::edge_of;

/// Rows gathered together: two cache lines of every latent.
const ROWS: usize = 32;

/// What the values kept lie above, and where in latent-major order those equal to it are kept no more.
#[derive(Clone, Copy)]
struct Edge {
    value: f32,
    end: usize,
}

impl Edge {
    /// The first `n_equal` of the `places` of `a` that hold `value` are kept.
    fn new(value: f32, n_equal: usize, places: impl Iterator<Item = usize>, a: &[f32]) -> Self {
        let equal = places.filter(|i| a[*i] == value).take(n_equal);
        let end = equal.last().map_or(0, |last| last + 1);
        Self { value, end }
    }
}

/// Sets to 0 what its row's edge does not keep.
fn cut(a: &mut [f32], edges: &[Edge]) {
    let n = edges.len();
    a.par_chunks_exact_mut(n)
        .with_min_len(16)
        .enumerate()
        .for_each(|(j, row)| {
            for (b, (a, edge)) in row.iter_mut().zip(edges).enumerate() {
                let stays = *a > edge.value || (*a == edge.value && j * n + b < edge.end);
                *a = if stays { *a } else { 0.0 };
            }
        });
}

/// Sets to 0 what is not among the `k` largest positive values of its row; of equal ones the lowest latents stay.
pub(super) fn top_k(a: &mut [f32], n: usize, k: usize) {
    let mut edges = vec![Edge { value: 0.0, end: 0 }; n];
    edges
        .par_chunks_mut(ROWS)
        .enumerate()
        .for_each(|(i, edges)| {
            let first = i * ROWS;
            let mut columns = vec![Vec::new(); edges.len()];
            for row in a.chunks_exact(n) {
                for (column, &a) in columns.iter_mut().zip(&row[first..]) {
                    if a > 0.0 {
                        column.push(a);
                    }
                }
            }
            for (r, (column, edge)) in columns.iter_mut().zip(edges).enumerate() {
                let (value, n_equal) = edge_of(column, k);
                *edge = Edge::new(value, n_equal, (first + r..a.len()).step_by(n), a);
            }
        });
    cut(a, &edges);
}

/// Sets to 0 what is not among the `k n` largest positive values of all; of equal ones the lowest latents stay.
pub(super) fn top_k_of_all(a: &mut [f32], n: usize, k: usize) {
    let k = k * n;
    // Positive floats are ordered as their bits: two counts of 16 bits each find the k-th without sorting.
    let high = |x: f32| (x.to_bits() >> 16) as usize;
    let counts = count(a, |x| (x > 0.0).then(|| high(x)));
    let Some((bucket, above)) = bucket_of(&counts, k) else {
        return;
    };
    let low = |x: f32| (x.to_bits() & 0xffff) as usize;
    let counts = count(a, |x| (x > 0.0 && high(x) == bucket).then(|| low(x)));
    let Some((rest, above_rest)) = bucket_of(&counts, k - above) else {
        return;
    };
    let value = f32::from_bits((bucket as u32) << 16 | rest as u32);
    let n_equal = k - above - above_rest;
    let edge = match counts[rest] as usize == n_equal {
        // Of equal ones all stay.
        true => Edge {
            value,
            end: a.len(),
        },
        false => Edge::new(value, n_equal, 0..a.len(), a),
    };
    cut(a, &vec![edge; n]);
}

fn count(a: &[f32], bucket: impl Fn(f32) -> Option<usize> + Sync) -> Vec<u32> {
    let empty = || vec![0u32; 1 << 16];
    a.par_chunks(1 << 18)
        .fold(empty, |mut counts, a| {
            a.iter()
                .filter_map(|x| bucket(*x))
                .for_each(|i| counts[i] += 1);
            counts
        })
        .reduce(empty, |mut a, b| {
            a.iter_mut().zip(b).for_each(|(a, b)| *a += b);
            a
        })
}

/// The bucket that holds the `k`-th largest value, and how many lie in higher ones; none if there are at most `k`.
fn bucket_of(counts: &[u32], k: usize) -> Option<(usize, usize)> {
    let mut above = 0;
    for (i, &n) in counts.iter().enumerate().rev() {
        if above + n as usize >= k && n > 0 {
            return Some((i, above));
        }
        above += n as usize;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    /// Few distinct values, so that there are ties.
    fn codes(n: usize, m: usize, seed: u64) -> Vec<f32> {
        let mut random = Random::new(seed);
        (0..n * m)
            .map(|_| (random.index(9) as f32 - 4.0).max(0.0))
            .collect()
    }

    /// Keeps the first `k` of the places in order of falling value.
    fn naive(a: &[f32], places: impl Iterator<Item = usize>, k: usize) -> Vec<usize> {
        let mut places: Vec<usize> = places.filter(|i| a[*i] > 0.0).collect();
        places.sort_by(|i, j| a[*j].total_cmp(&a[*i]).then(i.cmp(j)));
        places.truncate(k);
        places
    }

    #[test]
    fn keeps_what_sorting_keeps() {
        for (n, m, k) in [
            (1, 5, 2),
            (40, 30, 7),
            (33, 17, 17),
            (5, 8, 0),
            (64, 100, 3),
        ] {
            let before = codes(n, m, n as u64);
            let mut rows = before.clone();
            top_k(&mut rows, n, k);
            let mut expected = vec![0.0; n * m];
            for b in 0..n {
                for i in naive(&before, (b..n * m).step_by(n), k) {
                    expected[i] = before[i];
                }
            }
            assert_eq!(rows, expected, "{n} rows, {m} latents, k {k}");

            let mut all = before.clone();
            top_k_of_all(&mut all, n, k);
            let mut expected = vec![0.0; n * m];
            for i in naive(&before, 0..n * m, k * n) {
                expected[i] = before[i];
            }
            assert_eq!(all, expected, "batch of {n} rows, {m} latents, k {k}");
        }
    }
}
