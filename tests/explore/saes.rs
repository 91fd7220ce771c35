//! Sparse autoencoders of a run.

use super::site::{PAIR, STORE, Site, run};

#[test]
fn autoencoders_are_listed_with_what_their_latents_are() {
    let site = Site::of(&PAIR.1);
    let page = site.whole("/runs/demo/saes");
    for name in ["first", "second"] {
        assert!(
            page.contains(&format!("href=\"/runs/demo/saes/{name}\"")),
            "{name}"
        );
    }
    let data = site.get("/runs/demo/saes.json").json();
    let expected = run(
        &PAIR.1,
        "SELECT l.name, CAST(sum(CAST(n.frac_active AS DECIMAL(38, 18))) AS DOUBLE) AS l0 \
         FROM neurons n JOIN layers l ON l.layer = n.layer WHERE l.kind = 'sae' GROUP BY l.layer, l.name ORDER BY l.layer",
    );
    let latents = data["latents"]["rows"].as_array().unwrap();
    assert_eq!(latents.len(), 2);
    for (row, expected) in latents.iter().zip(&expected) {
        assert_eq!(row["l0"], expected["l0"]);
    }
    // A run without any says how one is made.
    let none = Site::of(&STORE.1);
    let page = none.get("/runs/demo/saes");
    assert_eq!(page.status, 200);
    assert!(page.text().contains("train_sae"));
}

#[test]
fn one_has_its_density_its_latents_and_metrics_when_they_are_asked_for() {
    let site = Site::of(&PAIR.1);
    let page = site.get("/runs/demo/saes/first").text();
    let data = site.get("/runs/demo/saes/first.json").json();
    let buckets = data["density"]["rows"].as_array().unwrap();
    let all: i64 = buckets
        .iter()
        .map(|row| row["n_latents"].as_i64().unwrap())
        .sum();
    assert_eq!(all, 48);
    assert_eq!(page.matches("<svg class=\"meter\"").count(), buckets.len());
    let latent = &data["latents"]["rows"][0]["neuron"];
    assert!(
        page.contains(&format!("href=\"/runs/demo/layers/4/neurons/{latent}\"")),
        "{page}"
    );
    assert!(page.contains("<button>Measure</button>") && data.get("metrics").is_none());
    let measured = site.whole("/runs/demo/saes/first?measure=yes");
    let metrics = site
        .get("/runs/demo/saes/first.json?measure=yes&panel=metrics")
        .json();
    let expected = run(&PAIR.1, "SELECT metric, value FROM sae_metrics('first')");
    assert_eq!(metrics.as_array().unwrap().len(), expected.len());
    for (row, expected) in metrics.as_array().unwrap().iter().zip(&expected) {
        assert_eq!(row["metric"], expected["metric"]);
        assert!(measured.contains(row["metric"].as_str().unwrap()));
        if let (Some(value), Some(other)) = (row["value"].as_f64(), expected["value"].as_f64()) {
            assert!(
                (value - other).abs() <= 1e-6 * other.abs().max(1.0),
                "{row} {expected}"
            );
        }
    }
    let unknown = site.get("/runs/demo/saes/nope");
    assert_eq!(unknown.status, 404);
    assert!(unknown.text().contains("href=\"/runs/demo/saes/second\""));
}

#[test]
fn two_are_compared_by_their_matches_and_the_papers_tables() {
    let site = Site::of(&PAIR.1);
    let page = site.whole("/runs/demo/compare?a=first&b=second");
    let rows = site
        .get("/runs/demo/compare.json?a=first&b=second&panel=matches")
        .json();
    let expected = run(
        &PAIR.1,
        "SELECT latent, \"match\" FROM sae_matches('first', 'second') ORDER BY decoder_cosine DESC NULLS LAST, latent",
    );
    let rows = rows.as_array().unwrap();
    assert_eq!((rows.len(), expected.len()), (48, 48));
    for (row, expected) in rows.iter().zip(&expected) {
        assert_eq!(
            (&row["latent"], &row["match"]),
            (&expected["latent"], &expected["match"])
        );
    }
    assert!(page.contains("Tables 2 and 3") && page.contains("name=\"measure\""));
    let measured = site.whole("/runs/demo/compare?a=first&b=second&measure=yes");
    let data = site
        .get("/runs/demo/compare.json?a=first&b=second&measure=yes")
        .json();
    let rows = data["tables"]["rows"].as_array().unwrap();
    let of = |metric: &str| rows.iter().find(|row| row["metric"] == metric).unwrap();
    for metric in ["mse", "ce_loss_score", "mean_distance", "size"] {
        let row = of(metric);
        assert!(
            row["a"].as_f64().is_some() && row["b"].as_f64().is_some(),
            "{row}"
        );
        assert!(
            measured.contains(&format!("<code>{metric}</code>")),
            "{metric}"
        );
    }
    // A language model has no accuracy.
    assert!(!measured.contains("accuracy_percent"));
    let alone = run(
        &PAIR.1,
        "SELECT value FROM sae_metrics('second') WHERE metric = 'mse'",
    );
    let (b, alone) = (
        of("mse")["b"].as_f64().unwrap(),
        alone[0]["value"].as_f64().unwrap(),
    );
    assert!((b - alone).abs() <= 1e-6 * alone);
    // With the model's own neurons, which have no such tables.
    let layer = site.whole("/runs/demo/compare?a=first&b=2");
    assert!(layer.contains("layer 2") && !layer.contains("Tables 2"));
    for (query, status, words) in [
        (
            "a=first",
            400,
            "a, an autoencoder, and b, another or a layer, are required",
        ),
        ("a=first&b=nope", 404, "href=\"/runs/demo/saes/first\""),
        (
            "a=nope&b=first",
            404,
            "an autoencoder of run demo is required",
        ),
        ("a=first&b=second&page=x", 400, "a number from 1"),
    ] {
        let got = site.get(&format!("/runs/demo/compare?{query}"));
        assert_eq!(got.status, status, "{query}");
        assert!(got.text().contains(words), "{query}: {}", got.text());
    }
}

