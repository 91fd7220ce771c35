//! A neuron as one picture to share: what it is, how often it is active, and the tree of its examples.

use futures::try_join;
use polysema_udfs::svg::{Ink, escaped, first_columns};
use serde::Deserialize;

use crate::explore::page::Reached;
use crate::explore::pages::neuron_images::mean_addresses;
use crate::explore::show;
use crate::explore::trouble::Trouble;
use crate::explore::visit::{Visit, VisitedRun};

/// Leaves of the trees at most: a card is seen at once.
const LEAVES: usize = 24;
/// Clusters of images that are shown by their mean.
const MEANS: usize = 10;
/// The width of a tree, and what lies around it.
const WIDTH: f64 = 960.0;
const MARGIN: f64 = 36.0;
/// Where the trees begin.
const TOP: f64 = 150.0;
/// The side of a mean image, and the distance to the next.
const IMAGE: f64 = 84.0;
const STEP: f64 = 95.0;

#[derive(Deserialize)]
struct CardFacts {
    max_activation: Option<f64>,
    frac_active: Option<f64>,
}

#[derive(Deserialize)]
struct CardBucket {
    bucket: i64,
    upper: f64,
    count: i64,
}

#[derive(Deserialize)]
struct CardLine {
    sign: Option<String>,
    n_examples: i64,
    n_clusters: Option<i64>,
    mean_distance: Option<f64>,
}

#[derive(Deserialize)]
struct CardCluster {
    cluster: u32,
    size: u32,
}

#[derive(Deserialize)]
struct CardTree {
    svg: String,
}

pub(in crate::explore) async fn card(visit: Visit) -> Result<Reached, Trouble> {
    let asked = visit.asked(&["threshold"])?;
    let threshold = asked.threshold_or_usual()?;
    let run = visit.run().await?;
    let layer = run.layer()?;
    let neuron = run.neuron(&layer)?;
    let number = layer.layer;
    let at = format!("layer = {number} AND neuron = {neuron}");
    let sql = |columns: &str, table: &str| format!("SELECT {columns}\nFROM {table}\nWHERE {at}");
    let call = format!("({number}, {neuron}, {{threshold: {threshold}");
    let (facts, buckets, lines, trees) = try_join!(
        run.panel("neuron", "The neuron", sql("max_activation, frac_active", "neurons")),
        run.panel(
            "histogram",
            "Activations",
            sql("bucket, upper, count", "histograms") + "\nORDER BY bucket",
        ),
        run.panel(
            "profile",
            "Metrics",
            format!("SELECT sign, n_examples, n_clusters, mean_distance\nFROM neuron_profile{call}}})\nORDER BY sign DESC"),
        ),
        run.panel(
            "trees",
            "Dendrograms",
            format!("SELECT svg\nFROM dendrogram_svg{call}, max_leaves: {LEAVES}}})\nORDER BY sign DESC"),
        ),
    )?;
    let facts: Vec<CardFacts> = facts.read()?;
    let lines: Vec<CardLine> = lines.read()?;
    let trees: Vec<CardTree> = trees.read()?;
    let means = means(&run, number, neuron, threshold).await?;
    let head = Head {
        title: format!("Layer {number} · Neuron {neuron}"),
        of: format!("{} · {}", run.name(), layer.name),
        said: said(&lines, threshold),
        numbers: facts.first().map_or_else(String::new, |facts| {
            format!(
                "active on {}, at most {}",
                show::percent(facts.frac_active),
                show::fixed(facts.max_activation, 2)
            )
        }),
    };
    let trees: Vec<_> = trees.into_iter().map(|tree| tree.svg).collect();
    let svg = drawn(&head, &buckets.read::<CardBucket>()?, &means, &trees);
    Ok(Reached::Picture("image/svg+xml", svg))
}

/// The mean images of the first clusters with the colours of these, where the neuron is one of a classifier of images.
async fn means(
    run: &VisitedRun,
    layer: i32,
    neuron: i32,
    threshold: f64,
) -> Result<Vec<(Ink, String)>, Trouble> {
    let sql = format!(
        "SELECT \"cluster\", size\nFROM cluster_summary({layer}, {neuron}, {{threshold: {threshold}}})\n\
         ORDER BY \"cluster\"\nLIMIT {MEANS}"
    );
    let clusters: Vec<CardCluster> = run.panel("clusters", "Clusters", sql).await?.read()?;
    let numbers: Vec<_> = clusters.iter().map(|of| i64::from(of.cluster)).collect();
    let images = mean_addresses(run, layer, neuron, threshold, &numbers).await?;
    let inks = clusters.iter().map(|of| Ink::Cluster {
        number: of.cluster,
        size: of.size,
    });
    Ok(inks.zip(images).collect())
}

