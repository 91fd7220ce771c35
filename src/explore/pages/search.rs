//! Search: the feature clusters that have a word among their key tokens, of whose examples it is the most first.

use std::time::Duration;

use askama::Template;
use serde::Deserialize;
use url::form_urlencoded;

use crate::explore::charts::meter;
use crate::explore::page::{Reached, WebPage, crumbs};
use crate::explore::query_string::{QueryString, along};
use crate::explore::show::{self, Visible};
use crate::explore::trouble::Trouble;
use crate::explore::turn::{RowsPart, Turn};
use crate::explore::visit::{Late, Visit, VisitedRun};
use crate::text::quoted;

/// Tokens that are offered where none is asked for.
const OFFERED: usize = 60;
/// A reader waits so long for what is computed of all neurons.
const WAIT: Duration = Duration::from_secs(4);

#[derive(Template)]
#[template(path = "search.html")]
struct SearchTemplate {
    run: String,
    wanted: TokenQuestion,
    found: Option<Found>,
    offered: Option<Late>,
    tokens: Vec<OfferedToken>,
}

/// What was found of a word.
struct Found {
    late: Late,
    layers: Late,
    by_layer: Vec<LayerOfWord>,
    clusters: Vec<ClusterOfWord>,
    part: RowsPart,
    /// The same question of words that hold this one.
    wider: Option<String>,
    /// What a neuron's address takes along.
    along: String,
}

#[derive(Deserialize)]
struct ClusterOfWord {
    layer: i32,
    neuron: i32,
    sign: Option<String>,
    cluster: i32,
    size: i64,
    n_matches: i64,
    share: Option<f64>,
    top_tokens: Vec<String>,
    mean_activation: Option<f64>,
    n_found: i64,
}

#[derive(Deserialize)]
struct LayerOfWord {
    layer: i32,
    n_neurons: i64,
    n_clusters: i64,
    n_pure: i64,
    n_matches: i64,
}

#[derive(Deserialize)]
struct OfferedToken {
    token: String,
    n_examples: i64,
}

/// The word and where it is looked for.
struct TokenQuestion {
    word: Option<String>,
    part: bool,
    layer: Option<i32>,
    threshold: Option<f64>,
    turn: Turn,
}

impl TokenQuestion {
    fn read(asked: &QueryString) -> Result<Self, Trouble> {
        let word = asked.text("word").map(str::trim);
        Ok(Self {
            word: word.filter(|word| !word.is_empty()).map(str::to_string),
            part: asked.choice("part", &["no", "yes"])? == "yes",
            layer: asked.number("layer", 0..=i32::MAX)?,
            threshold: asked.threshold()?,
            turn: Turn::read(asked)?,
        })
    }

    /// The rows of a word, before they are ordered.
    fn call(&self, word: &str) -> String {
        let mut options = vec![];
        match self.layer {
            Some(_) => {}
            None => options.push("kind: 'all'".to_string()),
        }
        if self.part {
            options.push("part: true".to_string());
        }
        if let Some(threshold) = self.threshold {
            options.push(format!("threshold: {threshold}"));
        }
        let layer = self.layer.map(|layer| format!(", {layer}"));
        let options = match options.as_slice() {
            [] => String::new(),
            options => format!(", {{{}}}", options.join(", ")),
        };
        let (word, layer) = (quoted(word, '\''), layer.unwrap_or_default());
        format!("token_search({word}{layer}{options})")
    }

    fn clusters_sql(&self, word: &str) -> String {
        format!(
            "SELECT layer, neuron, sign, cluster, size, n_matches, share, top_tokens, mean_activation,\n       \
             count(*) OVER () AS n_found\nFROM {}\n\
             ORDER BY n_matches * share DESC, size DESC, layer, neuron, sign, cluster\nLIMIT {} OFFSET {}",
            self.call(word),
            Turn::ROWS,
            self.turn.from()
        )
    }

    fn layers_sql(&self, word: &str) -> String {
        format!(
            "SELECT layer, count(DISTINCT neuron) AS n_neurons, count(*) AS n_clusters,\n       \
             count(*) FILTER (WHERE share = 1) AS n_pure, sum(n_matches) AS n_matches\n\
             FROM {}\nGROUP BY layer\nORDER BY layer",
            self.call(word)
        )
    }
}

const OFFERED_SQL: &str = "\
SELECT lower(trim(token)) AS token, count(*) AS n_examples
FROM examples
WHERE trim(token) <> ''
GROUP BY lower(trim(token))
ORDER BY n_examples DESC, token";

pub(in crate::explore) async fn page(visit: Visit) -> Result<Reached, Trouble> {
    let asked = visit.asked(&["word", "part", "layer", "threshold", "page"])?;
    let wanted = TokenQuestion::read(&asked)?;
    let run = visit.run().await?;
    let name = run.name().to_string();
    let (mut panels, mut is_unfinished) = (vec![], false);
    let mut keep = |late: &Late| match late.panel() {
        Some(panel) => panels.push(panel.clone()),
        None => is_unfinished = true,
    };
    let (mut found, mut offered, mut tokens) = (None, None, vec![]);
    match &wanted.word {
        Some(word) => {
            let of_word = of_word(&run, &asked, &wanted, word).await?;
            keep(&of_word.late);
            keep(&of_word.layers);
            found = Some(of_word);
        }
        None => {
            let sql = format!("{OFFERED_SQL}\nLIMIT {OFFERED}");
            let late = run
                .late_panel("tokens", "Frequent key tokens", sql, WAIT)
                .await?;
            tokens = late.read()?;
            keep(&late);
            offered = Some(late);
        }
    }
    let title = match &wanted.word {
        Some(word) => format!("{} in {name}", Visible(word)),
        None => format!("Search {name}"),
    };
    let page = WebPage {
        title,
        crumbs: crumbs(&name, &[("search", "/search")]),
        panels,
        is_unfinished,
        body: Box::new(SearchTemplate {
            run: name,
            wanted,
            found,
            offered,
            tokens,
        }),
    };
    Ok(page.into())
}

async fn of_word(
    run: &VisitedRun,
    asked: &QueryString,
    wanted: &TokenQuestion,
    word: &str,
) -> Result<Found, Trouble> {
    let sql = wanted.clusters_sql(word);
    let late = run
        .late_panel("clusters", "Feature clusters", sql, WAIT)
        .await?;
    let sql = wanted.layers_sql(word);
    let layers = run.late_panel("layers", "By layer", sql, WAIT).await?;
    let clusters: Vec<ClusterOfWord> = late.read()?;
    let n_found = clusters.first().map_or(0, |cluster| cluster.n_found);
    let wider = [("part", Some("yes".to_string())), ("page", None)];
    Ok(Found {
        by_layer: layers.read()?,
        part: wanted.turn.part(asked, n_found, clusters.len()),
        wider: (!wanted.part).then(|| asked.with(&wider)),
        along: along(wanted.threshold),
        late,
        layers,
        clusters,
    })
}

impl ClusterOfWord {
    /// How much of the cluster is of the word, as a bar.
    fn bar(&self) -> String {
        meter(0.0, self.share.unwrap_or(0.0))
    }
}

impl OfferedToken {
    /// What its link asks.
    fn query(&self) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.append_pair("word", &self.token);
        query.finish()
    }
}
