//! A layer: its neurons as a table that is sorted, filtered and turned over.

use std::collections::HashMap;
use std::time::Duration;

use askama::Template;
use serde::Deserialize;

use crate::explore::page::{Reached, WebPage, crumbs};
use crate::explore::panel::Panel;
use crate::explore::publish::{part_file, parts};
use crate::explore::query_string::{QueryString, along};
use crate::explore::show::{self, Visible};
use crate::explore::svg::{Bucket, spark};
use crate::explore::trouble::Trouble;
use crate::explore::turn::{RowsPart, Turn};
use crate::explore::visit::{Late, Visit};
use crate::store::LayerRow;

/// A reader waits so long for what is computed of the whole layer.
const WAIT: Duration = Duration::from_secs(4);

/// What the rows may be ordered by: the word in the address, the column, what stands above it.
const SORTS: [(&str, &str, &str); 7] = [
    ("neuron", "p.neuron", "Neuron"),
    ("clusters", "p.n_clusters", "Clusters"),
    ("examples", "p.n_examples", "Examples"),
    ("mean_distance", "p.mean_distance", "Distance, mean"),
    ("max_distance", "p.max_distance", "Distance, max"),
    ("max_activation", "n.max_activation", "Activation, max"),
    ("active", "n.frac_active", "Active on"),
];

#[derive(Template)]
#[template(path = "layer.html")]
struct LayerTemplate {
    run: String,
    layer: LayerRow,
    neurons: Vec<NeuronOfLayer>,
    shown: Shown,
    late: Late,
    histograms: Option<Panel>,
    /// Of a page of a site, the files that have all of its rows.
    parts: String,
}

/// Which part of the layer, in which order, and the addresses of the other parts.
struct Shown {
    heads: Vec<SortHead>,
    sort: String,
    order: String,
    min_clusters: Option<i64>,
    min_examples: Option<i64>,
    threshold: Option<f64>,
    part: RowsPart,
    /// What a neuron's address takes along.
    along: String,
}

struct SortHead {
    title: &'static str,
    address: String,
    /// `ascending`, `descending` or `none`.
    state: &'static str,
}

#[derive(Deserialize)]
struct NeuronOfLayer {
    neuron: i32,
    sign: Option<String>,
    n_examples: i64,
    n_clusters: Option<i64>,
    mean_distance: Option<f64>,
    max_distance: Option<f64>,
    max_activation: Option<f64>,
    frac_active: Option<f64>,
    n_found: i64,
    #[serde(skip)]
    spark: String,
}

#[derive(Deserialize)]
struct BucketOfLayer {
    neuron: i32,
    bucket: i64,
    upper: f64,
    count: i64,
}

/// Order, filters and place of the rows, as asked for.
struct LayerQuestion {
    sort: usize,
    descending: bool,
    min_clusters: Option<i64>,
    min_examples: Option<i64>,
    threshold: Option<f64>,
    turn: Turn,
    /// Those that there are, where not every neuron has a page.
    only: Option<Vec<i32>>,
}

impl LayerQuestion {
    fn read(asked: &QueryString, only: Option<Vec<i32>>) -> Result<Self, Trouble> {
        let words = SORTS.map(|(word, ..)| word);
        let word = asked.choice("sort", &words)?;
        let sort = words.iter().position(|known| *known == word).unwrap_or(0);
        // Numbers of neurons from the least, all else from the most.
        let orders = if sort == 0 {
            ["asc", "desc"]
        } else {
            ["desc", "asc"]
        };
        Ok(Self {
            sort,
            descending: asked.choice("order", &orders)? == "desc",
            min_clusters: asked.number("min_clusters", 0..=1_000_000)?,
            min_examples: asked.number("min_examples", 0..=1_000_000)?,
            threshold: asked.threshold()?,
            turn: Turn::read(asked)?,
            only,
        })
    }

    /// Whether the rows are found without the others' metrics.
    fn is_by_number(&self) -> bool {
        self.sort == 0
            && self.min_clusters.is_none()
            && self.min_examples.is_none()
            && self.only.is_none()
    }

    fn sql(&self, layer: &LayerRow) -> String {
        let at = layer.layer;
        let options = match self.threshold {
            Some(threshold) => format!(", {{threshold: {threshold}}}"),
            None => String::new(),
        };
        let mut conditions = format!("n.layer = {at}");
        let (mut n_found, mut limit) = ("count(*) OVER ()".to_string(), String::new());
        let (from, rows) = (self.turn.from(), Turn::ROWS);
        if self.is_by_number() {
            n_found = format!("CAST({} AS BIGINT)", layer.n_neurons);
            let (low, high) = match self.descending {
                false => (from, from + rows - 1),
                true => {
                    let last = i64::from(layer.n_neurons) - 1 - from;
                    (last - rows + 1, last)
                }
            };
            conditions.push_str(&format!(
                " AND n.neuron BETWEEN {low} AND {high} AND p.neuron BETWEEN {low} AND {high}"
            ));
        } else {
            limit = format!("\nLIMIT {rows} OFFSET {from}");
        }
        if let Some(least) = self.min_clusters {
            conditions.push_str(&format!(" AND p.n_clusters >= {least}"));
        }
        if let Some(least) = self.min_examples {
            conditions.push_str(&format!(" AND p.n_examples >= {least}"));
        }
        if let Some(only) = &self.only {
            let only: Vec<_> = only.iter().map(i32::to_string).collect();
            conditions.push_str(&format!(" AND p.neuron IN ({})", only.join(", ")));
        }
        let direction = if self.descending { "DESC" } else { "ASC" };
        let column = SORTS[self.sort].1;
        let order = match self.sort {
            0 => format!("{column} {direction}, p.sign"),
            _ => format!("{column} {direction} NULLS LAST, p.neuron, p.sign"),
        };
        format!(
            "SELECT p.neuron, p.sign, p.n_examples, p.n_clusters, p.mean_distance, p.max_distance,\n       \
             n.max_activation, n.frac_active, {n_found} AS n_found\n\
             FROM neuron_polysemanticity({at}{options}) p\nJOIN neurons n ON n.neuron = p.neuron\n\
             WHERE {conditions}\nORDER BY {order}{limit}"
        )
    }

