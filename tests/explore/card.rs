//! The card of a neuron.

use super::site::{STORE, Site, run};

#[test]
fn a_neuron_has_a_card_to_share() {
    let site = Site::of(&STORE.1);
    let page = site
        .get("/runs/demo/layers/2/neurons/423?threshold=0.3")
        .text();
    let link = "/runs/demo/layers/2/neurons/423/card.svg?threshold=0.3";
    assert!(page.contains(&format!("href=\"{link}\"")), "{page}");
    let card = site.get(link);
    assert_eq!(card.heads["content-type"], "image/svg+xml");
    let svg = card.text();
    let numbers = run(
        &STORE.1,
        "SELECT n_examples, n_clusters, mean_distance FROM demo.neuron_polysemanticity(2, 423, {threshold: 0.3})",
    );
    let said = format!(
        "{} dataset examples in {} feature clusters at distance 0.3, {:.3} apart on average",
        numbers[0]["n_examples"],
        numbers[0]["n_clusters"],
        numbers[0]["mean_distance"].as_f64().unwrap()
    );
    assert!(svg.contains(&format!(">{said}</text>")), "{said}: {svg}");
    // The tree is the function's, and nothing needs a style sheet or another place.
    let tree = "SELECT svg FROM demo.dendrogram_svg(2, 423, {threshold: 0.3, max_leaves: 24})";
    let tree = run(&STORE.1, tree)[0]["svg"].as_str().unwrap().to_string();
    assert!(svg.contains(tree.strip_prefix("<svg ").unwrap()));
    assert_eq!(svg.matches("<svg ").count(), svg.matches("</svg>").count());
    for forbidden in ["style=", "<style", "<script", "href=\"http"] {
        assert!(!svg.contains(forbidden), "{forbidden}");
    }
    let again = format!("If-None-Match: {}\r\n", card.heads["etag"]);
    assert_eq!(site.get_with(link, &again).status, 304);
    // A neuron without examples, and what is no address of a card.
    let dead = "SELECT layer, neuron FROM demo.dead_neurons ORDER BY layer, neuron LIMIT 1";
    if let Some(dead) = run(&STORE.1, dead).first() {
        let (layer, neuron) = (&dead["layer"], &dead["neuron"]);
        let dead = site.get(&format!(
            "/runs/demo/layers/{layer}/neurons/{neuron}/card.svg"
        ));
        assert_eq!(dead.status, 200);
        assert!(
            dead.text().contains("feature cluster") || dead.text().contains("No dataset example")
        );
    }
    for (path, status) in [
        ("/runs/demo/layers/2/neurons/423/card.svg.json", 400),
        ("/runs/demo/layers/2/neurons/9999/card.svg", 404),
        ("/runs/demo/layers/2/neurons/423/card.svg?threshold=x", 400),
        ("/runs/demo/layers/2/neurons/423/card.png", 404),
    ] {
        assert_eq!(site.get(path).status, status, "{path}");
    }
}
