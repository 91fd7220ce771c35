//! A run: its layers, how many feature clusters their neurons have, the neurons of most and of least, where it comes from.

use std::time::Duration;

use askama::Template;
use futures::try_join;
use serde::Deserialize;

use crate::explore::page::{Reached, WebPage, crumbs};
use crate::explore::panel::Panel;
use crate::explore::show::{self, Visible};
use crate::explore::svg::stacked;
use crate::explore::trouble::Trouble;
use crate::explore::visit::{Late, Visit, VisitedRun};
use crate::text::quoted;

/// A reader waits so long for what is computed of all neurons; then the page comes without it, and again.
const WAIT: Duration = Duration::from_millis(1500);
/// Neurons in each list.
const LISTED: usize = 8;

#[derive(Template)]
#[template(path = "run.html")]
struct RunTemplate {
    name: String,
    about: About,
    about_panel: Panel,
    layers: Vec<LayerLine>,
    layers_panel: Panel,
    clusters: Late,
    lists: [NeuronList; 2],
    neurons: Late,
}

/// A title, what it means, and neurons.
struct NeuronList {
    title: &'static str,
    meaning: &'static str,
    neurons: Vec<NeuronLine>,
}

#[derive(Deserialize)]
struct About {
    model: Option<String>,
    model_hash: Option<String>,
    architecture: Option<String>,
    weight_types: Option<String>,
    corpus: Option<String>,
    corpus_hash: Option<String>,
    layer_norm: Option<String>,
    options: Option<String>,
    documents: Option<i64>,
    tokens: Option<i64>,
    neurons: Option<i64>,
    examples: Option<i64>,
    seconds: Option<f64>,
    created_at: Option<String>,
    polysema_version: Option<String>,
    datafusion_version: Option<String>,
}

#[derive(Deserialize)]
struct LayerLine {
    layer: i32,
    name: String,
    kind: String,
    n_neurons: i64,
    n_dead: i64,
    frac_active: Option<f64>,
    #[serde(skip)]
    clusters: Option<ClusterCounts>,
}

/// How many neurons of a layer have how many feature clusters.
#[derive(Deserialize, Clone)]
struct ClusterCounts {
    layer: i32,
    none: i64,
    one: i64,
    two: i64,
    three: i64,
    four: i64,
    five_to_nine: i64,
    ten_or_more: i64,
    mean_n_clusters: Option<f64>,
    mean_distance: Option<f64>,
}

#[derive(Deserialize)]
struct NeuronLine {
    layer: i32,
    neuron: i32,
    n_examples: i64,
    n_clusters: i64,
    mean_distance: Option<f64>,
    most: i64,
    least: i64,
}

fn about_sql(run: &str) -> String {
    format!(
        "SELECT model, model_hash, architecture, weight_types, corpus, corpus_hash, layer_norm, options, documents, tokens,\n       \
         neurons, examples, seconds, created_at, polysema_version, datafusion_version\n\
         FROM polysema.info.runs\nWHERE run = {}",
        quoted(run, '\'')
    )
}

const LAYERS: &str = "\
SELECT l.layer, l.name, l.kind, l.n_neurons,
       count(*) FILTER (WHERE n.max_activation <= 0) AS n_dead, median(n.frac_active) AS frac_active
FROM layers l JOIN neurons n ON n.layer = l.layer
GROUP BY l.layer, l.name, l.kind, l.n_neurons
ORDER BY l.layer";

/// Averages of decimals are the same in any order.
const CLUSTERS: &str = "\
SELECT layer,
       count(*) FILTER (WHERE n_clusters IS NULL) AS \"none\",
       count(*) FILTER (WHERE n_clusters = 1) AS one,
       count(*) FILTER (WHERE n_clusters = 2) AS two,
       count(*) FILTER (WHERE n_clusters = 3) AS three,
       count(*) FILTER (WHERE n_clusters = 4) AS four,
       count(*) FILTER (WHERE n_clusters BETWEEN 5 AND 9) AS five_to_nine,
       count(*) FILTER (WHERE n_clusters >= 10) AS ten_or_more,
       avg(n_clusters) AS mean_n_clusters,
       CAST(avg(CAST(mean_distance AS DECIMAL(38, 18))) AS DOUBLE) AS mean_distance
FROM neuron_polysemanticity({kind: 'all'})
GROUP BY layer
ORDER BY layer";

