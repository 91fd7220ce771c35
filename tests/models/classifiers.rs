//! Classifiers against numbers made elsewhere: two of float64 and one small enough to work out by hand.

use std::path::Path;

use candle_core::{Device, Tensor};
use polysema::models::{HookPoint, Input, LayerNorm, Site, load};

use super::{Probe, assert_close, root, shared, values};
use crate::support;

/// Two vectors and their logits and first eight hidden activations: tests/reference/mlp_forward.py.
const TINY_LOGITS: [f32; 20] = [
    4.413733e-01,
    1.36312e-01,
    -4.613838e-01,
    1.301056e+00,
    6.563726e-01,
    4.017217e-01,
    -7.096339e-01,
    -8.598219e-01,
    9.839908e-01,
    4.481646e-01,
    1.162962e+00,
    -3.818479e-01,
    -6.716959e-01,
    1.082913e+00,
    1.255153e+00,
    -3.935047e-02,
    2.414188e-02,
    -5.963878e-01,
    8.657207e-01,
    5.894531e-01,
];
const TINY_POST: [f32; 12] = [
    0.000000e+00,
    0.000000e+00,
    0.000000e+00,
    2.35109e+00,
    2.588158e-01,
    0.000000e+00,
    1.118086e+00,
    0.000000e+00,
    0.000000e+00,
    2.22606e+00,
    0.000000e+00,
    0.000000e+00,
];
const MLP_LOGITS: [f32; 20] = [
    5.405353e-01,
    -5.138249e-01,
    1.320375e+00,
    6.752395e-01,
    -1.075008e+00,
    -1.701773e+00,
    -8.313363e-01,
    -8.873823e-01,
    1.821404e+00,
    1.939978e-01,
    4.410198e-01,
    -5.411488e-01,
    1.470992e+00,
    8.033293e-01,
    -1.329089e+00,
    -1.655605e+00,
    -9.351051e-01,
    -9.830938e-01,
    2.015726e+00,
    1.328369e-01,
];
const MLP_POST: [f32; 16] = [
    0.000000e+00,
    0.000000e+00,
    0.000000e+00,
    0.000000e+00,
    0.000000e+00,
    8.785183e-01,
    3.585166e+00,
    0.000000e+00,
    0.000000e+00,
    0.000000e+00,
    0.000000e+00,
    0.000000e+00,
    0.000000e+00,
    9.657656e-01,
    3.790535e+00,
    0.000000e+00,
];

#[test]
fn classifiers_equal_numpy() {
    let tiny = root().join("tests/data/mnist-tiny/mlp.safetensors");
    assert_classifier_equals(&tiny, &TINY_LOGITS, &TINY_POST);
    if let Some(file) = shared("mnist-authors/mlp.safetensors") {
        assert_classifier_equals(&file, &MLP_LOGITS, &MLP_POST);
    }
}

fn assert_classifier_equals(file: &Path, logits: &[f32], post: &[f32]) {
    let model = load(file).unwrap().model;
    let pixels: Vec<f32> = (0..2 * 784)
        .map(|i| (i * 7919 % 1013) as f32 / 256.0)
        .collect();
    let mut probe = Probe::of(&[Site::MlpPost]);
    let input = Input::Vectors {
        values: &pixels,
        width: 784,
    };
    let came = model.logits(input, &mut probe).unwrap();
    assert_close("logits", &came, logits, 1e-5);
    let first = HookPoint {
        layer: 0,
        site: Site::MlpPost,
    };
    let came = probe.seen[&first].narrow(2, 0, post.len() / 2).unwrap();
    assert_close("post", &values(&came), post, 1e-5);
}

/// A classifier small enough to work out by hand.
#[test]
fn classifier_by_hand() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let tensor = |v: &[f32], dims: &[usize]| Tensor::from_slice(v, dims, &Device::Cpu).unwrap();
    let tensors = [
        (
            "layers.0.weight",
            tensor(&[1.0, 2.0, -1.0, 0.5, 0.0, 1.0], &[3, 2]),
        ),
        ("layers.0.bias", tensor(&[0.5, 0.0, -4.0], &[3])),
        (
            "layers.1.weight",
            tensor(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], &[2, 3]),
        ),
        ("layers.1.bias", tensor(&[0.0, 1.0], &[2])),
    ];
    let tensors = tensors
        .into_iter()
        .map(|(name, t)| (name.to_string(), t))
        .collect();
    support::write_tensors(&tensors, &folder.path().join("model.safetensors"));
    let config = r#"{"kind": "mlp", "activation_function": "relu"}"#;
    std::fs::write(folder.path().join("config.json"), config).expect("a writable folder");
    let loaded = load(folder.path()).unwrap();
    assert!(loaded.tokenizer.is_none());
    let model = loaded.model;
    let (layers, limits) = (model.layers(), (model.n_ctx(), model.d_vocab()));
    assert_eq!(
        (model.architecture(), layers.len(), limits),
        ("mlp", 1, (1, 0))
    );
    assert_eq!((layers[0].d_in, layers[0].n_neurons), (2, 3));
    let mut probe = Probe::of(&[Site::MlpIn, Site::MlpPre, Site::MlpPost]);
    let input = Input::Vectors {
        values: &[1.0, 3.0, -2.0, 4.0],
        width: 2,
    };
    let logits = model.logits(input, &mut probe).unwrap();
    assert_eq!(
        probe.values(0, Site::MlpPre),
        [7.5, 0.5, -1.0, 6.5, 4.0, 0.0]
    );
    assert_eq!(
        probe.values(0, Site::MlpPost),
        [7.5, 0.5, 0.0, 6.5, 4.0, 0.0]
    );
    assert_eq!(logits, [8.5, 33.5, 14.5, 47.0]);
    let weights = model.neuron_weights(0, LayerNorm::Folded).unwrap();
    assert_eq!(weights.w_in[..2], [1.0, 2.0]);
    assert_eq!(weights.w_out, [1.0, 4.0, 2.0, 5.0, 3.0, 6.0]);
    assert_eq!(
        model.received_at(0, LayerNorm::Folded).unwrap().to_string(),
        "blocks.0.mlp.in"
    );
    let error = |input| {
        model
            .forward(input, &mut Probe::default())
            .unwrap_err()
            .to_string()
    };
    let came = error(Input::Tokens { ids: &[1], seq: 1 });
    assert!(came.contains("mlp: vectors are required"), "{came}");
    let came = error(Input::Vectors {
        values: &[1.0; 3],
        width: 3,
    });
    assert!(
        came.contains("vectors of width 2 are required, got 3"),
        "{came}"
    );
}
