//! The feature clusters of other neurons that are most like one of a neuron's.

use std::time::Duration;

use askama::Template;
use serde::Deserialize;

use crate::explore::page::{Reached, WebPage, crumbs_of_neuron};
use crate::explore::show::{self, Visible};
use crate::explore::trouble::Trouble;
use crate::explore::visit::{Late, Visit};

/// A reader waits so long for all neurons' central examples.
const WAIT: Duration = Duration::from_secs(2);
/// Features that are listed.
const LISTED: usize = 12;

#[derive(Template)]
#[template(path = "similar.html")]
struct SimilarTemplate {
    run: String,
    layer: i32,
    neuron: i32,
    cluster: i32,
    along: String,
    lines: Vec<SimilarLine>,
    late: Late,
}

#[derive(Deserialize)]
struct SimilarLine {
    layer: i32,
    neuron: i32,
    cluster: i32,
    similarity: Option<f64>,
    size: i64,
    context: Option<String>,
}

pub(in crate::explore) async fn page(visit: Visit) -> Result<Reached, Trouble> {
    let asked = visit.asked(&["threshold"])?;
    let threshold = asked.threshold_or_usual()?;
    let run = visit.run().await?;
    let layer = run.layer()?;
    let neuron = run.neuron(&layer)?;
    let word = visit.part("cluster");
    let cluster = word.parse().ok().filter(|cluster| *cluster >= 0);
    let cluster: i32 = cluster.ok_or_else(|| {
        Trouble::missing(
            format!("a cluster's number is required, got '{word}'"),
            vec![],
        )
    })?;
    let (name, at) = (run.name().to_string(), layer.layer);
    let sql = format!(
        "SELECT layer, neuron, cluster, similarity, size, context\n\
         FROM similar_features({at}, {neuron}, {cluster}, {{threshold: {threshold}, k: {LISTED}}})\n\
         ORDER BY similarity DESC, layer, neuron, cluster"
    );
    let late = run
        .late_panel("similar", "Similar features", sql, WAIT)
        .await?;
    let page = WebPage {
        title: format!("{name} like layer {at} neuron {neuron} cluster {cluster}"),
        crumbs: crumbs_of_neuron(
            &name,
            at,
            neuron,
            &asked.with(&[]),
            Some(&format!("like cluster {cluster}")),
        ),
        panels: late.panel().cloned().into_iter().collect(),
        is_unfinished: late.since().is_some(),
        body: Box::new(SimilarTemplate {
            run: name,
            layer: at,
            neuron,
            cluster,
            along: asked.with(&[]),
            lines: late.read()?,
            late,
        }),
    };
    Ok(page.into())
}

impl SimilarLine {
    /// The context in its parts: the key token stands between « and ».
    fn parts(&self) -> (&str, &str, &str) {
        let context = self.context.as_deref().unwrap_or_default();
        let parts = context.split_once('«');
        let parts = parts.and_then(|(before, rest)| {
            let (key, after) = rest.split_once('»')?;
            Some((before, key, after))
        });
        parts.unwrap_or((context, "", ""))
    }

    fn before(&self) -> &str {
        self.parts().0
    }

    fn key(&self) -> &str {
        self.parts().1
    }

    fn after(&self) -> &str {
        self.parts().2
    }
}
