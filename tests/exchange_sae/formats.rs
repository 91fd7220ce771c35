//! What the formats that are only read make of vectors equals their own definitions: tests/reference/sae_formats.py.
//! Over 400 lines, since each refusal is a line of one table.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use polysema::saes::exchange::{FoundSae, SaeFormat, hook_of, hook_out_of, read, read_found};
use polysema_kernels::sae::{InputNorm, Sae};
use serde::Deserialize;
use serde_json::{Value, json};
use tempfile::tempdir;

use super::{fixture, read_whole};

#[derive(Deserialize)]
struct Answers {
    inputs: Vec<Vec<f32>>,
    cases: BTreeMap<String, [Vec<Vec<f32>>; 2]>,
    shared_inputs: Vec<Vec<f32>>,
    shared: BTreeMap<String, [Vec<Vec<f32>>; 2]>,
}

fn root(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn format(name: &str) -> PathBuf {
    fixture("formats").join(name)
}

fn shared(name: &str) -> PathBuf {
    root("../shared/cases/saes/02-formats").join(name)
}

fn answers() -> Answers {
    let text =
        fs::read(root("tests/reference/sae_formats.json")).expect("the definitions' answers");
    serde_json::from_slice(&text).expect("answers")
}

#[track_caller]
fn assert_answers(sae: &Sae, inputs: &[Vec<f32>], expected: &[Vec<Vec<f32>>; 2], case: &str) {
    let x = inputs.concat();
    let (mut codes, mut outputs) = (vec![], vec![]);
    sae.encode(&x, &mut codes);
    sae.reconstruct(&x, &codes, &mut outputs);
    for (what, found, expected) in [
        ("codes", codes, &expected[0]),
        ("outputs", outputs, &expected[1]),
    ] {
        let expected = expected.concat();
        assert_eq!(found.len(), expected.len(), "{case}: {what}");
        for (i, (found, expected)) in found.iter().zip(&expected).enumerate() {
            let most = 1e-5 * expected.abs().max(1.0);
            assert!(
                (found - expected).abs() < most,
                "{case}: {what} {i} is {found}, not {expected}"
            );
        }
    }
}

#[test]
fn every_format_is_read_to_its_own_answers() {
    let answers = answers();
    assert_eq!(answers.cases.len(), 21);
    for (case, expected) in &answers.cases {
        assert_answers(
            &read_whole(&format(case)).sae,
            &answers.inputs,
            expected,
            case,
        );
    }
    let cases = shared("");
    if cases.exists() {
        assert_eq!(answers.shared.len(), 16);
        for (case, expected) in &answers.shared {
            assert_answers(
                &read_whole(&shared(case)).sae,
                &answers.shared_inputs,
                expected,
                case,
            );
        }
    }
}

#[test]
fn a_file_within_a_folder_is_the_folder() {
    for (file, folder, kind) in [
        (
            "sparsify/layers.2/sae.safetensors",
            "sparsify/layers.2",
            SaeFormat::Sparsify,
        ),
        (
            "gemma-scope-2/resid_post/params.safetensors",
            "gemma-scope-2/resid_post",
            SaeFormat::GemmaScope2,
        ),
        (
            "llama-scope/hyperparams.json",
            "llama-scope",
            SaeFormat::LlamaScope,
        ),
        (
            "dictionary-early/ae.pt",
            "dictionary-early",
            SaeFormat::DictionaryLearning,
        ),
        ("saelens-skip/cfg.json", "saelens-skip", SaeFormat::SaeLens),
        (
            "gemma-scope-2b-pt-res/layer_2/width_9/average_l0_3/params.npz",
            "gemma-scope-2b-pt-res/layer_2/width_9/average_l0_3",
            SaeFormat::GemmaScope,
        ),
    ] {
        let found = FoundSae::at(&format(file), None).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(
            found,
            FoundSae {
                format: kind,
                path: format(folder)
            }
        );
    }
    let alone = FoundSae::at(&format("dictionary-alone/0_2048.pt"), None).expect("found");
    assert_eq!(alone.format, SaeFormat::DictionaryLearning);
    let openai = FoundSae::at(&format("resid_post_mlp/autoencoders/2.pt"), None).expect("found");
    assert_eq!(
        (openai.format, openai.format.name()),
        (SaeFormat::OpenAi, "OpenAI")
    );
}

#[test]
fn a_folder_of_many_lists_them() {
    let many = format("sparsify");
    let error = read(&many).expect_err("three of them").to_string();
    let listed = "one autoencoder is required, got 3: say subfolder, one of layers.2, layers.2.mlp, layers.10";
    assert!(error.contains(listed), "{error}");
    let found = FoundSae::at(&many, Some("layers.10")).expect("one of them");
    assert_eq!(read_found(&found).expect("read").sae.d_sae, 10);
    let error = FoundSae::at(&many, Some("layers.3"))
        .expect_err("none")
        .to_string();
    assert!(
        error.contains("layers.3") && error.contains("got no such path"),
        "{error}"
    );
    let error = FoundSae::at(&many, Some("../sparsify"))
        .expect_err("outside")
        .to_string();
    assert!(
        error.contains("a subfolder of") && error.contains("got '../sparsify'"),
        "{error}"
    );
    // The only one below is meant.
    let found = FoundSae::at(&format("gemma-scope-2b-pt-res"), None).expect("the only one");
    assert_eq!(
        found.path,
        format("gemma-scope-2b-pt-res/layer_2/width_9/average_l0_3")
    );
}

#[test]
fn files_and_folders_say_their_places() {
    for (case, hook, out) in [
        ("gemma-scope-2b-pt-res", "blocks.2.resid.post", None),
        (
            "gemma-scope-2b-pt-transcoders",
            "blocks.2.ln2.out",
            Some("blocks.2.mlp.out"),
        ),
        ("gemma-scope-2/resid_post", "blocks.2.resid.post", None),
        (
            "gemma-scope-2/transcoder-affine",
            "blocks.2.ln2.out",
            Some("blocks.2.mlp.out"),
        ),
        ("sparsify/layers.10", "blocks.10.resid.post", None),
        (
            "sparsify/layers.2.mlp",
            "blocks.2.ln2.out",
            Some("blocks.2.mlp.out"),
        ),
        (
            "resid_delta_mlp_v5_32k/autoencoders/2.pt",
            "blocks.2.mlp.out",
            None,
        ),
        (
            "resid_post_mlp/autoencoders/2.pt",
            "blocks.2.resid.post",
            None,
        ),
        ("llama-scope", "blocks.2.resid.post", None),
        ("dictionary-early", "blocks.2.mlp.out", None),
        (
            "saelens-skip",
            "blocks.2.ln2.normalized",
            Some("blocks.2.mlp.out"),
        ),
    ] {
        let file = read_whole(&format(case));
        let found = hook_of(&file.config).map(|hook| hook.to_string());
        assert_eq!(found.as_deref(), Some(hook), "{case}");
        let found = hook_out_of(&file.config).map(|hook| hook.to_string());
        assert_eq!(found.as_deref(), out, "{case}");
        assert_eq!(file.sae.transcodes, out.is_some(), "{case}");
    }
    let config = read_whole(&format("gemma-scope-2/resid_post")).config;
    assert_eq!(config.model_name.as_deref(), Some("gemma-3-270m"));
    let config = read_whole(&format("gemma-scope-2b-pt-res")).config;
    assert_eq!(config.model_name.as_deref(), Some("gemma-2-2b"));
    let config = read_whole(&format("saelens-no-version")).config;
    assert_eq!(
        (config.prepend_bos, config.context_size),
        (Some(false), Some(64))
    );
    assert_eq!(config.hook_name.as_deref(), Some("blocks.2.hook_resid_pre"));
    assert_eq!(
        read_whole(&format("dictionary-matryoshka")).config.groups,
        [2, 3, 4]
    );
    assert_eq!(
        read_whole(&format("saelens-matryoshka")).config.groups,
        [2, 3, 4]
    );
    let norm = |case: &str| read_whole(&format(case)).sae.norm;
    assert_eq!(
        norm("resid_delta_mlp_v5_32k/autoencoders/2.pt"),
        InputNorm::Standard
    );
    assert_eq!(norm("saelens-norm-rescale"), InputNorm::Rms);
}

/// The message about a copy of a case whose JSON file was changed.
fn changed(case: &str, file: &str, change: impl FnOnce(&mut Value)) -> String {
    let copy = tempdir().expect("a temporary folder");
    copy_whole(&format(case), copy.path());
    let path = copy.path().join(file);
    let mut config = serde_json::from_slice(&fs::read(&path).expect("a file")).expect("JSON");
    change(&mut config);
    fs::write(&path, config.to_string()).expect("written");
    read(copy.path()).expect_err("a refused file").to_string()
}

fn copy_whole(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder");
    for entry in fs::read_dir(from).expect("a folder") {
        let path = entry.expect("an entry").path();
        let to = to.join(path.file_name().expect("a name"));
        match path.is_dir() {
            true => copy_whole(&path, &to),
            false => drop(fs::copy(&path, to).expect("a copy")),
        }
    }
}

#[test]
fn what_is_not_computed_is_refused_by_its_name() {
    let set = |key: &'static str, value: Value| move |config: &mut Value| config[key] = value;
    for (case, file, key, value, expected) in [
        (
            "sparsify/layers.2",
            "cfg.json",
            "activation",
            json!("groupmax"),
            "an activation of topk is required, got groupmax",
        ),
        (
            "sparsify/layers.2",
            "cfg.json",
            "signed",
            json!(true),
            "signed false is required, got true",
        ),
        (
            "sparsify/layers.2",
            "cfg.json",
            "tied",
            json!(true),
            "tied false is required, got true",
        ),
        (
            "sparsify/layers.2",
            "cfg.json",
            "k",
            json!(null),
            "k is required, got none",
        ),
        (
            "sparsify/layers.2",
            "cfg.json",
            "num_latents",
            json!(8),
            "tensor encoder.weight: shape [8, 5] is required, got [9, 5]",
        ),
        (
            "sparsify/layers.2",
            "cfg.json",
            "skip_connection",
            json!(true),
            "tensor W_skip is required",
        ),
        (
            "sparsify/layers.2.mlp",
            "cfg.json",
            "skip_connection",
            json!(false),
            "tensor W_skip: no further tensor is required",
        ),
        (
            "gemma-scope-2/resid_post",
            "config.json",
            "architecture",
            json!("topk"),
            "an architecture of jump_relu is required, got topk",
        ),
        (
            "gemma-scope-2/resid_post",
            "config.json",
            "type",
            json!("crosscoder"),
            "a type of sae, transcoder is required, got crosscoder",
        ),
        (
            "gemma-scope-2/resid_post",
            "config.json",
            "affine_connection",
            json!(true),
            "tensor affine_skip_connection is required",
        ),
        (
            "gemma-scope-2/resid_post",
            "config.json",
            "width",
            json!(12),
            "a width of the weights' 9 is required, got 12",
        ),
        (
            "gemma-scope-2/resid_post",
            "config.json",
            "hf_hook_point_out",
            json!("model.layers.3.output"),
            "type sae: one place",
        ),
        (
            "llama-scope",
            "hyperparams.json",
            "act_fn",
            json!("batchtopk"),
            "an act_fn of relu, topk, jumprelu is required, got batchtopk",
        ),
        (
            "llama-scope",
            "hyperparams.json",
            "norm_activation",
            json!("batch-wise"),
            "got batch-wise",
        ),
        (
            "llama-scope",
            "hyperparams.json",
            "use_glu_encoder",
            json!(true),
            "use_glu_encoder false is required, got true",
        ),
        (
            "llama-scope",
            "hyperparams.json",
            "d_sae",
            json!(7),
            "d_sae of the 9 in",
        ),
        (
            "llama-scope",
            "hyperparams.json",
            "dataset_average_activation_norm",
            json!({"in": 2.0}),
            "dataset_average_activation_norm.out is required",
        ),
        (
            "saelens-skip",
            "cfg.json",
            "apply_b_dec_to_input",
            json!(true),
            "apply_b_dec_to_input false is required of a transcoder, got true",
        ),
        (
            "saelens-skip",
            "cfg.json",
            "normalize_activations",
            json!("layer_norm"),
            "normalize_activations none is required of a transcoder",
        ),
        (
            "saelens-skip",
            "cfg.json",
            "d_out",
            json!(5),
            "tensor W_dec: shape [9, 5] is required, got [9, 4]",
        ),
        (
            "saelens-layer-norm",
            "cfg.json",
            "architecture",
            json!("temporal"),
            "an architecture of standard, topk, ",
        ),
        (
            "saelens-layer-norm",
            "cfg.json",
            "activation_fn",
            json!("gelu"),
            "an activation_fn of architecture topk is required, got gelu",
        ),
        (
            "saelens-norm-rescale",
            "cfg.json",
            "activation_fn",
            json!("topk"),
            "an activation_fn of architecture standard is required, got topk",
        ),
        (
            "saelens-layer-norm",
            "cfg.json",
            "reshape_activations",
            json!("hook_q"),
            "reshape_activations of none, hook_z is required, got hook_q",
        ),
        (
            "saelens-layer-norm",
            "cfg.json",
            "use_coefficients",
            json!(true),
            "use_coefficients false is required, got true",
        ),
        (
            "saelens-layer-norm",
            "cfg.json",
            "metadata",
            json!({"sae_lens_version": "6.1.0", "hook_head_index": 1}),
            "hook_head_index: an autoencoder of all heads side by side is required, got one of head 1",
        ),
        (
            "saelens-matryoshka",
            "cfg.json",
            "matryoshka_widths",
            json!([5, 2]),
            "matryoshka_widths of at most 9 latents in order are required",
        ),
    ] {
        let error = changed(case, file, set(key, value));
        assert!(error.contains(expected), "{case}, {key}: {error}");
    }
}

#[test]
fn damaged_files_are_named_with_what_is_wrong() {
    let copy = tempdir().expect("a temporary folder");
    let from = format("gemma-scope-2b-pt-res/layer_2/width_9/average_l0_3/params.npz");
    let bytes = fs::read(&from).expect("arrays");
    let path = copy.path().join("params.npz");
    for len in (0..bytes.len()).step_by(61) {
        fs::write(&path, &bytes[..len]).expect("written");
        let error = read(copy.path()).expect_err("cut short").to_string();
        assert!(error.contains("params.npz"), "{error}");
    }
    // A header that says other numbers than lie there.
    let shape = bytes
        .windows(7)
        .rposition(|part| part == b"'shape'")
        .expect("a header");
    let mut wrong = bytes.clone();
    wrong[shape + 10] = b'8';
    fs::write(&path, &wrong).expect("written");
    let error = read(copy.path()).expect_err("another shape").to_string();
    assert!(
        error.contains("bytes are required for shape [8]"),
        "{error}"
    );
    let from = format("resid_delta_mlp_v5_32k/autoencoders/2.pt");
    let bytes = fs::read(&from).expect("a state dict");
    let path = copy.path().join("2.pt");
    for (word, other, expected) in [
        (
            "TopK",
            "SuRe",
            "an activation of ReLU, TopK is required, got SuRe",
        ),
        (
            "ReLU",
            "SuRe",
            "activation TopK: a postact_fn ReLU is required, got SuRe",
        ),
    ] {
        let at = bytes
            .windows(4)
            .position(|part| part == word.as_bytes())
            .expect("a word");
        let mut changed = bytes.clone();
        changed[at..at + 4].copy_from_slice(other.as_bytes());
        let changed = with_sums(&changed);
        fs::write(&path, changed).expect("written");
        let error = read(&path).expect_err("another word").to_string();
        assert!(error.contains(expected), "{error}");
    }
}

/// The same container with the checksums of what now lies in it.
fn with_sums(bytes: &[u8]) -> Vec<u8> {
    use std::io::{Cursor, Read, Write};
    let mut archive = zip::ZipArchive::new(Cursor::new(bytes)).expect("a container");
    let mut out = zip::ZipWriter::new(Cursor::new(vec![]));
    let stored =
        zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
    for i in 0..archive.len() {
        let mut entry = archive.by_index_raw(i).expect("an entry");
        let name = entry.name().expect("a name").to_string();
        let mut content = vec![];
        entry.read_to_end(&mut content).expect("its bytes");
        out.start_file(name, stored).expect("an entry");
        out.write_all(&content).expect("written");
    }
    out.finish().expect("a container").into_inner()
}

#[test]
fn samples_that_mean_nothing_certain_are_refused() {
    if !shared("").exists() {
        return;
    }
    for (case, expected) in [
        ("m_headidx", "hook_head_index"),
        ("m_temporal", "got temporal"),
        (
            "m_matry",
            "architecture matryoshka_batchtopk: the tensor topk_threshold",
        ),
        (
            "m_v6_skip",
            "apply_b_dec_to_input false is required of a transcoder, got true",
        ),
        (
            "m_v6_std_k",
            "an activation_fn of architecture standard is required, got topk",
        ),
        (
            "m_v6_std_kwargs",
            "an activation_fn of architecture standard is required, got topk",
        ),
        (
            "base.pt",
            "got a file alone, which does not say what its latents' activation is",
        ),
    ] {
        let error = read(&shared(case)).expect_err("a refused file").to_string();
        assert!(error.contains(expected), "{case}: {error}");
    }
}
