//! What a page shows of one question: the SQL that was run, its rows, and how long they took.

use std::sync::Arc;
use std::time::Duration;

use askama::Template;
use datafusion::arrow::array::RecordBatch;
use datafusion::common::internal_datafusion_err;
use serde::de::DeserializeOwned;

use super::trouble::Trouble;
use crate::files::json;

/// The rows of a statement.
#[derive(Debug)]
pub struct Answered {
    /// The run that unqualified names mean, if one is selected.
    pub run: Option<String>,
    /// The statement.
    pub sql: String,
    /// Its rows.
    pub rows: RecordBatch,
    /// Time from the question to the last row.
    pub elapsed: Duration,
}

/// A question of a page and its answer. The page's data under the same address ending in `.json` and `.arrow` are its
/// panels', by their names.
#[derive(Debug, Clone)]
pub struct Panel {
    /// Its name in data and links, a word.
    pub id: &'static str,
    /// What a reader calls it.
    pub title: &'static str,
    /// The question and its rows.
    pub answered: Arc<Answered>,
    /// The page's address without its ending, and what stands behind the question mark.
    pub(super) place: Arc<(String, String)>,
}

/// The SQL of a panel, to read and to copy.
#[derive(Template)]
#[template(path = "sql.html")]
struct SqlPart<'a> {
    panel: &'a Panel,
}

impl Panel {
    /// Its rows as values of a type with fields of the columns' names.
    pub fn read<T: DeserializeOwned>(&self) -> Result<Vec<T>, Trouble> {
        let lines = json::lines(&self.answered.rows)
            .map_err(|error| Trouble::from(datafusion::error::DataFusionError::from(error)))?;
        let rows = serde_json::Deserializer::from_slice(&lines).into_iter();
        let rows = rows.collect::<Result<_, _>>();
        rows.map_err(|error| internal_datafusion_err!("panel {}: {error}", self.id).into())
    }

    /// Its SQL as a part of a page, which is HTML.
    pub fn sql(&self) -> String {
        // Writing into a string does not fail.
        SqlPart { panel: self }.render().unwrap_or_default()
    }

    /// The statement.
    fn statement(&self) -> &str {
        &self.answered.sql
    }

    /// The run it is asked of.
    fn run(&self) -> &str {
        self.answered.run.as_deref().unwrap_or_default()
    }

    fn milliseconds(&self) -> String {
        format!("{:.1}", self.answered.elapsed.as_secs_f64() * 1e3)
    }

    /// Where its rows are in another form.
    fn data(&self, ending: &str) -> String {
        let (path, query) = &*self.place;
        let path = if path == "/" { "/index" } else { path };
        let and = if query.is_empty() { "" } else { "&" };
        format!("{path}.{ending}?{query}{and}panel={}", self.id)
    }
}
