//! Two runs beside each other: what they have in common, and their neurons, those that differ most first.

use std::time::Duration;

use askama::Template;
use serde::Deserialize;

use crate::explore::page::{Reached, WebPage};
use crate::explore::panel::Panel;
use crate::explore::query_string::{QueryString, along};
use crate::explore::show::{self, Visible};
use crate::explore::trouble::Trouble;
use crate::explore::turn::{RowsPart, Turn};
use crate::explore::visit::{Late, Visit, VisitedRun};
use crate::text::quoted;

use super::run_facts::{Fact, RunFacts, facts};

/// A reader waits so long for what is computed of all neurons of both.
const WAIT: Duration = Duration::from_secs(4);

/// What neurons may differ in: the word in the address, what it is called, how much of it.
const DIFFERENCES: [(&str, &str, &str); 4] = [
    ("clusters", "Clusters", "abs(b.n_clusters - a.n_clusters)"),
    (
        "distance",
        "Distance, mean",
        "abs(b.mean_distance - a.mean_distance)",
    ),
    (
        "activation",
        "Activation, max",
        "abs(nb.max_activation - na.max_activation)",
    ),
    (
        "active",
        "Active on",
        "abs(nb.frac_active - na.frac_active)",
    ),
];

#[derive(Template)]
#[template(path = "compare.html")]
struct CompareTemplate {
    runs: Vec<String>,
    names: [Option<String>; 2],
    threshold: Option<f64>,
    by: &'static str,
    both: Option<Both>,
}

/// What is said of two runs.
struct Both {
    facts: Vec<Fact>,
    facts_panel: Panel,
    pairs: Vec<LayerPair>,
    pairs_panel: Panel,
    /// None where no layer can be compared.
    compared: Option<Compared>,
}

struct Compared {
    layers: Late,
    of_layers: Vec<LayerDifference>,
    neurons: Late,
    rows: Vec<NeuronDifference>,
    heads: Vec<DifferenceHead>,
    part: RowsPart,
    /// What a neuron's address takes along.
    along: String,
}

struct DifferenceHead {
    title: &'static str,
    address: String,
    is_it: bool,
}

#[derive(Deserialize)]
struct LayerPair {
    layer: i32,
    a_name: Option<String>,
    b_name: Option<String>,
    a_kind: Option<String>,
    b_kind: Option<String>,
    a_neurons: Option<i64>,
    b_neurons: Option<i64>,
}

#[derive(Deserialize)]
struct LayerDifference {
    layer: i32,
    n_neurons: i64,
    n_same: i64,
    a_clusters: Option<f64>,
    b_clusters: Option<f64>,
    a_distance: Option<f64>,
    b_distance: Option<f64>,
    correlation: Option<f64>,
}

#[derive(Deserialize)]
struct NeuronDifference {
    layer: i32,
    neuron: i32,
    sign: Option<String>,
    a_clusters: Option<i64>,
    b_clusters: Option<i64>,
    a_distance: Option<f64>,
    b_distance: Option<f64>,
    a_activation: Option<f64>,
    b_activation: Option<f64>,
    a_active: Option<f64>,
    b_active: Option<f64>,
    n_found: i64,
}

pub(in crate::explore) async fn page(visit: Visit) -> Result<Reached, Trouble> {
    let asked = visit.asked(&["a", "b", "threshold", "by", "page"])?;
    let names = ["a", "b"].map(|name| asked.text(name).map(str::to_string));
    let by = asked.choice("by", &DIFFERENCES.map(|(word, ..)| word))?;
    let threshold = asked.threshold()?;
    let turn = Turn::read(&asked)?;
    let mut runs = visit.explorer.engine.store().runs()?;
    runs.sort();
    let (mut both, mut panels, mut is_unfinished) = (None, vec![], false);
    if let [Some(a), Some(b)] = &names {
        let (a, b) = (visit.run_of(a).await?, visit.run_of(b).await?);
        let question = Question {
            a: &a,
            b: &b,
            threshold,
            by,
            turn,
        };
        let found = question.answer(&asked).await?;
        panels.extend([found.facts_panel.clone(), found.pairs_panel.clone()]);
        if let Some(compared) = &found.compared {
            for late in [&compared.layers, &compared.neurons] {
                match late.panel() {
                    Some(panel) => panels.push(panel.clone()),
                    None => is_unfinished = true,
                }
            }
        }
        both = Some(found);
    } else if let Some(name) = names.iter().flatten().next() {
        // That it is not there is said at once.
        visit.run_of(name).await?;
    }
    let page = WebPage {
        title: match &names {
            [Some(a), Some(b)] => format!("{a} and {b}"),
            _ => "Compare".into(),
        },
        crumbs: vec![
            ("store".into(), "/".into()),
            ("compare".into(), "/compare".into()),
        ],
        panels,
        is_unfinished,
        body: Box::new(CompareTemplate {
            runs,
            names,
            threshold,
            by,
            both,
        }),
    };
    Ok(page.into())
}

