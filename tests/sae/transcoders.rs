//! Transcoders read one place of a model and are measured by what the model gives at another; what would compare other
//! vectors is refused.

use std::path::PathBuf;

use polysema::saes::exchange::{SaeConfig, SaeFile, write_saelens};
use polysema_kernels::sae::{InputNorm, Sae, Variant};

use super::{root, with_demo};
use crate::database::Db;

const D: usize = 128;

/// Numbers between -1 and 1, different in every part.
fn numbers(n: usize, seed: u32) -> Vec<f32> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..n).map(|_| next()).collect()
}

fn transcoder(d_sae: usize) -> Sae {
    Sae {
        d_in: D,
        d_sae,
        variant: Variant::Relu,
        centered: false,
        w_enc: numbers(d_sae * D, 1),
        b_enc: numbers(d_sae, 2),
        w_dec: numbers(d_sae * D, 3),
        b_dec: numbers(D, 4),
        norm: InputNorm::None,
        w_skip: numbers(D * D, 5),
        transcodes: true,
    }
}

fn written(db: &Db, name: &str, sae: Sae, hook: Option<&str>, out: Option<&str>) -> PathBuf {
    let folder = db.folder().join(name);
    let config = SaeConfig {
        hook_name: hook.map(str::to_string),
        hook_out: out.map(str::to_string),
        ..SaeConfig::default()
    };
    write_saelens(&folder, &SaeFile { sae, config }, false).expect("written");
    folder
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transcoder_is_measured_at_the_place_that_it_gives() {
    let db = with_demo().await;
    let (hook, out) = ("blocks.2.ln2.hook_normalized", "blocks.2.hook_mlp_out");
    let folder = written(&db, "t", transcoder(6), Some(hook), Some(out));
    let message = db
        .text(&format!(
            "SELECT message FROM import_sae('t', '{}', 2) WHERE phase = 'done'",
            folder.display()
        ))
        .await;
    for said in [
        "read as SAELens (skip_transcoder)",
        "read at blocks.2.ln2.normalized, as the file says (blocks.2.ln2.hook_normalized)",
        "gives blocks.2.mlp.out, as the file says (blocks.2.hook_mlp_out)",
    ] {
        assert!(message.contains(said), "{message}");
    }
    let facts = db
        .text("SELECT format || ' ' || hook || ' ' || hook_out || ' ' || d_out AS facts FROM polysema.info.saes")
        .await;
    let expected = "SAELens blocks.2.ln2.normalized blocks.2.mlp.out 128";
    assert!(facts.contains(expected), "{facts}");
    let (model, corpus) = (
        root("tests/data/demo/model"),
        root("tests/data/demo/corpus.jsonl"),
    );
    for (table, hook) in [("x", "blocks.2.ln2.normalized"), ("y", "blocks.2.mlp.out")] {
        db.query(&format!(
            "CREATE TABLE {table} AS SELECT doc_id, pos, vector FROM activations('{}', '{}', '{hook}', {{max_documents: 40}})",
            model.display(),
            corpus.display()
        ))
        .await;
    }
    let pairs = "SELECT unnest(sae_decode('t', sae_encode('t', x.vector), x.vector)) AS a, unnest(y.vector) AS b
                 FROM x JOIN y USING (doc_id, pos)";
    let mse = db
        .number(&format!(
            "SELECT avg(power(CAST(a AS DOUBLE) - b, 2)) FROM ({pairs})"
        ))
        .await;
    let near = |found: f64| assert!((found / mse - 1.0).abs() < 1e-5, "{found}, not {mse}");
    near(db.number("SELECT mse FROM polysema.info.saes").await);
    near(
        db.number("SELECT value FROM sae_metrics('t') WHERE metric = 'mse'")
            .await,
    );
    db.query("CREATE TABLE measured AS SELECT * FROM sae_metrics('t')")
        .await;
    near(
        db.number("SELECT value FROM measured WHERE metric = 'mse'")
            .await,
    );
    let variance = db
        .number("SELECT sum(v) FROM (SELECT var_pop(CAST(b AS DOUBLE)) AS v FROM (SELECT unnest(vector) AS b, unnest(range(128)) AS i FROM y) GROUP BY i)")
        .await;
    let fvu = db
        .number("SELECT value FROM measured WHERE metric = 'fvu'")
        .await;
    assert!((fvu / (mse * 128.0 / variance) - 1.0).abs() < 1e-4, "{fvu}");
    // Latents are neurons that read the first place: e sums with b to the pre-activation.
    let off = db
        .number(
            "SELECT max(abs(p - activation)) FROM (
               SELECT e.activation, inner_product(e.pre_mlp, n.w_in) + n.b_in AS p
               FROM examples e JOIN neurons n ON n.layer = e.layer AND n.neuron = e.neuron WHERE n.layer = 4)",
        )
        .await;
    assert!(off < 1e-3, "{off}");
    // Without the vector a part of what it gives is missing.
    let message = db
        .refused("SELECT sae_decode('t', sae_encode('t', vector)) FROM x")
        .await;
    assert!(
        message.contains(
            "v, the vector that was encoded, is required for 't', which gives back a part of it"
        ),
        "{message}"
    );
    // Rows have what it reads and not what it should give.
    let errors = db
        .integer("SELECT count(*) FROM sae_metrics('t', x) WHERE metric IN ('mse', 'sse_per_row', 'fvu', 'explained_variance') AND value IS NULL")
        .await;
    assert_eq!(errors, 4);
    let l0 = "SELECT value FROM sae_metrics('t', x, {column: 'vector'}) WHERE metric = 'l0'";
    let same = "SELECT value FROM measured WHERE metric = 'l0'";
    assert!((db.number(l0).await - db.number(same).await).abs() < 1e-9);
    // Written and read again it is the same.
    let back = db.folder().join("back");
    db.query(&format!(
        "SELECT * FROM export_sae('t', '{}')",
        back.display()
    ))
    .await;
    let again = polysema::saes::exchange::read(&back).expect("read");
    assert_eq!(again.sae, transcoder(6));
    assert_eq!(again.config.hook_out.as_deref(), Some(out));
    let message = db
        .refused(&format!(
            "SELECT * FROM export_sae('t', '{}', {{format: 'dictionary_learning'}})",
            db.folder().join("dl").display()
        ))
        .await;
    assert!(message.contains("write it for SAELens"), "{message}");
}

