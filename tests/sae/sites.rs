//! Where an imported autoencoder reads: at the place its file names, in the run its file fits, or not at all. The errors
//! of reconstruction at every place: tests/reference/sae_sites.py.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::database::{Db, root, shared};

/// A run of the documents that the reference read.
async fn with_run(options: &str) -> Db {
    let db = Db::new().await;
    db.query(&format!(
        "SELECT * FROM ingest('demo', '{}', '{}', {{max_documents: 8{options}}})",
        root("tests/data/demo/model").display(),
        root("tests/data/demo/corpus.jsonl").display()
    ))
    .await;
    db
}

fn expected(hook: &str) -> f64 {
    let reference = include_str!("../reference/sae_sites.json");
    let reference: Value = serde_json::from_str(reference).expect("JSON");
    reference["mse"][hook]
        .as_f64()
        .expect("a place of the reference")
}

/// A folder of SAELens with this configuration beside the usual fields.
fn saelens(db: &Db, metadata: Value) -> PathBuf {
    let folder = db.folder().join("saelens");
    fs::create_dir_all(&folder).expect("a folder");
    let weights = "sae_weights.safetensors";
    fs::copy(
        root("tests/data/sae/sites").join(weights),
        folder.join(weights),
    )
    .expect("weights");
    let mut said = json!({"sae_lens_version": "6.0.0", "model_name": "model", "prepend_bos": false, "context_size": 128});
    said.as_object_mut()
        .expect("an object")
        .extend(metadata.as_object().expect("an object").clone());
    let cfg = json!({"architecture": "standard", "d_in": 128, "d_sae": 4, "dtype": "float32",
        "apply_b_dec_to_input": true, "normalize_activations": "none", "metadata": said});
    fs::write(folder.join("cfg.json"), cfg.to_string()).expect("a configuration");
    folder
}

/// A folder of dictionary_learning for this submodule, which is read `io` it.
fn dictionary_learning(db: &Db, submodule: &str, layer: usize, io: &str) -> PathBuf {
    let folder = db.folder().join("dictionary");
    fs::create_dir_all(&folder).expect("a folder");
    let weights = "ae.safetensors";
    fs::copy(
        root("tests/data/sae/sites").join(weights),
        folder.join(weights),
    )
    .expect("weights");
    let config = json!({"trainer": {"dict_class": "AutoEncoder", "activation_dim": 128, "dict_size": 4, "layer": layer,
        "lm_name": "someone/model", "submodule_name": submodule}, "buffer": {"ctx_len": 128, "io": io}});
    fs::write(folder.join("config.json"), config.to_string()).expect("a configuration");
    folder
}

fn import(path: &Path, layer: usize, options: &str) -> String {
    format!(
        "SELECT message FROM import_sae('s', '{}', {layer}, {{replace: true{options}}}) WHERE phase = 'done'",
        path.display()
    )
}

