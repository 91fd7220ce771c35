//! Files that must be refused, each by a message that names the file, the tensor or the field.

use std::collections::HashMap;
use std::fs;
use std::io::Write as _;
use std::path::Path;

use candle_core::{DType, Device, Tensor};
use polysema::saes::exchange::{read, write_saelens};
use polysema_kernels::sae::Variant;
use serde_json::{Value, json};
use tempfile::{TempDir, tempdir};

use super::{fixture, made};

const SAELENS: (&str, &str, &str) = ("saelens-jumprelu", "cfg.json", "sae_weights.safetensors");

/// A copy of a fixture's folder.
fn copied(name: &str) -> TempDir {
    let copy = tempdir().expect("a temporary folder");
    for entry in fs::read_dir(fixture(name)).expect("a fixture") {
        let path = entry.expect("a file").path();
        fs::copy(&path, copy.path().join(path.file_name().expect("a name"))).expect("a copy");
    }
    copy
}

#[track_caller]
fn refuses(path: &Path, parts: &[&str]) {
    let error = read(path).expect_err("a refused file").to_string();
    for part in parts {
        assert!(error.contains(part), "{error:?} names {part:?}");
    }
}

#[track_caller]
fn refuses_config(name: &str, change: impl FnOnce(&mut Value), parts: &[&str]) {
    let copy = copied(name);
    let file = if name.starts_with("saelens") {
        "cfg.json"
    } else {
        "config.json"
    };
    let path = copy.path().join(file);
    let mut config = serde_json::from_slice(&fs::read(&path).expect("a file")).expect("JSON");
    change(&mut config);
    fs::write(&path, config.to_string()).expect("written");
    refuses(copy.path(), parts);
}

fn without(name: &str) -> impl FnOnce(&mut Value) {
    move |config| {
        config.as_object_mut().expect("an object").remove(name);
    }
}

#[track_caller]
fn refuses_tensors(change: impl FnOnce(&mut HashMap<String, Tensor>), parts: &[&str]) {
    let copy = copied(SAELENS.0);
    let path = copy.path().join(SAELENS.2);
    let mut tensors = candle_core::safetensors::load(&path, &Device::Cpu).expect("tensors");
    change(&mut tensors);
    candle_core::safetensors::save(&tensors, &path).expect("written");
    let mut named = vec![SAELENS.2];
    named.extend_from_slice(parts);
    refuses(copy.path(), &named);
}

fn tensor(values: &[f32], dims: &[usize]) -> Tensor {
    Tensor::from_slice(values, dims, &Device::Cpu).expect("a tensor")
}

#[test]
fn paths() {
    refuses(
        Path::new("no/such/folder"),
        &[
            "cfg.json, config.json, hyperparams.json or params.npz",
            "no such path",
        ],
    );
    let empty = tempdir().expect("a temporary folder");
    refuses(
        empty.path(),
        &[
            "cfg.json, config.json, hyperparams.json or params.npz",
            "none of them",
        ],
    );
    let copy = copied("dictionary-AutoEncoder");
    fs::remove_file(copy.path().join("ae.pt")).expect("removed");
    refuses(
        copy.path(),
        &["ae.safetensors or ae.pt is required, got neither"],
    );
    let copy = copied(SAELENS.0);
    fs::remove_file(copy.path().join(SAELENS.2)).expect("removed");
    refuses(copy.path(), &[SAELENS.2, "a readable file is required"]);
}

#[test]
fn configurations() {
    refuses_config(
        SAELENS.0,
        without("d_sae"),
        &["cfg.json: d_sae is required, got none"],
    );
    refuses_config(
        SAELENS.0,
        without("d_in"),
        &["cfg.json: d_in is required, got none"],
    );
    refuses_config(
        SAELENS.0,
        |c| c["d_in"] = json!("six"),
        &["d_in: a count is required, got \"six\""],
    );
    refuses_config(
        SAELENS.0,
        |c| c["dtype"] = json!("int8"),
        &["a dtype of float32, float64, float16, bfloat16", "int8"],
    );
    refuses_config(
        SAELENS.0,
        |c| c["architecture"] = json!("temporal"),
        &[
            "cfg.json: an architecture of standard, topk, jumprelu, gated, batchtopk, matryoshka_batchtopk, transcoder, ",
            "is required, got temporal",
        ],
    );
    refuses_config("saelens-topk", without("k"), &["k is required, got none"]);
    refuses_config(
        "saelens-3",
        |c| c["activation_fn_str"] = json!("tanh-relu"),
        &["relu or topk is required, got tanh-relu"],
    );
    refuses_config(
        SAELENS.0,
        |c| c["normalize_activations"] = json!("covariance_whitening"),
        &[
            "cfg.json: normalize_activations of none, expected_average_only_in, constant_norm_rescale, layer_norm is required",
            "covariance_whitening",
        ],
    );
    refuses_config(
        SAELENS.0,
        |c| c["normalize_activations"] = json!("expected_average_only_in"),
        &["activation_scaler.json", "fold the scale"],
    );
    refuses_config(
        "dictionary-AutoEncoder",
        |c| c["trainer"]["dict_class"] = json!("IdentityDict"),
        &[
            "config.json: a trainer.dict_class of AutoEncoder, AutoEncoderNew",
            "got IdentityDict",
        ],
    );
    refuses_config(
        "dictionary-AutoEncoderTopK",
        without("trainer"),
        &["config.json: trainer.dict_class is required"],
    );
    refuses_config(
        "dictionary-AutoEncoder",
        |c| c["trainer"]["dict_size"] = json!(11),
        &["trainer.dict_size of the 10 in", "ae.pt", "got 11"],
    );
    refuses_config(
        "dictionary-AutoEncoderTopK",
        |c| c["trainer"]["k"] = json!(4),
        &["trainer.k of the weights' k 3 is required, got 4"],
    );
    let copy = copied(SAELENS.0);
    fs::write(copy.path().join(SAELENS.1), "{").expect("written");
    refuses(copy.path(), &["cfg.json: JSON is required"]);
}