/// What the neuron's examples come to, in words.
fn said(lines: &[CardLine], threshold: f64) -> String {
    let of_each = lines.iter().map(|line| {
        let sign = line.sign.as_ref().map_or(String::new(), |sign| format!(" of {sign} activation"));
        let (examples, clusters) = (line.n_examples, line.n_clusters.unwrap_or(0));
        format!(
            "{} dataset example{}{sign} in {clusters} feature cluster{} at distance {threshold}, {} apart on average",
            show::count(examples),
            if examples == 1 { "" } else { "s" },
            if clusters == 1 { "" } else { "s" },
            show::fixed(line.mean_distance, 3)
        )
    });
    let of_each: Vec<_> = of_each.collect();
    match of_each.is_empty() {
        true => "No dataset example is kept".to_string(),
        false => of_each.join("; "),
    }
}

/// What stands above the trees.
struct Head {
    title: String,
    of: String,
    said: String,
    numbers: String,
}

/// The card. Its marks have colours of their own, since it is seen where no style sheet is.
fn drawn(head: &Head, buckets: &[CardBucket], means: &[(Ink, String)], trees: &[String]) -> String {
    let width = WIDTH + 2.0 * MARGIN;
    let mut y = TOP;
    let mut inside = String::new();
    for (at, (ink, image)) in means.iter().enumerate() {
        let x = MARGIN + STEP * at as f64;
        inside.push_str(&format!(
            "<image x=\"{x}\" y=\"{y}\" width=\"{IMAGE}\" height=\"{IMAGE}\" image-rendering=\"pixelated\" href=\"{image}\"/>\
             <rect x=\"{x}\" y=\"{}\" width=\"{IMAGE}\" height=\"4\" fill=\"{}\"/>\
             <text x=\"{x}\" y=\"{}\" font-size=\"12\" fill=\"{}\">cluster {at}</text>\n",
            y + IMAGE,
            ink.colour(),
            y + IMAGE + 18.0,
            Ink::Faint.colour()
        ));
    }
    if !means.is_empty() {
        y += IMAGE + 34.0;
    }
    for tree in trees {
        let Some((height, rest)) = placed(tree) else {
            continue;
        };
        inside.push_str(&format!("<svg x=\"{MARGIN}\" y=\"{y}\" {rest}"));
        y += height + 8.0;
    }
    let height = y + MARGIN - 8.0;
    let text = |x: f64, y: f64, size: u32, ink: Ink, words: &str| {
        let bold = if size > 20 {
            " font-weight=\"650\""
        } else {
            ""
        };
        format!(
            "<text x=\"{x}\" y=\"{y}\" font-size=\"{size}\"{bold} fill=\"{}\">{}</text>\n",
            ink.colour(),
            escaped(words)
        )
    };
    let [paper, line] = [Ink::Paper, Ink::Grid].map(Ink::colour);
    let label = escaped(&format!("{} of {}: {}", head.title, head.of, head.said));
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" role=\"img\" aria-label=\"{label}\" width=\"{width}\" height=\"{height}\" \
         viewBox=\"0 0 {width} {height}\" font-family=\"system-ui, sans-serif\">\n\
         <rect x=\"0.5\" y=\"0.5\" width=\"{}\" height=\"{}\" rx=\"14\" fill=\"{paper}\" stroke=\"{line}\"/>\n{}{}{}{}{}{inside}</svg>\n",
        width - 1.0,
        height - 1.0,
        text(MARGIN, 64.0, 34, Ink::Text, &head.title),
        text(MARGIN, 92.0, 16, Ink::Faint, &first_columns(&head.of, 70)),
        text(
            MARGIN,
            126.0,
            15,
            Ink::Text,
            &first_columns(&head.said, 118)
        ),
        histogram(buckets, [width - MARGIN - 240.0, 28.0]),
        text(width - MARGIN - 240.0, 98.0, 13, Ink::Faint, &head.numbers),
    )
}

/// A tree's height, and its document behind the place that it is given.
fn placed(svg: &str) -> Option<(f64, &str)> {
    let rest = svg.strip_prefix("<svg ")?;
    let height = rest.split_once(" height=\"")?.1.split_once('"')?.0;
    Some((height.parse().ok()?, rest))
}

/// Bars of 240 by 50: heights are logarithms of the counts.
fn histogram(buckets: &[CardBucket], [left, top]: [f64; 2]) -> String {
    let last = buckets.iter().map(|bucket| bucket.bucket).max();
    let most = buckets.iter().map(|bucket| bucket.count).max();
    let (Some(last), Some(most)) = (last, most) else {
        return String::new();
    };
    let width = 240.0 / (last + 1) as f64;
    let scale = (most as f64 + 1.0).ln().max(f64::MIN_POSITIVE);
    let bars = buckets.iter().map(|bucket| {
        let height = (bucket.count as f64 + 1.0).ln() / scale * 50.0;
        let ink = match bucket.upper > 0.0 {
            true => Ink::Mark,
            false => Ink::Grid,
        };
        format!(
            "<rect x=\"{:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{height:.1}\" fill=\"{}\"/>",
            left + width * bucket.bucket as f64,
            top + 50.0 - height,
            width * 0.86,
            ink.colour()
        )
    });
    bars.collect::<String>() + "\n"
}
