//! `polysema report`: the questions of `sql/reports`, one file each, run over a run of the store, as tables or as a page.
//!
//! A file has one statement, or several parts: `-- part: HEADING` stands before a statement, `-- page: HEADING` before one
//! that only a page has, `-- bars LABEL, LABEL VALUE` where its rows are to be drawn as bars.

use std::fmt::Write;
use std::path::Path;

use polysema_udfs::calls::did_you_mean;

use super::describe::{RowStream, rows};
use super::failure::Failure;
use super::interpreter::{Interpreter, ScriptSource};
use super::pictures::BarColumns;
use super::report_page::{AskedReport, PageForm, ReportPart, page};
use super::script::{Step, split};
#[cfg(feature = "explore")]
use super::variables::Variables;
#[cfg(feature = "explore")]
use crate::explore::SavedQuestion;
use crate::session::Session;
use crate::text::{describe, quoted};

/// One question with its SQL.
struct Report {
    name: &'static str,
    sql: &'static str,
}

const REPORTS: [Report; 11] = [
    Report {
        name: "image_neuron",
        sql: include_str!("../../sql/reports/image_neuron.sql"),
    },
    Report {
        name: "neuron",
        sql: include_str!("../../sql/reports/neuron.sql"),
    },
    Report {
        name: "polysemantic_neurons",
        sql: include_str!("../../sql/reports/polysemantic_neurons.sql"),
    },
    Report {
        name: "sae_compare",
        sql: include_str!("../../sql/reports/sae_compare.sql"),
    },
    Report {
        name: "sae_language_model",
        sql: include_str!("../../sql/reports/sae_language_model.sql"),
    },
    Report {
        name: "scc_agreement",
        sql: include_str!("../../sql/reports/scc_agreement.sql"),
    },
    Report {
        name: "senses",
        sql: include_str!("../../sql/reports/senses.sql"),
    },
    Report {
        name: "summary",
        sql: include_str!("../../sql/reports/summary.sql"),
    },
    Report {
        name: "table1",
        sql: include_str!("../../sql/reports/table1.sql"),
    },
    Report {
        name: "table2",
        sql: include_str!("../../sql/reports/table2.sql"),
    },
    Report {
        name: "table3",
        sql: include_str!("../../sql/reports/table3.sql"),
    },
];

/// The run a report is about, a variable of every report.
const RUN: &str = "run";

impl Report {
    fn comments(&self) -> impl Iterator<Item = &'static str> {
        self.sql.lines().map_while(|line| line.strip_prefix("-- "))
    }

    /// The question, the first comment of its file.
    fn question(&self) -> &'static str {
        self.comments().next().unwrap_or_default()
    }

    /// Columns that it needs of the run's documents, from the comment `needs NAME, NAME`.
    fn needs(&self) -> impl Iterator<Item = &'static str> {
        let lists = self
            .comments()
            .filter_map(|comment| comment.strip_prefix("needs "));
        lists.flat_map(|list| list.split(", "))
    }

    /// Variables with their defaults, from the comments `var NAME=VALUE`; `var NAME` has to be given.
    fn variables(&self) -> Vec<(&'static str, Option<&'static str>)> {
        let written = (self.comments()).filter_map(|comment| comment.strip_prefix("var "));
        written
            .map(|variable| match variable.split_once('=') {
                Some((name, value)) => (name, Some(value)),
                None => (variable, None),
            })
            .collect()
    }

    /// What it says of itself, below the question.
    fn about(&self) -> String {
        let is_text = |line: &&str| {
            !["var ", "needs ", "part: ", "page: ", "bars "]
                .iter()
                .any(|word| line.starts_with(word))
        };
        let lines: Vec<_> = self.comments().skip(1).filter(is_text).collect();
        lines.join(" ")
    }

    /// Its statements, each with what the comments before it say.
    fn parts(&self) -> Vec<ReportPart> {
        let steps = split(self.sql);
        let mut end = 0;
        let mut parts = vec![];
        for located in steps.steps.into_iter().chain(steps.rest) {
            let Step::Statement(sql) = located.step else {
                continue;
            };
            let before = &self.sql[end..located.offset];
            end = located.offset + sql.len();
            let comments = || before.lines().filter_map(|line| line.strip_prefix("-- "));
            let of_page = comments().find_map(|line| line.strip_prefix("page: "));
            let heading = comments().find_map(|line| line.strip_prefix("part: "));
            let bars = comments().find_map(|line| line.strip_prefix("bars ")?.rsplit_once(' '));
            parts.push(ReportPart {
                heading: heading.or(of_page),
                of_page: of_page.is_some(),
                bars: bars.map(|(labels, value)| BarColumns {
                    labels: labels.split(", ").map(String::from).collect(),
                    value: value.to_string(),
                }),
                sql,
            });
        }
        parts
    }
}

/// The reports of one statement whose variables have values by themselves, as questions for the console of the explorer.
#[cfg(feature = "explore")]
pub fn saved_questions() -> Vec<SavedQuestion> {
    let saved = REPORTS.iter().filter_map(|report| {
        let mut variables = Variables::default();
        for (name, value) in report.variables() {
            let value = value.filter(|value| !value.is_empty())?;
            variables.set(name, value).ok()?;
        }
        let lines = report.sql.lines().skip_while(|line| line.starts_with("--"));
        let sql = lines.collect::<Vec<_>>().join("\n");
        (report.parts().len() == 1).then_some(())?;
        Some(SavedQuestion {
            name: report.name.to_string(),
            question: report.question().to_string(),
            sql: variables.substitute(&sql).ok()?,
        })
    });
    saved.collect()
}

