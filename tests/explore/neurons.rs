//! Pages of neurons: at every threshold what SQL says, of few examples and of both signs, of hostile texts.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::site::{STORE, Site, run};
use crate::support;

#[test]
fn a_neuron_is_what_sql_says_at_every_threshold() {
    let site = Site::of(&STORE.1);
    for threshold in [0.0, 0.3, 0.5, 0.75, 2.0] {
        let path = format!("/runs/demo/layers/3/neurons/417?threshold={threshold}");
        let page = site.get(&path).text();
        let call = format!("(3, 417, {{threshold: {threshold}}})");
        let clusters = run(
            &STORE.1,
            &format!("SELECT cluster, size FROM cluster_summary{call} ORDER BY cluster"),
        );
        let metrics = &run(
            &STORE.1,
            &format!("SELECT * FROM neuron_polysemanticity{call}"),
        )[0];
        assert_eq!(metrics["n_clusters"], clusters.len());
        let s = if clusters.len() == 1 { "" } else { "s" };
        assert!(
            page.contains(&format!(">{} feature cluster{s}</strong>", clusters.len())),
            "{threshold}"
        );
        for (name, column) in [
            ("intra", "intra_cluster_distance"),
            ("inter", "inter_cluster_distance"),
        ] {
            let shown = metrics[column]
                .as_f64()
                .map_or("–".to_string(), |x| format!("{x:.3}"));
            assert!(
                page.contains(&format!("data-metric=\"{name}\">{shown}</dd>")),
                "{threshold} {name} {shown}"
            );
        }
        for cluster in &clusters {
            let number = cluster["cluster"].as_i64().unwrap();
            assert!(page.contains(&format!("id=\"cluster-{number}\"")));
            // As many leaves of its colour as it has examples.
            if number < 8 {
                let leaves = page
                    .matches(&format!("<rect class=\"leaf c{number}\""))
                    .count();
                assert_eq!(cluster["size"], leaves, "{threshold} {number}");
            }
        }
        let examples = run(
            &STORE.1,
            "SELECT example FROM examples WHERE layer = 3 AND neuron = 417",
        );
        for example in examples {
            assert_eq!(
                page.matches(&format!("<li id=\"example-{}\"", example["example"]))
                    .count(),
                1
            );
        }
        assert!(page.len() < 300_000, "{}", page.len());
    }
    // The data under the page's address is that of the queries it shows.
    let data = site
        .get("/runs/demo/layers/3/neurons/417.json?threshold=0.3")
        .json();
    for (id, panel) in data.as_object().unwrap() {
        let mut shown = panel["rows"].clone();
        // The rows of the test's own writer have null for what JSON has no number for.
        for row in shown.as_array_mut().unwrap() {
            if row.get("lower").is_some_and(Value::is_string) {
                row["lower"] = Value::Null;
            }
        }
        let expected = run(&STORE.1, panel["sql"].as_str().unwrap());
        assert_eq!(shown, Value::from(expected), "{id}");
    }
}

#[test]
fn every_link_of_a_page_leads_somewhere() {
    let site = Site::of(&STORE.1);
    let mut open = vec!["/".to_string()];
    let (mut seen, mut kinds) = (HashSet::new(), HashMap::<String, usize>::new());
    while let Some(path) = open.pop() {
        // Ten of each kind: pages of neurons are alike.
        let (at, query) = path.split_once('?').unwrap_or((path.as_str(), ""));
        let at = at.chars();
        let mut kind: String = at
            .map(|c| if c.is_ascii_digit() { '#' } else { c })
            .collect();
        // Whatever is asked for, the page is of the same kind.
        for pair in query.split('&') {
            kind.push('?');
            kind.push_str(pair.split('=').next().unwrap());
        }
        let number = kinds.entry(kind).or_default();
        *number += 1;
        if *number > 4 || !seen.insert(path.clone()) {
            continue;
        }
        let got = site.get(&path);
        assert!([200, 303].contains(&got.status), "{path}: {}", got.text());
        if got
            .heads
            .get("content-type")
            .is_none_or(|kind| !kind.starts_with("text/html"))
        {
            continue;
        }
        let page = got.text();
        for link in page.split("href=\"").skip(1) {
            let link = link
                .split('"')
                .next()
                .unwrap()
                .replace("&amp;", "&")
                .replace("&#38;", "&");
            let target = link.split('#').next().unwrap();
            match target.split_once('?') {
                _ if target.starts_with("data:") || target.is_empty() => {}
                Some(("", query)) => {
                    let at = path.split('?').next().unwrap();
                    open.push(format!("{at}?{query}"));
                }
                _ => open.push(target.to_string()),
            }
            if let Some(part) = link.strip_prefix('#') {
                assert!(page.contains(&format!("id=\"{part}\"")), "{path}#{part}");
            }
        }
    }
    assert!(seen.len() > 20, "{}", seen.len());
}