async fn assert_read_at(db: &Db, hook: &str) {
    let found = db.text("SELECT hook FROM polysema.info.saes").await;
    assert!(found.contains(&format!(" {hook} ")), "{hook}: {found}");
    let mse = db.number("SELECT mse FROM polysema.info.saes").await;
    let off = (mse / expected(hook) - 1.0).abs();
    assert!(off < 1e-4, "{hook}: {mse}, {off} off");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_file_chooses_the_place() {
    let db = with_run("").await;
    for (name, hook) in [
        ("blocks.2.hook_resid_pre", "blocks.2.resid.pre"),
        ("blocks.2.hook_resid_mid", "blocks.2.resid.mid"),
        ("blocks.2.hook_resid_post", "blocks.2.resid.post"),
        ("blocks.2.hook_attn_out", "blocks.2.attn.out"),
        ("blocks.2.attn.hook_z", "blocks.2.attn.z"),
        ("blocks.2.hook_mlp_out", "blocks.2.mlp.out"),
        ("blocks.2.ln2.hook_normalized", "blocks.2.ln2.normalized"),
        ("transformer.h.2.ln_1", "blocks.2.ln1.out"),
        ("transformer.h.2", "blocks.2.resid.post"),
    ] {
        let folder = saelens(&db, json!({"hook_name": name}));
        let message = db.text(&import(&folder, 2, "")).await;
        let said = format!("read at {hook}, as the file says ({name})");
        assert!(message.contains(&said), "{message}");
        assert_read_at(&db, hook).await;
    }
    for (submodule, layer, io, hook) in [
        ("resid_post_layer_1", 1, "out", "blocks.1.resid.post"),
        ("resid_post_layer_1", 1, "in", "blocks.1.resid.pre"),
        ("attn_out_layer_0", 0, "out", "blocks.0.attn.out"),
        ("mlp_3", 3, "out", "blocks.3.mlp.out"),
        ("mlp_out", 3, "in", "blocks.3.ln2.out"),
    ] {
        let folder = dictionary_learning(&db, submodule, layer, io);
        db.query(&import(&folder, layer, "")).await;
        assert_read_at(&db, hook).await;
    }
    // A bare network says nothing: what is usual, and the message says so.
    let folder = saelens(&db, json!({}));
    let message = db.text(&import(&folder, 2, "")).await;
    assert!(message.contains("the file names no place"), "{message}");
    assert_read_at(&db, "blocks.2.mlp.out").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_fit_the_run_is_refused_by_name() {
    let db = with_run("").await;
    for (said, expected) in [
        (
            json!({"hook_name": "blocks.2.hook_mlp_in"}),
            "a place in the model must be named by the file, one of resid.pre, ln1.out, attn.qkv, ",
        ),
        (
            json!({"hook_name": "blocks.2.hook_mlp_in"}),
            "got blocks.2.hook_mlp_in: say hook",
        ),
        (
            json!({"hook_name": "blocks.1.hook_mlp_out"}),
            "the layer must be 1, since the file says blocks.1.hook_mlp_out, got layer 2",
        ),
        (
            json!({"hook_name": "blocks.2.hook_mlp_out", "model_name": "gpt2-small"}),
            "tests/data/demo/model, got gpt2-small: say model_name to take its place",
        ),
        (
            json!({"hook_name": "blocks.2.hook_mlp_out", "prepend_bos": true}),
            "bos must be that of run 'demo', false, got true: say bos to take its place, or ingest with bos: true",
        ),
        (
            json!({"hook_name": "blocks.2.hook_mlp_out", "context_size": 64}),
            "context must be at least that of run 'demo', 128, got 64: say context",
        ),
    ] {
        let message = db.refused(&import(&saelens(&db, said), 2, "")).await;
        assert!(
            message.contains("import_sae: ") && message.contains(expected),
            "{message}"
        );
    }
    for (submodule, io) in [
        ("mlp_out_layer_2", "in_and_out"),
        ("resid_post_layer_1", "out"),
    ] {
        let folder = dictionary_learning(&db, submodule, 2, io);
        let message = db.refused(&import(&folder, 2, "")).await;
        let expected = format!("got {submodule}: say hook");
        assert!(message.contains(&expected), "{message}");
    }
    assert_eq!(
        db.integer("SELECT count(*) FROM polysema.info.saes").await,
        0
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_option_takes_the_place_of_the_file_and_the_message_says_so() {
    let db = with_run("").await;
    let said = json!({"hook_name": "blocks.1.hook_mlp_in", "model_name": "gpt2-small", "prepend_bos": true,
        "context_size": 64});
    let folder = saelens(&db, said);
    let options = ", hook: 'resid.pre', model_name: 'model', bos: false, context: 128";
    let message = db.text(&import(&folder, 2, options)).await;
    for note in [
        "read at blocks.2.resid.pre in place of the file's blocks.1.hook_mlp_in",
        "model_name model in place of the file's gpt2-small",
        "bos false in place of the file's true",
        "context 128 in place of the file's 64",
    ] {
        assert!(message.contains(note), "{message}");
    }
    assert_read_at(&db, "blocks.2.resid.pre").await;
    // What is exported is what held.
    let out = db.folder().join("out");
    db.query(&format!(
        "SELECT * FROM export_sae('s', '{}')",
        out.display()
    ))
    .await;
    let cfg = fs::read(out.join("cfg.json")).expect("a configuration");
    let cfg: Value = serde_json::from_slice(&cfg).expect("JSON");
    assert_eq!(cfg["metadata"]["hook_name"], "blocks.2.hook_resid_pre");
    assert_eq!(cfg["metadata"]["model_name"], "model");
    assert_eq!(cfg["metadata"]["prepend_bos"], false);
    // An option that contradicts the run is no better than a file that does.
    let message = db
        .refused(&import(
            &folder,
            2,
            ", hook: 'resid.pre', model_name: 'model', bos: true",
        ))
        .await;
    assert!(
        message.contains("bos must be that of run 'demo', false, got true"),
        "{message}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_with_first_tokens_fits_a_file_with_them() {
    let db = with_run(", bos: true, context: 64").await;
    let said =
        json!({"hook_name": "blocks.2.hook_resid_pre", "prepend_bos": true, "context_size": 64});
    let message = db.text(&import(&saelens(&db, said), 2, "")).await;
    assert!(message.contains("read at blocks.2.resid.pre"), "{message}");
    // A longer context of the file's has seen every position of the run, which is said.
    let said =
        json!({"hook_name": "blocks.2.hook_resid_pre", "prepend_bos": true, "context_size": 1024});
    let message = db.text(&import(&saelens(&db, said), 2, "")).await;
    assert!(
        message.contains("context 64, where the file says 1024"),
        "{message}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_are_taken_as_they_are_and_the_message_says_so() {
    let db = Db::new().await;
    let folder = saelens(&db, json!({"hook_name": "blocks.2.hook_resid_pre"}));
    let source = "(SELECT array_repeat(0.5, 128) AS v)";
    let import = |options: &str| {
        format!(
            "SELECT message FROM import_sae('s', '{}', {source}, {{replace: true{options}}}) WHERE phase = 'done'",
            folder.display()
        )
    };
    let message = db.text(&import("")).await;
    assert!(
        message.contains("rows taken as they are, where the file says blocks.2.hook_resid_pre"),
        "{message}"
    );
    for option in [
        "hook: 'mlp.out'",
        "bos: true",
        "context: 64",
        "model_name: 'm'",
        "window: 1",
    ] {
        let message = db.refused(&import(&format!(", {option}"))).await;
        assert!(
            message.contains("must come with a layer, got the rows of"),
            "{message}"
        );
    }
}

/// Measured over a model, an autoencoder of rows is shown the documents that its file says it was trained on.
#[tokio::test(flavor = "multi_thread")]
async fn measuring_goes_by_the_first_token_and_context_of_the_file() {
    let db = Db::new().await;
    let said =
        json!({"hook_name": "blocks.2.hook_resid_pre", "prepend_bos": true, "context_size": 64});
    let folder = saelens(&db, said);
    let (model, corpus) = (
        root("tests/data/demo/model"),
        root("tests/data/demo/corpus.jsonl"),
    );
    let (model, corpus) = (model.display(), corpus.display());
    let rows = |options: &str| {
        format!(
            "(SELECT vector FROM activations('{model}', '{corpus}', 'blocks.2.resid.pre', {{max_documents: 6{options}}}))"
        )
    };
    let as_said = rows(", bos: true, context: 64");
    db.query(&format!(
        "SELECT * FROM import_sae('s', '{}', {as_said})",
        folder.display()
    ))
    .await;
    let mse = |source: String| {
        format!("SELECT value FROM sae_metrics('s', {source}) WHERE metric = 'mse'")
    };
    let over_model = format!(
        "{{model: '{model}', hook: 'blocks.2.resid.pre', corpus: '{corpus}', max_documents: 6}}"
    );
    let measured = db.number(&mse(over_model)).await;
    let off = |other: f64| (measured / other - 1.0).abs();
    assert!(off(db.number(&mse(as_said)).await) < 1e-5, "{measured}");
    assert!(off(db.number(&mse(rows(""))).await) > 1e-3, "{measured}");
}

/// Autoencoders as old SAELens and dictionary_learning publish them: bundled ones, and cases beside the project.
#[tokio::test(flavor = "multi_thread")]
async fn published_folders_are_read_where_they_say() {
    let db = Db::new().await;
    let saelens = saelens(&db, json!({}));
    let cfg = json!({"model_name": "model", "hook_point": "blocks.2.hook_resid_pre", "hook_point_layer": 2,
        "d_in": 128, "d_sae": 4, "dtype": "torch.float32", "activation_fn_str": "relu", "apply_b_dec_to_input": true,
        "normalize_activations": "none", "prepend_bos": true, "context_size": 64, "sae_lens_training_version": "3.22.1",
        "finetuning_scaling_factor": false});
    fs::write(saelens.join("cfg.json"), cfg.to_string()).expect("a configuration");
    let dictionary = dictionary_learning(&db, "resid_post_layer_2", 2, "out");
    let config = dictionary.join("config.json");
    let text = fs::read_to_string(&config).expect("a configuration");
    let text = text.replace("someone/model", "EleutherAI/pythia-70m-deduped");
    fs::write(&config, text).expect("a configuration");
    let demo = [
        root("tests/data/demo/model"),
        root("tests/data/demo/corpus.jsonl"),
    ];
    assert_read_where_they_say(&demo, &saelens, &dictionary).await;
    let cases = root("../shared/cases/saes/01-wrong-site");
    if cases.exists() {
        let wikitext = [shared("gpt2-wikitext-tiny"), shared("wikitext-2/valid.txt")];
        let (saelens, dictionary) = (cases.join("resid_pre"), cases.join("k_dl"));
        assert_read_where_they_say(&wikitext, &saelens, &dictionary).await;
    }
}

async fn assert_read_where_they_say(
    [model, corpus]: &[PathBuf; 2],
    saelens: &Path,
    dictionary: &Path,
) {
    let db = Db::new().await;
    let ingest = |run: &str, options: &str| {
        let (model, corpus) = (model.display(), corpus.display());
        format!(
            "SELECT * FROM ingest('{run}', '{model}', '{corpus}', {{max_documents: 8{options}}})"
        )
    };
    db.query(&ingest("plain", "")).await;
    let message = db.refused(&import(saelens, 2, "")).await;
    assert!(
        message.contains("bos must be that of run 'plain', false, got true"),
        "{message}"
    );
    let message = db.refused(&import(dictionary, 2, "")).await;
    assert!(
        message.contains("got EleutherAI/pythia-70m-deduped: say model_name"),
        "{message}"
    );
    let name = model.file_name().expect("a name").display();
    let named = format!(", model_name: '{name}'");
    let message = db.text(&import(dictionary, 2, &named)).await;
    assert!(
        message.contains("read at blocks.2.resid.post, as the file says"),
        "{message}"
    );
    let db = Db::new().await;
    db.query(&ingest("short", ", bos: true, context: 64")).await;
    let message = db.text(&import(saelens, 2, "")).await;
    assert!(
        message.contains("read at blocks.2.resid.pre, as the file says"),
        "{message}"
    );
}
