//! Search: words that stand for feature clusters.

use super::site::{STORE, Site, run};

#[test]
fn a_word_leads_to_the_clusters_that_have_it_as_key_token() {
    let site = Site::of(&STORE.1);
    let page = site.whole("/runs/demo/search?word=%20The");
    let json = site.get("/runs/demo/search.json?word=the").json();
    let rows = json["clusters"]["rows"].as_array().unwrap();
    let expected = run(
        &STORE.1,
        "SELECT layer, neuron, cluster, size, n_matches FROM token_search('the', {kind: 'all'}) \
         ORDER BY n_matches * share DESC, size DESC, layer, neuron, sign, cluster LIMIT 50",
    );
    assert!(expected.len() == rows.len() && rows.len() > 20);
    for (row, expected) in rows.iter().zip(&expected) {
        for column in ["layer", "neuron", "cluster", "size", "n_matches"] {
            assert_eq!(row[column], expected[column]);
        }
        let link = format!(
            "/runs/demo/layers/{}/neurons/{}#cluster-{}",
            row["layer"], row["neuron"], row["cluster"]
        );
        assert!(page.contains(&format!("href=\"{link}\"")), "{link}");
    }
    let found = rows[0]["n_found"].as_i64().unwrap();
    let layers = json["layers"]["rows"].as_array().unwrap();
    let counted: i64 = layers
        .iter()
        .map(|row| row["n_clusters"].as_i64().unwrap())
        .sum();
    assert_eq!(counted, found);
    // All of them, over the pages.
    let mut all = 0;
    for at in 1..=found / 50 + 1 {
        let path = format!("/runs/demo/search?word=the&page={at}");
        site.whole(&path);
        let part = site.get(&format!(
            "/runs/demo/search.json?word=the&page={at}&panel=clusters"
        ));
        all += part.json().as_array().unwrap().len();
    }
    assert_eq!(i64::try_from(all).unwrap(), found);
    let of_layer = site.whole("/runs/demo/search?word=the&layer=2&threshold=0.3");
    assert!(of_layer.contains("/layers/2/neurons/") && !of_layer.contains("/layers/1/neurons/"));
    assert!(of_layer.contains("?threshold=0.3#cluster-"));
}

#[test]
fn without_a_word_frequent_ones_are_offered() {
    let site = Site::of(&STORE.1);
    let page = site.whole("/runs/demo/search");
    let expected = run(
        &STORE.1,
        "SELECT lower(trim(token)) AS token, count(*) AS n FROM examples WHERE trim(token) <> '' \
         GROUP BY 1 ORDER BY n DESC, token LIMIT 1",
    );
    let token = expected[0]["token"].as_str().unwrap();
    assert!(page.contains("href=\"/runs/demo/search?word="), "{token}");
    // In the frame of every page of the run.
    assert!(
        site.whole("/runs/demo")
            .contains("action=\"/runs/demo/search\"")
    );
    assert!(!site.get("/").text().contains("role=\"search\""));
}

#[test]
fn a_word_is_text() {
    let site = Site::of(&STORE.1);
    for word in [
        "%3Cscript%3Ealert(1)%3C/script%3E",
        "%22%3E%3Cimg%20onerror%3D%22",
        "O'Brien",
        "%E2%80%AEabc",
    ] {
        let page = site.whole(&format!("/runs/demo/search?word={word}"));
        assert!(
            page.contains("No feature cluster has such a key token"),
            "{word}"
        );
        assert!(
            !page.contains("<script>alert") && !page.contains("<img"),
            "{word}"
        );
    }
    // As a part of longer tokens.
    let page = site.whole("/runs/demo/search?word=ban");
    let wider = page
        .split("href=\"")
        .find(|link| link.contains("part=yes"))
        .unwrap();
    assert!(wider.starts_with("?word=ban"), "{wider}");
    for (query, status, words) in [
        ("word=a&threshold=3", 400, "a number from 0 to 2"),
        ("word=a&part=maybe", 400, "one of no, yes"),
        ("word=a&layer=99", 400, "layer"),
        ("words=a", 400, "one of the parameters word"),
    ] {
        let got = site.get(&format!("/runs/demo/search?{query}"));
        assert_eq!(got.status, status, "{query}");
        assert!(got.text().contains(words), "{query}: {}", got.text());
    }
}
