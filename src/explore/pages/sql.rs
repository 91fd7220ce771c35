//! SQL: a reader's own question, its rows as a table and as a picture, and the names that it may be made of.

use std::sync::Arc;

use askama::Template;
use axum::http::StatusCode;

use crate::explore::assets;
use crate::explore::cells::ShownRows;
use crate::explore::charts::{self, Chart};
use crate::explore::console::{self, Mistake, WrittenAnswer};
use crate::explore::explorer::SavedQuestion;
use crate::explore::page::{Reached, WebPage};
use crate::explore::panel::Panel;
use crate::explore::show::{self, Visible};
use crate::explore::trouble::Trouble;
use crate::explore::visit::Visit;
use crate::session::{FunctionEntry, Session};

/// Tables whose columns are listed.
const TABLES: usize = 60;
/// Characters of a line that are shown beside the place of a mistake.
const AROUND: usize = 60;

#[derive(Template)]
#[template(path = "console.html")]
struct ConsoleTemplate {
    path: String,
    /// What unqualified names mean.
    selected: Option<String>,
    sql: String,
    answer: Option<ConsoleAnswer>,
    mistake: Option<Shown>,
    saved: Vec<SavedQuestion>,
    functions: Vec<FunctionEntry>,
    tables: Vec<NamedTable>,
    script: &'static str,
}

/// Rows as they are shown.
struct ConsoleAnswer {
    panel: Panel,
    n_rows: i64,
    shown: i64,
    stopped: Option<String>,
    cells: ShownRows,
    chart: Option<Chart>,
    kind: String,
    x: String,
    y: String,
    drawable: Vec<String>,
}

/// A mistake, and the line that it is in.
struct Shown {
    message: String,
    line: usize,
    column: usize,
    text: String,
}

/// A table as a reader writes it.
struct NamedTable {
    name: String,
    columns: Vec<String>,
}

pub(in crate::explore) async fn page(visit: Visit) -> Result<Reached, Trouble> {
    let asked = visit.asked(&["sql", "question", "chart", "x", "y"])?;
    let kind = asked.choice("chart", &charts::KINDS)?;
    let saved = visit.explorer.saved.clone();
    let sql = match (asked.text("sql"), asked.text("question")) {
        (Some(_), Some(_)) => {
            return Err(Trouble::asked("sql or question is required, got both"));
        }
        (Some(sql), None) => Some(sql.replace("\r\n", "\n")),
        (None, _) => None,
    };
    let question = asked.text("question");
    let question = question.map(|name| question_of(&visit, &saved, name));
    let question = question.transpose()?;
    let of_run = !visit.part("run").is_empty();
    let session = visit.explorer.console()?;
    if of_run {
        let run = visit.run().await?;
        session.select_run(run.name()).await?;
    }
    let selected = session.selected_run()?;
    let (functions, tables) = (
        session.functions(),
        tables(&session, selected.as_ref()).await?,
    );
    let (mut answer, mut mistaken) = (None, None);
    if let Some(text) = &sql {
        match console::run(&session, text, console::LIMITS).await {
            Ok(outcome) => {
                let [x, y] = ["x", "y"].map(|name| asked.text(name));
                answer = Some(ConsoleAnswer::of(&visit, outcome, kind, [x, y])?);
            }
            Err(mistake) => mistaken = Some(mistake),
        }
    }
    let run = selected.clone().filter(|_| of_run);
    let (path, _) = &*visit.place;
    let mut crumbs = vec![("store".into(), "/".into())];
    crumbs.extend(run.map(|run| (run.clone(), format!("/runs/{run}"))));
    crumbs.push(("SQL".into(), path.clone()));
    let refused = match (&answer, &mistaken) {
        (
            Some(ConsoleAnswer {
                stopped: Some(why), ..
            }),
            _,
        ) => {
            // Half of the rows are not to be taken for all of them.
            let message = format!("fewer rows are required, as with LIMIT, got more: {why}");
            Some((StatusCode::OK, Trouble::asked(message)))
        }
        (_, Some(Mistake { trouble, .. })) => Some((
            trouble.status,
            Trouble::new(trouble.status, trouble.message.clone()),
        )),
        _ => None,
    };
    let page = WebPage {
        title: "SQL".into(),
        crumbs,
        panels: answer.iter().map(|answer| answer.panel.clone()).collect(),
        is_unfinished: false,
        body: Box::new(ConsoleTemplate {
            path: path.clone(),
            selected,
            mistake: mistaken.map(|mistake| Shown::of(mistake, sql.as_deref().unwrap_or_default())),
            sql: sql.or(question).unwrap_or_default(),
            answer,
            saved,
            functions,
            tables,
            script: assets::CONSOLE.address(),
        }),
    };
    Ok(Reached::explained(page, refused))
}

