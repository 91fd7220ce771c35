//! A neuron: its activations, the tree of its examples with the cut that makes clusters of them, and every example.

use askama::Template;
use futures::try_join;
use serde::Deserialize;

use crate::explore::clusters::{
    ClusterShown, ExampleLine, ExampleList, ExampleShown, example_lists, shown,
};
use crate::explore::page::{Reached, WebPage, crumbs_of_neuron};
use crate::explore::pages::activations::drawn;
use crate::explore::pages::labels::{Labels, labels};
use crate::explore::pages::neuron_images::NeuronImages;
use crate::explore::pages::projection::Projection;
use crate::explore::panel::Panel;
use crate::explore::publish::{SitePage, WebSite, packed};
use crate::explore::show::{self, Visible};
use crate::explore::tokens::Shades;
use crate::explore::tree::Tree;
use crate::explore::trouble::Trouble;
use crate::explore::visit::{Visit, VisitedRun};
use crate::store::LayerRow;

/// The most examples on the page; of a neuron of more the first of each cluster are shown, and the central one.
const SHOWN: usize = 200;
/// The most examples of a cluster where a neuron has more.
const OF_EACH: usize = 30;
/// The most clusters at a glance, and those of a published page: what is more is small.
const CARDS: usize = 40;
const PUBLISHED_CARDS: usize = 12;

/// Examples of a cluster that stand in a published page as they are, and of all clusters; the others are packed.
const UNPACKED: usize = 3;
const UNPACKED_OF_ALL: usize = 8;

#[derive(Template)]
#[template(path = "neuron.html")]
struct NeuronTemplate {
    run: String,
    layer: LayerRow,
    neuron: i32,
    threshold: f64,
    is_own_scale: bool,
    other_scale: String,
    around: [Option<i32>; 2],
    /// What other neurons' addresses take along.
    along: String,
    facts: NeuronFacts,
    histogram: String,
    lists: Vec<ExampleList>,
    clusters: Vec<ClusterShown>,
    /// Examples in no cluster, whose embedding is zero.
    without: Vec<ExampleShown>,
    can_weigh: bool,
    /// Whether the page is published, and the examples that a script then unpacks.
    is_published: bool,
    packed: String,
    images: NeuronImages,
    /// Its examples as points; nothing of too few, and where they are packed.
    figures: String,
    has_projection: bool,
    /// What people call the neuron.
    labels: Labels,
    panels: Vec<Panel>,
}

/// An example in the list of its cluster.
#[derive(Template)]
#[template(path = "example.html")]
struct ExampleRow<'a> {
    run: &'a str,
    layer: i32,
    neuron: i32,
    example: &'a ExampleShown,
    /// Whether its tokens' importance can be asked for.
    can_weigh: bool,
}

/// A row of `neurons`.
#[derive(Deserialize)]
struct NeuronFacts {
    max_activation: Option<f64>,
    least_activation: Option<f64>,
    mean_activation: Option<f64>,
    frac_active: Option<f64>,
    n_examples: Option<i64>,
}

