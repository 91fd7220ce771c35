//! What a neuron writes to the logits: the tokens, or of a classifier the classes, that it promotes and suppresses most.

use std::time::Duration;

use askama::Template;
use serde::Deserialize;

use super::sae::Measured;
use crate::explore::charts::meter;
use crate::explore::page::{Reached, WebPage, crumbs_of_neuron};
use crate::explore::panel::Panel;
use crate::explore::show::{self, Visible};
use crate::explore::trouble::Trouble;
use crate::explore::visit::Visit;

/// A reader waits so long for the model to be read.
const WAIT: Duration = Duration::from_secs(2);
/// Tokens of each side.
const TOKENS: i64 = 10;

#[derive(Template)]
#[template(path = "logits.html")]
struct LogitsTemplate {
    layer: i32,
    neuron: i32,
    answered: Measured,
    sides: Vec<LogitSide>,
}

/// The tokens of a side, the strongest first.
struct LogitSide {
    words: &'static str,
    tokens: Vec<LogitEffect>,
    /// The largest effect of both sides, which the longest bar stands for.
    most: f64,
}

#[derive(Deserialize)]
struct LogitEffect {
    side: String,
    token_id: i64,
    token: Option<String>,
    effect: Option<f64>,
}

pub(in crate::explore) async fn page(visit: Visit) -> Result<Reached, Trouble> {
    let asked = visit.asked(&["k"])?;
    let k = asked.number("k", 1..=100)?.unwrap_or(TOKENS);
    let run = visit.run().await?;
    let layer = run.layer()?;
    let neuron = run.neuron(&layer)?;
    let (name, at) = (run.name().to_string(), layer.layer);
    let sql = format!(
        "SELECT side, rank, token_id, token, effect\nFROM logit_effects({at}, {neuron}, {{k: {k}}})\n\
         ORDER BY side DESC, rank"
    );
    let late = run.late_panel_of_model("logits", "Logit effects", sql, WAIT);
    let (answered, refused) = Measured::explained(late.await);
    let effects: Vec<LogitEffect> = answered.panel().map_or(Ok(vec![]), Panel::read)?;
    let page = WebPage {
        title: format!("{name} logits of layer {at} neuron {neuron}"),
        crumbs: crumbs_of_neuron(&name, at, neuron, "", Some("logits")),
        panels: answered.panel().cloned().into_iter().collect(),
        is_unfinished: answered.since().is_some(),
        body: Box::new(LogitsTemplate {
            layer: at,
            neuron,
            sides: sides(effects),
            answered,
        }),
    };
    Ok(Reached::explained(page, refused))
}

fn sides(effects: Vec<LogitEffect>) -> Vec<LogitSide> {
    let most = effects.iter().filter_map(|line| Some(line.effect?.abs()));
    let most = most.fold(f64::MIN_POSITIVE, f64::max);
    let (top, bottom): (Vec<_>, Vec<_>) = effects.into_iter().partition(|line| line.side == "top");
    let sides = [("promoted most", top), ("suppressed most", bottom)];
    let sides = sides.into_iter().map(|(words, tokens)| LogitSide {
        words,
        tokens,
        most,
    });
    sides.filter(|side| !side.tokens.is_empty()).collect()
}

impl LogitSide {
    /// A token's effect beside the largest.
    fn bar(&self, line: &LogitEffect) -> String {
        meter(0.0, line.effect.unwrap_or(0.0).abs() / self.most)
    }
}

impl LogitEffect {
    /// Its text, or its number where the model has no tokenizer.
    fn text(&self) -> String {
        match &self.token {
            Some(token) => token.clone(),
            None => format!("id {}", self.token_id),
        }
    }
}
