//! What people call a neuron and its clusters: the rows of `notes.labels`, a table that anyone keeps in the store, and that an
//! explorer which may writes for its readers.

use axum::http::StatusCode;
use datafusion::arrow::datatypes::SchemaRef;
use futures::TryStreamExt;
use serde::Deserialize;

use crate::explore::clusters::ClusterShown;
use crate::explore::page::Reached;
use crate::explore::panel::Panel;
use crate::explore::trouble::Trouble;
use crate::explore::visit::{Visit, VisitedRun};
use crate::text::quoted;

/// The most characters of a label, and of who says so.
const LONGEST: usize = 200;
/// The table where there is none yet.
const TABLE: &str = "CREATE TABLE IF NOT EXISTS notes.labels (run TEXT, layer BIGINT, neuron BIGINT, cluster BIGINT, \
                     threshold DOUBLE, label TEXT, author TEXT, written TIMESTAMP)";

/// A row of it; a cluster is one at a threshold, where that is said.
#[derive(Deserialize)]
pub struct Label {
    pub cluster: Option<i64>,
    pub threshold: Option<f64>,
    pub label: String,
    pub author: Option<String>,
}

/// What a neuron's page has of them.
pub struct Labels {
    pub panel: Option<Panel>,
    pub all: Vec<Label>,
    /// Those of the neuron itself, and of clusters that are none at this threshold.
    pub of_neuron: Vec<String>,
    /// Whether readers may write some.
    pub can_write: bool,
}

impl Label {
    /// It and who says so.
    pub fn text(&self) -> String {
        match &self.author {
            Some(author) => format!("{} ({author})", self.label),
            None => self.label.clone(),
        }
    }

    /// It, with what it is of.
    pub fn whole(&self) -> String {
        let of = match (self.cluster, self.threshold) {
            (None, _) => String::new(),
            (Some(cluster), None) => format!("cluster {cluster}: "),
            (Some(cluster), Some(threshold)) => format!("cluster {cluster} at {threshold}: "),
        };
        format!("{of}{}", self.text())
    }
}

fn has(columns: &SchemaRef, name: &str) -> bool {
    columns.index_of(name).is_ok()
}

/// The question, of a table with these columns; none where it lacks one that is needed.
fn question(columns: &SchemaRef, run: &str, layer: i32, neuron: i32) -> Option<String> {
    if !["layer", "neuron", "label"]
        .into_iter()
        .all(|name| has(columns, name))
    {
        return None;
    }
    let column = |name: &str, kind: &str| match has(columns, name) {
        true => name.to_string(),
        false => format!("CAST(NULL AS {kind}) AS {name}"),
    };
    let of_run = match has(columns, "run") {
        true => format!(" AND run = {}", quoted(run, '\'')),
        false => String::new(),
    };
    Some(format!(
        "SELECT {}, {}, label, {}\nFROM notes.labels\n\
         WHERE layer = {layer} AND neuron = {neuron}{of_run} AND label IS NOT NULL\nORDER BY cluster, threshold, label",
        column("cluster", "BIGINT"),
        column("threshold", "DOUBLE"),
        column("author", "TEXT")
    ))
}

/// The labels of a neuron, those of clusters at this threshold given to them.
pub async fn labels(
    run: &VisitedRun,
    layer: i32,
    neuron: i32,
    threshold: f64,
    clusters: &mut [ClusterShown],
) -> Result<Labels, Trouble> {
    let columns = run.kept_columns("notes", "labels")?;
    let question = columns.and_then(|columns| question(&columns, run.name(), layer, neuron));
    let panel = match question {
        Some(sql) => Some(run.panel("labels", "Labels", sql).await?),
        None => None,
    };
    let all: Vec<Label> = panel.as_ref().map_or(Ok(vec![]), Panel::read)?;
    let mut of_neuron = vec![];
    for label in &all {
        let is_of_cut = label.threshold.is_none_or(|at| at == threshold);
        let cluster = clusters
            .iter_mut()
            .find(|shown| is_of_cut && Some(shown.line.cluster) == label.cluster);
        match cluster {
            Some(shown) => shown.labels.push(label.text()),
            None => of_neuron.push(label.whole()),
        }
    }
    Ok(Labels {
        panel,
        all,
        of_neuron,
        can_write: run.may_write_labels(),
    })
}

/// Where the page of a neuron is; the labels' own address shows nothing else.
pub(in crate::explore) async fn page(visit: Visit) -> Result<Reached, Trouble> {
    visit.asked(&[])?;
    let run = visit.run().await?;
    let layer = run.layer()?;
    let neuron = run.neuron(&layer)?;
    Ok(Reached::Elsewhere(address(
        run.name(),
        layer.layer,
        neuron,
        None,
    )))
}

fn address(run: &str, layer: i32, neuron: i32, threshold: Option<f64>) -> String {
    let along = crate::explore::query_string::along(threshold);
    format!("/runs/{run}/layers/{layer}/neurons/{neuron}{along}#labels")
}