/// Which runs, by what, from where on.
struct Question<'q> {
    a: &'q VisitedRun,
    b: &'q VisitedRun,
    threshold: Option<f64>,
    by: &'static str,
    turn: Turn,
}

impl Question<'_> {
    async fn answer(&self, asked: &QueryString) -> Result<Both, Trouble> {
        let [a, b] = [self.a.name(), self.b.name()].map(|name| quoted(name, '\''));
        let sql = format!(
            "SELECT run, architecture, model, model_hash, corpus, corpus_hash, layer_norm, documents, tokens, examples, options\n\
             FROM polysema.info.runs\nWHERE run IN ({a}, {b})"
        );
        let facts_panel = self.a.panel("runs", "What they are", sql).await?;
        let [a, b] = [self.a.name(), self.b.name()].map(|name| quoted(name, '"'));
        let sql = format!(
            "SELECT coalesce(a.layer, b.layer) AS layer, a.name AS a_name, b.name AS b_name, a.kind AS a_kind, b.kind AS b_kind,\n       \
             a.n_neurons AS a_neurons, b.n_neurons AS b_neurons\n\
             FROM {a}.layers a\nFULL JOIN {b}.layers b ON b.layer = a.layer\nORDER BY layer"
        );
        let pairs_panel = self.a.panel("pairs", "Layers of both", sql).await?;
        let pairs: Vec<LayerPair> = pairs_panel.read()?;
        let alike: Vec<_> = pairs
            .iter()
            .filter(|pair| pair.problem().is_none())
            .collect();
        let alike: Vec<_> = alike.iter().map(|pair| pair.layer.to_string()).collect();
        let compared = match alike.is_empty() {
            true => None,
            false => Some(self.compared(asked, &alike.join(", ")).await?),
        };
        Ok(Both {
            facts: self.facts(&facts_panel)?,
            facts_panel,
            pairs,
            pairs_panel,
            compared,
        })
    }

    fn facts(&self, panel: &Panel) -> Result<Vec<Fact>, Trouble> {
        let all: Vec<RunFacts> = panel.read()?;
        let of = |run: &VisitedRun| {
            let found = all.iter().find(|facts| facts.run == run.name());
            found.ok_or_else(Trouble::failed)
        };
        Ok(facts(of(self.a)?, of(self.b)?))
    }

    /// Both tables of metrics and of neurons, joined.
    fn joined(&self, layers: &str) -> String {
        let [a, b] = [self.a.name(), self.b.name()].map(|name| {
            let threshold = self.threshold;
            let threshold = threshold.map(|threshold| format!(", threshold: {threshold}"));
            let (run, name) = (quoted(name, '\''), quoted(name, '"'));
            let call = format!(
                "neuron_polysemanticity({{run: {run}, kind: 'all'{}}})",
                threshold.unwrap_or_default()
            );
            (call, format!("{name}.neurons"))
        });
        format!(
            "FROM {} a\nJOIN {} b\n  ON b.layer = a.layer AND b.neuron = a.neuron AND b.sign IS NOT DISTINCT FROM a.sign\n\
             JOIN {} na ON na.layer = a.layer AND na.neuron = a.neuron\n\
             JOIN {} nb ON nb.layer = a.layer AND nb.neuron = a.neuron\nWHERE a.layer IN ({layers})",
            a.0, b.0, a.1, b.1
        )
    }

    async fn compared(&self, asked: &QueryString, layers: &str) -> Result<Compared, Trouble> {
        let joined = self.joined(layers);
        let sql = format!(
            "SELECT a.layer, count(*) AS n_neurons,\n       \
             count(*) FILTER (WHERE a.n_clusters IS NOT DISTINCT FROM b.n_clusters) AS n_same,\n       \
             avg(a.n_clusters) AS a_clusters, avg(b.n_clusters) AS b_clusters,\n       \
             CAST(avg(CAST(a.mean_distance AS DECIMAL(38, 18))) AS DOUBLE) AS a_distance,\n       \
             CAST(avg(CAST(b.mean_distance AS DECIMAL(38, 18))) AS DOUBLE) AS b_distance,\n       \
             round(corr(a.mean_distance, b.mean_distance), 9) AS correlation\n\
             {joined}\nGROUP BY a.layer\nORDER BY a.layer"
        );
        // The answers also change with the other run.
        let made = self.b.run.manifest();
        let with = format!("{} {}", made.created_at, made.seconds);
        let layers = self
            .a
            .late_panel_with("layers", "By layer", sql, WAIT, &with)
            .await?;
        let found = DIFFERENCES.iter().find(|(word, ..)| *word == self.by);
        let difference = found.map_or("0", |(.., difference)| difference);
        let (from, rows) = (self.turn.from(), Turn::ROWS);
        let sql = format!(
            "SELECT a.layer, a.neuron, a.sign, a.n_clusters AS a_clusters, b.n_clusters AS b_clusters,\n       \
             a.mean_distance AS a_distance, b.mean_distance AS b_distance,\n       \
             na.max_activation AS a_activation, nb.max_activation AS b_activation,\n       \
             na.frac_active AS a_active, nb.frac_active AS b_active, count(*) OVER () AS n_found\n\
             {joined}\nORDER BY {difference} DESC NULLS LAST, abs(b.mean_distance - a.mean_distance) DESC NULLS LAST,\n         \
             a.layer, a.neuron, a.sign\nLIMIT {rows} OFFSET {from}"
        );
        let neurons = self
            .a
            .late_panel_with("neurons", "Neurons", sql, WAIT, &with)
            .await?;
        let rows: Vec<NeuronDifference> = neurons.read()?;
        let found = rows.first().map_or(0, |row| row.n_found);
        let heads = DIFFERENCES.iter().map(|(word, title, _)| DifferenceHead {
            title,
            address: asked.with(&[("by", Some((*word).to_string())), ("page", None)]),
            is_it: *word == self.by,
        });
        Ok(Compared {
            of_layers: layers.read()?,
            layers,
            heads: heads.collect(),
            part: self.turn.part(asked, found, rows.len()),
            along: along(self.threshold),
            neurons,
            rows,
        })
    }
}

