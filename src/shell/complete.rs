//! What Tab offers: names the session knows, SQL's words, commands and file names, by the place in the line.

use rustyline::completion::{Completer, FilenameCompleter, Pair};
use rustyline::{Context, Helper, Hinter, Validator};

use super::commands;
use super::lex::{PieceKind, lex};

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
            qualified(vocabulary, &text[qualifier_start..start - 1], prefix),
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
        "\\timing" => offer(
            ["on", "off"].into_iter().map(str::to_string),
            prefix,
            &mut found,
        ),
        "\\format" => {
            let formats = ["table", "csv", "json", "ndjson", "markdown"];
            offer(formats.into_iter().map(str::to_string), prefix, &mut found);
        }
        _ => {}
    }
    (start, found)
}

/// After a dot: the columns of the table before it, or the tables of the schema before it.
fn qualified(vocabulary: &Vocabulary, qualifier: &str, prefix: &str) -> Vec<Pair> {
    let mut found = Vec::new();
    let columns = vocabulary
        .columns
        .iter()
        .filter(|(table, _)| table.eq_ignore_ascii_case(qualifier));
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
    found
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
    let (lexemes, _) = lex(text);
    let pieces = lexemes
        .iter()
        .filter(|lexeme| !matches!(lexeme.kind, PieceKind::Space | PieceKind::Comment));
    let pieces: Vec<&str> = pieces
        .map(|lexeme| &text[lexeme.start..lexeme.end])
        .collect();
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
    let (lexemes, _) = lex(text);
    let last = lexemes
        .iter()
        .rev()
        .find(|lexeme| !matches!(lexeme.kind, PieceKind::Space | PieceKind::Comment));
    last.is_some_and(|lexeme| {
        let word = text[lexeme.start..lexeme.end].to_ascii_uppercase();
        TABLE_PLACES.contains(&word.as_str())
    })
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
            .is_some_and(|error| text[error.offset..].starts_with('\''));
        if in_string || line.trim_start().starts_with("\\i ") {
            return FilenameCompleter::new().complete(line, position, context);
        }
        let (start, found) = candidates(&self.vocabulary, &text);
        Ok((start.saturating_sub(self.pending.len()), found))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offered(text: &str) -> Vec<String> {
        let words = |words: &[&str]| {
            words
                .iter()
                .map(|word| word.to_string())
                .collect::<Vec<String>>()
        };
        let vocabulary = Vocabulary {
            tables: words(&["examples", "neurons", "other.examples"]),
            columns: vec![
                ("examples".into(), "layer".into()),
                ("examples".into(), "token".into()),
                ("neurons".into(), "layer".into()),
            ],
            functions: words(&["exp", "vector_norm"]),
            table_functions: words(&["feature_clusters"]),
            options: [
                ("ingest", "context"),
                ("ingest", "window"),
                ("linkage", "linkage"),
            ]
            .map(|(function, option)| (function.into(), option.into()))
            .to_vec(),
        };
        candidates(&vocabulary, text)
            .1
            .into_iter()
            .map(|pair| pair.replacement)
            .collect()
    }

    #[test]
    fn the_place_decides() {
        assert_eq!(
            offered("select * from "),
            ["examples", "neurons", "other.examples", "feature_clusters("]
        );
        assert_eq!(offered("SELECT lay"), ["layer"]);
        assert_eq!(
            offered("select ex"),
            [
                "examples", "exp(", "except", "exclude", "execute", "exists", "explain", "external"
            ]
        );
        assert_eq!(offered("SEL"), ["SELECT"]);
        assert_eq!(offered("sel"), ["select"]);
        assert_eq!(offered("SELECT examples."), ["layer", "token"]);
        assert_eq!(offered("SELECT * FROM other.e"), ["examples"]);
        assert!(offered("SELECT ").is_empty());
    }

    #[test]
    fn braces_of_a_call_take_its_options() {
        let call = "SELECT * FROM ingest('r', 'm (a', 'c.txt', {";
        assert_eq!(offered(call), ["context: ", "window: "]);
        assert_eq!(offered(&format!("{call}context: 64, w")), ["window: "]);
        assert_eq!(
            offered(&format!("{call}context: wi")),
            ["window", "with", "within"]
        );
        assert_eq!(offered("SELECT * FROM linkage({l"), ["linkage: "]);
        assert!(offered("SELECT {").is_empty());
    }

    #[test]
    fn commands_are_completed() {
        assert_eq!(offered("\\d"), ["\\d", "\\df"]);
        assert_eq!(offered("\\d n"), ["neurons"]);
        assert_eq!(offered("\\df vec"), ["vector_norm"]);
        assert_eq!(
            offered("\\format "),
            ["csv", "json", "markdown", "ndjson", "table"]
        );
    }
}
