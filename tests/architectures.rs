//! Every family of decoders and encoders against `transformers`: logits and the values at every hook of tiny random
//! models, whose switches differ (tests/reference/architectures.py), and the laws of their neurons' weights.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use candle_core::{DType, Device, Tensor};
use datafusion::error::Result;
use polysema::models::{HookPoint, Hooks, Input, LayerNorm, LoadedModel, Site, load};

/// Relative to the largest value of a tensor. The models' sums have at most some hundred terms.
const TOLERANCE: f32 = 1e-5;

/// Keeps what it sees at some places.
#[derive(Default)]
struct Probe {
    places: Vec<HookPoint>,
    seen: HashMap<HookPoint, Vec<f32>>,
    dims: HashMap<HookPoint, Vec<usize>>,
}

impl Hooks for Probe {
    fn wants(&self, hook: HookPoint) -> bool {
        self.places.contains(&hook)
    }

    fn visit(
        &mut self,
        hook: HookPoint,
        values: &Arc<Vec<f32>>,
        dims: &[usize],
    ) -> Result<Option<Vec<f32>>> {
        self.seen.insert(hook, values.to_vec());
        self.dims.insert(hook, dims.to_vec());
        Ok(None)
    }
}

fn data() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/architectures")
}

/// The models, by the names of their folders.
fn names() -> Vec<String> {
    let folders = std::fs::read_dir(data()).expect("the models");
    let folders = folders.map(|entry| entry.expect("an entry").path());
    let names = folders.filter(|path| path.is_dir()).map(|path| {
        let name = path.file_name().expect("a name");
        name.to_string_lossy().into_owned()
    });
    let mut names: Vec<_> = names.collect();
    names.sort();
    names
}

/// A model with what it must give.
struct Case {
    name: String,
    loaded: LoadedModel,
    expected: HashMap<String, Tensor>,
}

impl Case {
    fn read(name: &str) -> Self {
        let folder = data().join(name);
        let expected =
            candle_core::safetensors::load(folder.join("expected.safetensors"), &Device::Cpu);
        Self {
            name: name.to_string(),
            loaded: load(&folder).unwrap_or_else(|e| panic!("{name}: {e}")),
            expected: expected.expect("expected values"),
        }
    }

    /// Token ids, or pixels; and the length of a document, or the pixels of an image.
    fn input(&self) -> (Vec<u32>, Vec<f32>, usize) {
        match self.expected.get("tokens") {
            Some(tokens) => {
                let ids = tokens.to_dtype(DType::U32).and_then(|t| t.flatten_all());
                let ids = ids.and_then(|t| t.to_vec1()).expect("token ids");
                (ids, vec![], tokens.dims()[1])
            }
            None => {
                let width = self.expected["pixels"].dims()[1..].iter().product();
                (vec![], self.values("pixels"), width)
            }
        }
    }

    fn values(&self, name: &str) -> Vec<f32> {
        let flat = self.expected[name].flatten_all();
        flat.and_then(|t| t.to_vec1()).expect("numbers")
    }

    /// The places with expected values, and what these are called.
    fn places(&self) -> Vec<(HookPoint, String)> {
        let names = self.expected.keys().filter_map(|name| {
            let place = match name.as_str() {
                "ln_final.out" => HookPoint {
                    layer: self.loaded.model.layers().len() - 1,
                    site: Site::LnFinalOut,
                },
                name if name.starts_with("blocks.") => HookPoint::parse(name).expect("a hook"),
                _ => return None,
            };
            Some((place, name.clone()))
        });
        names.collect()
    }

    /// What is seen, and logits if the model has some.
    fn pass(&self, mut probe: Probe) -> (Probe, Option<Vec<f32>>) {
        let model = &self.loaded.model;
        let (ids, values, width) = self.input();
        let input = match values.is_empty() {
            true => Input::Tokens {
                ids: &ids,
                seq: width,
            },
            false => Input::Vectors {
                values: &values,
                width,
            },
        };
        if self.expected.contains_key("logits") {
            let logits = model.logits(input, &mut probe);
            return (
                probe,
                Some(logits.unwrap_or_else(|e| panic!("{}: {e}", self.name))),
            );
        }
        let refused = model.logits(input, &mut Probe::default()).unwrap_err();
        let refused = refused.to_string();
        assert!(
            refused.contains("a head is required for logits"),
            "{refused}"
        );
        let forward = model.forward(input, &mut probe);
        forward.unwrap_or_else(|e| panic!("{}: {e}", self.name));
        (probe, None)
    }

    fn probed(&self) -> (Probe, Option<Vec<f32>>) {
        let places = self.places().into_iter().map(|(place, _)| place);
        self.pass(Probe {
            places: places.collect(),
            ..Probe::default()
        })
    }
}

