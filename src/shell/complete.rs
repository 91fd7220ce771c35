//! What Tab offers: names the session knows, SQL's words, commands and file names, by the place in the line.

use rustyline::completion::{Completer, FilenameCompleter, Pair};
use rustyline::{Context, Helper, Hinter, Validator};

use super::commands;
use super::format::Format;
use crate::text::{PieceKind, lex};

/// The words of SQL that Tab offers and the prompt colours: those that DataFusion's queries are made of. The
/// tokenizer's own list is no use here, half of our column names are in it.
const KEYWORDS: &str = "\
    ALL ANALYZE AND ANTI ANY AS ASC BETWEEN BIGINT BOOLEAN BY CALL CASE CAST COLUMNS COPY CREATE \
    CROSS CURRENT DELETE DESC DESCRIBE DISTINCT DOUBLE DROP ELSE END EXCEPT EXCLUDE EXECUTE \
    EXISTS EXPLAIN EXTERNAL FALSE FILTER FIRST FLOAT FOLLOWING FROM FULL FUNCTIONS GROUP HAVING \
    ILIKE IN INNER INSERT INT INTERSECT INTO IS JOIN LAST LATERAL LEFT LIKE LIMIT LOCATION \
    NATURAL NOT NULL NULLS OFFSET ON OR ORDER OUTER OVER PARTITION PRECEDING PREPARE RECURSIVE \
    REPLACE RIGHT ROW ROWS SELECT SEMI SET SHOW STORED TABLE TABLES THEN TO TRUE UNION UNNEST \
    USING VALUES VARCHAR VIEW WHEN WHERE WINDOW WITH WITHIN";

/// Words after which a table stands.
const TABLE_PLACES: [&str; 6] = ["FROM", "JOIN", "INTO", "TABLE", "DESCRIBE", "LATERAL"];

/// What the line editor knows while a line is typed.
#[derive(Debug, Default, Helper, Hinter, Validator)]
pub struct ShellHelper {
    /// Names for completion.
    pub vocabulary: Vocabulary,
    /// The lines of the unfinished statement before this one.
    pub pending: String,
    /// Whether the line is coloured.
    pub colours: bool,
}

/// The names the session knows, read again after every statement.
#[derive(Debug, Clone, Default)]
pub struct Vocabulary {
    /// Tables of the current run by their name, the others with their schema.
    pub tables: Vec<String>,
    /// Table and column.
    pub columns: Vec<(String, String)>,
    /// Scalar and aggregate functions.
    pub functions: Vec<String>,
    /// Table functions.
    pub table_functions: Vec<String>,
    /// Function and option.
    pub options: Vec<(String, String)>,
    /// Settings with their namespace.
    pub settings: Vec<String>,
    /// Runs, the one that unqualified names mean first where there is one.
    pub runs: Vec<String>,
    /// That one.
    pub current: Option<String>,
}

impl Vocabulary {
    /// Whether a word is the name of a function.
    pub fn has_function(&self, word: &str) -> bool {
        let mut all = self.functions.iter().chain(&self.table_functions);
        all.any(|name| name.eq_ignore_ascii_case(word))
    }
}

/// Whether a word is one of SQL's.
pub fn is_keyword(word: &str) -> bool {
    KEYWORDS
        .split(' ')
        .any(|keyword| keyword.eq_ignore_ascii_case(word))
}

/// The candidates for the word that ends at the end of `text`, and where the word begins.
pub fn candidates(vocabulary: &Vocabulary, text: &str) -> (usize, Vec<Pair>) {
    if text.trim_start().starts_with('\\') {
        return command_candidates(vocabulary, text);
    }
    if let Some(found) = setting_candidates(vocabulary, text) {
        return found;
    }
    let start = word_start(text, |character| {
        character.is_alphanumeric() || character == '_'
    });
    let prefix = &text[start..];
    if text[..start].ends_with('.') {
        let qualifier_start = word_start(&text[..start - 1], |character| {
            character.is_alphanumeric() || character == '_'
        });
        return (
            start,
            qualified(vocabulary, text, &text[qualifier_start..start - 1], prefix),
        );
    }
    let mut found = Vec::new();
    if let Some(function) = options_of(&text[..start]) {
        let options = vocabulary.options.iter();
        let options = options.filter(|(of, _)| of.eq_ignore_ascii_case(function));
        offer(
            options.map(|(_, option)| format!("{option}: ")),
            prefix,
            &mut found,
        );
        return (start, found);
    }
    let table_functions = vocabulary
        .table_functions
        .iter()
        .map(|name| format!("{name}("));
    if follows_table_word(&text[..start]) {
        offer(vocabulary.tables.iter().cloned(), prefix, &mut found);
        offer(table_functions, prefix, &mut found);
    } else if !prefix.is_empty() {
        offer(
            vocabulary.columns.iter().map(|(_, column)| column.clone()),
            prefix,
            &mut found,
        );
        offer(vocabulary.tables.iter().cloned(), prefix, &mut found);
        let functions = vocabulary.functions.iter().map(|name| format!("{name}("));
        offer(functions.chain(table_functions), prefix, &mut found);
    }
    if !prefix.is_empty() {
        let upper = prefix.chars().all(|character| !character.is_lowercase());
        offer(
            KEYWORDS.split(' ').map(|word| {
                if upper {
                    word.to_string()
                } else {
                    word.to_lowercase()
                }
            }),
            prefix,
            &mut found,
        );
    }
    (start, found)
}