pub(in crate::explore) async fn page(visit: Visit) -> Result<Reached, Trouble> {
    let asked = visit.asked(&["threshold", "scale"])?;
    let threshold = asked.threshold_or_usual()?;
    let scale = asked.choice("scale", &["neuron", "example"])?;
    let run = visit.run().await?;
    let layer = run.layer()?;
    let neuron = run.neuron(&layer)?;
    let at = format!("layer = {} AND neuron = {neuron}", layer.layer);
    let call = format!("({}, {neuron}, {{threshold: {threshold}}})", layer.layer);
    let (facts, buckets, profile, summary) = try_join!(
        run.panel(
            "neuron",
            "The neuron",
            format!(
                "SELECT max_activation, least_activation, mean_activation, frac_active, n_examples\nFROM neurons\nWHERE {at}"
            ),
        ),
        run.panel(
            "histogram",
            "Activations",
            format!("SELECT bucket, lower, upper, count\nFROM histograms\nWHERE {at}\nORDER BY bucket"),
        ),
        run.panel(
            "profile",
            "Metrics, members and merges",
            format!(
                "SELECT sign, n_examples, n_clusters, max_distance, mean_distance, intra_cluster_distance,\n       \
                 inter_cluster_distance, members, merges\nFROM neuron_profile{call}\nORDER BY sign DESC"
            ),
        ),
        run.panel(
            "clusters",
            "Feature clusters",
            format!(
                "SELECT cluster, size, central_example, top_tokens, mean_activation, mean_distance, sign\n\
                 FROM cluster_summary{call}\nORDER BY cluster"
            ),
        ),
    )?;
    let lists = example_lists(profile.read()?);
    let examples = examples(&run, &at, &lists).await?;
    let lines: Vec<ExampleLine> = examples.read()?;
    let mut images = NeuronImages::of(&run, layer.layer, neuron, &lines).await?;
    let projection = Projection::of(&run, layer.layer, neuron, &lines, &lists).await?;
    let mut figures = projection.figures();
    let facts_line = facts
        .read()?
        .into_iter()
        .next()
        .ok_or_else(Trouble::failed)?;
    let shades = shades_of(&facts_line);
    let (mut clusters, without) = shown(
        summary.read()?,
        lines,
        &lists,
        shades,
        scale == "example",
        &images.pictures,
    );
    images
        .means(&run, layer.layer, neuron, threshold, &mut clusters)
        .await?;
    let labels = labels(&run, layer.layer, neuron, threshold, &mut clusters).await?;
    let buckets_drawn = drawn(&run, facts_line.max_activation, buckets.read()?);
    let name = run.name().to_string();
    let packed = match visit.site() {
        Some(site) => {
            let figures = std::mem::take(&mut figures);
            pack(site, &name, layer.layer, neuron, &mut clusters, &figures)?
        }
        None => String::new(),
    };
    let mut panels = vec![profile, summary, examples, buckets, facts];
    let has_projection = !projection.panels.is_empty();
    panels.extend(projection.panels);
    panels.extend(images.panels.iter().cloned());
    panels.extend(labels.panel.clone());
    let other = if scale == "neuron" {
        "example"
    } else {
        "neuron"
    };
    let page = WebPage {
        title: format!("{name} layer {} neuron {neuron}", layer.layer),
        crumbs: crumbs_of_neuron(&name, layer.layer, neuron, "", None),
        panels: panels.clone(),
        is_unfinished: false,
        body: Box::new(NeuronTemplate {
            run: name,
            neuron,
            threshold,
            is_own_scale: scale == "example",
            other_scale: asked.with(&[("scale", Some(other.to_string()))]),
            around: [neuron - 1, neuron + 1]
                .map(|other| (0..layer.n_neurons).contains(&other).then_some(other)),
            along: asked.with(&[]),
            layer,
            facts: facts_line,
            histogram: buckets_drawn,
            lists,
            clusters,
            without,
            can_weigh: visit.site().is_none() && images.pictures.is_empty() && run.has_model(),
            is_published: visit.site().is_some(),
            packed,
            images,
            figures,
            has_projection,
            labels,
            panels,
        }),
    };
    Ok(page.into())
}

/// Takes all but the first examples from the clusters, as HTML that is packed: a list a cluster, and the pictures.
fn pack(
    site: &WebSite,
    run: &str,
    layer: i32,
    neuron: i32,
    clusters: &mut [ClusterShown],
    figures: &str,
) -> Result<String, Trouble> {
    let (mut lists, mut left) = (String::new(), UNPACKED_OF_ALL);
    for cluster in clusters {
        let kept = UNPACKED.min(left).min(cluster.examples.len());
        left -= kept;
        let rest = cluster.examples.split_off(kept);
        cluster.n_packed = i64::try_from(rest.len()).unwrap_or(i64::MAX);
        if rest.is_empty() {
            continue;
        }
        lists.push_str(&format!("<ol data-cluster=\"{}\">", cluster.line.cluster));
        for example in &rest {
            lists.push_str(&row(run, layer, neuron, example, false));
        }
        lists.push_str("</ol>");
    }
    if !figures.is_empty() {
        lists.push_str(&format!("<div data-place=\"figures\">{figures}</div>"));
    }
    if lists.is_empty() {
        return Ok(lists);
    }
    let lists = site.relinked(&lists, SitePage::Neuron(layer, neuron).root());
    packed(&lists)
}