/// The largest difference, relative to the largest expected value.
fn difference(came: &[f32], expected: &[f32]) -> f32 {
    assert_eq!(came.len(), expected.len());
    let largest = expected.iter().fold(0.0_f32, |max, x| max.max(x.abs()));
    let differences = came.iter().zip(expected).map(|(a, b)| (a - b).abs());
    let difference = differences.fold(0.0_f32, |max, x| if x.is_nan() { x } else { max.max(x) });
    difference / largest.max(f32::MIN_POSITIVE)
}

#[test]
fn logits_and_every_hook_equal_transformers() {
    let names = names();
    assert!(names.len() >= 48, "{names:?}");
    let mut wrong = vec![];
    for name in names {
        let case = Case::read(&name);
        let (probe, logits) = case.probed();
        let places = case.places();
        assert!(places.len() > 10, "{name}: {places:?}");
        let check = |what: &str, came: &[f32]| {
            let off = difference(came, &case.values(what));
            // Not-a-number is above every tolerance.
            let fits = off <= TOLERANCE;
            (!fits).then(|| format!("{name} {what}: {off:e}"))
        };
        for (place, what) in places {
            let Some(came) = probe.seen.get(&place) else {
                wrong.push(format!("{name} {what}: never shown"));
                continue;
            };
            assert_eq!(
                probe.dims[&place],
                case.expected[&what].dims(),
                "{name} {what}"
            );
            wrong.extend(check(&what, came));
        }
        wrong.extend(logits.and_then(|logits| check("logits", &logits)));
    }
    assert!(
        wrong.is_empty(),
        "{} wrong:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

/// What hooks look at changes nothing.
#[test]
fn logits_do_not_depend_on_hooks() {
    for name in names() {
        let case = Case::read(&name);
        let (_, shown) = case.probed();
        let (_, bare) = case.pass(Probe::default());
        if let (Some(shown), Some(bare)) = (shown, bare) {
            assert!(difference(&bare, &shown) <= 1e-6, "{name}");
        }
    }
}

/// `sum(h * w_in) + b_in` is the pre-activation and `sum(h * w_up) + b_up` the value it gates, where `h` is what the
/// convention says; and what a convention cannot be is refused with the reason.
#[test]
fn weights_of_neurons_give_their_pre_activations_under_every_convention() {
    let mut refused = vec![];
    for name in names() {
        let case = Case::read(&name);
        let model = &case.loaded.model;
        let (probe, _) = case.probed();
        for (convention, word) in [
            (LayerNorm::Folded, "folded"),
            (LayerNorm::Raw, "raw"),
            (LayerNorm::TlFolded, "tl_folded"),
        ] {
            let at = match model.received_at(0, convention) {
                Ok(at) => at,
                Err(error) => {
                    refused.push(format!("{name} {word}"));
                    assert!(error.to_string().contains(", since "), "{name}: {error}");
                    assert!(model.neuron_weights(0, convention).is_err());
                    continue;
                }
            };
            let weights = model.neuron_weights(0, convention).expect("weights");
            let h = &probe.seen[&at];
            let d_in = model.layers()[0].d_in;
            let n = model.layers()[0].n_neurons;
            let through = |w: &[f32], b: &[f32]| -> Vec<f32> {
                let rows = h.chunks_exact(d_in);
                let all = rows.flat_map(|h| {
                    (0..n).map(move |j| {
                        let products = h
                            .iter()
                            .zip(&w[j * d_in..])
                            .map(|(a, b)| f64::from(*a) * f64::from(*b));
                        (products.sum::<f64>() + f64::from(b[j])) as f32
                    })
                });
                all.collect()
            };
            let pre = through(&weights.w_in, &weights.b_in);
            let off = difference(&pre, &case.values("blocks.0.mlp.pre"));
            assert!(off <= TOLERANCE, "{name} {word}: {off}");
            assert_eq!(weights.up.is_some(), model.layers()[0].gated, "{name}");
            if let Some(up) = &weights.up {
                let off = difference(
                    &through(&up.w_up, &up.b_up),
                    &case.values("blocks.0.mlp.up"),
                );
                assert!(off <= TOLERANCE, "{name} {word} up: {off}");
            }
            let bytes = weights.w_in.len() + weights.b_in.len() + weights.w_out.len();
            let up = weights.up.map_or(0, |up| up.w_up.len() + up.b_up.len());
            assert_eq!(4 * (bytes + up), model.neuron_bytes(0), "{name}");
        }
    }
    // Nothing stands before the MLP whose scale could be folded; an RMS norm does not centre.
    for name in [
        "olmo2 folded",
        "olmo2 tl_folded",
        "opt-post-norm folded",
        "bert folded",
        "bert-masked tl_folded",
        "llama tl_folded",
        "gemma2 tl_folded",
    ] {
        assert!(
            refused.iter().any(|known| known == name),
            "{name}: {refused:?}"
        );
    }
    for name in [
        "gpt2 tl_folded",
        "gpt_neox folded",
        "phi tl_folded",
        "olmo folded",
        "gemma2 folded",
        "vit folded",
        "clip tl_folded",
    ] {
        assert!(!refused.iter().any(|known| known == name), "{name}");
    }
}
