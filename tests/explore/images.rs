//! A neuron of images: the images of its examples, maps over the pixels, the same when it is published.

use std::path::PathBuf;
use std::process::Command;
use std::sync::LazyLock;

use super::site::{Site, run};

/// A store with the run `demo` of a classifier of images.
static IMAGES: LazyLock<(tempfile::TempDir, PathBuf)> = LazyLock::new(|| {
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path().join("s");
    run(
        &store,
        "CALL ingest('demo', 'tests/data/mnist-tiny/mlp.safetensors', 'tests/data/mnist-tiny')",
    );
    (folder, store)
});

const PICTURE: &str = "<img class=\"pixels\" width=\"28\" height=\"28\" alt=\"";

#[test]
fn a_neuron_of_images_shows_them_and_what_moves_it() {
    let site = Site::of(&IMAGES.1);
    let page = site.get("/runs/demo/layers/0/neurons/2").text();
    let images = page
        .matches(&format!("{PICTURE}image of document "))
        .count();
    let counts = run(
        &IMAGES.1,
        "SELECT n_examples, n_clusters FROM demo.neuron_polysemanticity(0, 2)",
    );
    let count = |name: &str| counts[0][name].as_u64().unwrap() as usize;
    // A cluster's card has its central one once more.
    assert_eq!(images, count("n_examples") + count("n_clusters"));
    let means = page
        .matches(&format!("{PICTURE}mean image of cluster "))
        .count();
    assert_eq!(means, count("n_clusters"));
    for map in ["Activation map", "Importance map", "Mean image"] {
        assert!(page.contains(&format!("{PICTURE}{map}, ")), "{map}");
    }
    assert!(page.contains("of the images."));
    let data = site
        .get("/runs/demo/layers/0/neurons/2.json?panel=maps")
        .json();
    let expected = run(
        &IMAGES.1,
        "SELECT activation, importance, mean_pixel FROM importance_map(0, 2, {run: 'demo'}) ORDER BY y, x",
    );
    assert_eq!(data.as_array().unwrap().len(), 784);
    assert_eq!(data.as_array().unwrap(), &expected);
    let document = site.get("/runs/demo/documents/1").text();
    assert!(document.contains(&format!("{PICTURE}image of document 1\"")));
}

#[test]
fn a_neuron_without_examples_has_an_activation_map_alone() {
    let folder = tempfile::tempdir().unwrap();
    let ingest = "CALL ingest('demo', 'tests/data/mnist-tiny/mlp.safetensors', 'tests/data/mnist-tiny', {min_activation: 1000})";
    run(folder.path(), ingest);
    let site = Site::of(folder.path());
    let page = site.get("/runs/demo/layers/0/neurons/2").text();
    assert!(page.contains(&format!("{PICTURE}Activation map, ")));
    assert!(!page.contains("Mean image") && !page.contains("image of document"));
}

#[test]
fn images_are_published_too() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("site");
    let mut publish = Command::new(env!("CARGO_BIN_EXE_polysema"));
    publish.arg("--store").arg(&IMAGES.1);
    publish.args(["publish", "demo", "--out"]).arg(&out);
    assert!(publish.status().unwrap().success());
    let page = std::fs::read_to_string(out.join("neurons/0/2.html")).unwrap();
    assert!(page.contains(&format!("{PICTURE}image of document ")));
    assert!(page.contains(&format!("{PICTURE}Importance map, ")));
}