/// One that gives back what it reads, where it reads it, changes nothing; one that gives nothing is an ablation.
#[tokio::test(flavor = "multi_thread")]
async fn the_model_is_run_with_what_a_transcoder_gives() {
    let db = with_demo().await;
    let mut same = transcoder(3);
    (same.w_dec, same.b_dec) = (vec![0.0; 3 * D], vec![0.0; D]);
    same.w_skip = (0..D * D)
        .map(|i| if i / D == i % D { 1.0 } else { 0.0 })
        .collect();
    let mut nothing = same.clone();
    nothing.w_skip = vec![];
    let place = Some("blocks.2.hook_mlp_out");
    for (name, sae, hook, score) in [
        ("same", same, place, 1.0),
        ("nothing", nothing, Some("blocks.2.hook_resid_mid"), 0.0),
    ] {
        let folder = written(&db, name, sae, hook, place);
        db.query(&format!(
            "SELECT * FROM import_sae('{name}', '{}', 2)",
            folder.display()
        ))
        .await;
        let sql = format!(
            "SELECT value FROM sae_metrics('{name}', {{max_documents: 10}}) WHERE metric = 'ce_loss_score'"
        );
        let found = db.number(&sql).await;
        assert!((found - score).abs() < 1e-6, "{name}: {found}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn places_that_contradict_are_refused() {
    let db = with_demo().await;
    let (hook, out) = (
        Some("blocks.2.ln2.hook_normalized"),
        Some("blocks.2.hook_mlp_out"),
    );
    let mut plain = transcoder(3);
    (plain.transcodes, plain.w_skip) = (false, vec![]);
    let said = written(&db, "said", transcoder(3), hook, out);
    let silent = written(&db, "silent", transcoder(3), hook, None);
    let unknown = written(
        &db,
        "unknown",
        transcoder(3),
        hook,
        Some("blocks.2.hook_mlp_in"),
    );
    let elsewhere = written(
        &db,
        "elsewhere",
        plain,
        Some("blocks.2.hook_resid_pre"),
        None,
    );
    for (folder, layer, options, expected) in [
        (
            &said,
            2,
            "hook_out: 'resid.post'",
            "hook_out must be the file's mlp.out (blocks.2.hook_mlp_out), got blocks.2.resid.post",
        ),
        (
            &said,
            2,
            "hook: 'resid.pre'",
            "hook must be the file's, blocks.2.ln2.normalized (blocks.2.ln2.hook_normalized), got blocks.2.resid.pre",
        ),
        (
            &said,
            1,
            "hook: 'ln2.normalized'",
            "hook must be the file's, blocks.2.ln2.normalized",
        ),
        (
            &said,
            1,
            "",
            "the layer must be 2, since the file says blocks.2.ln2.hook_normalized, got layer 1",
        ),
        (
            &silent,
            2,
            "",
            "the place whose values a transcoder gives back must be named by the file, ",
        ),
        (&unknown, 2, "", "got blocks.2.hook_mlp_in: say hook_out"),
        (
            &elsewhere,
            2,
            "hook_out: 'mlp.out'",
            "hook_out must come with a transcoder, got blocks.2.mlp.out for an autoencoder",
        ),
        (
            &elsewhere,
            2,
            "hook: 'resid.post'",
            "hook must be the file's, blocks.2.resid.pre (blocks.2.hook_resid_pre), got blocks.2.resid.post",
        ),
    ] {
        let sql = format!(
            "SELECT * FROM import_sae('s', '{}', {layer}, {{{options}}})",
            folder.display()
        );
        let message = db.refused(&sql).await;
        assert!(
            message.contains("import_sae: ") && message.contains(expected),
            "{message}"
        );
    }
    // TransformerLens' word is of either side of the norm's scale.
    let sql = |folder: &PathBuf, options: &str| {
        format!(
            "SELECT message FROM import_sae('s', '{}', 2, {{replace: true, {options}}}) WHERE phase = 'done'",
            folder.display()
        )
    };
    let message = db.text(&sql(&said, "hook: 'ln2.out'")).await;
    let expected = "read at blocks.2.ln2.out in place of the file's blocks.2.ln2.hook_normalized";
    assert!(message.contains(expected), "{message}");
    let message = db.text(&sql(&silent, "hook_out: 'mlp.out'")).await;
    assert!(message.contains("gives blocks.2.mlp.out"), "{message}");
}

/// An autoencoder with a norm of its own: its latents' vectors are what they are multiplied with.
#[tokio::test(flavor = "multi_thread")]
async fn latents_behind_a_norm_keep_their_embeddings() {
    let db = Db::new().await;
    db.query(
        "CREATE TABLE x AS SELECT i, [sin(0.37 * i) * 3, cos(i), sin(2.2 * i) + 5, i % 7, sin(1.1 * i)] AS v
         FROM (SELECT value AS i FROM generate_series(1, 60))",
    )
    .await;
    let path = "tests/data/sae/formats/resid_delta_mlp_v5_32k/autoencoders/2.pt";
    let message = db
        .text(&format!("SELECT message FROM import_sae('top', '{path}', x, {{column: 'v'}}) WHERE phase = 'done'"))
        .await;
    assert!(message.contains("read as OpenAI (TopK)"), "{message}");
    let off = db
        .number(
            "SELECT max(abs(p - activation)) FROM (
               SELECT e.activation, inner_product(e.pre_mlp, n.w_in) + n.b_in AS p
               FROM top.examples e JOIN top.neurons n ON n.neuron = e.neuron)",
        )
        .await;
    assert!(off < 1e-5, "{off}");
    let message = db
        .refused("SELECT sae_decode('top', sae_encode('top', v)) FROM x")
        .await;
    assert!(
        message.contains("which gives back its mean and length"),
        "{message}"
    );
    let mse = "SELECT avg(power(CAST(a AS DOUBLE) - b, 2)) FROM
               (SELECT unnest(sae_decode('top', sae_encode('top', v), v)) AS a, unnest(v) AS b FROM x)";
    let mse = db.number(mse).await;
    for sql in [
        "SELECT mse FROM polysema.info.saes",
        "SELECT value FROM sae_metrics('top', x, {column: 'v'}) WHERE metric = 'mse'",
    ] {
        let found = db.number(sql).await;
        assert!((found / mse - 1.0).abs() < 1e-5, "{found}, not {mse}");
    }
}
