//! Models against numbers made elsewhere, and the laws their hooks and weights keep.
//! Over 400 lines because every check shares the probe.

#[path = "models/bad_input.rs"]
mod bad_input;
mod support;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use candle_core::{DType, Device, Tensor};
use datafusion::error::Result;
use polysema::models::{HookPoint, Hooks, Input, LayerNorm, LoadedModel, Site, load};

/// Keeps what it sees; replaces what it is told to.
#[derive(Default)]
struct Probe {
    sites: Vec<Site>,
    replace: HashMap<HookPoint, Tensor>,
    seen: HashMap<HookPoint, Tensor>,
    stop_after: Option<usize>,
    deepest: usize,
}

impl Probe {
    fn of(sites: &[Site]) -> Self {
        Self {
            sites: sites.to_vec(),
            ..Self::default()
        }
    }

    fn values(&self, layer: usize, site: Site) -> Vec<f32> {
        values(&self.seen[&HookPoint { layer, site }])
    }
}

impl Hooks for Probe {
    fn wants(&self, hook: HookPoint) -> bool {
        self.sites.contains(&hook.site) || self.replace.contains_key(&hook)
    }

    fn visit(
        &mut self,
        hook: HookPoint,
        values: &Arc<Vec<f32>>,
        dims: &[usize],
    ) -> Result<Option<Vec<f32>>> {
        self.deepest = self.deepest.max(hook.layer);
        let seen = Tensor::from_slice(values, dims, &Device::Cpu);
        self.seen.insert(hook, seen.expect("values of this shape"));
        Ok(self.replace.get(&hook).map(self::values))
    }

    fn done(&self) -> bool {
        self.stop_after.is_some_and(|layer| self.deepest >= layer)
    }
}

