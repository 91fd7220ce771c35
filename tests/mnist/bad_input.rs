//! Folders of images that are not what they should be, and single files that are.

use std::fs;
use std::path::Path;

use super::{Db, root, tiny};

#[tokio::test(flavor = "multi_thread")]
async fn bad_corpora_are_named() {
    let db = Db::new().await;
    let folder = tempfile::tempdir().expect("a temporary folder");
    let fresh = || {
        for entry in fs::read_dir(tiny()).expect("the folder") {
            let path = entry.expect("a file").path();
            fs::copy(&path, folder.path().join(path.file_name().expect("a name"))).expect("a copy");
        }
    };
    let model = tiny().join("mlp.safetensors");
    let corpus = folder.path().display().to_string();
    let ingest = |corpus: &str, options: &str| {
        format!(
            "SELECT * FROM ingest('r', '{}', '{corpus}'{options})",
            model.display()
        )
    };
    let (images, labels) = (
        folder.path().join("t10k-images-idx3-ubyte"),
        folder.path().join("t10k-labels-idx1-ubyte"),
    );
    fresh();
    fs::remove_file(&labels).expect("removed");
    let missing = db.refused(&ingest(&corpus, "")).await;
    assert!(
        missing.contains(
            "a file t10k-labels-idx1-ubyte or t10k-labels-idx1-ubyte.gz is required, got neither"
        ),
        "{missing}"
    );
    let unlabelled = db
        .refused(&format!("SELECT * FROM train_mlp('m', '{corpus}')"))
        .await;
    assert!(
        unlabelled.starts_with("Execution error: train_mlp:")
            && unlabelled.contains("t10k-labels-idx1-ubyte"),
        "{unlabelled}"
    );
    fresh();
    fs::write(
        &labels,
        [&[0, 0, 8, 1, 0, 0, 0, 3][..], &[1, 2, 3]].concat(),
    )
    .expect("written");
    let counts = db.refused(&ingest(&corpus, "")).await;
    assert!(
        counts.contains("a label for each of the 20 images of")
            && counts.ends_with("is required, got 3"),
        "{counts}"
    );
    fresh();
    fs::write(
        &images,
        [
            &[0, 0, 8, 3, 0, 0, 0, 20, 0, 0, 0, 14, 0, 0, 0, 14][..],
            &vec![0; 20 * 196],
        ]
        .concat(),
    )
    .expect("written");
    let widths = db.refused(&ingest(&corpus, "")).await;
    assert!(widths.contains("t10k-images-idx3-ubyte: images of 784 pixels, as the other images, are required, got 196"), "{widths}");
    let width = db.refused(&ingest(&corpus, ", {split: 'test'}")).await;
    assert!(
        width.contains("images of the 784 pixels that the model in")
            && width.contains("reads are required, got 196 pixels in"),
        "{width}"
    );
    fs::write(&images, b"not an idx file at all").expect("written");
    assert!(
        db.refused(&ingest(&corpus, ""))
            .await
            .contains("magic number 0x00000803, is required, got 0x6e6f7420")
    );
    for (options, expected) in [
        (
            "{context: 64}",
            "ingest: context must come with a corpus of texts, got the images of ",
        ),
        (
            "{bos: true}",
            "ingest: bos must come with a corpus of texts, got the images of ",
        ),
        (
            "{context: 128, min_tokens: 1}",
            "ingest: context must come with a corpus of texts, got the images of ",
        ),
        (
            "{window: 10}",
            "ingest: window must come with a model that reads tokens, got architecture mlp",
        ),
        (
            "{layer_norm: 'folded'}",
            "ingest: layer_norm must come with a model that reads tokens, got architecture mlp",
        ),
        (
            "{column: 'body'}",
            "ingest: column must come with a corpus of texts, got the images of ",
        ),
    ] {
        let message = db.refused(&ingest(&corpus, &format!(", {options}"))).await;
        assert!(message.contains(expected), "{message}");
    }
    let texts = root("tests/data/demo/corpus.jsonl");
    let texts = db.refused(&ingest(&texts.display().to_string(), "")).await;
    assert!(
        texts.contains("a model that reads token ids is required for")
            && texts.contains("got architecture mlp"),
        "{texts}"
    );
    let gpt2 = root("tests/data/demo/model");
    let demo = format!(
        "SELECT * FROM ingest('r', '{}', '{}')",
        gpt2.display(),
        tiny().display()
    );
    assert!(
        db.refused(&demo)
            .await
            .contains("a model that reads vectors is required for the images of")
    );
    assert_eq!(
        db.integer("SELECT count(*) FROM polysema.info.runs").await,
        0
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn one_file_of_images_is_a_corpus() {
    let db = Db::new().await;
    let (folder, model) = (
        tempfile::tempdir().expect("a folder"),
        tiny().join("mlp.safetensors"),
    );
    let alone = folder.path().join("digits.idx3-ubyte");
    fs::copy(tiny().join("t10k-images-idx3-ubyte"), &alone).expect("a copy");
    let count = |corpus: &Path| {
        format!(
            "SELECT count(*) FROM ingest('r', '{}', '{}', {{replace: true}})",
            model.display(),
            corpus.display()
        )
    };
    db.query(&count(&alone)).await;
    assert_eq!(db.integer("SELECT count(*) FROM r.documents WHERE label IS NULL AND split IS NULL AND text IS NULL").await, 20);
    assert_eq!(
        db.integer("SELECT count(*) FROM feature_clusters() WHERE token IS NULL")
            .await,
        db.integer("SELECT count(*) FROM r.examples").await
    );
    db.query(&count(&tiny().join("train-images-idx3-ubyte.gz")))
        .await;
    assert_eq!(
        db.integer("SELECT count(*) FROM r.documents WHERE label IS NOT NULL AND split = 'train'")
            .await,
        40
    );
    let no_folder = db
        .refused(&format!(
            "SELECT * FROM train_mlp('m', '{}')",
            alone.display()
        ))
        .await;
    assert!(
        no_folder.contains("train_mlp: a folder of idx files is required, got"),
        "{no_folder}"
    );
}