fn neurons_sql() -> String {
    format!(
        "SELECT *\nFROM (SELECT layer, neuron, n_examples, n_clusters, mean_distance,\n             \
         row_number() OVER (ORDER BY n_clusters DESC, mean_distance DESC, layer, neuron) AS most,\n             \
         row_number() OVER (ORDER BY n_clusters, mean_distance, layer, neuron) AS least\n      \
         FROM neuron_polysemanticity({{kind: 'all'}})\n      \
         WHERE n_examples >= 10 AND n_clusters IS NOT NULL)\n\
         WHERE most <= {LISTED} OR least <= {LISTED}\nORDER BY most"
    )
}

pub(in crate::explore) async fn page(visit: Visit) -> Result<Reached, Trouble> {
    visit.asked(&[])?;
    let run = visit.run().await?;
    let name = run.name().to_string();
    let (about_panel, layers_panel, clusters, neurons) = try_join!(
        run.panel("about", "Where it comes from", about_sql(&name)),
        run.panel("layers", "Layers", LAYERS.to_string()),
        late(
            &run,
            "clusters",
            "Feature clusters per neuron",
            CLUSTERS.to_string()
        ),
        late(
            &run,
            "neurons",
            "Neurons of most and of fewest feature clusters",
            neurons_sql()
        ),
    )?;
    let about = about_panel.read()?.into_iter().next();
    let about = about.ok_or_else(Trouble::failed)?;
    let mut layers: Vec<LayerLine> = layers_panel.read()?;
    if let Some(panel) = clusters.panel() {
        let counts: Vec<ClusterCounts> = panel.read()?;
        for layer in &mut layers {
            layer.clusters = counts.iter().find(|of| of.layer == layer.layer).cloned();
        }
    }
    let mut panels = vec![layers_panel.clone(), about_panel.clone()];
    panels.extend(
        [&clusters, &neurons]
            .into_iter()
            .filter_map(Late::panel)
            .cloned(),
    );
    let is_unfinished = panels.len() < 4;
    let page = WebPage {
        title: name.clone(),
        crumbs: crumbs(&name, &[]),
        panels,
        body: Box::new(RunTemplate {
            name,
            about,
            about_panel,
            layers,
            layers_panel,
            clusters,
            lists: lists(&neurons)?,
            neurons,
        }),
        is_unfinished,
    };
    Ok(page.into())
}

async fn late(
    run: &VisitedRun,
    id: &'static str,
    title: &'static str,
    sql: String,
) -> Result<Late, Trouble> {
    run.late_panel(id, title, sql, WAIT).await
}

fn lists(neurons: &Late) -> Result<[NeuronList; 2], Trouble> {
    let of = || neurons.read::<NeuronLine>();
    let listed = i64::try_from(LISTED).unwrap_or(i64::MAX);
    let (mut most, mut least) = (of()?, of()?);
    most.retain(|neuron| neuron.most <= listed);
    least.retain(|neuron| neuron.least <= listed);
    least.sort_by_key(|neuron| neuron.least);
    Ok([
        NeuronList {
            title: "Most polysemantic",
            meaning: "of the most feature clusters, 10 examples at least",
            neurons: most,
        },
        NeuronList {
            title: "Most monosemantic",
            meaning: "of the fewest feature clusters, whose examples lie closest",
            neurons: least,
        },
    ])
}

impl LayerLine {
    /// Its distribution as a bar.
    fn bar(&self) -> String {
        let Some(clusters) = &self.clusters else {
            return String::new();
        };
        let parts = clusters.parts();
        let said = parts.map(|(words, n)| format!("{words}: {n}")).join(", ");
        stacked(
            &format!("Neurons by feature clusters. {said}"),
            &parts.map(|(_, n)| n),
        )
    }
}

impl ClusterCounts {
    fn parts(&self) -> [(&'static str, i64); 7] {
        [
            ("no examples", self.none),
            ("1", self.one),
            ("2", self.two),
            ("3", self.three),
            ("4", self.four),
            ("5 to 9", self.five_to_nine),
            ("10 or more", self.ten_or_more),
        ]
    }
}

impl About {
    fn options(&self) -> Vec<(String, String)> {
        show::options(self.options.as_deref())
    }

    fn short<'a>(&self, hash: &'a Option<String>) -> &'a str {
        let hash = hash.as_deref().unwrap_or_default();
        hash.get(..12).unwrap_or(hash)
    }
}
