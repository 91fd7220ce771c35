//! What people call a neuron stands on its page, as it is kept in the store.

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
    assert!(above.contains("<bdi>of no cluster</bdi>"));
    assert!(clusters.contains("<p class=\"label\"><bdi>sixes</bdi></p>"));
    assert!(!page.contains("of another"));
    let rows = site.get(&format!("{path}.json?panel=labels")).json();
    assert_eq!(rows.as_array().unwrap().len(), 3);
}