    fn shown(&self, asked: &QueryString, found: i64, rows: usize) -> Shown {
        let heads = SORTS.iter().enumerate().map(|(at, (word, _, title))| {
            let (is_it, first_down) = (at == self.sort, at > 0);
            let down = if is_it { !self.descending } else { first_down };
            let order = if down { "desc" } else { "asc" };
            let changed = [
                ("sort", Some((*word).to_string())),
                ("order", Some(order.to_string())),
                ("page", None),
            ];
            SortHead {
                title,
                address: asked.with(&changed),
                state: match (is_it, self.descending) {
                    (false, _) => "none",
                    (true, true) => "descending",
                    (true, false) => "ascending",
                },
            }
        });
        Shown {
            heads: heads.collect(),
            sort: SORTS[self.sort].0.to_string(),
            order: if self.descending { "desc" } else { "asc" }.to_string(),
            min_clusters: self.min_clusters,
            min_examples: self.min_examples,
            threshold: self.threshold,
            part: self.turn.part(asked, found, rows),
            along: along(self.threshold),
        }
    }
}

pub(in crate::explore) async fn page(visit: Visit) -> Result<Reached, Trouble> {
    let asked = visit.asked(&[
        "sort",
        "order",
        "min_clusters",
        "min_examples",
        "threshold",
        "page",
    ])?;
    let run = visit.run().await?;
    let (name, layer) = (run.name().to_string(), run.layer()?);
    let site = visit.site();
    let only = site.and_then(|site| site.chosen(layer.layer));
    let selected = LayerQuestion::read(&asked, only)?;
    let files = (0..site.map_or(0, |_| parts(layer.n_neurons)))
        .map(|part| part_file(layer.layer, part))
        .collect::<Vec<_>>();
    let sql = selected.sql(&layer);
    let late = match selected.is_by_number() {
        true => Late::Ready(run.panel("neurons", "Neurons", sql).await?),
        false => run.late_panel("neurons", "Neurons", sql, WAIT).await?,
    };
    let mut neurons: Vec<NeuronOfLayer> = late.read()?;
    let mut panels: Vec<Panel> = late.panel().cloned().into_iter().collect();
    let mut histograms = None;
    if !neurons.is_empty() {
        let numbers: Vec<_> = neurons.iter().map(|n| n.neuron.to_string()).collect();
        let sql = format!(
            "SELECT neuron, bucket, upper, count\nFROM histograms\n\
             WHERE layer = {} AND neuron IN ({})\nORDER BY neuron, bucket",
            layer.layer,
            numbers.join(", ")
        );
        let panel = run.panel("histograms", "Activations", sql).await?;
        draw(&mut neurons, panel.read()?);
        panels.push(panel.clone());
        histograms = Some(panel);
    }
    let found = neurons.first().map_or(0, |neuron| neuron.n_found);
    let page = WebPage {
        title: format!("{name} layer {}", layer.layer),
        crumbs: crumbs(
            &name,
            &[(
                &format!("layer {}", layer.layer),
                &format!("/layers/{}", layer.layer),
            )],
        ),
        panels,
        is_unfinished: late.since().is_some(),
        body: Box::new(LayerTemplate {
            run: name,
            shown: selected.shown(&asked, found, neurons.len()),
            layer,
            neurons,
            late,
            histograms,
            parts: files.join(" "),
        }),
    };
    Ok(page.into())
}

/// Gives each neuron its histogram, all over the same buckets.
fn draw(neurons: &mut [NeuronOfLayer], buckets: Vec<BucketOfLayer>) {
    let n_buckets = buckets.iter().map(|bucket| bucket.bucket + 1).max();
    let mut of: HashMap<i32, Vec<Bucket>> = HashMap::new();
    for bucket in buckets {
        of.entry(bucket.neuron).or_default().push(Bucket {
            bucket: bucket.bucket,
            lower: None,
            upper: bucket.upper,
            count: bucket.count,
        });
    }
    for neuron in neurons {
        let buckets = of.get(&neuron.neuron).map_or(&[][..], Vec::as_slice);
        let title = format!("Activations of neuron {}", neuron.neuron);
        neuron.spark = spark(&title, buckets, n_buckets.unwrap_or(1));
    }
}
