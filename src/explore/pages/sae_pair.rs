//! Two sparse autoencoders of a run, or one and a layer: which latents have their like in the other, and the paper's Tables
//! 2 and 3.

use std::time::Duration;

use askama::Template;
use serde::Deserialize;

use super::sae::{Measured, SaeFacts, named};
use super::saes::saes_sql;
use crate::explore::charts::{Bar, bars};
use crate::explore::page::{Reached, WebPage, crumbs};
use crate::explore::panel::Panel;
use crate::explore::show;
use crate::explore::training::{TrainingCurve, training_curves, training_sql};
use crate::explore::trouble::Trouble;
use crate::explore::turn::{RowsPart, Turn};
use crate::explore::visit::{Late, Visit};
use crate::text::quoted;

/// A reader waits so long for matches and metrics.
const WAIT: Duration = Duration::from_secs(4);
/// The paper's tables: their titles, and their metrics as the reports `table2` and `table3` have them.
const TABLES: [(&str, &[&str]); 2] = [
    (
        "Table 2: reconstruction and sparsity",
        &[
            "mse",
            "explained_variance",
            "l0_percent",
            "l0",
            "l1_per_batch",
            "accuracy_percent",
            "accuracy_with_sae_percent",
            "accuracy_loss_percent",
            "ce_loss",
            "ce_loss_with_sae",
            "ce_loss_zero_ablation",
            "ce_loss_score",
            "dead_percent",
        ],
    ),
    (
        "Table 3: monosemanticity of the latents",
        &["max_distance", "mean_distance", "size", "frac_alive"],
    ),
];

#[derive(Template)]
#[template(path = "sae_pair.html")]
struct SaePairTemplate {
    run: String,
    names: [String; 2],
    layers: [i32; 2],
    buckets: Vec<Bar>,
    distribution: Late,
    late: Late,
    matches: Vec<MatchLine>,
    part: RowsPart,
    /// None where one is a layer.
    measured: Option<Measured>,
    tables: Vec<PairTable>,
    curves: Vec<TrainingCurve>,
    /// None where one is a layer.
    training: Option<Panel>,
}

/// A table of the paper.
struct PairTable {
    title: &'static str,
    lines: Vec<PairLine>,
}

#[derive(Deserialize)]
struct MatchLine {
    latent: i32,
    #[serde(rename = "match")]
    other: i32,
    decoder_cosine: Option<f64>,
    encoder_cosine: Option<f64>,
    n_found: i64,
}

#[derive(Deserialize)]
struct CosineBucket {
    lower: Option<f64>,
    n_latents: i64,
}

#[derive(Deserialize, Clone)]
struct PairLine {
    metric: String,
    a: Option<f64>,
    b: Option<f64>,
    definition: String,
}

/// What both are measured at, each once.
fn measures_sql(a: &str, b: &str) -> String {
    let [a, b] = [a, b].map(|name| quoted(name, '\''));
    format!(
        "WITH measured AS (\n    SELECT * FROM sae_metrics({a})\n    UNION ALL\n    SELECT * FROM sae_metrics({b})\n)\n\
         SELECT metric, max(value) FILTER (WHERE sae = {a}) AS a, max(value) FILTER (WHERE sae = {b}) AS b,\n       \
         max(definition) AS definition\nFROM measured\nGROUP BY metric\nORDER BY metric"
    )
}

