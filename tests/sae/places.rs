//! A run's model and corpus are found from any folder, and where they were moved to.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::database::{Db, root};

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder");
    for entry in fs::read_dir(from).expect("a folder") {
        let from = entry.expect("an entry").path();
        fs::copy(&from, to.join(from.file_name().expect("a name"))).expect("a copy");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_run_was_made_of_is_found_from_any_folder_and_where_it_was_moved() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name);
    copy(&root("tests/data/demo/model"), &at("model"));
    fs::copy(root("tests/data/demo/corpus.jsonl"), at("corpus.jsonl")).expect("a copy");
    // From its folder, by names that are true there alone.
    let ingest = "SELECT * FROM ingest('demo', 'model', 'corpus.jsonl', {max_documents: 8})";
    let status = Command::new(env!("CARGO_BIN_EXE_polysema"))
        .args(["--store", "s", "-c", ingest])
        .current_dir(folder.path())
        .output()
        .expect("the program starts");
    assert!(status.status.success(), "{status:?}");

    let db = Db::open(&at("s")).await;
    let train = |options: &str| {
        format!(
            "SELECT * FROM train_sae('s', 0, {{d_sae: 8, batch_size: 50, replace: true{options}}})"
        )
    };
    let metrics = |options: &str| format!("SELECT * FROM sae_metrics('s', {{{options}}})");
    db.query(&train("")).await;
    db.query("SELECT * FROM sae_metrics('s')").await;

    for what in ["corpus.jsonl", "model"] {
        let option = what.trim_end_matches(".jsonl");
        let (old, new) = (at(what), at(&format!("moved-{what}")));
        fs::rename(&old, &new).expect("moved");
        let gone = format!(
            "the {option} of run 'demo' is required, got nothing at {}: the option {option} says",
            old.display()
        );
        let given = format!("{option}: '{}'", new.display());
        for (call, more) in [
            (train(""), train(&format!(", {given}"))),
            (metrics("split: NULL"), metrics(&given)),
        ] {
            let refused = db.refused(&call).await;
            assert!(refused.contains(&gone), "{refused}");
            db.query(&more).await;
        }
        fs::rename(&new, &old).expect("moved back");
    }

    // Another one is not taken for it.
    fs::write(at("other.jsonl"), "{\"text\": \"another\"}\n").expect("a file");
    let refused = db
        .refused(&train(&format!(
            ", corpus: '{}'",
            at("other.jsonl").display()
        )))
        .await;
    assert!(
        refused.contains("the corpus that run 'demo' was made of is required"),
        "{refused}"
    );
    copy(&at("model"), &at("other"));
    let config = fs::read_to_string(at("other/config.json")).expect("a configuration");
    fs::write(at("other/config.json"), format!("{config} ")).expect("a file");
    let other = format!("model: '{}'", at("other").display());
    for call in [train(&format!(", {other}")), metrics(&other)] {
        let refused = db.refused(&call).await;
        assert!(
            refused.contains("the model that run 'demo' was made with is required"),
            "{refused}"
        );
    }
    let rows = "SELECT * FROM train_sae('t', (SELECT [1.0, 2.0] AS v), {corpus: 'x'})";
    let refused = db.refused(rows).await;
    assert!(
        refused.contains("corpus must come with a layer"),
        "{refused}"
    );
}