fn question_of(visit: &Visit, saved: &[SavedQuestion], name: &str) -> Result<String, Trouble> {
    let found = saved.iter().find(|question| question.name == name);
    let found = found.map(|question| question.sql.clone());
    let (path, _) = &*visit.place;
    found.ok_or_else(|| {
        let known = saved.iter().map(|question| {
            let name = question.name.clone();
            (question.question.clone(), format!("{path}?question={name}"))
        });
        Trouble::missing(
            format!("one of the saved questions is required, got '{name}'"),
            known.collect(),
        )
    })
}

/// The tables of the run and those about the store, with their columns; of other runs, where none is selected, names alone.
async fn tables(session: &Session, selected: Option<&String>) -> Result<Vec<NamedTable>, Trouble> {
    let mut named = vec![];
    let entries = session.tables().await?;
    let of_other = |schema: &str| selected.is_some() && schema != "info" && schema != "public";
    for entry in entries {
        let is_own = Some(&entry.schema) == selected;
        if !is_own && of_other(&entry.schema) || named.len() >= TABLES {
            continue;
        }
        let name = match (is_own, entry.schema.as_str()) {
            (true, _) => entry.name.clone(),
            (false, "info") => format!("polysema.info.{}", entry.name),
            (false, schema) => format!("{schema}.{}", entry.name),
        };
        let columns = match session.columns(&name).await {
            Ok((schema, _)) => {
                let fields = schema.fields().iter();
                fields.map(|field| field.name().clone()).collect()
            }
            // One that cannot be read says so when it is asked.
            Err(_) => vec![],
        };
        named.push(NamedTable { name, columns });
    }
    Ok(named)
}

impl ConsoleAnswer {
    fn of(
        visit: &Visit,
        outcome: WrittenAnswer,
        kind: &str,
        [x, y]: [Option<&str>; 2],
    ) -> Result<Self, Trouble> {
        let rows = &outcome.answered.rows;
        let cells = ShownRows::of(rows, outcome.answered.run.as_deref())?;
        let count = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
        Ok(Self {
            n_rows: count(rows.num_rows()),
            shown: count(cells.rows.len()),
            stopped: outcome.stopped,
            chart: charts::chart(rows, kind, [x, y])?,
            kind: kind.to_string(),
            x: x.unwrap_or_default().to_string(),
            y: y.unwrap_or_default().to_string(),
            drawable: charts::drawable(rows),
            cells,
            panel: visit.panel("answer", "Answer", Arc::new(outcome.answered)),
        })
    }
}

impl Shown {
    fn of(mistake: Mistake, sql: &str) -> Self {
        let (line, column) = mistake
            .place
            .map_or((0, 0), |place| (place.line, place.column));
        let text = sql.lines().nth(line.wrapping_sub(1)).unwrap_or_default();
        let from = column.saturating_sub(1 + AROUND);
        let part = text.chars().skip(from).take(2 * AROUND);
        let part = Visible(&part.collect::<String>()).to_string();
        let mark = " ".repeat(column.saturating_sub(1) - from.min(column.saturating_sub(1)));
        Self {
            message: mistake.trouble.message,
            line,
            column,
            text: match text.is_empty() {
                true => String::new(),
                false => format!("{part}\n{mark}^"),
            },
        }
    }
}
