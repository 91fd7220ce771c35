//! Sparse autoencoders in the field's formats: what SAELens and dictionary_learning wrote is read to the same codes and
//! reconstructions, and what we write is read back bit for bit. Numbers: tests/reference/sae_exchange.py.

mod bad_input;
mod formats;

use std::path::{Path, PathBuf};

use polysema::saes::exchange::{
    SaeConfig, SaeFile, read, write_dictionary_learning, write_saelens,
};
use polysema_kernels::sae::{InputNorm, Sae, Variant};
use serde::Deserialize;
use serde_json::json;
use std::collections::BTreeMap;
use tempfile::tempdir;

type Write = fn(&Path, &SaeFile, bool) -> datafusion::error::Result<()>;
const FORMATS: [(&str, Write); 2] = [
    ("saelens", write_saelens),
    ("dictionary_learning", write_dictionary_learning),
];

#[derive(Deserialize)]
struct Answers {
    inputs: Vec<Vec<f64>>,
    cases: BTreeMap<String, Case>,
}

#[derive(Deserialize)]
struct Case {
    codes: Vec<Vec<f64>>,
    outputs: Vec<Vec<f64>>,
}

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/data/sae")
        .join(name)
}

fn answers() -> Answers {
    let text = std::fs::read(fixture("answers.json")).expect("the packages' answers");
    serde_json::from_slice(&text).expect("answers")
}

#[track_caller]
fn read_whole(path: &Path) -> SaeFile {
    read(path).unwrap_or_else(|error| panic!("{error}"))
}

fn dot(a: &[f32], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| f64::from(*a) * b).sum()
}

/// The definition, term by term.
fn encode(sae: &Sae, x: &[f64]) -> Vec<f64> {
    let offset = |b: &f32| if sae.centered { f64::from(*b) } else { 0.0 };
    let x: Vec<f64> = x
        .iter()
        .zip(&sae.b_dec)
        .map(|(x, b)| x - offset(b))
        .collect();
    let product: Vec<f64> = sae.w_enc.chunks(sae.d_in).map(|w| dot(w, &x)).collect();
    let z: Vec<f64> = product
        .iter()
        .zip(&sae.b_enc)
        .map(|(p, b)| p + f64::from(*b))
        .collect();
    let above = |threshold: f64, z: f64| if z > threshold.max(0.0) { z } else { 0.0 };
    match &sae.variant {
        Variant::Relu => z.iter().map(|z| above(0.0, *z)).collect(),
        Variant::TopK { k } => {
            let mut sorted = z.clone();
            sorted.sort_by(|a, b| b.total_cmp(a));
            let least = sorted[k - 1];
            z.iter()
                .map(|z| if *z >= least { z.max(0.0) } else { 0.0 })
                .collect()
        }
        Variant::BatchTopK { threshold, .. } => {
            z.iter().map(|z| above(f64::from(*threshold), *z)).collect()
        }
        Variant::JumpRelu { threshold } => z
            .iter()
            .zip(threshold)
            .map(|(z, t)| above(f64::from(*t), *z))
            .collect(),
        Variant::Gated {
            b_gate,
            r_mag,
            b_mag,
        } => (0..sae.d_sae)
            .map(|j| {
                let open = product[j] + f64::from(b_gate[j]) > 0.0;
                let size = f64::from(r_mag[j]).exp() * product[j] + f64::from(b_mag[j]);
                if open { size.max(0.0) } else { 0.0 }
            })
            .collect(),
    }
}

fn decode(sae: &Sae, codes: &[f64]) -> Vec<f64> {
    let mut x: Vec<f64> = sae.b_dec.iter().map(|b| f64::from(*b)).collect();
    for (row, code) in sae.w_dec.chunks(sae.d_in).zip(codes) {
        for (x, w) in x.iter_mut().zip(row) {
            *x += code * f64::from(*w);
        }
    }
    x
}

#[track_caller]
fn assert_answers(sae: &Sae, answers: &Answers, case: &str) {
    let expected = &answers.cases[case];
    let close = |what: &str, got: &[f64], expected: &[f64]| {
        assert_eq!(got.len(), expected.len(), "{case}: {what}");
        for (got, expected) in got.iter().zip(expected) {
            assert!(
                (got - expected).abs() < 1e-5,
                "{case}: {what} {got}, not {expected}"
            );
        }
    };
    let mut active = 0;
    for (row, x) in answers.inputs.iter().enumerate() {
        let codes = encode(sae, x);
        active += codes.iter().filter(|a| **a > 0.0).count();
        close("codes", &codes, &expected.codes[row]);
        close("outputs", &decode(sae, &codes), &expected.outputs[row]);
    }
    assert!(
        active > answers.inputs.len(),
        "{case}: {active} active codes"
    );
}

