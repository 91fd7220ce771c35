//! What reconstructions do to a language model, and what is refused where a model, a corpus or a run is not there.

use polysema::saes::exchange::{SaeConfig, SaeFile, write_saelens};
use polysema_kernels::sae::{InputNorm, Sae, Variant};

use super::{root, with_demo};

/// An autoencoder that gives back what it gets: a latent for each side of each dimension.
fn identity(d: usize) -> Sae {
    let mut w = vec![0.0; 2 * d * d];
    for k in 0..d {
        w[k * d + k] = 1.0;
        w[(d + k) * d + k] = -1.0;
    }
    Sae {
        d_in: d,
        d_sae: 2 * d,
        variant: Variant::Relu,
        centered: false,
        w_enc: w.clone(),
        b_enc: vec![0.0; 2 * d],
        w_dec: w,
        b_dec: vec![0.0; d],
        norm: InputNorm::None,
        w_skip: vec![],
        transcodes: false,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_reconstructions_do_to_a_language_model() {
    let db = with_demo().await;
    let d = db.integer("SELECT d_in FROM layers WHERE layer = 2").await as usize;
    let folder = db.folder().join("identity");
    let file = SaeFile {
        sae: identity(d),
        config: SaeConfig::default(),
    };
    write_saelens(&folder, &file, false).expect("written");
    db.query(&format!(
        "SELECT * FROM import_sae('same', '{}', 2)",
        folder.display()
    ))
    .await;
    db.query("CREATE TABLE same AS SELECT * FROM sae_metrics('same')")
        .await;
    let same = |metric: &str| format!("SELECT value FROM same WHERE metric = '{metric}'");
    // Nothing is lost: the loss is the model's own, which is what its logits say.
    assert_eq!(db.number(&same("mse")).await, 0.0);
    assert_eq!(db.number(&same("explained_variance")).await, 1.0);
    let own = db.number(&same("ce_loss")).await;
    let reference = include_str!("../reference/cross_entropy.json");
    let reference: serde_json::Value = serde_json::from_str(reference).expect("JSON");
    let expected = reference["nats"].as_f64().expect("a number");
    assert!((own - expected).abs() < 1e-5, "{own} {expected}");
    assert!((own - db.number(&same("ce_loss_with_sae")).await).abs() < 1e-9);
    assert!((db.number(&same("ce_loss_score")).await - 1.0).abs() < 1e-9);
    let zero = db.number(&same("ce_loss_zero_ablation")).await;
    assert!(own > 0.0 && zero > own, "{own} {zero}");
    assert_eq!(
        db.number(&same("rows")).await,
        db.number("SELECT count(*) FROM tokens").await
    );
    let d_model = d as f64;
    assert!((db.number(&same("l0")).await - d_model).abs() < 0.5);

    // The metrics of rows are the same where they alone are asked for, and the model is run once.
    let alone = "SELECT count(*) FROM sae_metrics('same') m JOIN same s USING (metric) WHERE m.metric NOT LIKE '%ce_loss%' \
                 AND m.metric NOT LIKE 'accuracy%' AND (abs(m.value - s.value) <= 1e-9 * abs(s.value) OR m.value IS NULL)";
    let of_rows = "SELECT count(*) FROM same WHERE metric NOT LIKE '%ce_loss%' AND metric NOT LIKE 'accuracy%'";
    assert_eq!(db.integer(alone).await, db.integer(of_rows).await);
    for (condition, is_of_rows) in [
        ("metric = 'mse'", true),
        ("metric IN ('l0', 'mse')", true),
        ("metric = 'ce_loss'", false),
        ("metric LIKE '%loss%' AND value > 0", false),
        ("value > 0", false),
    ] {
        let query = format!("SELECT value FROM sae_metrics('same') m WHERE {condition}");
        let plan = db.text(&format!("EXPLAIN {query}")).await;
        assert!(plan.contains("SaeMetricsExec: name=same"), "{plan}");
        assert_eq!(
            plan.contains("name=same, of rows"),
            is_of_rows,
            "{condition}: {plan}"
        );
    }

    // The latents that are asked for are compared, no others.
    for (condition, latents) in [
        ("latent = 7", ", latents=latent@0 = 7"),
        ("m.latent < 3 AND rank = 1", ", latents=latent@0 < 3"),
        ("latent = match", ""),
    ] {
        let query = format!("SELECT match FROM sae_matches('same', 'same') m WHERE {condition}");
        let plan = db.text(&format!("EXPLAIN {query}")).await;
        let operator = format!("SaeMatchesExec: a=same{latents}");
        let line = plan.lines().find(|line| line.contains("SaeMatchesExec"));
        let line = line
            .expect("the operator")
            .trim()
            .trim_end_matches(['|', ' ']);
        assert!(line.ends_with(&operator), "{condition}: {plan}");
    }

    // One that gives back nothing is the ablation with zeros.
    let mut nothing = identity(d);
    nothing.w_dec.fill(0.0);
    let folder = db.folder().join("nothing");
    let file = SaeFile {
        sae: nothing,
        config: SaeConfig::default(),
    };
    write_saelens(&folder, &file, false).expect("written");
    db.query(&format!(
        "SELECT * FROM import_sae('nothing', '{}', 2)",
        folder.display()
    ))
    .await;
    db.query("CREATE TABLE nothing AS SELECT * FROM sae_metrics('nothing', {max_documents: 10})")
        .await;
    let score = db
        .number("SELECT value FROM nothing WHERE metric = 'ce_loss_score'")
        .await;
    assert!(score.abs() < 1e-9, "{score}");

    // An autoencoder of a table's vectors, with the model they are from.
    let (model, texts) = (
        root("tests/data/demo/model"),
        root("tests/data/demo/corpus.jsonl"),
    );
    db.query(&format!(
        "SELECT * FROM import_sae('of_rows', '{}', (SELECT * FROM activations('{}', '{}', 'blocks.2.mlp.out', {{max_documents: 4}})))",
        db.folder().join("identity").display(),
        model.display(),
        texts.display()
    ))
    .await;
    let sql = format!(
        "SELECT value FROM sae_metrics('of_rows', {{model: '{}', corpus: '{}', hook: 'blocks.2.mlp.out', max_documents: 4}})
         WHERE metric = 'ce_loss_score'",
        model.display(),
        texts.display()
    );
    assert!((db.number(&sql).await - 1.0).abs() < 1e-9);
    // What would take the place of a model's run, or leave latents behind in another.
    let rows = "(SELECT [1.0, 2.0] AS v)";
    let message = db
        .refused(&format!(
            "SELECT * FROM train_sae('demo', {rows}, {{replace: true}})"
        ))
        .await;
    assert!(
        message.contains("a name that no run of a model has is required, got 'demo'"),
        "{message}"
    );
    let message = db
        .refused(&format!(
            "SELECT * FROM train_sae('same', {rows}, {{replace: true}})"
        ))
        .await;
    assert!(
        message.contains("the run 'demo', which has the latents of 'same'"),
        "{message}"
    );

    // Another corpus, a missing one, and a model that is gone.
    let corpus = db.folder().join("other.txt");
    std::fs::write(&corpus, "The river bank was steep. She sat there all day.").expect("written");
    let sql = format!(
        "SELECT value FROM sae_metrics('same', {{corpus: '{}'}}) WHERE metric = 'rows'",
        corpus.display()
    );
    let rows = db.number(&sql).await;
    assert!(rows > 5.0 && rows < 60.0, "{rows}");
    // The same text in a table's or a query's row.
    let loss = |corpus: &str| {
        format!("SELECT value FROM sae_metrics('same', {corpus}) WHERE metric = 'ce_loss'")
    };
    let of_file = db
        .number(&loss(&format!("{{corpus: '{}'}}", corpus.display())))
        .await;
    db.query(
        "CREATE TABLE other AS SELECT 'The river bank was steep. She sat there all day.' AS text",
    )
    .await;
    for corpus in [
        "{corpus: 'other'}",
        "corpus => other",
        "corpus => polysema.public.other",
        "corpus => (SELECT text, 1 AS n FROM other), max_documents => 3",
    ] {
        let of_rows = db.number(&loss(corpus)).await;
        assert!(
            (of_rows - of_file).abs() < 1e-9,
            "{corpus}: {of_rows} {of_file}"
        );
    }
    for (corpus, part) in [
        (
            "corpus => (SELECT text AS body FROM other)",
            "requires the text column 'text', got the columns body",
        ),
        (
            "{corpus: 3}",
            "corpus must be text, table or (SELECT ...), got 3",
        ),
        (
            "{corpus: 'other', split: 'test'}",
            "split must come with images",
        ),
    ] {
        let message = db.refused(&loss(corpus)).await;
        assert!(message.contains(part), "{corpus}: {message}");
    }
    let message = db
        .refused("SELECT * FROM sae_metrics('same', {corpus: 'nowhere.txt'})")
        .await;
    assert!(message.contains("nowhere.txt"), "{message}");
    let copy = db.folder().join("model");
    std::fs::create_dir(&copy).expect("a folder");
    for file in ["config.json", "model.safetensors", "tokenizer.json"] {
        std::fs::copy(model.join(file), copy.join(file)).expect("copied");
    }
    db.query(&format!(
        "SELECT * FROM ingest('moved', '{}', '{}', {{max_documents: 4}})",
        copy.display(),
        texts.display()
    ))
    .await;
    db.query("SET polysema.run = 'moved'").await;
    db.query("SELECT * FROM train_sae('before', 1, {d_sae: 8})")
        .await;
    std::fs::rename(&copy, db.folder().join("elsewhere")).expect("moved");
    for sql in [
        "SELECT * FROM sae_metrics('before')",
        "SELECT * FROM train_sae('after', 1, {d_sae: 8})",
    ] {
        let message = db.refused(sql).await;
        let gone = format!("got nothing at {}: the option model says", copy.display());
        assert!(message.contains(&gone), "{message}");
    }
    // A run that was made again has lost the latents: what asks for them says so.
    let message = db
        .refused("SELECT * FROM import_sae('wide', 'tests/data/sae/bare.safetensors', 1)")
        .await;
    assert!(
        message.contains("the option model says where it is now"),
        "{message}"
    );
    db.query("SET polysema.run = 'demo'").await;
    let message = db
        .refused("SELECT * FROM import_sae('wide', 'tests/data/sae/bare.safetensors', 1)")
        .await;
    assert!(
        message.contains("vectors of the autoencoder's width, 6, are required"),
        "{message}"
    );
    db.query(&format!(
        "SELECT * FROM ingest('demo', '{}', '{}', {{max_documents: 4, replace: true}})",
        model.display(),
        texts.display()
    ))
    .await;
    let message = db.refused("SELECT * FROM feature_density('same')").await;
    assert!(message.contains("train or import it again"), "{message}");
}
