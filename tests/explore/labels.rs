//! What people call a neuron stands on its page, as it is kept in the store.

use std::path::Path;

use serde_json::{Value, json};

use super::site::{Site, run};

#[test]
fn labels_stand_beside_their_neuron_and_clusters() {
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path();
    run(
        store,
        "CALL ingest('demo', 'tests/data/mnist-tiny/mlp.safetensors', 'tests/data/mnist-tiny')",
    );
    let site = Site::of(store);
    let path = "/runs/demo/layers/0/neurons/2";
    let page = || site.get(path).text();
    assert!(!page().contains("class=\"label"));
    // A table of that name that is of something else is none of labels.
    run(
        store,
        "CREATE TABLE notes.labels (layer BIGINT, label TEXT)",
    );
    assert!(!page().contains("class=\"label"));
    run(store, "DROP TABLE notes.labels");
    run(
        store,
        "CREATE TABLE notes.labels (layer BIGINT, neuron BIGINT, cluster BIGINT, run TEXT, label TEXT, author TEXT)",
    );
    run(
        store,
        "INSERT INTO notes.labels VALUES (0, 2, NULL, 'demo', 'round <b>shapes</b>', 'ann'), \
         (0, 2, 0, 'demo', 'sixes', NULL), (0, 2, 0, 'other', 'of another run', NULL), \
         (0, 2, 999, 'demo', 'of no cluster', NULL), (0, 1, 0, 'demo', 'of another neuron', NULL)",
    );
    let page = page();
    let (above, clusters) = page.split_once("id=\"clusters\"").unwrap();
    assert!(
        above.contains("<bdi>round &#60;b&#62;shapes&#60;/b&#62; (ann)</bdi>"),
        "{above}"
    );
    assert!(above.contains("<bdi>cluster 999: of no cluster</bdi>"));
    assert!(clusters.contains("<p class=\"label\"><bdi>sixes</bdi></p>"));
    assert!(!page.contains("of another"));
    let rows = site.get(&format!("{path}.json?panel=labels")).json();
    assert_eq!(rows.as_array().unwrap().len(), 3);
}

/// The rows of the table, without when they were written.
fn rows(store: &Path) -> Value {
    run(
        store,
        "SELECT run, layer, neuron, cluster, threshold, label, author FROM notes.labels ORDER BY label",
    )
    .into()
}