#[test]
fn files_of_the_packages_are_read_to_their_answers() {
    let answers = answers();
    assert_eq!(answers.cases.len(), 21);
    for case in answers.cases.keys() {
        assert_answers(&read_whole(&fixture(case)).sae, &answers, case);
    }
}

#[test]
fn what_a_file_says_is_kept() {
    let file = read_whole(&fixture("saelens-topk"));
    let config = &file.config;
    assert_eq!(file.sae.variant, Variant::TopK { k: 3 });
    assert_eq!(config.architecture, "topk");
    assert_eq!(config.hook_name.as_deref(), Some("blocks.3.hook_mlp_out"));
    assert_eq!(config.model_name.as_deref(), Some("gpt2"));
    assert_eq!(
        (config.prepend_bos, config.context_size),
        (Some(false), Some(64))
    );
    assert_eq!(config.rest["metadata"]["dataset_path"], "a/text");

    let flat = read_whole(&fixture("saelens-3")).config;
    assert_eq!(flat.hook_name.as_deref(), Some("blocks.3.hook_mlp_out"));
    assert_eq!(
        (flat.prepend_bos, flat.dtype.as_str()),
        (Some(true), "float32")
    );
    assert_eq!(flat.rest["metadata"]["sae_lens_training_version"], "3.13.0");
    assert_eq!(flat.rest["metadata"]["hook_point_layer"], 3);

    let config = read_whole(&fixture("dictionary-BatchTopKSAE")).config;
    assert_eq!(config.architecture, "BatchTopKSAE");
    assert_eq!(config.hook_name.as_deref(), Some("mlp_3"));
    assert_eq!(
        (config.model_name.as_deref(), config.context_size),
        (Some("gpt2"), Some(64))
    );
    assert_eq!(config.rest["trainer"]["lr"], 0.001);

    for (case, dtype) in [
        ("saelens-float16", "float16"),
        ("saelens-bfloat16", "bfloat16"),
    ] {
        assert_eq!(read_whole(&fixture(case)).config.dtype, dtype);
    }
}

/// Whether dictionary_learning has a class for it.
fn has_class(sae: &Sae) -> bool {
    match sae.variant {
        Variant::Relu => true,
        Variant::JumpRelu { .. } => !sae.centered,
        _ => sae.centered,
    }
}

#[test]
fn written_then_read_is_the_same() {
    let kept = std::env::var_os("POLYSEMA_SAE_OUT").map(PathBuf::from);
    let scratch = tempdir().expect("a temporary folder");
    let out = kept.as_deref().unwrap_or(scratch.path());
    std::fs::create_dir_all(out).expect("a folder for them");
    let mut n = 0;
    for case in answers().cases.keys() {
        let file = read_whole(&fixture(case));
        for (format, write) in FORMATS {
            let folder = out.join(format!("{case}@{format}"));
            let written = write(&folder, &file, true);
            if format == "dictionary_learning" && !has_class(&file.sae) {
                let error = written.expect_err("no class for it").to_string();
                assert!(error.contains("write it for SAELens"), "{error}");
                continue;
            }
            written.unwrap_or_else(|error| panic!("{case}: {error}"));
            let once = read_whole(&folder);
            assert_eq!(once.sae, file.sae, "{case} as {format}");
            // The variant has another name in the other format; everything else is the same.
            let mut config = file.config.clone();
            config.architecture.clone_from(&once.config.architecture);
            assert_eq!(once.config, config, "{case} as {format}");
            n += 1;
        }
    }
    // Two of 21 have no class in dictionary_learning.
    assert_eq!(n, 40);
}

/// Awkward but finite numbers, different in every part.
fn numbers(n: usize, seed: u32) -> Vec<f32> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let value = f32::from_bits(state);
        if value.is_finite() { value } else { -0.0 }
    };
    (0..n).map(|_| next()).collect()
}

