//! `polysema report`: the questions of `sql/reports`, one file each, run over a run of the store.

use std::fmt::Write;

use polysema_udfs::calls::did_you_mean;

use super::failure::Failure;
use super::interpreter::{Interpreter, ScriptSource};
use super::variables::quoted;

/// One question with its SQL.
struct Report {
    name: &'static str,
    sql: &'static str,
}

const REPORTS: [Report; 8] = [
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

    /// Variables with their defaults, from the comments `var NAME=VALUE`.
    fn variables(&self) -> Vec<(&'static str, &'static str)> {
        self.comments()
            .filter_map(|comment| comment.strip_prefix("var ")?.split_once('='))
            .collect()
    }
}

/// Runs the report of that name, or lists them all.
pub async fn run(
    interpreter: &mut Interpreter,
    name: Option<&str>,
    variables: &[(String, String)],
) -> Result<(), Failure> {
    let failed = |message: String| Failure::Error(format!("error: report: {message}"));
    let Some(name) = name else {
        interpreter
            .run_script(&list(), &ScriptSource::Generated)
            .await?;
        return Ok(());
    };
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
        interpreter.variables.set(variable, value).map_err(failed)?;
    }
    let mut script = String::new();
    for (variable, value) in variables {
        if variable == RUN {
            script = format!("SET polysema.run = {};\n", quoted(value, '\''));
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
    if script.is_empty() && interpreter.session.selected_run()?.is_none() {
        return Err(failed(match runs.first() {
            Some(first) => format!(
                "a run is required, got none of {}: choose one with --var run={first}",
                runs.join(", ")
            ),
            None => "a run is required, got a store without one".to_string(),
        }));
    }
    script += report.sql;
    interpreter
        .run_script(&script, &ScriptSource::Generated)
        .await?;
    Ok(())
}

/// The statement that lists the reports.
fn list() -> String {
    let mut rows = vec![];
    for report in &REPORTS {
        let mut variables = RUN.to_string();
        for (name, value) in report.variables() {
            let _ = write!(variables, ", {name}={value}");
        }
        let texts = [report.name, report.question(), &variables].map(|text| quoted(text, '\''));
        rows.push(format!("({})", texts.join(", ")));
    }
    format!(
        "SELECT column1 AS report, column2 AS question, column3 AS variables FROM (VALUES {})",
        rows.join(", ")
    )
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
        }
    }
}