#[test]
fn a_latent_has_its_matches_in_other_autoencoders() {
    let site = Site::of(&PAIR.1);
    let latent = "/runs/demo/layers/4/neurons/7";
    let matches = format!("{latent}/matches");
    let link = format!("<a href=\"{matches}\">");
    assert!(site.get(latent).text().contains(&link));
    // A neuron of the model has none.
    let neuron = "/runs/demo/layers/2/neurons/7";
    assert!(!site.get(neuron).text().contains("/matches"));
    let refused = site.get(&format!("{neuron}/matches"));
    assert_eq!(refused.status, 404);
    for words in [
        "a latent of a sparse autoencoder is required, got neuron 7 of layer 2 (blocks.2.mlp)",
        "href=\"/runs/demo/layers/5/neurons/0/matches\"",
    ] {
        assert!(refused.text().contains(words), "{}", refused.text());
    }
    let page = site.whole(&matches);
    let all = run(
        &PAIR.1,
        "SELECT latent, rank, \"match\", decoder_cosine, encoder_cosine \
         FROM sae_matches('first', 'second', {k: 3}) ORDER BY latent, rank",
    );
    let expected: Vec<_> = all.iter().filter(|row| row["latent"] == 7).collect();
    let rows = site.get(&format!("{matches}.json?panel=matches")).json();
    let rows = rows.as_array().unwrap();
    assert_eq!((rows.len(), expected.len()), (3, 3));
    for (row, expected) in rows.iter().zip(expected) {
        assert_eq!(row["sae"], "second");
        assert_eq!(row["layer"], 5);
        for column in ["rank", "match", "decoder_cosine", "encoder_cosine"] {
            assert_eq!(row[column], expected[column], "{column}");
        }
        let other = format!("href=\"/runs/demo/layers/5/neurons/{}\"", row["match"]);
        assert!(page.contains(&other), "{other}");
    }
    let one = site
        .get(&format!("{matches}.json?panel=matches&k=1"))
        .json();
    assert_eq!(one.as_array().unwrap()[..], rows[..1]);
    assert_eq!(site.get(&format!("{matches}?k=0")).status, 400);
}

#[test]
fn those_of_another_width_are_not_offered() {
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path();
    run(
        store,
        "CALL ingest('demo', 'tests/data/demo/model', 'tests/data/demo/corpus.jsonl', {max_documents: 4})",
    );
    for (name, source) in [("wide", "1"), ("narrow", "'blocks.1.mlp.hook_post'")] {
        run(
            store,
            &format!("CALL train_sae('{name}', {source}, {{d_sae: 8, warmup: 2}})"),
        );
    }
    let widths = run(
        store,
        "SELECT name, d_in FROM polysema.info.saes ORDER BY name",
    );
    assert_ne!(widths[0]["d_in"], widths[1]["d_in"]);
    let site = Site::of(store);
    let page = site.get("/runs/demo/saes").text();
    let forms: Vec<_> = page
        .split("action=\"/runs/demo/compare\"")
        .skip(1)
        .collect();
    assert!(!forms.is_empty());
    for form in forms {
        let form = form.split("</form>").next().unwrap();
        let choices = |name: &str| -> Vec<String> {
            let choices = form.split(&format!("<select name=\"{name}\">")).nth(1);
            let choices = choices.unwrap().split("</select>").next().unwrap();
            let choices = choices
                .split("</option>")
                .filter(|part| part.contains("<option"));
            let choices = choices.map(|part| part.rsplit('>').next().unwrap());
            choices.map(|words| words.replace("layer ", "")).collect()
        };
        for a in choices("a") {
            for b in choices("b") {
                site.whole(&format!("/runs/demo/compare?a={a}&b={b}"));
            }
        }
    }
    // Nor does the page of a latent compare with it.
    for name in ["wide", "narrow"] {
        assert!(
            !site
                .get(&format!("/runs/demo/saes/{name}"))
                .text()
                .contains("/runs/demo/compare?a=")
        );
    }
    let layer = run(store, "SELECT layer FROM layers WHERE name = 'narrow'");
    let page = site.get(&format!(
        "/runs/demo/layers/{}/neurons/0/matches",
        layer[0]["layer"]
    ));
    assert!(
        page.text()
            .contains("no other autoencoder with vectors of this width")
    );
}