#[test]
fn similar_features_and_documents_are_found() {
    let site = Site::of(&STORE.1);
    let path = "/runs/demo/layers/3/neurons/417/clusters/0/similar";
    let page = site.whole(path);
    let rows = run(
        &STORE.1,
        "SELECT layer, neuron, cluster, similarity FROM similar_features(3, 417, 0, {k: 12})",
    );
    assert!(!rows.is_empty());
    let first = &rows[0];
    assert!(
        page.contains(&format!(
            "/runs/demo/layers/{}/neurons/{}#cluster-{}",
            first["layer"], first["neuron"], first["cluster"]
        )),
        "{page}"
    );
    assert!(page.contains(&format!("{:.3}", first["similarity"].as_f64().unwrap())));
    let example = &run(
        &STORE.1,
        "SELECT doc_id, pos FROM examples WHERE layer = 3 AND neuron = 417 ORDER BY example LIMIT 1",
    )[0];
    let document = site
        .get(&format!(
            "/runs/demo/documents/{}?layer=3&neuron=417",
            example["doc_id"]
        ))
        .text();
    assert!(
        document.contains(&format!("<mark id=\"token-{}\"", example["pos"])),
        "{document}"
    );
    let tokens = run(
        &STORE.1,
        &format!(
            "SELECT pos FROM tokens WHERE doc_id = {}",
            example["doc_id"]
        ),
    );
    let shown = ["<span class=\"a", "<span class=\"n", "<mark id=\"token-"];
    let shown: usize = shown.iter().map(|tag| document.matches(tag).count()).sum();
    assert_eq!(shown, tokens.len());
    assert_eq!(site.get("/runs/demo/documents/64").status, 404);
    assert_eq!(site.get("/runs/demo/documents/0?layer=1").status, 400);
    let go = site.get("/runs/demo/go?layer=3&neuron=417");
    assert_eq!(
        (go.status, go.heads["location"].as_str()),
        (303, "/runs/demo/layers/3/neurons/417")
    );
    let any = site.get("/runs/demo/go").heads["location"].clone();
    assert_eq!(site.get(&any).status, 200);
    assert_eq!(site.get("/runs/demo/go?neuron=5").status, 400);
}

/// A store whose corpus is a folder's file of these texts.
fn store_of(texts: &[&str], options: &str) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let (corpus, store) = (folder.path().join("texts.jsonl"), folder.path().join("s"));
    let lines: Vec<String> = texts
        .iter()
        .map(|text| serde_json::json!({"text": text}).to_string())
        .collect();
    std::fs::write(&corpus, lines.join("\n")).unwrap();
    let corpus = corpus.display();
    run(
        &store,
        &format!("CALL ingest('demo', 'tests/data/demo/model', '{corpus}', {{{options}}})"),
    );
    (folder, store)
}

#[test]
fn hostile_texts_stay_texts() {
    let hostile = "<script>alert(1)</script> \"><img src=x onerror=alert(1)> \u{202e}gnp.exe\u{202c} \u{200b}\u{feff} 🙂 </p></li>";
    let texts: Vec<String> = (0..6)
        .map(|n| format!("{n} {hostile} {n} and more of it"))
        .collect();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let (_folder, store) = store_of(&texts, "min_tokens: 1");
    let site = Site::of(&store);
    let mut seen = String::new();
    for neuron in 0..40 {
        let page = site.get(&format!("/runs/demo/layers/1/neurons/{neuron}"));
        assert_eq!(page.status, 200);
        seen.push_str(&page.text());
    }
    for doc in 0..6 {
        seen.push_str(&site.get(&format!("/runs/demo/documents/{doc}")).text());
    }
    seen.push_str(&site.whole("/runs/demo/layers/1/neurons/3/clusters/0/similar?threshold=2"));
    // Their tokens are pieces of characters, whose bytes the tokenizer names.
    assert!(seen.contains("&lt;") && seen.contains("script"), "{seen}");
    for forbidden in ["<script>", "<img", "\u{202e}", "\u{200b}", "\u{feff}"] {
        assert!(!seen.contains(forbidden), "{forbidden:?}");
    }
}