impl LayerPair {
    /// Why neuron 7 of the one is not neuron 7 of the other.
    fn problem(&self) -> Option<String> {
        let name = |name: &Option<String>| Visible(name.as_deref().unwrap_or_default()).to_string();
        match (self.a_neurons, self.b_neurons) {
            (Some(_), None) => Some(format!("{} only in the first", name(&self.a_name))),
            (None, _) => Some(format!("{} only in the second", name(&self.b_name))),
            (Some(a), Some(b)) if a != b => Some(format!(
                "{} of {} neurons and {} of {}",
                name(&self.a_name),
                show::count(a),
                name(&self.b_name),
                show::count(b)
            )),
            _ if self.a_name != self.b_name || self.a_kind != self.b_kind => Some(format!(
                "{} in the first, {} in the second",
                name(&self.a_name),
                name(&self.b_name)
            )),
            _ => None,
        }
    }
}

impl CompareTemplate {
    /// The two choices of a run: what each is called in the address and on the page, and what is chosen.
    fn choices(&self) -> [(&'static str, &'static str, &str); 2] {
        let [a, b] = &self.names;
        [
            ("a", "first run", a.as_deref().unwrap_or_default()),
            ("b", "second run", b.as_deref().unwrap_or_default()),
        ]
    }
}

impl Both {
    fn problems(&self) -> Vec<(i32, String)> {
        let pairs = self.pairs.iter();
        pairs
            .filter_map(|pair| Some((pair.layer, pair.problem()?)))
            .collect()
    }

    /// Whether the same neuron stands behind the same number.
    fn is_one_model(&self) -> bool {
        self.facts
            .iter()
            .any(|fact| fact.name == "Model" && fact.is_same)
    }
}
