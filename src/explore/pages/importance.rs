//! How much each token before the key token of an example matters for the activation there: a second shading of its text. The
//! passes of the model that it takes are made once and kept beside the run.

use std::collections::HashMap;
use std::time::Duration;

use askama::Template;
use serde::Deserialize;

use super::sae::Measured;
use crate::explore::charts::meter;
use crate::explore::clusters::ExampleLine;
use crate::explore::page::{Reached, WebPage, crumbs_of_neuron};
use crate::explore::panel::Panel;
use crate::explore::show::{self, Visible};
use crate::explore::tokens::{Shades, shaded};
use crate::explore::trouble::Trouble;
use crate::explore::visit::{Visit, VisitedRun};

/// A reader waits so long for the passes of the model.
const WAIT: Duration = Duration::from_secs(2);
/// Documents of a pass: few, so that a reader sees how far it is.
const BATCH: usize = 4;

#[derive(Template)]
#[template(path = "importance.html")]
struct ImportanceTemplate {
    run: String,
    layer: i32,
    neuron: i32,
    example: i64,
    answered: Measured,
    /// How far it is, while it is computed.
    working: Option<String>,
    text: String,
    lines: Vec<ImportanceLine>,
    example_panel: Panel,
}

/// A row of `token_importance`.
#[derive(Deserialize)]
struct ImportanceLine {
    pos: i64,
    token: Option<String>,
    drop: Option<f64>,
    importance: Option<f64>,
}

pub(in crate::explore) async fn page(visit: Visit) -> Result<Reached, Trouble> {
    visit.asked(&[])?;
    let run = visit.run().await?;
    let layer = run.layer()?;
    let neuron = run.neuron(&layer)?;
    let (name, at) = (run.name().to_string(), layer.layer);
    let (example_panel, example) = example(&run, at, neuron, visit.part("example")).await?;
    let window = example.pos - example.window_start.unwrap_or(example.pos);
    let sql = format!(
        "SELECT pos, token, activation, \"drop\", importance\n\
         FROM token_importance({at}, {neuron}, {}, {{window: {window}, batch_size: {BATCH}}})\nORDER BY pos",
        example.example
    );
    let late = run.late_panel_of_model("importance", "Token importance", sql, WAIT);
    let (answered, refused) = Measured::explained(late.await);
    let working = answered.working();
    let lines: Vec<ImportanceLine> = answered.panel().map_or(Ok(vec![]), Panel::read)?;
    let of = example.example;
    let page = WebPage {
        title: format!("{name} token importance of layer {at} neuron {neuron} example {of}"),
        crumbs: crumbs_of_neuron(&name, at, neuron, "", Some(&format!("example {of}"))),
        panels: answered
            .panel()
            .into_iter()
            .chain([&example_panel])
            .cloned()
            .collect(),
        is_unfinished: working.is_some(),
        body: Box::new(ImportanceTemplate {
            run: name,
            layer: at,
            neuron,
            example: of,
            text: text(&example, &lines),
            answered,
            working,
            lines,
            example_panel,
        }),
    };
    Ok(Reached::explained(page, refused))
}

/// The example that the address names.
async fn example(
    run: &VisitedRun,
    layer: i32,
    neuron: i32,
    word: &str,
) -> Result<(Panel, ExampleLine), Trouble> {
    let sql = |number: i32| {
        format!(
            "SELECT example, doc_id, pos, token, activation, window_start, window_tokens, window_activations\n\
             FROM examples\nWHERE layer = {layer} AND neuron = {neuron} AND example = {number}"
        )
    };
    if let Ok(number @ 0..) = word.parse::<i32>() {
        let panel = run.panel("example", "The example", sql(number)).await?;
        if let Some(line) = panel.read()?.into_iter().next() {
            return Ok((panel, line));
        }
    }
    let address = format!("/runs/{}/layers/{layer}/neurons/{neuron}", run.name());
    Err(Trouble::missing(
        format!("an example of layer {layer}, neuron {neuron} is required, got '{word}'"),
        vec![("all of its examples".to_string(), address)],
    ))
}

/// The window of the example, shaded by importance as far as it is known.
fn text(example: &ExampleLine, lines: &[ImportanceLine]) -> String {
    let importance: HashMap<i64, Option<f64>> = lines
        .iter()
        .map(|line| (line.pos, line.importance))
        .collect();
    let start = example.window_start.unwrap_or(example.pos);
    let tokens = example.window_tokens.as_deref().unwrap_or_default();
    let values: Vec<Option<f64>> = (start..)
        .zip(tokens)
        .map(|(pos, _)| importance.get(&pos).copied().flatten())
        .collect();
    let shades = Shades {
        most: 1.0,
        least: None,
    };
    let key = usize::try_from(example.pos - start).ok();
    shaded("text importance", tokens, &values, key, shades)
}

impl ImportanceLine {
    fn bar(&self) -> String {
        meter(0.0, self.importance.unwrap_or(0.0))
    }

    fn text(&self) -> &str {
        self.token.as_deref().unwrap_or("–")
    }
}
