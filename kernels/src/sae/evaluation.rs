//! How good a sparse autoencoder is, from its codes and reconstructions of a set of rows, added block by block.
//!
//! ```text
//! mse            = mean over rows and dimensions of (y - x)^2
//! fvu            = sum (y - x)^2 / sum (x - mean x)^2          explained variance = 1 - fvu
//! l0             = mean over rows of the number of active latents
//! l1_per_batch   = mean over batches of `batch` rows of the sum of activations; the last batch may be short
//! max, mean distance, size: of the first `most` rows on which a latent is active, the cosine distances of its
//!                  embeddings x * w_enc (section 3.3.1); medians over latents with two rows or more
//! ```
//!
//! Memory: `most` row numbers a latent, and each such row once. Source: Foote 2024, section 4.2.

use super::model::Sae;
use crate::clustering::distance::CosineDistances;

/// What is added up over the rows.
#[derive(Debug)]
pub struct Evaluation {
    batch: usize,
    most: usize,
    rows: usize,
    d_in: usize,
    /// Rows of which it is known what their reconstructions should be.
    compared: usize,
    /// Squared errors, activations and active latents of all rows.
    errors: f64,
    l1: f64,
    l0: u64,
    /// Sums and squares of each dimension's distances from the first row, since those of the values themselves cancel
    /// where they are far from 0. `[d_out]`
    sums: Vec<f64>,
    squares: Vec<f64>,
    pivot: Vec<f32>,
    /// Rows on which each latent is active. `[d_sae]`
    active: Vec<u64>,
    /// Its largest activation. `[d_sae]`
    max: Vec<f32>,
    /// The first of those rows, by their place in `kept`. `[d_sae]`
    first: Vec<Vec<u32>>,
    /// Rows that are the first of some latent. `[n, d_in]`
    kept: Vec<f32>,
}

/// The numbers of a finished evaluation. Distances are cosine distances in [0, 2].
#[derive(Debug, Clone, PartialEq)]
pub struct SaeMetrics {
    /// Rows seen.
    pub rows: usize,
    /// Mean squared error over rows and dimensions; none if it is not known what the reconstructions should be.
    pub mse: Option<f64>,
    /// Mean over rows of the sum of squared errors; none as `mse`.
    pub sse_per_row: Option<f64>,
    /// Fraction of variance unexplained; none if the rows do not vary.
    pub fvu: Option<f64>,
    /// Active latents a row.
    pub l0: f64,
    /// The same in percent of the latents.
    pub l0_percent: f64,
    /// Sum of activations a row.
    pub l1_per_row: f64,
    /// Sum of activations a batch.
    pub l1_per_batch: f64,
    /// Share of latents that are active on some row.
    pub frac_alive: f64,
    /// Median over latents of the largest distance.
    pub max_distance: Option<f64>,
    /// Median over latents of the mean distance.
    pub mean_distance: Option<f64>,
    /// Median over latents of the number of active rows.
    pub size: Option<f64>,
}

impl Evaluation {
    /// Nothing seen yet. `batch` rows count as a batch, `most` rows a latent are compared.
    pub fn new(sae: &Sae, batch: usize, most: usize) -> Self {
        Self {
            batch,
            most,
            rows: 0,
            d_in: sae.d_in,
            compared: 0,
            errors: 0.0,
            l1: 0.0,
            l0: 0,
            sums: vec![0.0; sae.d_out()],
            squares: vec![0.0; sae.d_out()],
            pivot: vec![],
            active: vec![0; sae.d_sae],
            max: vec![0.0; sae.d_sae],
            first: vec![vec![]; sae.d_sae],
            kept: vec![],
        }
    }

    /// Most bytes it holds once `n` more rows were added; what is kept of rows doubles when it grows.
    pub fn bytes_with(&self, n: usize) -> usize {
        let (d, m) = (self.d_in, self.active.len());
        let kept = (self.kept.len() / d).saturating_add(n);
        let places = kept.saturating_mul(m).min(self.most.saturating_mul(m));
        let rows = kept.min(places).saturating_mul(d);
        let of_latents =
            m.saturating_mul(size_of::<u64>() + size_of::<f32>() + size_of::<Vec<u32>>());
        let growing = rows
            .saturating_add(places)
            .saturating_mul(2 * size_of::<f32>());
        growing
            .saturating_add(of_latents)
            .saturating_add(self.sums.len().saturating_mul(20))
    }

    /// Adds rows `x: [n, d_in]`, as they are encoded, with their codes `[n, d_sae]`; and, if that is known, what should be
    /// given back and what is, each `[n, d_out]`.
    pub fn add(&mut self, x: &[f32], codes: &[f32], pairs: Option<[&[f32]; 2]>) {
        if let Some([targets, reconstructions]) = pairs {
            self.compare(targets, reconstructions);
        }
        let (d, n_latents) = (self.d_in, self.active.len());
        for (x, code) in x.chunks_exact(d).zip(codes.chunks_exact(n_latents)) {
            self.rows += 1;
            let mut place = None;
            for (latent, activation) in code.iter().enumerate().filter(|(_, a)| **a > 0.0) {
                self.l0 += 1;
                self.l1 += f64::from(*activation);
                self.active[latent] += 1;
                self.max[latent] = self.max[latent].max(*activation);
                if self.first[latent].len() < self.most {
                    let place = *place.get_or_insert_with(|| {
                        self.kept.extend_from_slice(x);
                        (self.kept.len() / d - 1) as u32
                    });
                    self.first[latent].push(place);
                }
            }
        }
    }

