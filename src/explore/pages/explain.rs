//! A reader's own text: which feature clusters its tokens make fire, those of each token that fire most.

use std::time::Duration;

use askama::Template;
use serde::Deserialize;

use crate::explore::charts::meter;
use crate::explore::page::{Reached, WebPage, crumbs};
use crate::explore::panel::Panel;
use crate::explore::query_string::along;
use crate::explore::show::{self, Visible};
use crate::explore::trouble::Trouble;
use crate::explore::visit::Visit;
use crate::text::quoted;

use super::sae::Measured;

/// A reader waits so long for the model's pass and the clustering of the neurons that fire.
const WAIT: Duration = Duration::from_secs(6);
/// Features of a token.
const FEATURES: i64 = 5;

#[derive(Template)]
#[template(path = "explain.html")]
struct ExplainTemplate {
    run: String,
    text: String,
    k: i64,
    threshold: Option<f64>,
    /// What a neuron's address takes along.
    along: String,
    answered: Measured,
    tokens: Vec<TokenOfText>,
}

/// A token, and the features that fire on it.
struct TokenOfText {
    pos: i32,
    token: String,
    features: Vec<FiringFeature>,
}

#[derive(Deserialize)]
struct FiringFeature {
    pos: i32,
    token: String,
    layer: i32,
    neuron: i32,
    cluster: Option<i32>,
    activation: Option<f64>,
    share: Option<f64>,
    distance: Option<f64>,
    size: Option<i64>,
    top_tokens: Option<Vec<String>>,
}

pub(in crate::explore) async fn page(visit: Visit) -> Result<Reached, Trouble> {
    let asked = visit.asked(&["text", "k", "threshold"])?;
    let k = asked.number("k", 1..=20)?.unwrap_or(FEATURES);
    let threshold = asked.threshold()?;
    let text = asked.text("text").unwrap_or_default().replace("\r\n", "\n");
    let run = visit.run().await?;
    let name = run.name().to_string();
    let answered = match text.trim().is_empty() {
        true => Measured::Unasked,
        false => {
            let cut = threshold.map(|threshold| format!(", threshold: {threshold}"));
            let sql = format!(
                "SELECT pos, token, layer, neuron, cluster, activation, share, distance, size, top_tokens\n\
                 FROM explain_text({}, {{k: {k}{}}})\nORDER BY pos, share DESC, layer, neuron",
                quoted(&text, '\''),
                cut.unwrap_or_default()
            );
            Measured::of(
                run.late_panel_of_model("features", "Features", sql, WAIT)
                    .await,
            )
        }
    };
    let features: Vec<FiringFeature> = answered.panel().map_or(Ok(vec![]), Panel::read)?;
    let mut tokens: Vec<TokenOfText> = vec![];
    for feature in features {
        match tokens.last_mut() {
            Some(last) if last.pos == feature.pos => last.features.push(feature),
            _ => tokens.push(TokenOfText {
                pos: feature.pos,
                token: feature.token.clone(),
                features: vec![feature],
            }),
        }
    }
    let page = WebPage {
        title: format!("Text in {name}"),
        crumbs: crumbs(&name, &[("text", "/explain")]),
        panels: answered.panel().cloned().into_iter().collect(),
        is_unfinished: answered.since().is_some(),
        body: Box::new(ExplainTemplate {
            run: name,
            text,
            k,
            threshold,
            along: along(threshold),
            answered,
            tokens,
        }),
    };
    Ok(page.into())
}

impl FiringFeature {
    fn address(&self, run: &str, along: &str) -> String {
        let cluster = self.cluster.map(|cluster| format!("#cluster-{cluster}"));
        let (layer, neuron) = (self.layer, self.neuron);
        format!(
            "/runs/{run}/layers/{layer}/neurons/{neuron}{along}{}",
            cluster.unwrap_or_default()
        )
    }

    /// How near it is to the neuron's maximum.
    fn bar(&self) -> String {
        meter(0.0, self.share.unwrap_or(0.0).clamp(0.0, 1.0))
    }

    fn words(&self) -> &[String] {
        self.top_tokens.as_deref().unwrap_or_default()
    }
}