fn made(variant: Variant, centered: bool) -> SaeFile {
    let (d_in, d_sae) = (3, 5);
    let gated = matches!(variant, Variant::Gated { .. });
    let sae = Sae {
        d_in,
        d_sae,
        variant,
        centered,
        w_enc: numbers(d_sae * d_in, 1),
        b_enc: if gated {
            vec![0.0; d_sae]
        } else {
            numbers(d_sae, 2)
        },
        w_dec: numbers(d_sae * d_in, 3),
        b_dec: numbers(d_in, 4),
        norm: InputNorm::None,
        w_skip: vec![],
        transcodes: false,
    };
    SaeFile {
        sae,
        config: SaeConfig::default(),
    }
}

fn bits(sae: &Sae) -> Vec<u32> {
    let mut parts = vec![&sae.w_enc, &sae.b_enc, &sae.w_dec, &sae.b_dec];
    if let Variant::Gated {
        b_gate,
        r_mag,
        b_mag,
    } = &sae.variant
    {
        parts.extend([b_gate, r_mag, b_mag]);
    }
    parts.into_iter().flatten().map(|v| v.to_bits()).collect()
}

#[test]
fn every_bit_of_every_variant_survives() {
    let scratch = tempdir().expect("a temporary folder");
    let gated = Variant::Gated {
        b_gate: numbers(5, 5),
        r_mag: numbers(5, 6),
        b_mag: numbers(5, 7),
    };
    let threshold: Vec<f32> = numbers(5, 8).into_iter().map(f32::abs).collect();
    for variant in [
        Variant::Relu,
        Variant::TopK { k: 2 },
        Variant::BatchTopK {
            k: 2,
            threshold: 0.1,
        },
        Variant::JumpRelu { threshold },
        gated,
    ] {
        for centered in [true, false] {
            let mut file = made(variant.clone(), centered);
            for (format, write) in FORMATS {
                if format == "dictionary_learning" && !has_class(&file.sae) {
                    continue;
                }
                for dtype in ["float32", "float64"] {
                    file.config.dtype = dtype.into();
                    file.config.rest = json!({"note": {"of": ["mine", 1.5]}})
                        .as_object()
                        .cloned()
                        .unwrap();
                    let folder = scratch
                        .path()
                        .join(format!("{}-{centered}-{format}-{dtype}", variant.name()));
                    write(&folder, &file, false).unwrap_or_else(|error| panic!("{error}"));
                    let read = read_whole(&folder);
                    assert_eq!(bits(&read.sae), bits(&file.sae), "{}", folder.display());
                    assert_eq!(read.sae, file.sae);
                    file.config.architecture = read.config.architecture.clone();
                    assert_eq!(read.config, file.config);
                }
            }
        }
    }
}

#[test]
fn a_type_that_cannot_hold_the_numbers_is_refused() {
    let scratch = tempdir().expect("a temporary folder");
    let mut file = made(Variant::Relu, true);
    file.config.dtype = "float16".into();
    for (format, write) in FORMATS {
        let folder = scratch.path().join(format);
        let error = write(&folder, &file, false).expect_err("numbers wider than the type");
        assert!(error.to_string().contains("write float32"), "{error}");
    }
    assert_eq!(
        std::fs::read_dir(scratch.path()).expect("a folder").count(),
        0
    );
}

#[test]
fn a_folder_is_replaced_only_when_asked() {
    let scratch = tempdir().expect("a temporary folder");
    let folder = scratch.path().join("sae");
    write_saelens(&folder, &made(Variant::Relu, true), false).expect("a new folder");
    let other = made(Variant::TopK { k: 1 }, true);
    let error = write_saelens(&folder, &other, false)
        .expect_err("it exists")
        .to_string();
    assert!(error.contains("replace: true"), "{error}");
    assert_eq!(read_whole(&folder).sae.variant, Variant::Relu);
    write_dictionary_learning(&folder, &other, true).expect("replaced");
    assert_eq!(read_whole(&folder).sae, other.sae);
    assert_eq!(
        std::fs::read_dir(scratch.path()).expect("a folder").count(),
        1
    );
}

#[test]
fn bare_autoencoders_are_read() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let tiny = root.join("tests/data/mnist-tiny-golden/sae.safetensors");
    let authors = root.join("../shared/data/mnist-authors/sae-standard.safetensors");
    for (path, d_in, d_sae) in [(tiny, 6, 12), (authors, 64, 512)] {
        // The authors' lies beside the project or does not.
        if d_sae == 512 && !path.exists() {
            continue;
        }
        let sae = read_whole(&path).sae;
        assert_eq!(
            (sae.d_in, sae.d_sae, &sae.variant, sae.centered),
            (d_in, d_sae, &Variant::Relu, true)
        );
    }
}
