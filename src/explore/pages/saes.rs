//! The sparse autoencoders of a run: what they are, how sparse and how monosemantic their latents are.

use std::time::Duration;

use askama::Template;
use serde::Deserialize;

use crate::explore::page::{Reached, WebPage, crumbs};
use crate::explore::panel::Panel;
use crate::explore::show::{self, Visible};
use crate::explore::trouble::Trouble;
use crate::explore::visit::{Late, Visit};
use crate::store::LayerRow;
use crate::text::quoted;

/// A reader waits so long for what is computed of all latents.
const WAIT: Duration = Duration::from_millis(1500);

#[derive(Template)]
#[template(path = "saes.html")]
struct SaesTemplate {
    run: String,
    saes: Vec<SaeLine>,
    panel: Panel,
    late: Option<Late>,
    pairs: Vec<Pairs>,
}

/// Autoencoders of one width, and the layers of neurons that can be compared with them.
struct Pairs {
    d_in: i64,
    d_out: i64,
    saes: Vec<String>,
    layers: Vec<i32>,
}

#[derive(Deserialize)]
struct SaeLine {
    name: String,
    layer: Option<i32>,
    variant: Option<String>,
    d_in: i64,
    d_out: i64,
    d_sae: i64,
    format: Option<String>,
    hook: Option<String>,
    source: Option<String>,
    mse: Option<f64>,
    #[serde(skip)]
    latents: Option<LatentMetrics>,
}

#[derive(Deserialize, Clone)]
struct LatentMetrics {
    layer: i32,
    l0: Option<f64>,
    n_dead: i64,
    n_clusters: Option<f64>,
    mean_distance: Option<f64>,
}

pub(super) fn saes_sql(run: &str) -> String {
    format!(
        "SELECT name, layer, variant, d_in, d_out, d_sae, format, hook, hook_out, source, options, steps, \"rows\", mse,\n       \
         seconds, created_at\nFROM polysema.info.saes\nWHERE run = {}\nORDER BY layer, name",
        quoted(run, '\'')
    )
}

/// As the report sae_compare has them.
const LATENTS: &str = "\
SELECT n.layer, CAST(sum(CAST(n.frac_active AS DECIMAL(38, 18))) AS DOUBLE) AS l0,
       count(*) FILTER (WHERE n.max_activation < 0.005) AS n_dead,
       median(CAST(p.n_clusters AS DOUBLE)) FILTER (WHERE p.n_examples >= 2) AS n_clusters,
       median(p.mean_distance) FILTER (WHERE p.n_examples >= 2) AS mean_distance
FROM neurons n
JOIN neuron_polysemanticity({kind: 'sae'}) p ON p.layer = n.layer AND p.neuron = n.neuron
GROUP BY n.layer
ORDER BY n.layer";

pub(in crate::explore) async fn page(visit: Visit) -> Result<Reached, Trouble> {
    visit.asked(&[])?;
    let run = visit.run().await?;
    let name = run.name().to_string();
    let panel = run
        .panel("saes", "Sparse autoencoders", saes_sql(&name))
        .await?;
    let mut saes: Vec<SaeLine> = panel.read()?;
    let mut panels = vec![panel.clone()];
    let mut late = None;
    if !saes.is_empty() {
        let latents = run
            .late_panel("latents", "Latents", LATENTS.to_string(), WAIT)
            .await?;
        if let Some(panel) = latents.panel() {
            let metrics: Vec<LatentMetrics> = panel.read()?;
            for sae in &mut saes {
                let of = metrics.iter().find(|of| Some(of.layer) == sae.layer);
                sae.latents = of.cloned();
            }
            panels.push(panel.clone());
        }
        late = Some(latents);
    }
    let layers = run.run.layers()?;
    let page = WebPage {
        title: format!("{name} autoencoders"),
        crumbs: crumbs(&name, &[("autoencoders", "/saes")]),
        panels,
        is_unfinished: late.as_ref().is_some_and(|late| late.since().is_some()),
        body: Box::new(SaesTemplate {
            run: name,
            pairs: pairs(&saes, &layers),
            saes,
            panel,
            late,
        }),
    };
    Ok(page.into())
}

fn pairs(saes: &[SaeLine], layers: &[LayerRow]) -> Vec<Pairs> {
    let mut pairs: Vec<Pairs> = vec![];
    for sae in saes {
        let same = |pairs: &&mut Pairs| (pairs.d_in, pairs.d_out) == (sae.d_in, sae.d_out);
        match pairs.iter_mut().find(same) {
            Some(pairs) => pairs.saes.push(sae.name.clone()),
            None => pairs.push(Pairs {
                d_in: sae.d_in,
                d_out: sae.d_out,
                saes: vec![sae.name.clone()],
                layers: (layers.iter())
                    .filter(|layer| layer.kind == "mlp" && i64::from(layer.d_in) == sae.d_in)
                    .map(|layer| layer.layer)
                    .collect(),
            }),
        }
    }
    pairs.retain(|pairs| pairs.saes.len() + pairs.layers.len() > 1);
    pairs
}