    fn compare(&mut self, targets: &[f32], reconstructions: &[f32]) {
        let d = self.sums.len();
        if self.compared == 0 {
            self.pivot = targets.get(..d).unwrap_or_default().to_vec();
        }
        let rows = targets.chunks_exact(d).zip(reconstructions.chunks_exact(d));
        for (target, y) in rows {
            self.compared += 1;
            for (k, (target, y)) in target.iter().zip(y).enumerate() {
                let error = f64::from(*y) - f64::from(*target);
                let from_first = f64::from(*target) - f64::from(self.pivot[k]);
                self.errors += error * error;
                self.sums[k] += from_first;
                self.squares[k] += from_first * from_first;
            }
        }
    }

    /// Rows on which each latent is active. `[d_sae]`
    pub fn active(&self) -> &[u64] {
        &self.active
    }

    /// Each latent's largest activation. `[d_sae]`
    pub fn max(&self) -> &[f32] {
        &self.max
    }

    /// The metrics; none without rows.
    ///
    /// Errors: the latent whose embeddings are not finite.
    pub fn finish(&self, sae: &Sae) -> Result<Option<SaeMetrics>, usize> {
        if self.rows == 0 {
            return Ok(None);
        }
        let (n, compared) = (self.rows as f64, self.compared as f64);
        let known = |value: f64| (self.compared > 0).then_some(value);
        let n_latents = self.active.len() as f64;
        let variance: f64 = (self.sums.iter().zip(&self.squares))
            .map(|(sum, square)| square - sum * sum / compared)
            .sum();
        let batches = self.rows.div_ceil(self.batch) as f64;
        let alive = self.active.iter().filter(|rows| **rows > 0).count() as f64;
        let l0 = self.l0 as f64 / n;
        let distances = self.distances(sae)?;
        let sizes = self.active.iter().filter(|rows| **rows >= 2);
        Ok(Some(SaeMetrics {
            rows: self.rows,
            mse: known(self.errors / (compared * self.sums.len() as f64)),
            sse_per_row: known(self.errors / compared),
            fvu: (variance > 0.0).then(|| self.errors / variance),
            l0,
            l0_percent: 100.0 * l0 / n_latents,
            l1_per_row: self.l1 / n,
            l1_per_batch: self.l1 / batches,
            frac_alive: alive / n_latents,
            max_distance: median(distances.iter().map(|(max, _)| *max).collect()),
            mean_distance: median(distances.iter().map(|(_, mean)| *mean).collect()),
            size: median(sizes.map(|rows| *rows as f64).collect()),
        }))
    }

    /// Largest and mean distance of every latent with two directions or more.
    fn distances(&self, sae: &Sae) -> Result<Vec<(f64, f64)>, usize> {
        let d = self.d_in;
        let mut distances = CosineDistances::new();
        let mut found = vec![];
        for (latent, places) in self.first.iter().enumerate() {
            let row = |place: &u32| &self.kept[*place as usize * d..][..d];
            let rows: Vec<&[f32]> = places.iter().map(row).collect();
            let w = &sae.w_enc[latent * d..][..d];
            distances.compute(&rows, Some(w)).map_err(|_| latent)?;
            let condensed = distances.condensed();
            if !condensed.is_empty() {
                let max = condensed.iter().copied().fold(0.0, f32::max);
                let sum: f64 = condensed.iter().map(|d| f64::from(*d)).sum();
                found.push((f64::from(max), sum / condensed.len() as f64));
            }
        }
        Ok(found)
    }
}

