//! Three training steps of each variant equal PyTorch's, tests/reference/sae.json.

use serde_json::Value;

use super::{Owned, state};
use crate::sae::{DeadLatents, Decay, InputNorm, Reduction, Sae, TrainOptions, Trainer, Variant};

fn numbers(value: &Value) -> Vec<f64> {
    match value {
        Value::Array(items) => items.iter().flat_map(numbers).collect(),
        Value::Bool(x) => vec![f64::from(u8::from(*x))],
        other => vec![other.as_f64().unwrap()],
    }
}

fn float32(value: &Value) -> Vec<f32> {
    numbers(value).into_iter().map(|x| x as f32).collect()
}

fn assert_near(found: &[f32], expected: &Value, what: &str) {
    let expected = numbers(expected);
    assert_eq!(found.len(), expected.len(), "{what}");
    for (i, (found, expected)) in found.iter().zip(expected).enumerate() {
        let error = (f64::from(*found) - expected).abs();
        assert!(
            error <= 1e-5 * expected.abs().max(1.0),
            "{what}, {i}: {found}, expected {expected}"
        );
    }
}

fn sae_of(case: &Value) -> Sae {
    let start = &case["start"];
    let values = |name: &str| float32(&start[name]);
    let k = case["k"].as_u64().unwrap() as usize;
    let b_dec = values("b_dec");
    let d_sae = values("w_enc").len() / b_dec.len();
    let mut b_enc = vec![0.0; d_sae];
    let variant = match case["variant"].as_str().unwrap() {
        "gated" => Variant::Gated {
            b_gate: values("b_gate"),
            r_mag: values("r_mag"),
            b_mag: values("b_mag"),
        },
        name => {
            b_enc = values("b_enc");
            match Variant::untrained(name, d_sae, k).unwrap() {
                Variant::JumpRelu { .. } => Variant::JumpRelu {
                    threshold: values("log_threshold").iter().map(|x| x.exp()).collect(),
                },
                variant => variant,
            }
        }
    };
    Sae {
        d_in: b_dec.len(),
        d_sae,
        variant,
        centered: case["centered"].as_bool().unwrap(),
        w_enc: values("w_enc"),
        b_enc,
        w_dec: values("w_dec"),
        b_dec,
        norm: InputNorm::None,
        w_skip: vec![],
        transcodes: false,
    }
}

fn options_of(case: &Value) -> TrainOptions {
    TrainOptions {
        learning_rate: 0.01,
        weight_decay: 0.02,
        decay: match case["decay"].as_str().unwrap() {
            "coupled" => Decay::Coupled,
            _ => Decay::Decoupled,
        },
        l1: 0.01,
        ne_loss: 0.05,
        ne_momentum: 0.8,
        ne_start_step: 1,
        bandwidth: 0.6,
        reduction: match case["mean"].as_bool().unwrap() {
            true => Reduction::Mean,
            false => Reduction::Sum,
        },
        dead: match case["auxiliary"].as_bool().unwrap_or(false) {
            true => DeadLatents::Auxiliary {
                k: 3,
                coefficient: 0.25,
            },
            false => DeadLatents::Leave,
        },
        dead_after_steps: 1,
        ..TrainOptions::default()
    }
}

#[test]
fn three_steps_equal_torch() {
    let text = include_str!("../../../../../tests/reference/sae.json");
    let cases: Value = serde_json::from_str(text).unwrap();
    for (i, case) in cases.as_array().unwrap().iter().enumerate() {
        let mut trainer = Trainer::new(sae_of(case), options_of(case)).unwrap();
        for (t, step) in case["steps"].as_array().unwrap().iter().enumerate() {
            let what = |name: &str| format!("case {i}, {}, step {t}, {name}", case["variant"]);
            let x = float32(&step["x"]);
            let (_, grads) = trainer.losses_and_gradients(&x).unwrap();
            for (name, grad) in grads {
                assert_near(&grad, &step["grads"][name], &what(name));
            }
            // Batch top-k trains by the batch and encodes by its threshold.
            if case["variant"] != "batch_topk" {
                let mut codes = Vec::new();
                trainer.sae().encode(&x, &mut codes);
                assert_near(&codes, &step["a"], &what("a"));
            }
            let losses = trainer.step(&x).unwrap();
            for (name, found) in [
                ("loss", losses.loss),
                ("mse", losses.mse),
                ("l1", losses.l1),
                ("sparsity", losses.sparsity),
                ("ne_loss", losses.ne_loss),
                ("auxiliary", losses.auxiliary),
                (
                    "explained_variance",
                    losses.explained_variance.expect("rows that differ"),
                ),
            ] {
                assert_near(&[found as f32], &step[name], &what(name));
            }
            for (name, values) in state(&mut trainer) {
                match (name, values) {
                    ("average_h", Owned::F32(x)) => assert_near(&x, &step[name], &what(name)),
                    ("seen", Owned::U8(x)) => {
                        let x: Vec<f32> = x.into_iter().map(f32::from).collect();
                        assert_near(&x, &step[name], &what(name));
                    }
                    _ => {}
                }
            }
        }
        for (name, values) in state(&mut trainer) {
            if let (Owned::F32(x), Some(end)) = (values, case["end"].get(name)) {
                assert_near(&x, end, &format!("case {i}, {}, {name}", case["variant"]));
            }
        }
    }
}
