//! The latents or neurons whose weights point the way a latent's do.
//!
//! ```text
//! decoder cosine = <w_dec[a], w_out[b]> / (|w_dec[a]| |w_out[b]|)     encoder cosine: the same of w_enc and w_in
//! ```
//!
//! Cost: one matrix product of the two decoders, a block of latents at a time.

use datafusion::common::plan_err;
use datafusion::error::Result;
use polysema_kernels::network::matmul::{Layout, Output, product};
use polysema_kernels::sae::Sae;
use polysema_kernels::vector::cosine_similarity;

use crate::store::LayerWeights;

/// Latents whose similarities are in memory at once. Chosen, not tuned.
const BLOCK: usize = 256;

/// One pair.
#[derive(Debug, Clone, PartialEq)]
pub struct Match {
    /// The latent.
    pub latent: usize,
    /// Its place among the latent's matches, from 1.
    pub rank: usize,
    /// The other's latent or neuron.
    pub other: usize,
    /// In [-1, 1]; none if a vector is zero or the widths differ.
    pub decoder_cosine: Option<f64>,
    /// In [-1, 1]; none if a vector is zero or the widths differ.
    pub encoder_cosine: Option<f64>,
}

/// The weights of an autoencoder as those of a layer.
pub fn weights_of(sae: &Sae) -> LayerWeights {
    LayerWeights {
        n: sae.d_sae,
        w_in: sae.w_enc.clone(),
        w_out: sae.w_dec.clone(),
    }
}

/// For each of these latents of `a` the `k` of `b` most similar by the decoder (by the encoder, where only these are as wide),
/// the most similar first, the lower number on ties. Rows go to `send` as they are found.
///
/// Errors: neither decoders nor encoders are of one width.
pub fn matches(
    a: &LayerWeights,
    latents: &[usize],
    b: &LayerWeights,
    k: usize,
    send: &mut dyn FnMut(Vec<Match>) -> Result<()>,
) -> Result<()> {
    let width = |values: &[f32], n: usize| values.len() / n.max(1);
    let widths = [
        (width(&a.w_out, a.n), width(&b.w_out, b.n)),
        (width(&a.w_in, a.n), width(&b.w_in, b.n)),
    ];
    let [decoders, encoders] = widths.map(|(a, b)| a == b && a > 0);
    let (of_a, of_b) = match (decoders, encoders) {
        (true, _) => (&a.w_out, &b.w_out),
        (false, true) => (&a.w_in, &b.w_in),
        (false, false) => {
            return plan_err!(
                "decoders or encoders of one width are required, got decoders of {} and {}, encoders of \
                 {} and {}",
                widths[0].0,
                widths[0].1,
                widths[1].0,
                widths[1].1
            );
        }
    };
    let d = width(of_a, a.n);
    let unit_b = units(of_b, d);
    let cosine = |has: bool, a: &[f32], b: &[f32], d: usize, i: usize, j: usize| {
        let row = |values: &[f32], i: usize| values[i * d..(i + 1) * d].to_vec();
        has.then(|| cosine_similarity(&row(a, i), &row(b, j)))
            .flatten()
    };
    let mut similarities = vec![];
    for block in latents.chunks(BLOCK) {
        similarities.clear();
        similarities.resize(block.len() * b.n, 0.0);
        let rows = block
            .iter()
            .map(|latent| &of_a[latent * d..(latent + 1) * d]);
        product(
            &units(&rows.collect::<Vec<_>>().concat(), d),
            &unit_b,
            Layout::OutIn,
            d,
            Output::Replace,
            &mut similarities,
        );
        let mut found = vec![];
        for (&latent, row) in block.iter().zip(similarities.chunks_exact(b.n)) {
            for (rank, other) in best(row, k).into_iter().enumerate() {
                let (d_out, d_in) = (widths[0].0, widths[1].0);
                found.push(Match {
                    latent,
                    rank: rank + 1,
                    other,
                    decoder_cosine: cosine(decoders, &a.w_out, &b.w_out, d_out, latent, other),
                    encoder_cosine: cosine(encoders, &a.w_in, &b.w_in, d_in, latent, other),
                });
            }
        }
        send(found)?;
    }
    Ok(())
}

/// Rows at length 1; a zero row stays.
fn units(values: &[f32], d: usize) -> Vec<f32> {
    let mut units = values.to_vec();
    for row in units.chunks_exact_mut(d) {
        let norm = row
            .iter()
            .map(|x| f64::from(*x).powi(2))
            .sum::<f64>()
            .sqrt();
        if norm > 0.0 {
            row.iter_mut()
                .for_each(|x| *x = (f64::from(*x) / norm) as f32);
        }
    }
    units
}

/// The places of the `k` largest, the largest first, the lower place on ties.
fn best(row: &[f32], k: usize) -> Vec<usize> {
    let mut places: Vec<usize> = (0..row.len()).collect();
    let order = |a: &usize, b: &usize| row[*b].total_cmp(&row[*a]).then(a.cmp(b));
    if k < places.len() {
        places.select_nth_unstable_by(k - 1, order);
        places.truncate(k);
    }
    places.sort_unstable_by(order);
    places
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_similar_first() {
        let a = LayerWeights {
            n: 2,
            w_in: vec![1.0, 0.0, 0.0, 1.0],
            w_out: vec![2.0, 0.0, 0.0, 0.0],
        };
        let b = LayerWeights {
            n: 3,
            w_in: vec![1.0, 1.0, 0.0, -1.0, 3.0, 0.0],
            w_out: vec![0.0, 1.0, 3.0, 3.0, 5.0, 0.0],
        };
        let mut found = vec![];
        let mut keep = |rows: Vec<Match>| {
            found.extend(rows);
            Ok(())
        };
        matches(&a, &[0, 1], &b, 2, &mut keep).unwrap();
        let pairs: Vec<_> = found.iter().map(|m| (m.latent, m.rank, m.other)).collect();
        // The second latent's decoder is zero: like nothing, so that the lower numbers come first.
        assert_eq!(pairs, [(0, 1, 2), (0, 2, 1), (1, 1, 0), (1, 2, 1)]);
        assert_eq!(found[0].decoder_cosine, Some(1.0));
        assert_eq!(found[0].encoder_cosine, Some(1.0));
        let half = found[1].decoder_cosine.unwrap();
        assert!((half - 0.5_f64.sqrt()).abs() < 1e-6);
        assert_eq!(found[1].encoder_cosine, Some(0.0));
        assert_eq!(
            (found[2].decoder_cosine, found[3].encoder_cosine),
            (None, Some(-1.0))
        );
        let mut alone = vec![];
        let mut keep = |rows: Vec<Match>| {
            alone.extend(rows);
            Ok(())
        };
        matches(&a, &[1], &b, 2, &mut keep).unwrap();
        assert_eq!(alone, found[2..]);
    }

    #[test]
    fn widths_that_differ_are_refused() {
        let layer = |d: usize| LayerWeights {
            n: 1,
            w_in: vec![1.0; d],
            w_out: vec![],
        };
        let error = matches(&layer(2), &[0], &layer(3), 1, &mut |_| Ok(())).unwrap_err();
        assert!(error.strip_backtrace().ends_with("encoders of 2 and 3"));
    }
}