/// After SET: the settings, and the runs as values of the one that selects a run.
fn setting_candidates(vocabulary: &Vocabulary, text: &str) -> Option<(usize, Vec<Pair>)> {
    let pieces = words(text);
    let (first, rest) = pieces.split_first()?;
    let after = text[first.end..].chars().next()?;
    if !first.text.eq_ignore_ascii_case("set") || !after.is_whitespace() {
        return None;
    }
    let mut found = Vec::new();
    match rest.iter().position(|piece| piece.text == "=") {
        None => {
            let start = word_start(text, |character| !character.is_whitespace());
            offer(
                vocabulary.settings.iter().cloned(),
                &text[start..],
                &mut found,
            );
            Some((start, found))
        }
        Some(equals)
            if rest[..equals]
                .last()
                .is_some_and(|piece| piece.text.eq_ignore_ascii_case("run")) =>
        {
            let runs = vocabulary.runs.iter().map(|run| format!("'{run}'"));
            let start = word_start(text, |character| {
                character != '=' && !character.is_whitespace()
            });
            offer(runs, &text[start..], &mut found);
            Some((start, found))
        }
        Some(_) => None,
    }
}

/// A piece of a text that is neither blank nor a comment.
struct TypedWord<'t> {
    text: &'t str,
    end: usize,
}

fn words(text: &str) -> Vec<TypedWord<'_>> {
    let (lexemes, _) = lex(text);
    let seen = lexemes
        .iter()
        .filter(|lexeme| !matches!(lexeme.kind, PieceKind::Space | PieceKind::Comment));
    seen.map(|lexeme| TypedWord {
        text: &text[lexeme.start..lexeme.end],
        end: lexeme.end,
    })
    .collect()
}

fn command_candidates(vocabulary: &Vocabulary, text: &str) -> (usize, Vec<Pair>) {
    let start = word_start(text, |character| !character.is_whitespace());
    let prefix = &text[start..];
    let mut found = Vec::new();
    let functions = || {
        vocabulary
            .functions
            .iter()
            .chain(&vocabulary.table_functions)
            .cloned()
    };
    match text[..start].trim() {
        "" => offer(
            commands::names().into_iter().map(str::to_string),
            prefix,
            &mut found,
        ),
        "\\d" => offer(
            vocabulary.tables.iter().cloned().chain(functions()),
            prefix,
            &mut found,
        ),
        "\\df" => offer(functions(), prefix, &mut found),
        "\\timing" | "\\pager" => offer(
            ["on", "off"].into_iter().map(str::to_string),
            prefix,
            &mut found,
        ),
        "\\format" => {
            let formats = Format::names().into_iter();
            offer(formats.map(str::to_string), prefix, &mut found);
        }
        _ => {}
    }
    (start, found)
}

