//! Panels of a neuron beside its clusters: what it writes to the logits, its examples as points, the importance of tokens.

use std::collections::HashMap;
use std::path::Path;

use super::site::{STORE, Site, run};

/// A store with a run of a copy of a tiny model, whose folder can be taken away.
fn store_of_copy(folder: &Path, of: &str, options: &str) -> std::path::PathBuf {
    let (model, store) = (folder.join("model"), folder.join("s"));
    std::fs::create_dir(&model).unwrap();
    for entry in std::fs::read_dir(of).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            std::fs::copy(&path, model.join(path.file_name().unwrap())).unwrap();
        }
    }
    let call = format!(
        "CALL ingest('demo', '{}', (SELECT [3, 1, 4, 1, 5, 9, 2, 6] AS ids), {{column: 'ids', context: 9{options}}})",
        model.display()
    );
    run(&store, &call);
    store
}

#[test]
fn logit_effects_are_those_of_sql() {
    let site = Site::of(&STORE.1);
    let neuron = "/runs/demo/layers/3/neurons/417";
    // The page of the neuron does not wait for them, and reads without scripts where they are.
    let page = site.get(neuron).text();
    assert!(page.contains(&format!("<a href=\"{neuron}/logits\">")));
    let path = format!("{neuron}/logits");
    let page = site.whole(&path);
    let rows = run(
        &STORE.1,
        "SELECT side, rank, token_id, token, effect FROM logit_effects(3, 417) ORDER BY side DESC, rank",
    );
    assert_eq!(rows.len(), 20);
    let shown: Vec<&str> = page.split("<tr><th scope=\"row\">").skip(1).collect();
    assert_eq!(shown.len(), rows.len());
    for (row, shown) in rows.iter().zip(shown) {
        let effect = format!("{:.3}", row["effect"].as_f64().unwrap()).replace('-', "−");
        assert!(
            shown.contains(&format!("<td class=\"n\">{effect}</td>")),
            "{row}: {shown}"
        );
        let letters: String = row["token"].as_str().unwrap().to_string();
        let letters: String = letters
            .chars()
            .filter(char::is_ascii_alphanumeric)
            .collect();
        assert!(shown.contains(&letters), "{row}: {shown}");
    }
    let data = site.get(&format!("{path}.json?panel=logits")).json();
    assert_eq!(data, serde_json::Value::from(rows));
    let five = site.get(&format!("{path}.json?panel=logits&k=5")).json();
    assert_eq!(five.as_array().unwrap().len(), 10);
    let arrow = site.get(&format!("{path}.arrow"));
    assert_eq!(arrow.status, 200);
    let refused = site.get(&format!("{path}?k=0"));
    assert_eq!(refused.status, 400);
    assert!(
        refused
            .text()
            .contains("a number from 1 to 100 is required as k")
    );
}

#[test]
fn without_a_model_or_a_head_the_panel_says_so_and_the_page_stands() {
    let folder = tempfile::tempdir().unwrap();
    let store = store_of_copy(folder.path(), "tests/data/architectures/llama", "");
    let site = Site::of(&store);
    let path = "/runs/demo/layers/0/neurons/0";
    // Without a tokenizer tokens are known by their numbers.
    let page = site.whole(&format!("{path}/logits"));
    assert!(page.contains("<bdi class=\"token\">id 12</bdi>"), "{page}");
    std::fs::remove_dir_all(folder.path().join("model")).unwrap();
    // What was read stays while this explorer runs; another finds nothing.
    drop(site);
    let site = Site::of(&store);
    assert_eq!(site.get(path).status, 200);
    let page = site.whole(&format!("{path}/logits"));
    assert!(
        page.contains("<p class=\"problem last\">There are none to show: ")
            && page.contains("the model of run &#39;demo&#39; is required, got nothing at"),
        "{page}"
    );
    let folders = folder.path().display().to_string();
    assert!(!page.contains(&folders), "no reader's matter: {page}");
    let data = site.get(&format!("{path}/logits.json"));
    assert_eq!(data.status, 400, "{}", data.text());
    assert!(data.text().contains("is required"));

    let folder = tempfile::tempdir().unwrap();
    let bert = ", bos: false, layer_norm: 'raw'";
    let store = store_of_copy(folder.path(), "tests/data/architectures/bert", bert);
    let site = Site::of(&store);
    let page = site.whole(&format!("{path}/logits"));
    assert!(
        page.contains("a head is required for effects on logits, got a model stored without"),
        "{page}"
    );
}

