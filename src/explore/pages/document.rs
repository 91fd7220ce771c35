//! A document as its tokens, shaded by a neuron where the run keeps its activations.

use std::collections::{BTreeSet, HashMap};

use askama::Template;
use serde::Deserialize;

use crate::explore::page::{Reached, WebPage, crumbs};
use crate::explore::pages::neuron_images::pictures;
use crate::explore::panel::Panel;
use crate::explore::show;
use crate::explore::tokens::{Shades, push_token};
use crate::explore::trouble::Trouble;
use crate::explore::visit::{Visit, VisitedRun};

#[derive(Template)]
#[template(path = "document.html")]
struct DocumentTemplate {
    run: String,
    doc_id: i64,
    n_tokens: i64,
    of: Option<(i32, i32)>,
    text: String,
    /// Of an image.
    picture: Option<String>,
    panels: Vec<Panel>,
}

#[derive(Deserialize)]
struct TokenLine {
    pos: i64,
    token: Option<String>,
}

#[derive(Deserialize)]
struct WindowLine {
    pos: i64,
    window_start: Option<i64>,
    window_activations: Option<Vec<Option<f64>>>,
    max_activation: Option<f64>,
    least_activation: Option<f64>,
}

pub(in crate::explore) async fn page(visit: Visit) -> Result<Reached, Trouble> {
    let asked = visit.asked(&["layer", "neuron"])?;
    let run = visit.run().await?;
    let name = run.name().to_string();
    let (word, n) = (visit.part("document"), run.run.manifest().counts.documents);
    let last = i64::try_from(n).unwrap_or(i64::MAX) - 1;
    let doc_id = word.parse().ok().filter(|id| (0..=last).contains(id));
    let doc_id: i64 = doc_id.ok_or_else(|| {
        let first = (
            "document 0".to_string(),
            format!("/runs/{name}/documents/0"),
        );
        let known = if last >= 0 { vec![first] } else { vec![] };
        let message = match last {
            -1 => format!("a run with documents is required, got {name}, which has none"),
            last => format!("a document of run {name} from 0 to {last} is required, got '{word}'"),
        };
        Trouble::missing(message, known)
    })?;
    let of = match (
        asked.number("layer", 0..=i32::MAX)?,
        asked.number("neuron", 0..=i32::MAX)?,
    ) {
        (Some(layer), Some(neuron)) => Some((layer, neuron)),
        (None, None) => None,
        _ => {
            return Err(Trouble::asked(
                "layer and neuron are required together, got one",
            ));
        }
    };
    let sql = format!("SELECT pos, token\nFROM tokens\nWHERE doc_id = {doc_id}\nORDER BY pos");
    let tokens = run.panel("tokens", "Tokens", sql).await?;
    let mut panels = vec![tokens.clone()];
    let mut windows: Vec<WindowLine> = vec![];
    if let Some((layer, neuron)) = of {
        let panel = windows_of(&run, doc_id, layer, neuron).await?;
        windows = panel.read()?;
        panels.push(panel);
    }
    let mut picture = None;
    if run.run.has_images()? {
        let (panel, mut pictures) = pictures(&run, BTreeSet::from([doc_id])).await?;
        picture = pictures.remove(&doc_id);
        panels.push(panel);
    }
    let lines: Vec<TokenLine> = tokens.read()?;
    let page = WebPage {
        title: format!("{name} document {doc_id}"),
        crumbs: crumbs(&name, &[(&format!("document {doc_id}"), "")]),
        panels: panels.clone(),
        is_unfinished: false,
        body: Box::new(DocumentTemplate {
            run: name,
            doc_id,
            n_tokens: i64::try_from(lines.len()).unwrap_or(i64::MAX),
            of,
            text: text(&lines, &windows),
            picture,
            panels,
        }),
    };
    Ok(page.into())
}

async fn windows_of(
    run: &VisitedRun,
    doc_id: i64,
    layer: i32,
    neuron: i32,
) -> Result<Panel, Trouble> {
    let sql = format!(
        "SELECT e.pos, e.window_start, e.window_activations, n.max_activation, n.least_activation\n\
         FROM examples e JOIN neurons n ON n.layer = e.layer AND n.neuron = e.neuron\n\
         WHERE e.layer = {layer} AND e.neuron = {neuron} AND n.layer = {layer} AND n.neuron = {neuron}\n  \
         AND e.doc_id = {doc_id}\nORDER BY e.example"
    );
    run.panel("windows", "Activations", sql).await
}

fn text(lines: &[TokenLine], windows: &[WindowLine]) -> String {
    let mut values: HashMap<i64, f64> = HashMap::new();
    for window in windows {
        let start = window.window_start.unwrap_or(window.pos);
        let activations = window.window_activations.iter().flatten();
        for (pos, value) in (start..).zip(activations) {
            values.extend(value.map(|value| (pos, value)));
        }
    }
    let first = windows.first();
    let shades = Shades {
        most: first
            .and_then(|window| window.max_activation)
            .unwrap_or(0.0),
        least: first.and_then(|window| window.least_activation),
    };
    let mut html = String::new();
    for line in lines {
        let is_key = windows.iter().any(|window| window.pos == line.pos);
        let id = is_key.then(|| format!("token-{}", line.pos));
        let (token, value) = (line.token.as_deref(), values.get(&line.pos).copied());
        push_token(&mut html, token, value, is_key, id.as_deref(), shades);
    }
    html
}