/// After a dot: the columns of the table or alias before it, or the tables of the schema before it.
fn qualified(vocabulary: &Vocabulary, text: &str, qualifier: &str, prefix: &str) -> Vec<Pair> {
    let mut found = Vec::new();
    let named = aliased(vocabulary, text, qualifier).unwrap_or(qualifier);
    let columns = vocabulary
        .columns
        .iter()
        .filter(|(table, _)| table.eq_ignore_ascii_case(named));
    offer(
        columns.map(|(_, column)| column.clone()),
        prefix,
        &mut found,
    );
    let tables = vocabulary
        .tables
        .iter()
        .filter_map(|table| table.strip_prefix(qualifier)?.strip_prefix('.'));
    offer(tables.map(str::to_string), prefix, &mut found);
    if vocabulary
        .current
        .as_ref()
        .is_some_and(|run| run.eq_ignore_ascii_case(qualifier))
    {
        let of_run = vocabulary
            .tables
            .iter()
            .filter(|table| !table.contains('.'));
        offer(of_run.cloned(), prefix, &mut found);
    }
    let mut runs = vocabulary.runs.iter();
    if runs.any(|run| run.eq_ignore_ascii_case(qualifier)) {
        let options = vocabulary.options.iter();
        let reading = options.filter(|(_, option)| option == "run");
        offer(
            reading.map(|(function, _)| format!("{function}(")),
            prefix,
            &mut found,
        );
    }
    if qualifier.eq_ignore_ascii_case("polysema") {
        let ours = vocabulary
            .settings
            .iter()
            .filter_map(|name| name.strip_prefix("polysema."));
        offer(ours.map(str::to_string), prefix, &mut found);
    }
    found
}

/// The table that an alias stands for: the word before it, `AS` left out.
fn aliased<'v>(vocabulary: &'v Vocabulary, text: &str, alias: &str) -> Option<&'v str> {
    let words = words(text);
    let mut before = words
        .windows(2)
        .filter(|pair| pair[1].text.eq_ignore_ascii_case(alias));
    before.find_map(|pair| {
        let as_word = pair[0].text.eq_ignore_ascii_case("as");
        let at = words.iter().position(|word| word.end == pair[0].end)?;
        let table = &words[if as_word { at.checked_sub(1)? } else { at }];
        let mut tables = vocabulary.tables.iter();
        tables
            .find(|name| name.eq_ignore_ascii_case(table.text))
            .map(String::as_str)
    })
}

fn offer(names: impl Iterator<Item = String>, prefix: &str, found: &mut Vec<Pair>) {
    let prefix = prefix.to_lowercase();
    let mut fitting: Vec<String> = names
        .filter(|name| name.to_lowercase().starts_with(&prefix))
        .collect();
    fitting.sort();
    fitting.dedup();
    for name in fitting {
        if found
            .iter()
            .all(|pair| !pair.replacement.eq_ignore_ascii_case(&name))
        {
            found.push(Pair {
                display: name.clone(),
                replacement: name,
            });
        }
    }
}

/// The function whose options stand between the braces that the text ends in, where a name of one may follow.
fn options_of(text: &str) -> Option<&str> {
    let pieces: Vec<&str> = words(text).into_iter().map(|word| word.text).collect();
    // The brackets that are open, and what stands before each.
    let mut open: Vec<(&str, &str)> = vec![];
    for (i, piece) in pieces.iter().enumerate() {
        match *piece {
            "(" | "{" | "[" => open.push((piece, if i == 0 { "" } else { pieces[i - 1] })),
            ")" | "}" | "]" => drop(open.pop()),
            _ => {}
        }
    }
    match (open.as_slice(), pieces.last()) {
        ([.., ("(", function), ("{", _)], Some(&("{" | ","))) => Some(function),
        _ => None,
    }
}

fn word_start(text: &str, belongs: impl Fn(char) -> bool) -> usize {
    text.char_indices()
        .rev()
        .find(|(_, character)| !belongs(*character))
        .map_or(0, |(offset, character)| offset + character.len_utf8())
}

fn follows_table_word(text: &str) -> bool {
    let is_place =
        |word: &TypedWord<'_>| TABLE_PLACES.contains(&word.text.to_ascii_uppercase().as_str());
    words(text).last().is_some_and(is_place)
}

impl Completer for ShellHelper {
    type Candidate = Pair;

    fn complete(
        &self,
        line: &str,
        position: usize,
        context: &Context<'_>,
    ) -> rustyline::Result<(usize, Vec<Pair>)> {
        let text = format!("{}{}", self.pending, &line[..position]);
        // Inside a string stands the path of a model or a corpus, if anything.
        let in_string = lex(&text)
            .1
            .is_some_and(|error| text[error.offset..].starts_with('\''))
            && setting_candidates(&self.vocabulary, &text).is_none();
        if in_string
            || ["\\i ", "\\o "]
                .iter()
                .any(|command| line.trim_start().starts_with(command))
        {
            return FilenameCompleter::new().complete(line, position, context);
        }
        let (start, found) = candidates(&self.vocabulary, &text);
        Ok((start.saturating_sub(self.pending.len()), found))
    }
}

#[cfg(test)]
#[path = "complete_tests.rs"]
mod tests;