#[test]
fn readers_write_and_remove_labels_where_they_may() {
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path();
    run(
        store,
        "CALL ingest('demo', 'tests/data/mnist-tiny/mlp.safetensors', 'tests/data/mnist-tiny')",
    );
    let path = "/runs/demo/layers/0/neurons/2";
    let to = format!("{path}/labels");
    // Who only reads is offered nothing, and refused.
    let reader = Site::of(store);
    assert!(!reader.get(path).text().contains("method=\"post\""));
    let refused = reader.post(&to, "label=x");
    assert_eq!(refused.status, 403);
    assert!(
        refused.text().contains("--write-labels"),
        "{}",
        refused.text()
    );
    drop(reader);

    let site = Site::opened(store, true);
    assert!(site.get(path).text().contains("method=\"post\""));
    let elsewhere = site.get(&to);
    assert_eq!(
        (elsewhere.status, &*elsewhere.heads["location"]),
        (303, &*format!("{path}#labels"))
    );
    // A page of another site sends forms, too.
    for heads in [
        "",
        "Origin: null\r\n",
        "Origin: http://evil.example\r\n",
        "Sec-Fetch-Site: cross-site\r\n",
    ] {
        assert_eq!(site.post_with(&to, "label=x", heads).status, 403, "{heads}");
    }
    for (fields, words) in [
        ("", "a label is required"),
        ("label=+", "a label is required"),
        (
            "label=x&cluster=99&threshold=0.5",
            "a feature cluster of layer 0, neuron 2 at distance 0.5 is required, got 99",
        ),
        (
            "label=x&threshold=9",
            "a number from 0 to 2 is required as threshold",
        ),
        ("label=x&run=other", "one of the parameters label, author"),
        ("label=x&remove=yes", "a table notes.labels is required"),
        (
            &*format!("label={}", "x".repeat(201)),
            "at most 200 characters are required as label, got 201",
        ),
    ] {
        let got = site.post(&to, fields);
        assert!([400, 404].contains(&got.status), "{fields}: {}", got.status);
        assert!(got.text().contains(words), "{fields}: {}", got.text());
    }
    let long = site.post(&to, &format!("label={}", "x".repeat(9000)));
    assert_eq!(long.status, 413);
    assert_eq!(
        site.post("/runs/demo/layers/0/neurons/99999/labels", "label=x")
            .status,
        404
    );
    assert_eq!(site.post(path, "label=x").status, 405);

    // Quotation marks, tags and letters of all kinds stay what they are.
    let written = site.post(
        &to,
        "label=it%27s+%3Cb%3Eround%3C%2Fb%3E&author=Zo%C3%AB&threshold=0.4&cluster=",
    );
    assert_eq!(
        (written.status, &*written.heads["location"]),
        (303, &*format!("{path}?threshold=0.4#labels"))
    );
    let written = site.post(&to, "label=sixes&author=&cluster=0&threshold=0.5");
    assert_eq!(written.status, 303, "{}", written.text());
    let all = json!([
        {"run": "demo", "layer": 0, "neuron": 2, "cluster": null, "threshold": null, "label": "it's <b>round</b>", "author": "Zoë"},
        {"run": "demo", "layer": 0, "neuron": 2, "cluster": 0, "threshold": 0.5, "label": "sixes", "author": null},
    ]);
    assert_eq!(rows(store), all);
    let when = "SELECT count(*) AS n FROM notes.labels WHERE written BETWEEN now() - INTERVAL '1 hour' AND now()";
    assert_eq!(run(store, when)[0]["n"], 2);
    let page = site.get(path).text();
    let (above, clusters) = page.split_once("id=\"clusters\"").unwrap();
    assert!(
        above.contains("<li><bdi>it&#39;s &#60;b&#62;round&#60;/b&#62; (Zoë)</bdi></li>"),
        "{above}"
    );
    assert!(clusters.contains("<p class=\"label\"><bdi>sixes</bdi></p>"));
    // Cluster 0 at another cut is another.
    let other = site.get(&format!("{path}?threshold=0.1")).text();
    assert!(
        other.contains("<li><bdi>cluster 0 at 0.5: sixes</bdi></li>"),
        "{other}"
    );
    assert!(!other.contains("<p class=\"label\">"));

    // What is removed is that row alone.
    run(
        store,
        "INSERT INTO notes.labels (run, layer, neuron, label) VALUES ('other', 0, 2, 'sixes')",
    );
    let removed = site.post(&to, "label=sixes&cluster=0&threshold=0.5&remove=yes");
    assert_eq!(removed.status, 303, "{}", removed.text());
    let left = rows(store);
    assert_eq!(left[0], all[0]);
    assert_eq!(
        (left[1]["run"].as_str(), left.as_array().unwrap().len()),
        (Some("other"), 2)
    );

    // A table of a user's own has the columns that it has.
    run(store, "DROP TABLE notes.labels");
    run(
        store,
        "CREATE TABLE notes.labels (layer INT, neuron INT, label TEXT, colour TEXT)",
    );
    let refused = site.post(&to, "label=sixes&cluster=0&threshold=0.5");
    assert!(
        refused
            .text()
            .contains("a column cluster of the table notes.labels is required")
    );
    assert_eq!(site.post(&to, "label=round&author=me").status, 303);
    assert_eq!(
        run(store, "SELECT * FROM notes.labels")[0],
        json!({"layer": 0, "neuron": 2, "label": "round", "colour": null})
    );
    // The console has no part in it.
    let sql = site.get("/sql?sql=DELETE+FROM+notes.labels").text();
    assert!(sql.contains("is required"), "{sql}");
    assert_eq!(
        run(store, "SELECT count(*) AS n FROM notes.labels")[0]["n"],
        1
    );
}