#[test]
fn few_examples_and_vanished_stores_have_pages_too() {
    let (folder, store) = store_of(
        &["The river bank was steep.", "One more bank of a river."],
        "min_tokens: 1",
    );
    let site = Site::of(&store);
    let counts = run(
        &store,
        "SELECT neuron, n_examples FROM neurons WHERE layer = 0",
    );
    let one_of = |n: i64| {
        counts
            .iter()
            .find(|row| row["n_examples"] == n)
            .map(|row| row["neuron"].clone())
    };
    for (n, words) in [
        (0, "No dataset example of this neuron is kept"),
        (1, "One example alone"),
        (2, "2 dataset examples</span>"),
    ] {
        let Some(neuron) = one_of(n) else {
            assert_eq!(n, 0, "a neuron of {n} examples");
            continue;
        };
        let page = site.get(&format!("/runs/demo/layers/0/neurons/{neuron}"));
        assert_eq!(page.status, 200, "{}", page.text());
        assert!(page.text().contains(words), "{}", page.text());
        let page = site.get(&format!(
            "/runs/demo/layers/0/neurons/{neuron}?threshold=2&scale=example"
        ));
        assert_eq!(page.status, 200);
    }
    assert_eq!(site.get("/runs/demo/layers/0/neurons/512").status, 404);
    assert_eq!(site.get("/runs/demo/layers/0/neurons/x").status, 404);
    assert_eq!(site.get("/runs/demo/layers/0/neurons/-1").status, 404);
    let address = "/runs/demo/layers/0/neurons/5";
    let tag = site.get(address).heads["etag"].clone();
    // Another run under the same name is another page.
    let again = format!(
        "CALL ingest('demo', 'tests/data/demo/model', '{}', {{min_tokens: 1, replace: true, max_documents: 1}})",
        folder.path().join("texts.jsonl").display()
    );
    run(&store, &again);
    let replaced = site.get(address);
    assert_eq!(replaced.status, 200);
    assert_ne!(replaced.heads["etag"], tag);
    std::fs::remove_dir_all(&store).unwrap();
    let gone = site.get(address);
    assert_eq!(gone.status, 404, "{}", gone.text());
    assert_eq!(site.get("/").status, 200);
    drop(folder);
}

/// A store of a gated model with a tokenizer of letters, with examples of both signs.
fn gated() -> (tempfile::TempDir, PathBuf) {
    let letters: Vec<String> = ('a'..='z').chain('A'..='O').map(String::from).collect();
    let letters: Vec<&str> = letters.iter().map(String::as_str).collect();
    let folder = tempfile::tempdir().unwrap();
    let (model, store) = (folder.path().join("llama"), folder.path().join("s"));
    std::fs::create_dir(&model).unwrap();
    for name in ["config.json", "model.safetensors"] {
        let from = Path::new("tests/data/architectures/llama").join(name);
        std::fs::copy(from, model.join(name)).unwrap();
    }
    support::gpt2(&support::TINY).write_tokenizer(&model, &letters);
    let lines = (0..120).map(|n: usize| {
        let text: String = (0..24)
            .map(|at| letters[(n * n + 7 * at * at + n * at) % 41])
            .collect();
        serde_json::json!({"text": text}).to_string()
    });
    let corpus = folder.path().join("letters.jsonl");
    std::fs::write(&corpus, lines.collect::<Vec<_>>().join("\n")).unwrap();
    let (model, corpus) = (model.display(), corpus.display());
    run(
        &store,
        &format!(
            "CALL ingest('demo', '{model}', '{corpus}', {{sign: 'both', context: 32, min_tokens: 1}})"
        ),
    );
    (folder, store)
}

#[test]
fn each_sign_of_a_gated_neuron_has_a_tree_and_clusters_of_its_own() {
    let (_folder, store) = gated();
    let site = Site::of(&store);
    let page = site
        .get("/runs/demo/layers/1/neurons/3?threshold=0.05")
        .text();
    assert_eq!(page.matches("<figure class=\"tree\"").count(), 2);
    let members = run(
        &store,
        "SELECT cluster, example FROM feature_clusters(1, 3, {threshold: 0.05})",
    );
    let sections: Vec<&str> = page
        .split("<section class=\"panel cluster\" id=\"cluster-")
        .skip(1)
        .collect();
    let last = members
        .iter()
        .filter_map(|row| row["cluster"].as_i64())
        .max()
        .unwrap();
    assert_eq!(sections.len() as i64, last + 1);
    for row in &members {
        let section = sections[row["cluster"].as_u64().unwrap() as usize];
        assert!(
            section.contains(&format!("<li id=\"example-{}\"", row["example"])),
            "{row}"
        );
    }
    // Every cluster's card has its central example.
    assert_eq!(page.matches("<b>central</b>").count() as i64, last + 1);
    assert!(
        page.contains("class=\"n11\""),
        "the key token of the least activation has the darkest shade below zero"
    );
    // Leaves of the second tree have the colours of its clusters.
    let first = run(
        &store,
        "SELECT count(*) AS n FROM cluster_summary(1, 3, {threshold: 0.05}) WHERE sign = 'positive'",
    );
    let second = page.split("<figure class=\"tree\"").nth(2).unwrap();
    let colour = match first[0]["n"].as_u64().unwrap() {
        n @ 0..8 => format!("leaf c{n}"),
        _ => "leaf cx".to_string(),
    };
    assert!(second.contains(&colour), "{colour}");
    let layer = site.get("/runs/demo/layers/1").text();
    assert!(layer.contains("<span class=\"dim\">negative</span>"));
}