fn values(tensor: &Tensor) -> Vec<f32> {
    tensor
        .to_dtype(DType::F32)
        .and_then(|t| t.flatten_all())
        .and_then(|t| t.to_vec1())
        .expect("a tensor of numbers")
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn demo() -> LoadedModel {
    load(&root().join("tests/data/demo/model")).expect("the bundled model loads")
}

/// A folder of the reference data, if it lies beside the workspace.
fn shared(path: &str) -> Option<PathBuf> {
    let path = root().join("../shared/data").join(path);
    if !path.exists() {
        println!("left out: no {}", path.display());
        return None;
    }
    Some(path)
}

#[track_caller]
fn assert_close(what: &str, came: &[f32], expected: &[f32], tolerance: f32) {
    assert_eq!(came.len(), expected.len(), "{what}");
    let largest = expected.iter().fold(1.0_f32, |m, v| m.max(v.abs()));
    let error = came.iter().zip(expected).map(|(a, b)| (a - b).abs());
    let error = error.fold(0.0_f32, |m, e| if e > m || e.is_nan() { e } else { m });
    assert!(
        error <= tolerance * largest,
        "{what}: off by {error}, largest value {largest}"
    );
}

fn read_safetensors(path: &Path) -> HashMap<String, Tensor> {
    candle_core::safetensors::load(path, &Device::Cpu).expect("a safetensors file")
}

fn ids_of(tensor: &Tensor) -> Vec<u32> {
    values(tensor).into_iter().map(|id| id as u32).collect()
}

const ALL: [Site; 15] = [
    Site::Normalized,
    Site::Ln2Out,
    Site::MlpPre,
    Site::MlpPost,
    Site::MlpOut,
    Site::ResidPost,
    Site::ResidPre,
    Site::Ln1Out,
    Site::AttnQkv,
    Site::AttnScores,
    Site::AttnPattern,
    Site::AttnZ,
    Site::AttnOut,
    Site::ResidMid,
    Site::LnFinalOut,
];

#[test]
fn demo_model_equals_pytorch() {
    let reference = read_safetensors(&root().join("tests/reference/demo_forward.safetensors"));
    let loaded = demo();
    let (ids, seq) = (ids_of(&reference["ids"]), 20);
    let sites = [Site::Ln2Out, Site::MlpPre, Site::MlpPost, Site::MlpOut];
    let mut probe = Probe::of(&sites);
    let logits = loaded
        .model
        .logits(Input::Tokens { ids: &ids, seq }, &mut probe)
        .unwrap();
    let rows = logits.chunks_exact(loaded.model.d_vocab());
    let last: Vec<f32> = rows.skip(seq - 1).step_by(seq).flatten().copied().collect();
    assert_close("logits", &last, &values(&reference["logits"]), 1e-5);
    for (site, name) in sites
        .iter()
        .zip(["ln2.out", "mlp.pre", "mlp.post", "mlp.out"])
    {
        for layer in 0..loaded.model.layers().len() {
            let came = probe.seen[&HookPoint { layer, site: *site }]
                .narrow(1, seq - 2, 2)
                .unwrap();
            let expected = reference[name].get(layer).unwrap();
            assert_close(name, &values(&came), &values(&expected), 1e-5);
        }
    }
}

#[test]
fn nano_sort_equals_its_published_tensors() {
    let Some(folder) = shared("gpt-nano-sort") else {
        return;
    };
    let reference = read_safetensors(&folder.join("reference_partials.safetensors"));
    let loaded = load(&folder).unwrap();
    let (ids, seq, d) = (ids_of(&reference["idx"]), 11, 48);
    let mut probe = Probe::of(&ALL);
    let logits = loaded
        .model
        .logits(Input::Tokens { ids: &ids, seq }, &mut probe)
        .unwrap();
    let mut checked = 0;
    let mut check = |name: &str, came: &[f32]| {
        assert_close(name, came, &values(&reference[name]), 1e-5);
        checked += 1;
    };
    check("lm_head", &logits);
    check("ln_f", &probe.values(2, Site::LnFinalOut));
    check("x", &probe.values(0, Site::ResidPre));
    for layer in 0..3 {
        check(
            &format!("block{layer}"),
            &probe.values(layer, Site::ResidPost),
        );
    }
    for (name, site) in [
        ("ln1", Site::Ln1Out),
        ("qkv", Site::AttnQkv),
        ("att", Site::AttnScores),
        ("attSm", Site::AttnPattern),
        ("y", Site::AttnZ),
        ("yProj", Site::AttnOut),
        ("attnResid", Site::ResidMid),
        ("ln2", Site::Ln2Out),
        ("fc", Site::MlpPre),
        ("gelu", Site::MlpPost),
        ("mlp", Site::MlpOut),
        ("mlpResid", Site::ResidPost),
    ] {
        check(name, &probe.values(0, site));
    }
    let qkv = probe.seen[&HookPoint {
        layer: 0,
        site: Site::AttnQkv,
    }]
        .clone();
    for (i, name) in ["q", "k", "v"].into_iter().enumerate() {
        let part = qkv
            .narrow(2, i * d, d)
            .and_then(|t| t.reshape((3, seq, 3, d / 3)));
        check(
            name,
            &values(&part.and_then(|t| t.transpose(1, 2)).unwrap()),
        );
    }
    assert_eq!(checked, 21);
}

#[test]
fn wikitext_model_equals_its_golden_activations() {
    let (Some(folder), Some(text)) = (shared("gpt2-wikitext-tiny"), shared("wikitext-2/valid.txt"))
    else {
        return;
    };
    let golden = read_safetensors(&root().join("tests/reference/wikitext_probe.safetensors"));
    let loaded = load(&folder).unwrap();
    let text = std::fs::read_to_string(text).expect("a text file");
    let all = loaded
        .tokenizer
        .expect("a tokenizer")
        .encode(&text)
        .unwrap();
    let seq = 128;
    assert_eq!(all.len() / seq, 2_483);
    let documents = ids_of(&golden["doc"]);
    let ids: Vec<u32> = documents
        .iter()
        .flat_map(|doc| &all[*doc as usize * seq..][..seq])
        .copied()
        .collect();
    let mut probe = Probe::of(&[Site::Ln2Out, Site::MlpPost]);
    loaded
        .model
        .forward(Input::Tokens { ids: &ids, seq }, &mut probe)
        .unwrap();
    for layer in 0..4 {
        let h = probe.seen[&HookPoint {
            layer,
            site: Site::Ln2Out,
        }]
            .narrow(1, seq - 8, 8);
        let expected = golden["h"].get(layer).unwrap();
        assert_close("h", &values(&h.unwrap()), &values(&expected), 1e-5);
        let post = probe.seen[&HookPoint {
            layer,
            site: Site::MlpPost,
        }]
            .narrow(1, seq - 1, 1);
        let expected = golden["post_last_token"].get(layer).unwrap();
        assert_close("post", &values(&post.unwrap()), &values(&expected), 1e-5);
    }
}

/// Two vectors and their logits and first eight hidden activations: tests/reference/mlp_forward.py.
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
fn classifier_equals_numpy() {
    let Some(file) = shared("mnist-authors/mlp.safetensors") else {
        return;
    };
    let model = load(&file).unwrap().model;
    let pixels: Vec<f32> = (0..2 * 784)
        .map(|i| (i * 7919 % 1013) as f32 / 256.0)
        .collect();
    let mut probe = Probe::of(&[Site::MlpPost]);
    let input = Input::Vectors {
        values: &pixels,
        width: 784,
    };
    let logits = model.logits(input, &mut probe).unwrap();
    assert_close("logits", &logits, &MLP_LOGITS, 1e-5);
    let post = probe.seen[&HookPoint {
        layer: 0,
        site: Site::MlpPost,
    }]
        .narrow(2, 0, 8)
        .unwrap();
    assert_close("post", &values(&post), &MLP_POST, 1e-5);
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

#[test]
fn weights_give_the_pre_activation_under_every_convention() {
    let loaded = demo();
    let model = &loaded.model;
    let ids: Vec<u32> = (0..24).map(|i| i * 97 % model.d_vocab() as u32).collect();
    let mut probe = Probe::of(&[Site::Normalized, Site::Ln2Out, Site::MlpPre]);
    model
        .forward(Input::Tokens { ids: &ids, seq: 12 }, &mut probe)
        .unwrap();
    for (layer, info) in model.layers().iter().enumerate() {
        let expected = probe.values(layer, Site::MlpPre);
        for convention in [LayerNorm::Folded, LayerNorm::Raw, LayerNorm::TlFolded] {
            let weights = model.neuron_weights(layer, convention).unwrap();
            let received = values(&probe.seen[&model.received_at(layer, convention).unwrap()]);
            let mut came = Vec::with_capacity(expected.len());
            for h in received.chunks_exact(info.d_in) {
                for (w, b) in weights.w_in.chunks_exact(info.d_in).zip(&weights.b_in) {
                    let sum: f64 = h.iter().zip(w).map(|(h, w)| f64::from(h * w)).sum();
                    came.push((sum + f64::from(*b)) as f32);
                }
            }
            assert_close(&format!("{convention:?}"), &came, &expected, 1e-5);
            if convention == LayerNorm::TlFolded {
                let mean: f32 = weights.w_in[..info.d_in].iter().sum::<f32>() / info.d_in as f32;
                assert!(mean.abs() < 1e-7, "{mean}");
            }
        }
    }
}

/// `w_out` is what an activation of 1 adds to the MLP's output.
#[test]
fn output_weights_are_what_a_neuron_writes() {
    let loaded = demo();
    let model = &loaded.model;
    let (layer, neuron, d, n) = (1, 17, model.layers()[1].d_in, model.layers()[1].n_neurons);
    let post = HookPoint {
        layer,
        site: Site::MlpPost,
    };
    let run = |activation: f32| {
        let mut activations = vec![0.0; n];
        activations[neuron] = activation;
        let mut probe = Probe::of(&[Site::MlpOut]);
        probe.replace.insert(
            post,
            Tensor::from_vec(activations, (1, 1, n), &Device::Cpu).unwrap(),
        );
        model
            .forward(Input::Tokens { ids: &[5], seq: 1 }, &mut probe)
            .unwrap();
        probe.values(layer, Site::MlpOut)
    };
    let written: Vec<f32> = run(1.0).iter().zip(run(0.0)).map(|(a, b)| a - b).collect();
    let weights = model.neuron_weights(layer, LayerNorm::Folded).unwrap();
    assert_close(
        "w_out",
        &written,
        &weights.w_out[neuron * d..(neuron + 1) * d],
        1e-6,
    );
}

/// Looking must not change the numbers: the paths with and without hooks are different code.
#[test]
fn hooks_do_not_disturb() {
    let model = demo().model;
    // Several query blocks, the last one short.
    let ids: Vec<u32> = (0..2 * 101)
        .map(|i| i * 31 % model.d_vocab() as u32)
        .collect();
    let input = Input::Tokens {
        ids: &ids,
        seq: 101,
    };
    let plain = model.logits(input, &mut Probe::default()).unwrap();
    for site in ALL {
        let mut probe = Probe::of(&[site]);
        let hooked = model.logits(input, &mut probe).unwrap();
        assert_close(&format!("{site:?}"), &hooked, &plain, 1e-5);
        let layers = if site == Site::LnFinalOut {
            1
        } else {
            model.layers().len()
        };
        assert_eq!(probe.seen.len(), layers, "{site:?}");
    }
}

/// Replacing a value by twice itself must reach the logits from every place.
#[test]
fn every_replacement_takes_effect() {
    let model = demo().model;
    let input = Input::Tokens {
        ids: &[1, 2, 3, 4],
        seq: 4,
    };
    let plain = model.logits(input, &mut Probe::default()).unwrap();
    for site in ALL {
        let layer = model.layers().len() - 1;
        let mut probe = Probe::of(&[site]);
        model.logits(input, &mut probe).unwrap();
        let doubled = (&probe.seen[&HookPoint { layer, site }] * 2.0).unwrap();
        let mut probe = Probe::default();
        probe.replace.insert(HookPoint { layer, site }, doubled);
        let replaced = model.logits(input, &mut probe).unwrap();
        let change = plain
            .iter()
            .zip(&replaced)
            .map(|(a, b)| (a - b).abs())
            .fold(0.0, f32::max);
        // Doubling the residual stream leaves what a layer norm makes of it.
        let invisible = matches!(site, Site::ResidPost);
        assert_eq!(change > 1e-3, !invisible, "{site:?}: {change}");
    }
}

#[test]
fn a_pass_ends_where_its_hooks_say() {
    let model = demo().model;
    let mut probe = Probe::of(&[Site::ResidPost]);
    probe.stop_after = Some(1);
    let input = Input::Tokens {
        ids: &[1, 2],
        seq: 2,
    };
    model.forward(input, &mut probe).unwrap();
    assert_eq!((probe.seen.len(), probe.deepest), (2, 1));
    let error = model.logits(input, &mut probe).unwrap_err().to_string();
    assert!(error.contains("logits need a whole pass"), "{error}");
}

#[test]
fn a_batch_equals_its_documents() {
    let model = demo().model;
    let ids: Vec<u32> = (0..30).collect();
    let whole = model
        .logits(Input::Tokens { ids: &ids, seq: 10 }, &mut Probe::default())
        .unwrap();
    for (i, ids) in ids.chunks(10).enumerate() {
        let one = model
            .logits(Input::Tokens { ids, seq: 10 }, &mut Probe::default())
            .unwrap();
        let n = one.len();
        assert_close("logits", &one, &whole[i * n..][..n], 1e-5);
    }
}

#[test]
fn tokenizer_round_trip() {
    let loaded = demo();
    let tokenizer = loaded.tokenizer.expect("the demo model has a tokenizer");
    assert_eq!(tokenizer.d_vocab(), loaded.model.d_vocab());
    let text = "The river ran past the old bank.";
    let ids = tokenizer.encode(text).unwrap();
    let pieces: Vec<&str> = ids.iter().map(|id| tokenizer.token_text(*id)).collect();
    assert_eq!(pieces.concat(), text);
    assert!(
        pieces[1].starts_with(' ') || pieces[2].starts_with(' '),
        "{pieces:?}"
    );
    let many = tokenizer.encode_all(&["The", text, ""]).unwrap();
    assert_eq!(many, [tokenizer.encode("The").unwrap(), ids, vec![]]);
    // One byte of a longer character has no text of its own.
    let partial = tokenizer.encode("\u{1F9EA}").unwrap();
    assert!(
        partial
            .iter()
            .any(|id| tokenizer.token_text(*id).contains('\u{FFFD}')),
        "{partial:?}"
    );
    assert_eq!(tokenizer.token_text(u32::MAX), "");
    assert_eq!(tokenizer.bos(), Some(0));
}
