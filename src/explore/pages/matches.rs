//! The latents of other autoencoders whose weights are most like a latent's.

use std::time::Duration;

use askama::Template;
use serde::Deserialize;

use super::sae::SaeFacts;
use super::saes::saes_sql;
use crate::explore::page::{Reached, WebPage, crumbs_of_neuron};
use crate::explore::show::{self, Visible};
use crate::explore::trouble::Trouble;
use crate::explore::visit::{Late, Visit};
use crate::text::quoted;

/// A reader waits so long for the weights of the autoencoders.
const WAIT: Duration = Duration::from_secs(2);
/// Latents of each other autoencoder.
const OF_EACH: i64 = 3;
/// The most autoencoders a page compares with.
const OTHERS: usize = 32;

#[derive(Template)]
#[template(path = "matches.html")]
struct MatchesTemplate {
    run: String,
    sae: String,
    latent: i32,
    /// How many autoencoders could be compared with, of which these are not.
    left_out: usize,
    lines: Vec<MatchLine>,
    /// None where there is none to compare with.
    late: Option<Late>,
}

#[derive(Deserialize)]
struct MatchLine {
    sae: String,
    layer: Option<i32>,
    #[serde(rename = "match")]
    number: i32,
    decoder_cosine: Option<f64>,
    encoder_cosine: Option<f64>,
}

pub(in crate::explore) async fn page(visit: Visit) -> Result<Reached, Trouble> {
    let asked = visit.asked(&["k"])?;
    let k = asked.number("k", 1..=100)?.unwrap_or(OF_EACH);
    let run = visit.run().await?;
    let layer = run.layer()?;
    let latent = run.neuron(&layer)?;
    let (name, at) = (run.name().to_string(), layer.layer);
    let facts = run
        .panel("saes", "Sparse autoencoders", saes_sql(&name))
        .await?;
    let saes: Vec<SaeFacts> = facts.read()?;
    let Some(sae) = saes.iter().find(|sae| sae.layer == Some(at)) else {
        let known = saes.iter().filter_map(|sae| {
            let address = format!("/runs/{name}/layers/{}/neurons/0/matches", sae.layer?);
            Some((format!("latent 0 of {}", sae.name), address))
        });
        return Err(Trouble::missing(
            format!(
                "a latent of a sparse autoencoder is required, got neuron {latent} of layer {at} ({})",
                layer.name
            ),
            known.collect(),
        ));
    };
    let others: Vec<_> = saes.iter().filter(|other| sae.can_match(other)).collect();
    let mut late = None;
    if !others.is_empty() {
        let parts = others.iter().take(OTHERS).map(|other| {
            let [a, b] = [&sae.name, &other.name].map(|name| quoted(name, '\''));
            let layer = other.layer.map_or("NULL".to_string(), |n| n.to_string());
            format!(
                "SELECT {b} AS sae, CAST({layer} AS INT) AS layer, rank, \"match\", decoder_cosine, encoder_cosine\n\
                 FROM sae_matches({a}, {b}, {{k: {k}}})\nWHERE latent = {latent}\n"
            )
        });
        let sql = parts.collect::<Vec<_>>().join("UNION ALL\n") + "ORDER BY sae, rank";
        let title = "Matches in other autoencoders";
        late = Some(run.late_panel("matches", title, sql, WAIT).await?);
    }
    let page = WebPage {
        title: format!("{name} like latent {latent} of {}", sae.name),
        crumbs: crumbs_of_neuron(&name, at, latent, "", Some("matches")),
        panels: late
            .iter()
            .filter_map(|late| late.panel().cloned())
            .collect(),
        is_unfinished: late.as_ref().is_some_and(|late| late.since().is_some()),
        body: Box::new(MatchesTemplate {
            run: name,
            sae: sae.name.clone(),
            latent,
            left_out: others.len().saturating_sub(OTHERS),
            lines: late.as_ref().map_or(Ok(vec![]), Late::read)?,
            late,
        }),
    };
    Ok(page.into())
}

impl MatchesTemplate {
    /// What each autoencoder has, the most similar first.
    fn of_each(&self) -> impl Iterator<Item = &[MatchLine]> {
        self.lines.chunk_by(|a, b| a.sae == b.sae)
    }
}
