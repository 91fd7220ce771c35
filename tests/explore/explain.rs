//! A reader's own text.

use super::site::{STORE, Site, run};

#[test]
fn a_text_shows_the_clusters_that_its_tokens_make_fire() {
    let site = Site::of(&STORE.1);
    let path = "/runs/demo/explain?text=The+river+bank+was+steep.&k=3";
    let page = site.whole(path);
    let json = site
        .get("/runs/demo/explain.json?text=The+river+bank+was+steep.&k=3&panel=features")
        .json();
    let rows = json.as_array().unwrap();
    let expected = run(
        &STORE.1,
        "SELECT pos, layer, neuron, cluster FROM explain_text('The river bank was steep.', {k: 3}) \
         ORDER BY pos, share DESC, layer, neuron",
    );
    assert!(rows.len() == expected.len() && !rows.is_empty());
    for (row, expected) in rows.iter().zip(&expected) {
        for column in ["pos", "layer", "neuron", "cluster"] {
            assert_eq!(row[column], expected[column]);
        }
        let cluster = row["cluster"]
            .as_i64()
            .map(|cluster| format!("#cluster-{cluster}"));
        let link = format!(
            "href=\"/runs/demo/layers/{}/neurons/{}{}\"",
            row["layer"],
            row["neuron"],
            cluster.unwrap_or_default()
        );
        assert!(page.contains(&link), "{link}");
    }
    let hostile =
        site.whole("/runs/demo/explain?text=%3C/textarea%3E%3Cscript%3Ealert(1)%3C/script%3E'");
    assert!(
        !hostile.contains("<script>alert") && !hostile.contains("</textarea><"),
        "{hostile}"
    );
    let empty = site.get("/runs/demo/explain");
    assert_eq!(empty.status, 200);
    assert!(!empty.text().contains("id=\"features\""));
    for (query, words) in [
        ("k=0", "a number from 1 to 20"),
        ("word=a", "one of the parameters text"),
    ] {
        let got = site.get(&format!("/runs/demo/explain?{query}"));
        assert_eq!(got.status, 400, "{query}");
        assert!(got.text().contains(words), "{query}: {}", got.text());
    }
}
