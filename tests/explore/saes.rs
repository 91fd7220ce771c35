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