/// Writes or removes the label that a form names.
pub(in crate::explore) async fn write(visit: Visit) -> Result<Reached, Trouble> {
    let known = ["label", "author", "cluster", "threshold", "remove"];
    let asked = visit.asked(&known)?;
    let run = visit.run().await?;
    let layer = run.layer()?;
    let neuron = run.neuron(&layer)?;
    if !run.may_write_labels() {
        return Err(Trouble::new(
            StatusCode::FORBIDDEN,
            "an explorer that writes labels is required (polysema explore --write-labels), got one that only reads",
        ));
    }
    let is_removed = asked.choice("remove", &["no", "yes"])? == "yes";
    let word = |name: &str| -> Result<Option<&str>, Trouble> {
        let word = asked.text(name);
        // What is removed is named as it is.
        let word = word.map(|word| if is_removed { word } else { word.trim() });
        let word = word.filter(|word| !word.is_empty());
        match word.map_or(0, |word| word.chars().count()) {
            0..=LONGEST => Ok(word),
            n => Err(Trouble::asked(format!(
                "at most {LONGEST} characters are required as {name}, got {n}"
            ))),
        }
    };
    let written = Written {
        run: run.name(),
        layer: layer.layer,
        neuron,
        label: word("label")?.ok_or_else(|| Trouble::asked("a label is required, got none"))?,
        author: word("author")?,
        cluster: asked.number("cluster", 0..=i64::from(i32::MAX))?,
        threshold: asked.threshold()?,
    };
    let session = visit.explorer.label_writer()?;
    let change = async |sql: &str| -> Result<(), Trouble> {
        let rows = session.query(sql).await?;
        let _: Vec<_> = rows.try_collect().await?;
        Ok(())
    };
    if !is_removed {
        written.require_cluster(&run).await?;
        change(TABLE).await?;
    }
    let columns = run.kept_columns("notes", "labels")?;
    let columns = columns
        .ok_or_else(|| Trouble::missing("a table notes.labels is required, got none", vec![]))?;
    change(&match is_removed {
        true => written.delete(&columns),
        false => written.insert(&columns)?,
    })
    .await?;
    // Of a cluster the page is the one that it is of.
    let threshold = written.threshold;
    let place = address(run.name(), layer.layer, neuron, threshold);
    Ok(Reached::Elsewhere(place))
}

/// A label that is to be written or removed.
struct Written<'a> {
    run: &'a str,
    layer: i32,
    neuron: i32,
    cluster: Option<i64>,
    /// That of the page, which a cluster is one at.
    threshold: Option<f64>,
    label: &'a str,
    author: Option<&'a str>,
}

impl Written<'_> {
    async fn require_cluster(&self, run: &VisitedRun) -> Result<(), Trouble> {
        let Some(cluster) = self.cluster else {
            return Ok(());
        };
        let at = self.threshold;
        let at = at.unwrap_or(crate::settings::defaults().threshold);
        let (layer, neuron) = (self.layer, self.neuron);
        let sql = format!(
            "SELECT cluster FROM cluster_summary({layer}, {neuron}, {{threshold: {at}}}) WHERE cluster = {cluster}"
        );
        match run
            .panel("cluster", "Cluster", sql)
            .await?
            .answered
            .rows
            .num_rows()
        {
            0 => Err(Trouble::asked(format!(
                "a feature cluster of layer {layer}, neuron {neuron} at distance {at} is required, got {cluster}"
            ))),
            _ => Ok(()),
        }
    }

    /// Columns and their values as SQL, NULL where there is none.
    fn values(&self) -> [(&'static str, String); 7] {
        let text = |text: Option<&str>| text.map_or("NULL".to_string(), |text| quoted(text, '\''));
        let cluster = self.cluster.map(|cluster| cluster.to_string());
        // A neuron's label holds wherever it is cut.
        let threshold = self.threshold.filter(|_| self.cluster.is_some());
        let threshold = threshold.map(|threshold| threshold.to_string());
        [
            ("run", text(Some(self.run))),
            ("layer", self.layer.to_string()),
            ("neuron", self.neuron.to_string()),
            ("cluster", cluster.unwrap_or("NULL".to_string())),
            ("threshold", threshold.unwrap_or("NULL".to_string())),
            ("label", text(Some(self.label))),
            ("author", text(self.author)),
        ]
    }

    fn insert(&self, columns: &SchemaRef) -> Result<String, Trouble> {
        let mut needed = vec!["layer", "neuron", "label"];
        needed.extend(self.cluster.map(|_| "cluster"));
        if let Some(missing) = needed.into_iter().find(|name| !has(columns, name)) {
            return Err(Trouble::asked(format!(
                "a column {missing} of the table notes.labels is required for this label, got none"
            )));
        }
        let mut values = self.values().to_vec();
        values.push(("written", "now()".to_string()));
        values.retain(|(name, _)| has(columns, name));
        let (names, values): (Vec<_>, Vec<_>) = values.into_iter().unzip();
        Ok(format!(
            "INSERT INTO notes.labels ({}) VALUES ({})",
            names.join(", "),
            values.join(", ")
        ))
    }

    fn delete(&self, columns: &SchemaRef) -> String {
        let values = self.values();
        let known = values.iter().filter(|(name, _)| has(columns, name));
        let same = known.map(|(name, value)| format!("({name} IS NOT DISTINCT FROM {value})"));
        let same: Vec<_> = same.collect();
        format!("DELETE FROM notes.labels WHERE {}", same.join(" AND "))
    }
}