#[test]
fn a_training_is_drawn_as_its_curve_is_kept() {
    let site = Site::of(&PAIR.1);
    let page = site.get("/runs/demo/saes/second").text();
    let data = site
        .get("/runs/demo/saes/second.json?panel=training")
        .json();
    let rows = data.as_array().unwrap();
    let kept = "SELECT * FROM polysema.info.sae_training WHERE sae = 'second' ORDER BY step";
    let kept = run(&PAIR.1, kept);
    assert!(kept.len() > 10 && rows.len() == kept.len());
    for (row, kept) in rows.iter().zip(&kept) {
        for column in [
            "step",
            "n_steps",
            "rows_seen",
            "loss",
            "mse",
            "l1",
            "ne_loss",
            "auxiliary",
            "l0",
            "dead_percent",
            "explained_variance",
            "learning_rate",
        ] {
            assert_eq!(row[column], kept[column], "{column}");
        }
    }
    let steps = "SELECT steps, rows FROM polysema.info.saes WHERE name = 'second'";
    let steps = &run(&PAIR.1, steps)[0];
    let last = kept.last().unwrap();
    assert_eq!(
        (&last["step"], &last["rows_seen"]),
        (&steps["steps"], &steps["rows"])
    );
    // Six of the eight quantities: without an auxiliary loss, and over before the other begins, those are 0 throughout.
    assert!(
        kept.iter()
            .all(|row| row["auxiliary"] == 0.0 && row["ne_loss"] == 0.0)
    );
    assert_eq!(page.matches("<svg class=\"lines\"").count(), 6);
    for drawn in [
        "Loss",
        "Explained variance",
        "Dead latents, %",
        "Active latents of a row (L0)",
    ] {
        assert!(page.contains(&format!("<b>{drawn}</b>")), "{drawn}");
    }
    let points = page.split("class=\"line c0\" d=\"").nth(1).unwrap();
    let points = points.split('"').next().unwrap();
    assert_eq!(points.matches(['M', 'L']).count(), rows.len());
    // Two are drawn into one picture.
    let pair = site.get("/runs/demo/compare?a=second&b=first").text();
    assert_eq!(pair.matches("<svg class=\"lines\"").count(), 6);
    assert_eq!(pair.matches("class=\"line c1\"").count(), 6);
    let both = site
        .get("/runs/demo/compare.json?a=second&b=first&panel=training")
        .json();
    let all = run(
        &PAIR.1,
        "SELECT count(*) AS n FROM polysema.info.sae_training",
    );
    assert_eq!(
        both.as_array().unwrap().len() as i64,
        all[0]["n"].as_i64().unwrap()
    );
}

#[test]
fn one_whose_training_is_not_known_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path();
    let vectors =
        "(SELECT [cos(value * 0.7), sin(value * 1.3)] AS vector FROM generate_series(0, 199))";
    run(
        store,
        &format!("CALL train_sae('old', {vectors}, {{d_sae: 4, batch_size: 50}})"),
    );
    // As a store that was written before curves were kept has it.
    let path = store.join("runs/old/manifest.json");
    let mut manifest: serde_json::Value =
        serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    let members = manifest.as_object_mut().unwrap();
    members.remove("checked");
    members.remove("checksum");
    assert!(
        members["saes"][0]
            .as_object_mut()
            .unwrap()
            .remove("curve")
            .is_some()
    );
    std::fs::write(&path, manifest.to_string()).unwrap();
    let site = Site::of(store);
    let page = site.get("/runs/old/saes/old").text();
    assert!(
        page.contains("it was trained before polysema kept curves"),
        "{page}"
    );
    assert!(!page.contains("<svg class=\"lines\""));
    assert_eq!(
        run(
            store,
            "SELECT count(*) AS n FROM polysema.info.sae_training"
        )[0]["n"],
        0
    );
    // Trained anew it has one.
    run(
        store,
        &format!("CALL train_sae('old', {vectors}, {{d_sae: 4, batch_size: 50, replace: true}})"),
    );
    assert!(
        site.get("/runs/old/saes/old")
            .text()
            .contains("<svg class=\"lines\"")
    );
}
