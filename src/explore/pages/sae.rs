//! A sparse autoencoder: how often its latents are active, those that are most, how well it reconstructs.

use std::time::Duration;

use askama::Template;
use axum::http::StatusCode;
use serde::Deserialize;

use super::saes::saes_sql;
use crate::explore::charts::{Bar, bars};
use crate::explore::page::{Reached, WebPage, crumbs};
use crate::explore::panel::Panel;
use crate::explore::show::{self, Visible};
use crate::explore::training::{TrainingCurve, training_curves, training_sql};
use crate::explore::trouble::Trouble;
use crate::explore::visit::{Late, Visit, VisitedRun};
use crate::text::quoted;

/// Latents in the list.
const LISTED: usize = 12;
/// A reader waits so long for metrics.
const WAIT: Duration = Duration::from_secs(4);

#[derive(Template)]
#[template(path = "sae.html")]
struct SaeTemplate {
    run: String,
    sae: SaeFacts,
    others: Vec<String>,
    facts_panel: Panel,
    density: Vec<Bar>,
    density_panel: Panel,
    latents: Vec<LatentLine>,
    latents_panel: Option<Panel>,
    metrics: Measured,
    curves: Vec<TrainingCurve>,
    training_panel: Panel,
}

/// What was measured on documents or images.
pub(super) enum Measured {
    /// Nobody has asked.
    Unasked,
    /// It could not be: why.
    Impossible(String),
    /// It is, or will be.
    Asked(Late),
}

impl Measured {
    /// What a question comes to that needs the model of the run, which may be gone.
    pub(super) fn of(late: Result<Late, Trouble>) -> Self {
        Self::explained(late).0
    }

    /// The same, and what those are told who ask for the data of a page that says why there are none.
    pub(super) fn explained(late: Result<Late, Trouble>) -> (Self, Option<(StatusCode, Trouble)>) {
        match late {
            Ok(late) => (Self::Asked(late), None),
            Err(trouble) => (
                Self::Impossible(trouble.message.clone()),
                Some((StatusCode::OK, trouble)),
            ),
        }
    }

    pub(super) fn panel(&self) -> Option<&Panel> {
        match self {
            Self::Asked(late) => late.panel(),
            _ => None,
        }
    }

    /// How far it is, in words, if it is still computed.
    pub(super) fn working(&self) -> Option<String> {
        match self {
            Self::Asked(late) => late.working(),
            _ => None,
        }
    }

    pub(super) fn since(&self) -> Option<u64> {
        match self {
            Self::Asked(late) => late.since(),
            _ => None,
        }
    }

    pub(super) fn problem(&self) -> Option<&str> {
        match self {
            Self::Impossible(message) => Some(message),
            _ => None,
        }
    }

    pub(super) fn is_unasked(&self) -> bool {
        matches!(self, Self::Unasked)
    }
}

#[derive(Deserialize, Clone)]
pub(super) struct SaeFacts {
    pub name: String,
    pub layer: Option<i32>,
    variant: Option<String>,
    d_in: i64,
    d_out: i64,
    d_sae: i64,
    format: Option<String>,
    hook: Option<String>,
    hook_out: Option<String>,
    source: Option<String>,
    options: Option<String>,
    steps: Option<i64>,
    rows: Option<i64>,
    mse: Option<f64>,
    seconds: Option<f64>,
    created_at: Option<String>,
}

#[derive(Deserialize)]
struct DensityBucket {
    log10_lower: Option<f64>,
    log10_upper: Option<f64>,
    n_latents: i64,
}

#[derive(Deserialize)]
struct LatentLine {
    neuron: i32,
    frac_active: Option<f64>,
    max_activation: Option<f64>,
    n_examples: i64,
}

#[derive(Deserialize)]
struct MetricLine {
    metric: String,
    value: Option<f64>,
    definition: String,
}

/// The autoencoders of a run; the one of a name is an error where it is none.
pub(super) fn named<'s>(
    run: &VisitedRun,
    saes: &'s [SaeFacts],
    name: &str,
) -> Result<&'s SaeFacts, Trouble> {
    saes.iter().find(|sae| sae.name == name).ok_or_else(|| {
        let known = saes.iter().map(|sae| {
            let address = format!("/runs/{}/saes/{}", run.name(), sae.name);
            (sae.name.clone(), address)
        });
        Trouble::missing(
            format!(
                "an autoencoder of run {} is required, got '{name}'",
                run.name()
            ),
            known.collect(),
        )
    })
}

