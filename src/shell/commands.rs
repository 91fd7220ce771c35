//! The backslash commands: their list, which help and completion show, and their parsing.

use clap::ValueEnum;
use polysema_udfs::calls::did_you_mean;

use super::format::{Expanded, Format};
use crate::text::{is_name, quoted};

/// Usage and purpose of every command.
pub const COMMANDS: [(&str, &str); 16] = [
    (
        "\\d [NAME]",
        "tables, or the columns of a table, or the documentation of a function",
    ),
    (
        "\\dendrogram L N",
        "how the clusters of neuron N of layer L hang together",
    ),
    (
        "\\df [PATTERN]",
        "functions, those whose name contains PATTERN (* stands for anything)",
    ),
    (
        "\\format [FORMAT]",
        "form of results: table, csv, tsv, json, ndjson, markdown, parquet, arrow, arrows, xlsx",
    ),
    (
        "\\histogram QUERY",
        "bars of a query's numbers, or of its rows of a name and a number",
    ),
    ("\\i FILE", "run the statements of a file"),
    (
        "\\o [FILE]",
        "write results to a file, in the form its ending names (.csv, .tsv, .json, .ndjson, .md, .parquet, .arrow, .arrows, .xlsx); without FILE to the terminal again",
    ),
    ("\\o | COMMAND", "write results to a command's input"),
    (
        "\\pager [on|off]",
        "show what is longer than the screen with $PAGER",
    ),
    (
        "\\rows [N|all]",
        "rows of a table that the terminal shows at most",
    ),
    (
        "\\set [NAME [VALUE]]",
        "variables for :NAME, :'NAME' and :\"NAME\"",
    ),
    ("\\timing [on|off]", "print the seconds a statement took"),
    (
        "\\x [on|off|auto]",
        "a value a line; auto: where rows are wider than the terminal",
    ),
    ("\\?", "these commands"),
    ("\\q", "leave"),
    ("Ctrl-C", "cancel the query; Ctrl-D leaves"),
];

/// One parsed command.
#[derive(Debug, Clone, PartialEq)]
pub enum Command {
    /// `\d`
    Describe(Option<String>),
    /// `\dendrogram`: a layer as SQL writes it and a neuron.
    Dendrogram(String, i64),
    /// `\df`
    Functions(Option<String>),
    /// `\format`
    Format(Option<Format>),
    /// `\histogram`
    Histogram(String),
    /// `\i`
    Include(String),
    /// `\o`: a file, or a command behind `|`.
    Output(Option<String>),
    /// `\pager`
    Pager(Option<bool>),
    /// `\rows`: a number, or all of them.
    Rows(Option<Option<usize>>),
    /// `\x`
    Expanded(Option<Expanded>),
    /// `\set`
    Set(Option<(String, String)>),
    /// `\timing`
    Timing(Option<bool>),
    /// `\?`
    Help,
    /// `\q`
    Quit,
}

/// Parses one line that begins with a backslash. A semicolon at its end is forgiven.
pub fn parse(line: &str) -> Result<Command, String> {
    let line = line.trim();
    let (name, argument) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    let name = name.trim_end_matches(';');
    let argument = argument.trim();
    // A variable's value may end in a semicolon, so it alone keeps it.
    let bare = argument.trim_end_matches(';').trim_end();
    let optional = (!bare.is_empty()).then(|| bare.to_string());
    match name {
        "\\d" => Ok(Command::Describe(optional)),
        "\\dendrogram" => parse_neuron(bare),
        "\\df" => Ok(Command::Functions(optional)),
        "\\format" => optional
            .map(|text| parse_format(&text))
            .transpose()
            .map(Command::Format),
        "\\histogram" => optional.map(Command::Histogram).ok_or_else(|| {
            "\\histogram: a query is required, as \\histogram SELECT activation FROM examples, got none"
                .to_string()
        }),
        "\\i" => optional
            .map(Command::Include)
            .ok_or_else(|| "\\i: a file is required, got none".to_string()),
        "\\set" => parse_set(argument).map(Command::Set),
        // A command of the system keeps its semicolon.
        "\\o" if argument.starts_with('|') => Ok(Command::Output(Some(argument.to_string()))),
        "\\o" => Ok(Command::Output(optional)),
        "\\pager" => parse_switch(name, optional.as_deref()).map(Command::Pager),
        "\\rows" => optional
            .as_deref()
            .map(parse_rows)
            .transpose()
            .map(Command::Rows),
        "\\timing" => parse_switch(name, optional.as_deref()).map(Command::Timing),
        "\\x" => parse_expanded(optional.as_deref()).map(Command::Expanded),
        "\\?" => nothing_more(name, optional).map(|()| Command::Help),
        "\\q" => nothing_more(name, optional).map(|()| Command::Quit),
        _ => match (of_psql(name), optional) {
            (Some(Habit::Is(own)), None) => parse(own),
            (Some(Habit::Is(own)), Some(argument)) => parse(&format!("{own} {argument}")),
            (Some(Habit::Write(instead)), _) => Err(format!(
                "a command out of \\? is required, got {name}: write {instead}"
            )),
            (None, _) => Err(format!(
                "a command is required, got {name}{}; commands: {}",
                did_you_mean(names().into_iter(), name),
                names().join(" ")
            )),
        },
    }
}