pub(in crate::explore) async fn page(visit: Visit) -> Result<Reached, Trouble> {
    let asked = visit.asked(&["a", "b", "measure", "page"])?;
    let measure = asked.choice("measure", &["no", "yes"])? == "yes";
    let turn = Turn::read(&asked)?;
    let run = visit.run().await?;
    let [Some(a), Some(b)] = ["a", "b"].map(|name| asked.text(name)) else {
        return Err(Trouble::asked(
            "a, an autoencoder, and b, another or a layer, are required, got fewer",
        ));
    };
    let facts = run
        .panel("saes", "What they are", saes_sql(run.name()))
        .await?;
    let saes: Vec<SaeFacts> = facts.read()?;
    let first = named(&run, &saes, a)?;
    let layers = run.run.layers()?;
    let number = b.parse::<i32>().ok();
    let of_layer = layers.iter().find(|layer| Some(layer.layer) == number);
    let (other_layer, is_sae) = match of_layer {
        Some(layer) => (layer.layer, false),
        None => (named(&run, &saes, b)?.layer.unwrap_or_default(), true),
    };
    let b_written = if is_sae {
        quoted(b, '\'')
    } else {
        b.to_string()
    };
    let call = format!("sae_matches({}, {b_written})", quoted(a, '\''));
    let (from, rows) = (turn.from(), Turn::ROWS);
    let sql = format!(
        "SELECT latent, \"match\", decoder_cosine, encoder_cosine, count(*) OVER () AS n_found\nFROM {call}\n\
         ORDER BY coalesce(decoder_cosine, encoder_cosine) DESC NULLS LAST, latent\nLIMIT {rows} OFFSET {from}"
    );
    let late = run.late_panel("matches", "Matches", sql, WAIT).await?;
    let sql = format!(
        "SELECT least(floor(coalesce(decoder_cosine, encoder_cosine) * 10), 9) / 10 AS lower, count(*) AS n_latents\n\
         FROM {call}\nGROUP BY lower\nORDER BY lower DESC NULLS LAST"
    );
    let distribution = run
        .late_panel("distribution", "How alike", sql, WAIT)
        .await?;
    let (mut training, mut curves) = (None, vec![]);
    if is_sae {
        let panel = run.panel(
            "training",
            "How they were trained",
            training_sql(run.name(), &[a, b]),
        );
        let panel = panel.await?;
        curves = training_curves(&panel, &[a, b])?;
        training = Some(panel);
    }
    let measured = match (is_sae, measure) {
        (false, _) => None,
        (true, false) => Some(Measured::Unasked),
        (true, true) => {
            let sql = measures_sql(a, b);
            let late = run.late_panel_of_model("tables", "Tables 2 and 3", sql, WAIT);
            Some(Measured::of(late.await))
        }
    };
    let measures = measured.as_ref().and_then(Measured::panel);
    let lines: Vec<PairLine> = measures.map_or(Ok(vec![]), Panel::read)?;
    let matches: Vec<MatchLine> = late.read()?;
    let buckets: Vec<CosineBucket> = distribution.read()?;
    let found = matches.first().map_or(0, |line| line.n_found);
    let mut panels: Vec<_> = [&late, &distribution]
        .iter()
        .filter_map(|late| late.panel().cloned())
        .collect();
    panels.extend(measures.cloned());
    panels.extend(training.clone());
    let is_late = [&late, &distribution]
        .iter()
        .any(|late| late.since().is_some());
    let is_measured = (measured.as_ref()).is_some_and(|measured| measured.since().is_some());
    let name = run.name().to_string();
    let title = format!("{a} and {}{b}", if is_sae { "" } else { "layer " });
    let page = WebPage {
        title: title.clone(),
        crumbs: crumbs(
            &name,
            &[
                ("autoencoders", "/saes"),
                (&title, &format!("/compare{}", asked.with(&[]))),
            ],
        ),
        panels,
        is_unfinished: is_late || is_measured,
        body: Box::new(SaePairTemplate {
            run: name,
            names: [a.to_string(), b.to_string()],
            layers: [first.layer.unwrap_or_default(), other_layer],
            buckets: alike(&buckets),
            distribution,
            part: turn.part(&asked, found, matches.len()),
            late,
            matches,
            tables: tables(&lines),
            curves,
            training,
            measured,
        }),
    };
    Ok(page.into())
}

fn alike(buckets: &[CosineBucket]) -> Vec<Bar> {
    let label = |bucket: &CosineBucket| match bucket.lower {
        Some(lower) => format!(
            "{} to {}",
            show::number(lower),
            show::number(((lower + 0.1) * 10.0).round() / 10.0)
        ),
        None => "undefined".to_string(),
    };
    let numbers: Vec<_> = buckets
        .iter()
        .map(|bucket| Some(bucket.n_latents as f64))
        .collect();
    bars(buckets.iter().map(label).collect(), &numbers)
}

/// The lines of each table, those that are undefined for both left out.
fn tables(lines: &[PairLine]) -> Vec<PairTable> {
    let tables = TABLES.into_iter().map(|(title, metrics)| {
        let lines = metrics.iter().filter_map(|metric| {
            let line = lines.iter().find(|line| line.metric == *metric)?;
            (line.a.is_some() || line.b.is_some()).then(|| line.clone())
        });
        PairTable {
            title,
            lines: lines.collect(),
        }
    });
    tables.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tables_have_the_metrics_of_the_reports() {
        let reports = [
            include_str!("../../../sql/reports/table2.sql"),
            include_str!("../../../sql/reports/table3.sql"),
        ];
        for ((_, metrics), report) in TABLES.into_iter().zip(reports) {
            let sql = report.lines().filter(|line| !line.starts_with("--"));
            let sql: String = sql.collect();
            for metric in metrics {
                assert!(sql.contains(&format!("'{metric}'")), "{metric}");
            }
            // What stands in quotes is a metric, or a variable.
            let quoted = sql.matches('\'').count() / 2 - sql.matches(":'").count();
            assert_eq!(quoted, metrics.len());
        }
    }
}