/// Examples and classes of the points of each picture.
fn points_of(page: &str) -> Vec<HashMap<i64, (String, [f64; 2])>> {
    let pictures = page.split("<svg class=\"points\"").skip(1);
    let pictures = pictures.map(|svg| {
        let svg = svg.split("</svg>").next().unwrap();
        let points = svg.split("<a href=\"#example-").skip(1).map(|point| {
            let attribute = |name: &str| {
                let (_, rest) = point.split_once(&format!("{name}=\"")).unwrap();
                rest.split('"').next().unwrap()
            };
            let number = |name| attribute(name).parse().unwrap();
            let example = point.split('"').next().unwrap().parse().unwrap();
            let at = [number("cx"), number("cy")];
            (example, (attribute("class").to_string(), at))
        });
        points.collect()
    });
    pictures.collect()
}

#[test]
fn examples_are_points_in_the_colours_of_their_clusters() {
    let site = Site::of(&STORE.1);
    for threshold in [0.3, 0.5] {
        let path = format!("/runs/demo/layers/3/neurons/417?threshold={threshold}");
        let page = site.get(&path).text();
        let pictures = points_of(&page);
        assert_eq!(pictures.len(), 2);
        let members = run(
            &STORE.1,
            &format!(
                "SELECT example, cluster FROM feature_clusters(3, 417, {{threshold: {threshold}}})"
            ),
        );
        for (points, rows) in pictures.iter().zip([
            "(SELECT example, embedding AS v FROM neuron_embeddings(3, 417))",
            "(SELECT example, pre_mlp AS v FROM examples WHERE layer = 3 AND neuron = 417)",
        ]) {
            assert_eq!(points.len(), members.len());
            for row in &members {
                let (class, _) = &points[&row["example"].as_i64().unwrap()];
                let expected = match row["cluster"].as_i64().unwrap() {
                    cluster @ 0..8 => format!("c{cluster}"),
                    _ => "cx".to_string(),
                };
                assert_eq!(*class, expected, "{threshold} {row}");
                assert!(page.contains(&format!("<li id=\"example-{}\"", row["example"])));
            }
            // Distances between points are those between places, in one measure.
            let places = run(
                &STORE.1,
                &format!(
                    "SELECT example, pc1, pc2 FROM project({rows}, 'v', 2, {{normalize: true}}) ORDER BY example"
                ),
            );
            let place =
                |row: &serde_json::Value| ["pc1", "pc2"].map(|pc| row[pc].as_f64().unwrap());
            let point = |row: &serde_json::Value| points[&row["example"].as_i64().unwrap()].1;
            let apart = |a: [f64; 2], b: [f64; 2]| (a[0] - b[0]).hypot(a[1] - b[1]);
            let first = &places[0];
            let farthest = places.iter().max_by(|a, b| {
                apart(place(a), place(first)).total_cmp(&apart(place(b), place(first)))
            });
            let farthest = farthest.unwrap();
            let scale = apart(point(first), point(farthest)) / apart(place(first), place(farthest));
            for row in &places {
                let expected = apart(place(first), place(row)) * scale;
                let found = apart(point(first), point(row));
                // Places in a picture are written to a tenth.
                assert!((found - expected).abs() < 0.3, "{row}: {expected} {found}");
            }
        }
    }
}

