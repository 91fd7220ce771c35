//! The page of a report: its statements answered, drawn where their columns suggest it, and where the numbers come from.

use std::path::Path;

use datafusion::arrow::array::Array;
use datafusion::error::DataFusionError;

use super::answers::all;
use super::args;
use super::failure::Failure;
use super::format::value::{Lists, display};
use super::interpreter::Interpreter;
use super::interrupt::Interrupts;
use super::page::{ReportPage, Section};
use super::pdf::Browser;
use super::pictures::{self, BarColumns};
use crate::files::whole::write_file;
use crate::policy::{Access, Policy};
use crate::text::{describe, quoted};

/// A statement of a report.
pub struct ReportPart {
    /// What it is called, where there are several.
    pub heading: Option<&'static str>,
    /// Whether only a page has it.
    pub of_page: bool,
    /// How its rows are drawn, where that is said.
    pub bars: Option<BarColumns>,
    /// The statement.
    pub sql: String,
}

/// What a page is made of.
pub struct AskedReport {
    /// Name of the report.
    pub name: &'static str,
    /// Its question.
    pub question: &'static str,
    /// What it says of itself.
    pub about: String,
    /// Names of its variables.
    pub variables: Vec<&'static str>,
    /// Its statements.
    pub parts: Vec<ReportPart>,
}

/// Rows of a table that a page shows. Chosen, not tuned.
const PAGE_ROWS: usize = 1000;
/// The form of a page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PageForm {
    /// One file with everything in it.
    Html,
    /// Text, with pictures as files beside it.
    Markdown,
    /// What this browser prints of the HTML.
    Pdf(Browser),
}

impl PageForm {
    /// The one that the file's ending names.
    pub fn of(place: &Path) -> Result<Self, String> {
        let ending = place.extension().and_then(|ending| ending.to_str());
        match ending.map(str::to_lowercase).as_deref() {
            Some("html" | "htm") => Ok(Self::Html),
            Some("md") => Ok(Self::Markdown),
            Some("pdf") => match Browser::find() {
                Ok(browser) => Ok(Self::Pdf(browser)),
                Err(message) => Err(format!("--out: {message}")),
            },
            _ => Err(format!(
                "--out: a file that ends in .html, .md or .pdf is required, got {} (-o FILE writes the rows alone)",
                place.display()
            )),
        }
    }

    /// What a session must be allowed to write it.
    ///
    /// Errors: it is not.
    pub fn require(&self, policy: &Policy) -> Result<(), DataFusionError> {
        match self {
            Self::Pdf(_) => {
                policy.require_everything("report --out FILE.pdf, which starts a browser,")
            }
            Self::Html | Self::Markdown => policy.require("report --out", Access::WriteFiles),
        }
    }

    /// Writes a page, and the pictures of one that does not have them within before it.
    pub async fn write(
        &self,
        page: &ReportPage,
        place: &Path,
        interrupts: &Interrupts,
    ) -> Result<(), Failure> {
        let write = |place: &Path, bytes: &[u8]| {
            let written = write_file(place, bytes);
            written.map_err(|error| Failure::Error(format!("error: report: {}", describe(&error))))
        };
        match self {
            Self::Html => return write(place, page.html()?.as_bytes()),
            Self::Pdf(browser) => {
                let printed = browser.print(page.html()?, interrupts).await?;
                return write(place, &printed);
            }
            Self::Markdown => {}
        }
        let stem = place.file_stem().unwrap_or_default().to_string_lossy();
        let (text, pictures) = page.markdown(&stem)?;
        for (name, svg) in pictures {
            write(&place.with_file_name(name), svg.as_bytes())?;
        }
        write(place, text.as_bytes())
    }
}

/// The page of a report over the selected run.
pub async fn page(
    interpreter: &Interpreter,
    asked: &AskedReport,
    run: &str,
) -> Result<ReportPage, Failure> {
    let mut sections = vec![];
    for (i, part) in asked.parts.iter().enumerate() {
        let sql = interpreter.variables.substitute(&part.sql);
        let sql = sql.map_err(|error| Failure::Error(format!("error: {}", error.message)))?;
        let rows = all(&interpreter.session, &interpreter.interrupts, sql.clone()).await?;
        let (id, title) = (
            format!("picture-{}", i + 1),
            part.heading.unwrap_or(asked.name),
        );
        sections.push(Section {
            heading: part.heading.map(String::from),
            sql,
            pictures: pictures::of(&id, title, &rows, part.bars.as_ref())?,
            n_rows: rows.num_rows(),
            rows: rows.slice(0, rows.num_rows().min(PAGE_ROWS)),
        });
    }
    let of_variables: Vec<_> = (asked.variables.iter())
        .filter_map(|name| {
            let mut set = interpreter.variables.iter();
            set.find(|(set, _)| set == name)
                .map(|(name, value)| format!("{name}={value}"))
        })
        .collect();
    let mut provenance = vec![
        ("report".to_string(), asked.name.to_string()),
        (
            "written by".to_string(),
            format!("polysema {}", args::version()),
        ),
    ];
    if !of_variables.is_empty() {
        provenance.push(("variables".to_string(), of_variables.join(", ")));
    }
    let of_run = format!(
        "SELECT * FROM polysema.info.runs WHERE run = {}",
        quoted(run, '\'')
    );
    provenance.push(("run".to_string(), run.to_string()));
    let facts = all(&interpreter.session, &interpreter.interrupts, of_run).await?;
    for (field, column) in facts.schema().fields().iter().zip(facts.columns()) {
        if column.is_empty() || column.is_null(0) || field.name() == "run" {
            continue;
        }
        let value = display(column, 0, Lists::Whole).map_err(DataFusionError::from)?;
        provenance.push((format!("run's {}", field.name()), value));
    }
    let settings = "SELECT name, value FROM information_schema.df_settings WHERE name LIKE 'polysema.%' ORDER BY name";
    let settings = all(
        &interpreter.session,
        &interpreter.interrupts,
        settings.to_string(),
    )
    .await?;
    for row in 0..settings.num_rows() {
        let cell = |column: usize| display(settings.column(column), row, Lists::Whole);
        let (name, value) = cell(0)
            .and_then(|name| Ok((name, cell(1)?)))
            .map_err(DataFusionError::from)?;
        provenance.push((name, value));
    }
    Ok(ReportPage {
        title: asked.question.to_string(),
        about: asked.about.clone(),
        sections,
        provenance,
    })
}