/// The middle value, the mean of the two middle ones of an even number.
pub fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_unstable_by(f64::total_cmp);
    let n = values.len();
    match n {
        0 => None,
        n if n % 2 == 1 => Some(values[n / 2]),
        n => Some((values[n / 2 - 1] + values[n / 2]) / 2.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sae::{InputNorm, Variant};

    /// Two latents that look for one dimension each, without biases; the second one writes half.
    fn sae() -> Sae {
        Sae {
            d_in: 2,
            d_sae: 3,
            variant: Variant::Relu,
            centered: false,
            w_enc: vec![1.0, 1.0, 0.0, 1.0, 1.0, 0.0],
            b_enc: vec![0.0; 3],
            w_dec: vec![1.0, 0.0, 0.0, 0.5, 0.0, 0.0],
            b_dec: vec![0.0; 2],
            norm: InputNorm::None,
            w_skip: vec![],
            transcodes: false,
        }
    }

    #[test]
    fn numbers_of_a_small_case_by_hand() {
        let sae = sae();
        let x = [1.0, 0.0, 0.0, 1.0, 1.0, 1.0];
        let codes = [1.0, 0.0, 0.0, 1.0, 1.0, 0.0, 2.0, 1.0, 0.0];
        let y = [1.0, 0.0, 1.0, 0.5, 2.0, 0.5];
        for cut in [2, 4] {
            // However the rows are cut into blocks.
            let mut evaluation = Evaluation::new(&sae, 2, 100);
            for (from, to) in [(0, cut), (cut, 6)] {
                let (a, b) = (from / 2 * 3, to / 2 * 3);
                evaluation.add(
                    &x[from..to],
                    &codes[a..b],
                    Some([&x[from..to], &y[from..to]]),
                );
            }
            let found = evaluation.finish(&sae).expect("finite").expect("rows");
            // Errors 0; 1 + 0.25; 1 + 0.25. Variance: of 1, 0, 1 in both dimensions, 2/3 each.
            assert_eq!(found.rows, 3);
            assert!((found.mse.expect("pairs") - 2.5 / 6.0).abs() < 1e-12);
            assert!((found.sse_per_row.expect("pairs") - 2.5 / 3.0).abs() < 1e-12);
            assert!((found.fvu.expect("variance") - 2.5 / (4.0 / 3.0)).abs() < 1e-12);
            assert!((found.l0 - 5.0 / 3.0).abs() < 1e-12);
            assert!((found.l0_percent - 500.0 / 9.0).abs() < 1e-12);
            assert!((found.l1_per_row - 2.0).abs() < 1e-12);
            assert!((found.l1_per_batch - 3.0).abs() < 1e-12);
            assert!((found.frac_alive - 2.0 / 3.0).abs() < 1e-12);
            // Latent 0: rows 0, 1, 2 as they are, distances 1, 1 - 1/sqrt 2, twice. Latent 1: [0,1] and [0,1].
            let half = 1.0 - 0.5_f64.sqrt();
            assert!((found.max_distance.expect("pairs") - 0.5).abs() < 1e-6);
            assert!((found.mean_distance.expect("pairs") - (1.0 + 2.0 * half) / 6.0).abs() < 1e-6);
            assert_eq!(found.size, Some(2.5));
            assert_eq!(evaluation.active(), [3, 2, 0]);
            assert_eq!(evaluation.max(), [2.0, 1.0, 0.0]);
        }
    }

    #[test]
    fn only_the_first_rows_of_a_latent_are_compared() {
        let sae = sae();
        let mut evaluation = Evaluation::new(&sae, 2, 2);
        let x = [1.0, 0.0, 2.0, 0.0, 0.0, 1.0];
        let codes = [1.0, 0.0, 0.0].repeat(3);
        evaluation.add(&x, &codes, Some([&x, &x]));
        let found = evaluation.finish(&sae).expect("finite").expect("rows");
        assert_eq!(found.max_distance, Some(0.0));
        assert_eq!(found.size, Some(3.0));
    }

    #[test]
    fn undefined_metrics_are_none() {
        let sae = sae();
        let evaluation = Evaluation::new(&sae, 2, 100);
        assert_eq!(evaluation.finish(&sae), Ok(None));
        let mut evaluation = Evaluation::new(&sae, 2, 100);
        evaluation.add(&[1.0, 1.0], &[0.0; 3], Some([&[1.0, 1.0], &[0.0; 2]]));
        let found = evaluation.finish(&sae).expect("finite").expect("rows");
        assert_eq!(
            (found.fvu, found.max_distance, found.size),
            (None, None, None)
        );
    }

    #[test]
    fn variance_is_that_of_rows_far_from_0_and_none_of_equal_ones() {
        let sae = sae();
        let fvu = |x: &[f32], y: &[f32]| {
            let mut evaluation = Evaluation::new(&sae, 2, 100);
            let codes = vec![0.0; x.len() / 2 * 3];
            evaluation.add(x, &codes, Some([x, y]));
            evaluation.finish(&sae).expect("finite").expect("rows").fvu
        };
        for value in [0.1, 1.0 / 3.0, 1e6 + 0.3, 1e-20] {
            assert_eq!(fvu(&[value; 14], &[0.0; 14]), None, "{value}");
        }
        // 1, 2, 3 and 3, 2, 1 beside a million: variance 4. Errors 0.5 once, 0.25 beside each of 4 values.
        let x = [
            1e6 + 1.0,
            1e6 + 3.0,
            1e6 + 2.0,
            1e6 + 2.0,
            1e6 + 3.0,
            1e6 + 1.0,
        ];
        let y = [
            1e6 + 1.5,
            1e6 + 3.0,
            1e6 + 2.25,
            1e6 + 2.25,
            1e6 + 3.25,
            1e6 + 1.25,
        ];
        assert_eq!(fvu(&x, &y), Some((0.25 + 4.0 * 0.0625) / 4.0));
    }

    #[test]
    fn medians() {
        assert_eq!(median(vec![]), None);
        assert_eq!(median(vec![3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(vec![4.0, 1.0]), Some(2.5));
    }
}