/// What a command of psql is here.
enum Habit {
    /// One of ours.
    Is(&'static str),
    /// What is written in its place.
    Write(&'static str),
}

fn of_psql(name: &str) -> Option<Habit> {
    Some(match name.trim_end_matches('+') {
        "\\quit" | "\\exit" => Habit::Is("\\q"),
        "\\h" | "\\help" => Habit::Is("\\?"),
        "\\d" | "\\dt" | "\\dv" | "\\describe" => Habit::Is("\\d"),
        "\\df" => Habit::Is("\\df"),
        "\\ir" | "\\include" => Habit::Is("\\i"),
        "\\out" => Habit::Is("\\o"),
        "\\l" | "\\list" | "\\dn" => Habit::Write("SELECT * FROM info.runs"),
        "\\c" | "\\connect" => Habit::Write("USE and the name of a run"),
        "\\copy" => Habit::Write("COPY (SELECT ...) TO 'FILE.csv', or FROM 'FILE.csv' to read one"),
        "\\g" | "\\gx" => Habit::Write("a semicolon; \\x gives a value a line"),
        "\\echo" => Habit::Write("SELECT 'text'"),
        "\\e" | "\\edit" => Habit::Write("the statement in a file, and \\i FILE"),
        "\\a" | "\\t" | "\\pset" => Habit::Write("\\format, \\x, \\rows or \\pager"),
        _ => return None,
    })
}

/// What people type in other shells, as the command it means here.
pub fn meant(line: &str) -> Option<String> {
    let line = line.trim().trim_end_matches(';').trim_end();
    let (word, argument) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    let command = match (word.to_lowercase().as_str(), argument) {
        ("?" | "help" | ".help", "") => "\\?",
        ("quit" | "exit" | ".quit" | ".exit", "") => "\\q",
        ("help", _) | (".tables" | ".schema", _) => "\\d",
        (".functions", _) => "\\df",
        (".mode", _) => "\\format",
        (".read", _) => "\\i",
        (".output", _) => "\\o",
        _ => return None,
    };
    Some(format!("{command} {argument}").trim_end().to_string())
}

/// The commands' names.
pub fn names() -> Vec<&'static str> {
    let first = COMMANDS
        .iter()
        .filter_map(|(usage, _)| usage.split(' ').next());
    let mut names: Vec<_> = first.filter(|name| name.starts_with('\\')).collect();
    names.dedup();
    names
}

/// The list that `\?` prints.
pub fn help() -> String {
    COMMANDS
        .iter()
        .map(|(usage, purpose)| format!("{usage:<21} {purpose}\n"))
        .collect()
}

fn parse_format(text: &str) -> Result<Format, String> {
    Format::from_str(text, true).map_err(|_| {
        let known = Format::names().join(", ");
        format!("\\format: one of {known} is required, got {text}")
    })
}

fn parse_set(argument: &str) -> Result<Option<(String, String)>, String> {
    if argument.is_empty() {
        return Ok(None);
    }
    let (name, value) = argument
        .split_once(char::is_whitespace)
        .unwrap_or((argument, ""));
    if !is_name(name) {
        return Err(format!(
            "\\set: a name of letters, digits and underscores is required, got {name:?}"
        ));
    }
    Ok(Some((name.to_string(), value.trim().to_string())))
}

fn parse_switch(name: &str, argument: Option<&str>) -> Result<Option<bool>, String> {
    match argument {
        None => Ok(None),
        Some("on") => Ok(Some(true)),
        Some("off") => Ok(Some(false)),
        Some(other) => Err(format!("{name}: on or off is required, got {other}")),
    }
}

fn parse_neuron(text: &str) -> Result<Command, String> {
    let required = || format!("\\dendrogram: a layer and a neuron are required, got '{text}'");
    let words: Vec<&str> = text
        .split([' ', ','])
        .filter(|word| !word.is_empty())
        .collect();
    let &[layer, neuron] = words.as_slice() else {
        return Err(required());
    };
    let neuron = neuron.parse().map_err(|_| required())?;
    let layer = match layer.parse::<i64>() {
        Ok(number) => number.to_string(),
        Err(_) => quoted(layer.trim_matches('\''), '\''),
    };
    Ok(Command::Dendrogram(layer, neuron))
}

fn parse_rows(text: &str) -> Result<Option<usize>, String> {
    match text.parse() {
        Ok(most) if most > 0 => Ok(Some(most)),
        _ if text == "all" => Ok(None),
        _ => Err(format!(
            "\\rows: a number above 0 or all is required, got {text}"
        )),
    }
}

fn parse_expanded(argument: Option<&str>) -> Result<Option<Expanded>, String> {
    let Some(text) = argument else {
        return Ok(None);
    };
    let known = [Expanded::On, Expanded::Off, Expanded::Auto];
    let found = known.into_iter().find(|expanded| expanded.name() == text);
    found
        .map(Some)
        .ok_or_else(|| format!("\\x: on, off or auto is required, got {text}"))
}

fn nothing_more(name: &str, argument: Option<String>) -> Result<(), String> {
    match argument {
        None => Ok(()),
        Some(argument) => Err(format!("{name}: no argument is required, got {argument}")),
    }
}

/// Whether a name matches `\df`'s pattern: case does not count, `*` stands for anything, and without a `*` the
/// pattern may stand anywhere in the name.
pub fn matches(pattern: &str, name: &str) -> bool {
    let (pattern, name) = (pattern.to_lowercase(), name.to_lowercase());
    if !pattern.contains('*') {
        return name.contains(&pattern);
    }
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|first| name.strip_prefix(first)) else {
        return false;
    };
    let mut parts: Vec<&str> = parts.collect();
    let last = parts.pop().unwrap_or("");
    for part in parts {
        match rest.split_once(part) {
            Some((_, after)) => rest = after,
            None => return false,
        }
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_and_arguments() {
        assert_eq!(parse("\\d"), Ok(Command::Describe(None)));
        assert_eq!(
            parse("\\d  examples ;"),
            Ok(Command::Describe(Some("examples".into())))
        );
        assert_eq!(
            parse("\\format CSV"),
            Ok(Command::Format(Some(Format::Csv)))
        );
        assert_eq!(
            parse("\\set t a b;"),
            Ok(Command::Set(Some(("t".into(), "a b;".into()))))
        );
        assert_eq!(parse("\\timing off"), Ok(Command::Timing(Some(false))));
        assert_eq!(parse("\\q;"), Ok(Command::Quit));
    }

    #[test]
    fn wrong_commands_list_what_is_known() {
        let error = parse("\\timin").expect_err("there is no such command");
        assert_eq!(
            error,
            "a command is required, got \\timin (is '\\timing' meant?); commands: \\d \\dendrogram \\df \\format \\histogram \\i \\o \\pager \\rows \\set \\timing \\x \\? \\q"
        );
        assert!(
            parse("\\format xml")
                .expect_err("unknown")
                .contains("table, csv, tsv, json, ndjson, markdown, parquet")
        );
        assert!(parse("\\i").is_err());
        assert!(parse("\\histogram ;").is_err());
        assert!(parse("\\timing maybe").is_err());
        assert!(parse("\\set 1a 2").is_err());
        assert!(parse("\\q now").is_err());
    }

    #[test]
    fn commands_of_psql() {
        for (typed, own) in [
            ("\\quit", "\\q"),
            ("\\dt", "\\d"),
            ("\\d+ examples", "\\d examples"),
            ("\\df+ cluster*;", "\\df cluster*"),
        ] {
            assert_eq!(parse(typed), parse(own), "{typed}");
        }
        let said = |typed| parse(typed).expect_err("a hint");
        assert!(said("\\l").ends_with("got \\l: write SELECT * FROM info.runs"));
        assert!(said("\\c demo").ends_with("write USE and the name of a run"));
    }

    #[test]
    fn patterns() {
        assert!(matches("cluster", "feature_clusters"));
        assert!(matches("Feature*", "feature_clusters"));
        assert!(matches("*_*s", "feature_clusters"));
        assert!(!matches("cluster*", "feature_clusters"));
        assert!(!matches("*cluster", "feature_clusters"));
    }
}