pub(in crate::explore) async fn page(visit: Visit) -> Result<Reached, Trouble> {
    let asked = visit.asked(&["measure"])?;
    let measure = asked.choice("measure", &["no", "yes"])? == "yes";
    let run = visit.run().await?;
    let facts_panel = run
        .panel("saes", "What it is", saes_sql(run.name()))
        .await?;
    let saes: Vec<SaeFacts> = facts_panel.read()?;
    let sae = named(&run, &saes, visit.part("sae"))?.clone();
    let name = quoted(&sae.name, '\'');
    let sql = format!("SELECT log10_lower, log10_upper, n_latents\nFROM feature_density({name})");
    let density_panel = run
        .panel("density", "How often latents are active", sql)
        .await?;
    let sql = training_sql(run.name(), &[&sae.name]);
    let training_panel = run.panel("training", "How it was trained", sql).await?;
    let curves = training_curves(&training_panel, &[&sae.name])?;
    let mut panels = vec![
        density_panel.clone(),
        facts_panel.clone(),
        training_panel.clone(),
    ];
    let (mut latents, mut latents_panel) = (vec![], None);
    if let Some(layer) = sae.layer {
        let sql = format!(
            "SELECT neuron, frac_active, max_activation, n_examples\nFROM neurons\nWHERE layer = {layer}\n\
             ORDER BY frac_active DESC, neuron\nLIMIT {LISTED}"
        );
        let panel = run.panel("latents", "Most active latents", sql).await?;
        latents = panel.read()?;
        panels.push(panel.clone());
        latents_panel = Some(panel);
    }
    let metrics = match measure {
        false => Measured::Unasked,
        true => {
            let sql = format!("SELECT metric, value, definition\nFROM sae_metrics({name})");
            Measured::of(
                run.late_panel_of_model("metrics", "Metrics", sql, WAIT)
                    .await,
            )
        }
    };
    panels.extend(metrics.panel().cloned());
    let run = run.name().to_string();
    let page = WebPage {
        title: format!("{} of {run}", sae.name),
        crumbs: crumbs(
            &run,
            &[
                ("autoencoders", "/saes"),
                (&sae.name, &format!("/saes/{}", sae.name)),
            ],
        ),
        panels,
        is_unfinished: metrics.since().is_some(),
        body: Box::new(SaeTemplate {
            run,
            others: (saes.iter().filter(|other| sae.can_match(other)))
                .map(|other| other.name.clone())
                .collect(),
            density: density(&density_panel.read::<DensityBucket>()?),
            sae,
            facts_panel,
            density_panel,
            latents,
            latents_panel,
            metrics,
            curves,
            training_panel,
        }),
    };
    Ok(page.into())
}

/// The histogram, whose buckets are shares of rows.
fn density(buckets: &[DensityBucket]) -> Vec<Bar> {
    let percent = |log10: f64| show::number((10f64.powf(log10) * 1e4).round() / 100.0);
    let label = |bucket: &DensityBucket| match (bucket.log10_lower, bucket.log10_upper) {
        (Some(lower), Some(_)) if lower >= 0.0 => "always".to_string(),
        (Some(lower), Some(upper)) => {
            format!("{} to {} %", percent(lower), percent(upper.min(0.0)))
        }
        _ => "never".to_string(),
    };
    let numbers: Vec<_> = buckets
        .iter()
        .map(|bucket| Some(bucket.n_latents as f64))
        .collect();
    bars(buckets.iter().map(label).collect(), &numbers)
}

impl SaeTemplate {
    fn lines(&self) -> Vec<MetricLine> {
        // What the function gives has these columns.
        let lines = self.metrics.panel().map(Panel::read);
        lines.and_then(Result::ok).unwrap_or_default()
    }
}

impl SaeFacts {
    /// Whether it and another have weights of one width, so that `sae_matches` compares their latents.
    pub(super) fn can_match(&self, other: &Self) -> bool {
        self.name != other.name && (self.d_out == other.d_out || self.d_in == other.d_in)
    }

    fn options(&self) -> Vec<(String, String)> {
        show::options(self.options.as_deref())
    }
}