#[test]
fn tensors() {
    refuses_tensors(
        |t| drop(t.remove("b_enc")),
        &["tensor b_enc is required, got W_dec"],
    );
    refuses_tensors(
        |t| drop(t.insert("b_dec".into(), tensor(&[0.0; 7], &[7]))),
        &["tensor b_dec: shape [6] is required, got [7]"],
    );
    refuses_tensors(
        |t| {
            drop(t.insert(
                "b_dec".into(),
                tensor(&[0.0, 0.0, f32::NAN, 0.0, 0.0, 0.0], &[6]),
            ))
        },
        &["tensor b_dec: finite values are required, got NaN at 2"],
    );
    refuses_tensors(
        |t| {
            let whole = t["b_dec"].to_dtype(DType::I64).expect("integers");
            t.insert("b_dec".into(), whole);
        },
        &["tensor b_dec: type float32, float64, float16, bfloat16 is required, got i64"],
    );
    refuses_tensors(
        |t| drop(t.insert("W_skip".into(), tensor(&[0.0], &[1]))),
        &["tensor W_skip: no further tensor is required"],
    );
    refuses_config(
        SAELENS.0,
        |c| c["d_sae"] = json!(9),
        &["sae_weights.safetensors: tensor threshold: shape [9] is required, got [10]"],
    );
}

#[test]
fn truncated_files() {
    let copy = copied(SAELENS.0);
    let path = copy.path().join(SAELENS.2);
    let bytes = fs::read(&path).expect("weights");
    for len in [0, 7, bytes.len() - 1] {
        fs::write(&path, &bytes[..len]).expect("written");
        refuses(
            copy.path(),
            &[SAELENS.2, "a whole safetensors file is required"],
        );
    }
    let copy = copied("dictionary-AutoEncoder");
    let path = copy.path().join("ae.pt");
    let bytes = fs::read(&path).expect("weights");
    for len in (0..bytes.len()).step_by(97) {
        fs::write(&path, &bytes[..len]).expect("written");
        refuses(copy.path(), &["ae.pt", "weights_only=True"]);
    }
}

/// A file in torch's container around any pickle.
fn refuses_pickle(pickle: &[u8], part: &str) {
    refuses_storage(pickle, &[0; 16], part);
}

/// The same around the numbers of a storage.
fn refuses_storage(pickle: &[u8], storage: &[u8], part: &str) {
    let folder = tempdir().expect("a temporary folder");
    let path = folder.path().join("sae.pt");
    let mut zip = zip::ZipWriter::new(fs::File::create(&path).expect("a file"));
    let stored =
        zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
    for (name, bytes) in [("sae/data.pkl", pickle), ("sae/data/0", storage)] {
        zip.start_file(name, stored).expect("an entry");
        zip.write_all(bytes).expect("written");
    }
    zip.finish().expect("written");
    refuses(&path, &["sae.pt", part]);
}

/// The pickle of one tensor `0.weight` of four float32 numbers, with its sizes replaced.
fn one_tensor(offset: u8, dims: [u8; 2], strides: [u8; 2]) -> Vec<u8> {
    let mut pickle =
        b"\x80\x02}X\x08\x00\x00\x000.weightctorch._utils\n_rebuild_tensor_v2\n((".to_vec();
    pickle.extend(b"X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x04tQK");
    pickle.push(offset);
    for [a, b] in [dims, strides] {
        pickle.extend([b'K', a, b'K', b, 0x86]);
    }
    pickle.extend(b"\x89}tRs.");
    pickle
}