/// Refuses a run whose documents lack columns that the report reads.
async fn require_columns(session: &Session, report: &Report, run: &str) -> Result<(), String> {
    let needs: Vec<&str> = report.needs().collect();
    let documents = format!("{}.documents", quoted(run, '"'));
    // A run that is not there says so when it is selected.
    let Ok((schema, _)) = session.columns(&documents).await else {
        return Ok(());
    };
    match needs.iter().all(|column| schema.index_of(column).is_ok()) {
        true => Ok(()),
        false => {
            let columns = schema.fields().iter().map(|field| field.name().as_str());
            Err(format!(
                "{} requires a run whose documents have the columns {}, got {run}, whose have {}",
                report.name,
                needs.join(", "),
                columns.collect::<Vec<_>>().join(", ")
            ))
        }
    }
}

/// Runs the report of that name, or lists them all.
pub async fn run(
    interpreter: &mut Interpreter,
    name: Option<&str>,
    variables: &[(String, String)],
    out: Option<&Path>,
) -> Result<(), Failure> {
    let failed = |message: String| Failure::Error(format!("error: report: {message}"));
    let Some(name) = name else {
        return match out {
            None => interpreter.show(list()).await,
            Some(_) => Err(failed(
                "a report is required with --out, got none".to_string(),
            )),
        };
    };
    let form = out.map(|place| PageForm::of(place).map(|form| (form, place)));
    let form = form.transpose().map_err(failed)?;
    let names = || REPORTS.map(|report| report.name).join(", ");
    let report = REPORTS
        .iter()
        .find(|report| report.name == name)
        .ok_or_else(|| {
            let meant = did_you_mean(REPORTS.iter().map(|report| report.name), name);
            failed(format!(
                "a report is required, got '{name}'{meant}; reports: {}",
                names()
            ))
        })?;
    let defaults = report.variables();
    for (variable, value) in &defaults {
        let given = variables.iter().any(|(name, _)| name == variable);
        match value {
            Some(value) => interpreter.variables.set(variable, value).map_err(failed)?,
            None if given => {}
            None => {
                return Err(failed(format!(
                    "{name} requires the variable {variable}, got none: --var {variable}=..."
                )));
            }
        }
    }
    let mut run = None;
    for (variable, value) in variables {
        if variable == RUN {
            run = Some(value.clone());
        } else if defaults.iter().any(|(known, _)| known == variable) {
            interpreter.variables.set(variable, value).map_err(failed)?;
        } else {
            let known: Vec<_> = defaults.iter().map(|(known, _)| *known).collect();
            return Err(failed(format!(
                "variables of {name} are {}, got '{variable}'",
                [&[RUN], known.as_slice()].concat().join(", ")
            )));
        }
    }
    let runs = interpreter.session.store().runs()?;
    let run = match run {
        Some(run) => Some(run),
        None => interpreter.session.selected_run()?,
    };
    let Some(run) = run else {
        return Err(failed(match runs.first() {
            Some(first) => format!(
                "a run is required, got none of {}: choose one with --var run={first}",
                runs.join(", ")
            ),
            None => "a run is required, got a store without one".to_string(),
        }));
    };
    let has_columns = require_columns(&interpreter.session, report, &run).await;
    has_columns.map_err(failed)?;
    let select = format!("SET polysema.run = {}", quoted(&run, '\''));
    let generated = ScriptSource::Generated;
    interpreter.run_script(&select, &generated).await?;
    if let Some((form, place)) = form {
        let allowed = form.require(interpreter.session.policy());
        allowed.map_err(|error| failed(describe(&error)))?;
        let asked = AskedReport {
            name: report.name,
            question: report.question(),
            about: report.about(),
            variables: defaults.iter().map(|(name, _)| *name).collect(),
            parts: report.parts(),
        };
        let page = page(interpreter, &asked, &run).await?;
        form.write(&page, place, &interpreter.interrupts).await?;
        interpreter.notice(&format!("{} is written", place.display()));
        return Ok(());
    }
    for part in report.parts().into_iter().filter(|part| !part.of_page) {
        if let Some(heading) = part.heading {
            interpreter.notice(&format!("{heading}:"));
        }
        interpreter.run_script(&part.sql, &generated).await?;
    }
    Ok(())
}

/// The reports.
fn list() -> datafusion::error::Result<RowStream> {
    let variables = REPORTS.iter().map(|report| {
        let mut variables = RUN.to_string();
        for (name, value) in report.variables() {
            let value = value.map_or_else(String::new, |value| format!("={value}"));
            let _ = write!(variables, ", {name}{value}");
        }
        variables
    });
    let text = |of: fn(&Report) -> &str| REPORTS.iter().map(|r| of(r).to_string()).collect();
    rows(vec![
        ("report", text(|report| report.name)),
        ("question", text(|report| report.question())),
        ("variables", variables.collect()),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_is_a_report_that_asks_a_question() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/sql/reports");
        let files = std::fs::read_dir(folder).expect("the reports").count();
        assert_eq!(files, REPORTS.len());
        for report in &REPORTS {
            assert!(report.question().contains('?'), "{}", report.name);
            for (name, _) in report.variables() {
                let used = [format!(":{name}"), format!(":'{name}'")];
                let is_used = used.iter().any(|text| report.sql.contains(text));
                assert!(is_used, "{name}");
            }
            let parts = report.parts();
            assert!(!parts.is_empty(), "{}", report.name);
            let named = parts.iter().all(|part| part.heading.is_some());
            assert!(
                parts.len() == 1 || named,
                "{}: parts have headings",
                report.name
            );
        }
    }
}
