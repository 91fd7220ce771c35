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
    let weighted = page.matches(" times the weights\"").count();
    assert_eq!(weighted, count("n_clusters"));
    assert_eq!(means - weighted, count("n_clusters"));
    for map in [
        "Input weights",
        "Activation map",
        "Importance map",
        "Mean image",
    ] {
        assert!(page.contains(&format!("{PICTURE}{map}, ")), "{map}");
    }
    assert!(page.contains("of the images."));
    let data = site
        .get("/runs/demo/layers/0/neurons/2.json?panel=maps")
        .json();
    let expected = run(
        &IMAGES.1,
        "SELECT w.weight, m.activation, m.importance, m.mean_pixel FROM importance_map(0, 2, {run: 'demo'}) m \
         JOIN activation_map(0, 2, {run: 'demo'}) w ON w.y = m.y AND w.x = m.x ORDER BY m.y, m.x",
    );
    assert_eq!(data.as_array().unwrap().len(), 784);
    assert_eq!(data.as_array().unwrap(), &expected);
    // Input weights and output weights are those of the table.
    let w_in = "SELECT unnest(w_in) AS weight FROM demo.neurons WHERE layer = 0 AND neuron = 2";
    for (row, expected) in data.as_array().unwrap().iter().zip(run(&IMAGES.1, w_in)) {
        assert_eq!(row["weight"], expected["weight"]);
    }
    let w_out = "SELECT unnest(w_out) AS effect FROM demo.neurons WHERE layer = 0 AND neuron = 2";
    let w_out = run(&IMAGES.1, w_out);
    let classes = site
        .get("/runs/demo/layers/0/neurons/2.json?panel=classes")
        .json();
    let classes = classes.as_array().unwrap();
    assert_eq!((classes.len(), w_out.len()), (10, 10));
    let bars = page.split("id=\"classes\"").nth(1).unwrap();
    let bars = bars.split("</section>").next().unwrap();
    assert_eq!(bars.matches("<svg class=\"meter\"").count(), 10);
    for (at, (row, expected)) in classes.iter().zip(&w_out).enumerate() {
        assert_eq!(row["class"], at.to_string());
        assert_eq!(row["effect"], expected["effect"]);
    }
    let means = site
        .get("/runs/demo/layers/0/neurons/2.json?panel=means")
        .json();
    assert_eq!(means.as_array().unwrap().len(), 784 * count("n_clusters"));
    let card = site.get("/runs/demo/layers/0/neurons/2/card.svg").text();
    assert_eq!(card.matches("<image ").count(), count("n_clusters"));
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
    assert!(page.contains(&format!("{PICTURE}Input weights, ")));
    assert!(page.contains(" times the weights\"") && page.contains("id=\"classes\""));
    assert!(page.len() < 300_000, "{} bytes", page.len());
}

#[test]
fn a_latent_of_images_has_maps_through_the_neurons_and_effects_on_the_classes() {
    let folder = tempfile::tempdir().unwrap();
    let (images, classifier) = (
        "tests/data/mnist-tiny",
        folder.path().join("mlp.safetensors"),
    );
    std::fs::copy(format!("{images}/mlp.safetensors"), &classifier).unwrap();
    let store = folder.path().join("s");
    let ingest = format!(
        "CALL ingest('demo', '{}', '{images}')",
        classifier.display()
    );
    run(&store, &ingest);
    run(
        &store,
        "CALL train_sae('latents', 0, {run: 'demo', d_sae: 8, batch_size: 20, epochs: 40, warmup: 0})",
    );
    let latent = "SELECT neuron FROM demo.neurons WHERE layer = 1 ORDER BY n_examples DESC, neuron";
    let latent = run(&store, latent)[0]["neuron"].clone();
    let site = Site::of(&store);
    let page = site
        .get(&format!("/runs/demo/layers/1/neurons/{latent}"))
        .text();
    assert!(!page.contains("Input weights") && page.contains("Activation map"));
    assert!(
        page.contains(&format!("{PICTURE}importance map of cluster 0\"")),
        "{page}"
    );
    assert_eq!(page.matches("<svg class=\"meter\"").count(), 10);
    // Without the classifier's file the page says what is missing, and has the rest.
    drop(site);
    std::fs::remove_file(&classifier).unwrap();
    let site = Site::of(&store);
    let page = site
        .get(&format!("/runs/demo/layers/1/neurons/{latent}"))
        .text();
    assert!(
        page.contains("the model of run &#39;demo&#39; is required"),
        "{page}"
    );
    assert!(page.contains("Activation map") && !page.contains("<svg class=\"meter\""));
}