/// An example as HTML.
fn row(run: &str, layer: i32, neuron: i32, example: &ExampleShown, can_weigh: bool) -> String {
    let row = ExampleRow {
        run,
        layer,
        neuron,
        example,
        can_weigh,
    };
    // Writing into a string does not fail.
    row.render().unwrap_or_default()
}

/// The examples that are shown: all, or of a neuron of very many the first of each cluster and the central one.
async fn examples(run: &VisitedRun, at: &str, lists: &[ExampleList]) -> Result<Panel, Trouble> {
    let members = || {
        lists
            .iter()
            .flat_map(|list| list.line.members.iter().flatten())
    };
    let mut only = String::new();
    if members().count() > SHOWN {
        let mut of_cluster = std::collections::HashMap::<Option<i64>, usize>::new();
        let clusters = lists
            .iter()
            .filter_map(|list| list.line.n_clusters)
            .sum::<i64>();
        let clusters = usize::try_from(clusters).unwrap_or(0).max(1);
        let of_each = (SHOWN / clusters).clamp(1, OF_EACH);
        let mut taken = vec![];
        for member in members() {
            let seen = of_cluster.entry(member.cluster).or_default();
            *seen += 1;
            if (*seen <= of_each || member.is_central == Some(true)) && taken.len() < SHOWN {
                taken.push(member.example.to_string());
            }
        }
        only = format!(" AND example IN ({})", taken.join(", "));
    }
    let sql = format!(
        "SELECT example, doc_id, pos, token, activation, window_start, window_tokens, window_activations\n\
         FROM examples\nWHERE {at}{only}\nORDER BY example"
    );
    run.panel("examples", "Dataset examples", sql).await
}

fn shades_of(facts: &NeuronFacts) -> Shades {
    Shades {
        most: facts.max_activation.unwrap_or(0.0),
        least: facts.least_activation,
    }
}

impl NeuronTemplate {
    fn panel(&self, id: &str) -> String {
        let found = self.panels.iter().find(|panel| panel.id == id);
        found.map(Panel::sql).unwrap_or_default()
    }

    fn row(&self, example: &ExampleShown) -> String {
        let can_weigh = self.can_weigh && !example.line.is_without_text();
        row(&self.run, self.layer.layer, self.neuron, example, can_weigh)
    }

    /// The clusters that are shown at a glance.
    fn cards(&self) -> &[ClusterShown] {
        let most = match self.is_published {
            true => PUBLISHED_CARDS,
            false => CARDS,
        };
        &self.clusters[..self.clusters.len().min(most)]
    }

    fn n_clusters(&self) -> usize {
        self.clusters.len()
    }

    /// The highest distance that the slider reaches.
    fn top(&self) -> f64 {
        let tops = self
            .lists
            .iter()
            .filter_map(|list| Some(list.tree.as_ref()?.top()));
        tops.fold(self.threshold, f64::max)
    }

    fn least(&self) -> f32 {
        let least = self
            .lists
            .iter()
            .filter_map(|list| Some(list.tree.as_ref()?.least()));
        least.fold(0.0, f32::max)
    }

    /// Whether the tree can be cut elsewhere: a published page has to have every example, and a leaf of its own for each.
    fn can_be_cut(&self) -> bool {
        let trees = || self.lists.iter().filter_map(|list| list.tree.as_ref());
        let has_all = self.clusters.iter().all(|cluster| cluster.n_hidden() == 0);
        !self.is_published || has_all && !trees().any(Tree::is_cut_short)
    }

    fn is_of_images(&self) -> bool {
        self.panels.iter().any(|panel| panel.id == "images")
    }

    fn is_latent(&self) -> bool {
        self.layer.kind == "sae"
    }

    fn has_tree(&self) -> bool {
        self.lists.iter().any(|list| list.tree.is_some())
    }
}