#[test]
fn pickles() {
    refuses_pickle(
        b"\x80\x02cos\nsystem\nX\x04\x00\x00\x00true\x85R.",
        "which names only collections.OrderedDict, torch._utils._rebuild_tensor_v2, torch._utils._rebuild_parameter",
    );
    refuses_pickle(
        b"\x80\x02cos\nsystem\nX\x04\x00\x00\x00true\x85R.",
        "got os.system",
    );
    refuses_pickle(b"\x80\x02cbuiltins\neval\n.", "got builtins.eval");
    refuses_pickle(b"\x80\x04}.", "protocol 2 is required, got 4");
    refuses_pickle(b"\x80\x02]q\x00.", "got opcode 0x5d");
    refuses_pickle(b"\x80\x02K\x01.", "a dictionary of tensors is required");
    refuses_pickle(
        b"\x80\x02}X\x01\x00\x00\x00kK\x03s.",
        "entry k: a tensor is required",
    );
    refuses_pickle(b"\x80\x02}K\x01s.", "damaged");
    refuses_pickle(b"\x80\x02X\xff\xff\xff\xff", "damaged");
    // Everything but its second layer is there: the container is understood.
    refuses_pickle(&one_tensor(0, [2, 2], [2, 1]), "tensor 0.bias is required");
    refuses_pickle(
        &one_tensor(1, [2, 2], [2, 1]),
        "numbers within a storage of 4",
    );
    refuses_pickle(
        &one_tensor(0, [2, 2], [200, 1]),
        "numbers within a storage of 4",
    );
    refuses_pickle(
        &one_tensor(0, [255, 255], [0, 0]),
        "tensors of at most the file's",
    );
    // A tuple of two tuples, thirty times: no larger in memory than in the file.
    let mut doubling = b"\x80\x02)q\x00".to_vec();
    doubling.extend(b"h\x00h\x00\x86q\x00".repeat(30));
    doubling.extend(b"0.");
    refuses_pickle(&doubling, "got opcode 0x30");
}

/// Each is small, and was a hundred times larger in memory or read for hours.
#[test]
fn pickles_that_name_a_thing_many_times() {
    // A dictionary of 3000 words, named by 3000 entries of another.
    let mut pickle =
        b"\x80\x02}(X\x01\x00\x00\x00aq\x04}q\x01(X\x01\x00\x00\x00kq\x02X\x01\x00\x00\x00vq\x03"
            .to_vec();
    pickle.extend(b"h\x02h\x03".repeat(3000));
    pickle.push(b'u');
    pickle.extend(b"h\x04h\x01".repeat(3000));
    pickle.extend(b"u.");
    refuses_pickle(&pickle, "names and words of at most 134217728 bytes");
    // A text of 100 kB, which is each of 3000 words.
    let text = "x".repeat(100_000);
    let mut pickle = b"\x80\x02}(".to_vec();
    pickle.extend(b"X\x01\x00\x00\x00kq\x02X");
    pickle.extend((text.len() as u32).to_le_bytes());
    pickle.extend(text.as_bytes());
    pickle.extend(b"q\x03");
    pickle.extend(b"h\x02h\x03".repeat(3000));
    pickle.extend(b"u.");
    refuses_pickle(&pickle, "names and words of at most 134217728 bytes");
    // Two numbers of 16384, the one after the next, a thousand times.
    let mut pickle = b"\x80\x02}(".to_vec();
    for n in 0..1000_u32 {
        pickle.extend(b"X\x04\x00\x00\x00");
        pickle.extend(format!("{n:04}").as_bytes());
        pickle.extend(
            b"ctorch._utils\n_rebuild_tensor_v2\n((X\x07\x00\x00\x00storagectorch\nFloatStorage\n",
        );
        pickle.extend(b"X\x01\x00\x00\x000X\x03\x00\x00\x00cpuJ\x00\x40\x00\x00tQ");
        pickle.extend(b"K\x00K\x02\x85K\x02\x85\x89}tR");
    }
    pickle.extend(b"u.");
    refuses_storage(
        &pickle,
        &[0; 65536],
        "tensors whose numbers lie in order are required, got more than 64",
    );
}

#[test]
fn autoencoders_that_are_not_whole() {
    let folder = tempdir().expect("a temporary folder");
    let path = folder.path().join("sae");
    let refuses = |file: &super::SaeFile, part: &str| {
        let error = write_saelens(&path, file, false)
            .expect_err("refused")
            .to_string();
        assert!(error.contains(part), "{error:?} names {part:?}");
        assert!(!path.exists());
    };
    let mut file = made(Variant::Relu, true);
    file.sae.w_enc.pop();
    refuses(&file, "w_enc: 15 values are required, got 14");
    let mut file = made(Variant::Relu, true);
    file.sae.b_dec[1] = f32::NAN;
    refuses(&file, "b_dec: finite values are required, got NaN");
    refuses(
        &made(Variant::TopK { k: 6 }, true),
        "k from 1 to d_sae 5 is required, got 6",
    );
    let negative = Variant::BatchTopK {
        k: 2,
        threshold: -1.0,
    };
    refuses(
        &made(negative, true),
        "threshold: a finite value of at least 0 is required, got -1",
    );
    let mut file = made(Variant::Relu, true);
    file.config.dtype = "int8".into();
    refuses(
        &file,
        "a dtype of float32, float64, float16, bfloat16 is required, got int8",
    );
}
