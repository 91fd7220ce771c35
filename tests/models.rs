//! Models against numbers made elsewhere, and the laws their hooks and weights keep.
//! Over 400 lines because every check shares the probe.

mod bad_input;
mod classifiers;
mod gguf;
mod stored;
mod tokenizers;

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

/// A folder of the reference data, if it lies beside the workspace: tested in addition to what is bundled.
fn shared(path: &str) -> Option<PathBuf> {
    let path = root().join("../shared/data").join(path);
    path.exists().then_some(path)
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

/// Every site of a language model.
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
fn every_hook_equals_its_reference() {
    demo_model_equals_pytorch();
    if let Some(folder) = shared("gpt-nano-sort") {
        nano_sort_equals_its_published_tensors(&folder);
    }
}

fn demo_model_equals_pytorch() {
    let reference = read_safetensors(&root().join("tests/reference/demo_forward.safetensors"));
    let loaded = demo();
    let (ids, seq) = (ids_of(&reference["ids"]), 20);
    let n_layers = loaded.model.layers().len();
    // Nobody who looks at the scores goes another way through the attention.
    for sites in [&[][..], &ALL] {
        let mut probe = Probe::of(sites);
        let logits = loaded
            .model
            .logits(Input::Tokens { ids: &ids, seq }, &mut probe)
            .unwrap();
        let rows = logits.chunks_exact(loaded.model.d_vocab());
        let last: Vec<f32> = rows.skip(seq - 1).step_by(seq).flatten().copied().collect();
        assert_close("logits", &last, &values(&reference["logits"]), 1e-5);
        for site in sites {
            let layers = match site {
                Site::LnFinalOut => n_layers - 1..n_layers,
                _ => 0..n_layers,
            };
            for (i, layer) in layers.enumerate() {
                let hook = HookPoint { layer, site: *site };
                let name = hook.to_string();
                let of_every_layer = name.replace(&format!("blocks.{layer}."), "");
                let seen = &probe.seen[&hook];
                let came = seen.narrow(seen.rank() - 2, seq - 2, 2).unwrap();
                let expected = reference[&of_every_layer].get(i).unwrap();
                assert_close(&name, &values(&came), &values(&expected), 1e-5);
            }
        }
    }
}

fn nano_sort_equals_its_published_tensors(folder: &Path) {
    let reference = read_safetensors(&folder.join("reference_partials.safetensors"));
    let loaded = load(folder).unwrap();
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

/// What the MLPs receive and answer at the end of documents: `h` of some last positions, `post` of the last one.
fn assert_texts_equal(loaded: &LoadedModel, ids: &[u32], seq: usize, h: &Tensor, post: &Tensor) {
    let mut probe = Probe::of(&[Site::Ln2Out, Site::MlpPost]);
    loaded
        .model
        .forward(Input::Tokens { ids, seq }, &mut probe)
        .unwrap();
    for layer in 0..loaded.model.layers().len() {
        for (site, expected) in [(Site::Ln2Out, h), (Site::MlpPost, post)] {
            let expected = expected.get(layer).unwrap();
            let n = match site {
                Site::Ln2Out => expected.dim(1).unwrap(),
                _ => 1,
            };
            let hook = HookPoint { layer, site };
            let came = probe.seen[&hook].narrow(1, seq - n, n).unwrap();
            assert_close(&hook.to_string(), &values(&came), &values(&expected), 1e-5);
        }
    }
}

#[test]
fn texts_equal_pytorch() {
    let reference = read_safetensors(&root().join("tests/reference/demo_forward.safetensors"));
    let loaded = demo();
    let corpus = std::fs::read_to_string(root().join("tests/data/demo/corpus.jsonl"));
    let corpus = corpus.expect("the bundled corpus");
    let mut ids = vec![];
    for line in [0, 80, 160, 240] {
        let line = corpus.lines().nth(line).expect("a text");
        let row: serde_json::Value = serde_json::from_str(line).expect("JSON");
        let tokenizer = loaded.tokenizer.as_ref().expect("a tokenizer");
        let all = tokenizer.encode(row["text"].as_str().expect("text"));
        ids.extend_from_slice(&all.unwrap()[..64]);
    }
    assert_eq!(ids, ids_of(&reference["text_ids"]));
    let (h, post) = (&reference["text_h"], &reference["text_post"]);
    assert_texts_equal(&loaded, &ids, 64, h, post);
    if let (Some(folder), Some(text)) =
        (shared("gpt2-wikitext-tiny"), shared("wikitext-2/valid.txt"))
    {
        wikitext_model_equals_its_golden_activations(&folder, &text);
    }
}

fn wikitext_model_equals_its_golden_activations(folder: &Path, text: &Path) {
    let golden = read_safetensors(&root().join("tests/reference/wikitext_probe.safetensors"));
    let loaded = load(folder).unwrap();
    let text = std::fs::read_to_string(text).expect("a text file");
    let tokenizer = loaded.tokenizer.as_ref().expect("a tokenizer");
    let all = tokenizer.encode(&text).unwrap();
    let seq = 128;
    assert_eq!(all.len() / seq, 2_483);
    let documents = ids_of(&golden["doc"]);
    let ids: Vec<u32> = documents
        .iter()
        .flat_map(|doc| &all[*doc as usize * seq..][..seq])
        .copied()
        .collect();
    let post = &golden["post_last_token"];
    assert_texts_equal(&loaded, &ids, seq, &golden["h"], post);
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
    let pieces: Vec<_> = ids.iter().map(|id| tokenizer.token_text(*id)).collect();
    assert_eq!(pieces.concat(), text);
    assert!(
        pieces[1].starts_with(' ') || pieces[2].starts_with(' '),
        "{pieces:?}"
    );
    let many = tokenizer.encode_all(&["The", text, ""]).unwrap();
    assert_eq!(many, [tokenizer.encode("The").unwrap(), ids, vec![]]);
    // A part of a character has no text of its own: its bytes are shown, and the character where all of them are.
    let partial = tokenizer.encode("\u{1F9EA}").unwrap();
    let shown = partial.iter().map(|id| tokenizer.token_text(*id));
    assert_eq!(shown.collect::<String>(), "<0xF0><0x9F><0xA7><0xAA>");
    assert_eq!(tokenizer.text(&partial, true), "\u{1F9EA}");
    assert_eq!(
        tokenizer.text(&partial[1..], false),
        "\u{FFFD}".repeat(partial.len() - 1)
    );
    assert_eq!(tokenizer.token_text(u32::MAX), "");
    assert_eq!(tokenizer.bos(), Some(0));
}
