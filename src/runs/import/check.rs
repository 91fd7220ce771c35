//! Whether weights are those of the activations beside them: a transposed matrix fits every shape where a layer has as
//! many neurons as inputs.

use polysema_kernels::network::activation::Activation;

use crate::models::{NeuronWeights, neuron_activations};

/// Rows that are looked at.
const ROWS: usize = 64;
/// What half precision, or another order of sums, may leave, as a share of the largest activation.
const TOLERANCE: f32 = 0.02;

/// Refuses weights that do not give the activations `values` of rows `h`, with what is required in its message.
///
/// Where the nonlinearity is not known, weights are refused that give them only when they are turned.
pub(super) fn weights(
    weights: &NeuronWeights,
    function: Option<Activation>,
    h: &[f32],
    values: &[f32],
) -> Result<(), String> {
    let n = weights.b_in.len();
    let d_in = weights.w_in.len() / n;
    let rows = (h.len() / d_in).min(ROWS);
    let (h, values) = (&h[..rows * d_in], &values[..rows * n]);
    let gives = |weights: &NeuronWeights, function| {
        let mut computed = vec![];
        neuron_activations(weights, function, h, &mut computed);
        first_difference(&computed, values)
    };
    let turned = || {
        let w_in = (0..n).flat_map(|i| weights.w_in[i..].iter().step_by(d_in).copied());
        NeuronWeights {
            w_in: w_in.collect(),
            ..weights.clone()
        }
    };
    let required = "a row of input weights for each neuron, [n_neurons, d_in], is required, got the transposed matrix: \
                    as it is it does not give the activations";
    let known = match function {
        Some(function) => vec![function],
        None => Activation::NAMES
            .iter()
            .filter_map(|name| Activation::parse(name))
            .collect(),
    };
    let fits = known.iter().any(|of| gives(weights, *of).is_none());
    if fits {
        return Ok(());
    }
    if n == d_in {
        let turned = turned();
        if known.iter().any(|of| gives(&turned, *of).is_none()) {
            return Err(required.to_string());
        }
    }
    Ok(())
}

/// Where two lists differ by more than rounding, and what the first says there.
fn first_difference(computed: &[f32], given: &[f32]) -> Option<(usize, f32)> {
    let largest = given.iter().fold(0.0_f32, |m, v| m.max(v.abs()));
    let off = |(a, b): (&f32, &f32)| (a - b).abs() > TOLERANCE * largest;
    let at = computed.iter().zip(given).position(off)?;
    Some((at, computed[at]))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two neurons of two inputs, `relu(h W^T)` by hand.
    const H: [f32; 4] = [1.0, 2.0, 3.0, -1.0];
    const VALUES: [f32; 4] = [5.0, 0.0, 1.0, 6.0];

    fn of(w_in: [f32; 4]) -> NeuronWeights {
        NeuronWeights {
            w_in: w_in.to_vec(),
            b_in: vec![0.0; 2],
            up: None,
            w_out: vec![],
        }
    }

    #[test]
    fn weights_are_held_against_the_activations() {
        let (right, turned) = (of([1.0, 2.0, 1.5, -1.5]), of([1.0, 1.5, 2.0, -1.5]));
        for function in [None, Some(Activation::parse("relu").unwrap())] {
            assert_eq!(weights(&right, function, &H, &VALUES), Ok(()));
            let error = weights(&turned, function, &H, &VALUES).unwrap_err();
            assert!(error.contains("got the transposed matrix"), "{error}");
        }
        let other = of([0.0, 0.0, 1.0, 0.0]);
        assert_eq!(weights(&other, None, &H, &VALUES), Ok(()));
        assert_eq!(
            weights(&other, Activation::parse("relu"), &H, &VALUES),
            Ok(())
        );
    }
}
