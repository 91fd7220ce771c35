//! Two runs beside each other.

use super::site::{PAIR, Site, run};

#[test]
fn neurons_that_differ_most_come_first() {
    let site = Site::of(&PAIR.1);
    let address = "/compare?a=demo&b=half";
    let page = site.whole(address);
    let data = site.get("/compare.json?a=demo&b=half").json();
    let rows = data["neurons"]["rows"].as_array().unwrap();
    let expected = run(
        &PAIR.1,
        "SELECT a.layer, a.neuron, a.n_clusters AS a_clusters, b.n_clusters AS b_clusters \
         FROM neuron_polysemanticity() a \
         JOIN neuron_polysemanticity({run: 'half'}) b ON b.layer = a.layer AND b.neuron = a.neuron \
         ORDER BY abs(b.n_clusters - a.n_clusters) DESC NULLS LAST, \
                  abs(b.mean_distance - a.mean_distance) DESC NULLS LAST, a.layer, a.neuron LIMIT 50",
    );
    assert_eq!((rows.len(), expected.len()), (50, 50));
    for (row, expected) in rows.iter().zip(&expected) {
        for column in ["layer", "neuron", "a_clusters", "b_clusters"] {
            assert_eq!(row[column], expected[column]);
        }
    }
    let (layer, neuron) = (&rows[0]["layer"], &rows[0]["neuron"]);
    for name in ["demo", "half"] {
        let link = format!("href=\"/runs/{name}/layers/{layer}/neurons/{neuron}\"");
        assert!(page.contains(&link), "{link}");
    }
    // The same model, another part of the corpus.
    assert!(page.contains("max_documents: 64") && page.contains("max_documents: 32"));
    assert!(!page.contains("The models have other weights"));
    // A layer that only one of them has is said to be so.
    assert!(page.contains("What cannot be compared") && page.contains("first only in the first"));
    let layers = data["layers"]["rows"].as_array().unwrap();
    assert_eq!(layers.len(), 4);
    let by = site.whole("/compare?a=demo&b=half&by=active&page=2&threshold=0.3");
    assert!(by.contains("51 to 100 of 2,048") && by.contains("?threshold=0.3\""));
}

#[test]
fn a_run_is_as_it_is_to_itself() {
    let site = Site::of(&PAIR.1);
    site.whole("/compare?a=half&b=half");
    let data = site.get("/compare.json?a=half&b=half").json();
    for layer in data["layers"]["rows"].as_array().unwrap() {
        assert_eq!(layer["n_same"], layer["n_neurons"]);
        assert_eq!(layer["a_distance"], layer["b_distance"]);
    }
}

#[test]
fn what_is_not_there_is_said() {
    let site = Site::of(&PAIR.1);
    let form = site.get("/compare");
    assert_eq!(form.status, 200);
    assert!(
        form.text().contains("<option>half</option>"),
        "{}",
        form.text()
    );
    assert!(
        site.get("/compare?a=demo")
            .text()
            .contains("<option selected>demo</option>")
    );
    for (query, status, words) in [
        ("a=demo&b=nope", 404, "href=\"/runs/half\""),
        ("a=nope", 404, "a run of the store is required"),
        (
            "a=demo&b=half&by=x",
            400,
            "one of clusters, distance, activation, active",
        ),
        ("a=demo&b=half&threshold=-1", 400, "a number from 0 to 2"),
        ("a=%3Cscript%3E&b=demo", 404, "&#60;script&#62;"),
    ] {
        let got = site.get(&format!("/compare?{query}"));
        assert_eq!(got.status, status, "{query}");
        assert!(got.text().contains(words), "{query}: {}", got.text());
    }
}
