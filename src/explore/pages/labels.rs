//! What people call a neuron and its clusters: the rows of `notes.labels`, a table that anyone keeps in the store.

use datafusion::arrow::datatypes::SchemaRef;
use serde::Deserialize;

use crate::explore::clusters::ClusterShown;
use crate::explore::panel::Panel;
use crate::explore::trouble::Trouble;
use crate::explore::visit::VisitedRun;
use crate::text::quoted;

/// A row of it.
#[derive(Deserialize)]
pub struct Label {
    cluster: Option<i64>,
    label: String,
    author: Option<String>,
}

impl Label {
    /// It and who says so.
    pub fn text(&self) -> String {
        match &self.author {
            Some(author) => format!("{} ({author})", self.label),
            None => self.label.clone(),
        }
    }
}

/// The question, of a table with these columns; none where it lacks one that is needed.
fn question(columns: &SchemaRef, run: &str, layer: i32, neuron: i32) -> Option<String> {
    let has = |name: &str| columns.index_of(name).is_ok();
    if !["layer", "neuron", "label"].into_iter().all(has) {
        return None;
    }
    let column = |name: &str, kind: &str| match has(name) {
        true => name.to_string(),
        false => format!("CAST(NULL AS {kind}) AS {name}"),
    };
    let of_run = match has("run") {
        true => format!(" AND run = {}", quoted(run, '\'')),
        false => String::new(),
    };
    Some(format!(
        "SELECT {}, label, {}\nFROM notes.labels\n\
         WHERE layer = {layer} AND neuron = {neuron}{of_run} AND label IS NOT NULL\nORDER BY cluster, label",
        column("cluster", "BIGINT"),
        column("author", "TEXT")
    ))
}

/// The labels of a neuron, those of clusters given to them; the panel and those of the neuron itself.
pub async fn labels(
    run: &VisitedRun,
    layer: i32,
    neuron: i32,
    clusters: &mut [ClusterShown],
) -> Result<(Option<Panel>, Vec<Label>), Trouble> {
    let columns = run.kept_columns("notes", "labels")?;
    let question = columns.and_then(|columns| question(&columns, run.name(), layer, neuron));
    let Some(sql) = question else {
        return Ok((None, vec![]));
    };
    let panel = run.panel("labels", "Labels", sql).await?;
    let mut of_neuron = vec![];
    for label in panel.read::<Label>()? {
        let cluster = clusters
            .iter_mut()
            .find(|shown| Some(shown.line.cluster) == label.cluster);
        match cluster {
            Some(shown) => shown.labels.push(label.text()),
            // Of a cluster that is none at this threshold, too.
            None => of_neuron.push(label),
        }
    }
    Ok((Some(panel), of_neuron))
}