#[test]
fn importance_shades_an_example_and_is_kept_in_the_store() {
    let folder = tempfile::tempdir().unwrap();
    let model = folder.path().join("model");
    std::fs::create_dir(&model).unwrap();
    for entry in std::fs::read_dir("tests/data/demo/model").unwrap() {
        let path = entry.unwrap().path();
        std::fs::copy(&path, model.join(path.file_name().unwrap())).unwrap();
    }
    let store = folder.path().join("s");
    run(
        &store,
        &format!(
            "CALL ingest('demo', '{}', 'tests/data/demo/corpus.jsonl', {{max_documents: 64}})",
            model.display()
        ),
    );
    let site = Site::of(&store);
    let neuron = "/runs/demo/layers/3/neurons/417";
    let example = &run(
        &store,
        "SELECT example, pos, window_start, window_tokens FROM examples WHERE layer = 3 AND neuron = 417 \
         ORDER BY pos DESC, example LIMIT 1",
    )[0];
    let number = |name: &str| example[name].as_i64().unwrap();
    let path = format!("{neuron}/examples/{}/importance", number("example"));
    let page = site.get(neuron).text();
    assert!(
        page.contains(&format!("<a href=\"{path}\" data-weigh>")),
        "{page}"
    );
    let page = site.whole(&path);
    let rows = run(
        &store,
        &format!(
            "SELECT pos, token, activation, \"drop\", importance FROM token_importance(3, 417, {}, {{window: {}}}) ORDER BY pos",
            number("example"),
            number("pos") - number("window_start")
        ),
    );
    let data = site.get(&format!("{path}.json?panel=importance")).json();
    assert_eq!(data, serde_json::Value::from(rows.clone()));
    // A token has the shade of its importance; what stands behind the key token has none.
    let text = page.split("<p class=\"text importance\"").nth(1).unwrap();
    let text = text.split("</p>").next().unwrap();
    let tokens: Vec<&str> = text
        .split("</span>")
        .flat_map(|part| part.split("</mark>"))
        .collect();
    let n = example["window_tokens"].as_array().unwrap().len();
    assert_eq!(tokens.len(), n + 1, "{text}");
    for (at, token) in tokens[..n].iter().enumerate() {
        let pos = number("window_start") + at as i64;
        let row = rows.iter().find(|row| row["pos"] == pos);
        let importance = row.and_then(|row| row["importance"].as_f64());
        let step = (importance.unwrap_or(0.0) * 11.0).round() as usize;
        match step {
            0 => assert!(!token.contains("class=\"a"), "{pos}: {token}"),
            step => assert!(
                token.contains(&format!(" class=\"a{step}\"")),
                "{pos} {step}: {token}"
            ),
        }
    }
    assert!(
        text.contains("<mark class=\"a11\">"),
        "its own importance is 1: {text}"
    );
    // Another explorer, from which the model is gone, has what was kept, and of other examples says why there is none.
    drop(site);
    std::fs::remove_dir_all(&model).unwrap();
    let site = Site::of(&store);
    let again = site.whole(&path);
    assert!(again.contains(text), "{again}");
    let other = run(
        &store,
        &format!(
            "SELECT example FROM examples WHERE layer = 3 AND neuron = 417 AND example <> {} LIMIT 1",
            number("example")
        ),
    );
    let path = format!("{neuron}/examples/{}/importance", other[0]["example"]);
    let page = site.whole(&path);
    assert!(
        page.contains("There is no importance to show: ") && page.contains("the model of run"),
        "{page}"
    );
    assert_eq!(site.get(&format!("{path}.json")).status, 400);
    for missing in ["999", "x", "-1"] {
        let got = site.get(&format!("{neuron}/examples/{missing}/importance"));
        assert_eq!(got.status, 404);
        assert!(
            got.text()
                .contains("an example of layer 3, neuron 417 is required")
        );
    }
}
