//! The store: its runs.

use askama::Template;
use serde::Deserialize;

use crate::explore::page::{Reached, WebPage};
use crate::explore::panel::Panel;
use crate::explore::show::{self, Visible};
use crate::explore::trouble::Trouble;
use crate::explore::visit::Visit;

#[derive(Template)]
#[template(path = "store.html")]
struct StoreTemplate {
    runs: Vec<RunLine>,
    panel: Panel,
}

/// What the page says of a run.
#[derive(Deserialize)]
struct RunLine {
    run: String,
    architecture: Option<String>,
    model: Option<String>,
    corpus: Option<String>,
    layers: Option<i64>,
    neurons: Option<i64>,
    examples: Option<i64>,
    tokens: Option<i64>,
    created_at: Option<String>,
    problem: Option<String>,
}

const SQL: &str = "\
SELECT run, architecture, model, corpus, layers, neurons, examples, tokens, created_at, problem
FROM polysema.info.runs
ORDER BY run";

pub(in crate::explore) async fn page(visit: Visit) -> Result<Reached, Trouble> {
    visit.asked(&[])?;
    let panel = visit.store_panel("runs", "Runs", SQL.to_string()).await?;
    let page = WebPage {
        title: "Runs".into(),
        crumbs: vec![("store".into(), "/".into())],
        panels: vec![panel.clone()],
        body: Box::new(StoreTemplate {
            runs: panel.read()?,
            panel,
        }),
        is_unfinished: false,
    };
    Ok(page.into())
}

impl RunLine {
    fn day(&self) -> &str {
        let at = self.created_at.as_deref().unwrap_or("–");
        at.split('T').next().unwrap_or(at)
    }
}
