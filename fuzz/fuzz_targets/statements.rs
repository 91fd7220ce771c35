//! Statements that stand inside themselves: an input is the dialect, then pieces of SQL by their numbers. What stands before
//! the mark opens and what stands behind it closes; brackets that are left open are closed. It is put into itself as often as
//! the engine takes it, and must then be read in less than the fuzzer's time, however often a reader goes back in it.
#![no_main]

use std::path::PathBuf;
use std::sync::{Arc, LazyLock};

use libfuzzer_sys::{Corpus, fuzz_target};
use polysema::policy::Policy;
use polysema::session::Engine;
use polysema_fuzz::{panics, scratch, stores};

static STORE: LazyLock<PathBuf> = LazyLock::new(|| scratch("statements"));
static ENGINE: LazyLock<Arc<Engine>> = LazyLock::new(|| stores::open(&STORE).expect("a store"));

/// Most pieces of an input.
const LONGEST: usize = 12;
/// How often an input is put into itself at most, and less often where the engine refuses that before it reads it.
const TIMES: usize = 60;
/// What stands between what opens and what closes.
const MARK: &str = "";
/// No name of a query in FROM is among them, so that no value is doubled by its name: those are the size of an answer, not
/// the time that its statement is read in.
#[rustfmt::skip]
const PIECES: &[&str] = &[
    MARK, "a", "b", "f", "1", "1.5", "'a'", "\"a\"", "$1", "NULL", "TRUE", "t.a", "(", ")", "[", "]", "{", "}", ",", ";", ".",
    ":", "::", "->", "->>", "=>", ":=", "=", "<", "<>", "+", "-", "*", "/", "%", "||", "|", "&", "^", "~", "!", "@", "#", "?",
    "a.", "a:", "f(", "f(a,", "a[1:", "a.b[", "a(b =>", "AND", "OR", "XOR", "NOT", "IS", "IN", "IN (", "LIKE", "ILIKE",
    "SIMILAR TO", "ESCAPE", "BETWEEN", "IS DISTINCT FROM", "COLLATE", "AT TIME ZONE", "ANY", "ALL", "SOME", "DISTINCT", "AS",
    "INT", "TEXT", "ARRAY", "MAP", "STRUCT", "ROW", "CASE", "WHEN", "THEN", "ELSE", "END", "CAST(", "TRY_CAST(", "SAFE_CAST(",
    "CONVERT(", "EXTRACT(", "DAY FROM", "CEIL(", "FLOOR(", "POSITION(", "SUBSTRING(", "SUBSTR(", "OVERLAY(", "PLACING", "TRIM(",
    "LEADING", "FOR", "INTERVAL", "INTERVAL '1' DAY", "DAY", "TO", "DATE", "TIME", "TIMESTAMP", "CURRENT_DATE", "LOCALTIME(",
    "EXISTS (", "(SELECT", "SELECT", "VALUES", "VALUES (", "UNION SELECT", "EXCEPT", "INTERSECT", "WITH a AS (", "WHERE",
    "GROUP BY", "GROUPING SETS", "ROLLUP", "CUBE", "HAVING", "QUALIFY", "ORDER BY", "LIMIT", "OFFSET", "FETCH", "OVER (",
    "PARTITION BY", "ROWS BETWEEN", "FILTER (WHERE", "WITHIN GROUP", "IGNORE NULLS", "EXCLUDE", "REPLACE", "RENAME", "LATERAL",
    "UNNEST(", "TABLE", "PRIOR", "MATCH", "AGAINST", "LISTAGG(", "GROUP_CONCAT(", "SEPARATOR", "JSON_OBJECT(", "ABSENT ON NULL",
    "LAMBDA", "x ->", "(x, y) ->", "array_transform(", "array_filter(", "coalesce(", "nullif(", "nvl(", "nvl2(", "ifnull(",
    "greatest(", "concat(", "length(", "char_length(", "lower(", "make_array(", "array_append(", "list_append(", "map(",
    "struct(", "named_struct(", "get_field(", "arrow_cast(", "sum(", "mean(", "avg(", "var(", "stddev(", "string_agg(",
    "first_value(", "row_number()", "lag(", "cosine_distance(", "vector_mean(", "E'a'", "X'a'", "B'1'", "U&'a'", "N'a'",
];

/// The pieces of an input before the mark, and those behind it with what closes the rest.
fn pattern(pieces: &[&str]) -> (String, String) {
    let middle = pieces.iter().position(|piece| *piece == MARK);
    let (opens, closes) = pieces.split_at(middle.unwrap_or(pieces.len()));
    let mut open = vec![];
    for letter in opens.concat().chars().chain(closes.concat().chars()) {
        match letter {
            '(' => open.push(")"),
            '[' => open.push("]"),
            '{' => open.push("}"),
            ')' | ']' | '}' => drop(open.pop()),
            _ => {}
        }
    }
    open.reverse();
    let closing = [closes, &open].concat();
    (opens.join(" ") + " ", closing.join(" ") + " ")
}

fuzz_target!(init: panics::watch(), |input: &[u8]| -> Corpus {
    let Some((dialect, pieces)) = input.split_first() else {
        return Corpus::Reject;
    };
    if pieces.is_empty() || pieces.len() > LONGEST {
        return Corpus::Reject;
    }
    let pieces = pieces.iter().map(|piece| PIECES[usize::from(*piece) % PIECES.len()]);
    let (open, close) = pattern(&pieces.collect::<Vec<_>>());
    let dialect = ["generic", "postgresql"][usize::from(dialect % 2)];
    let policy = Policy {
        settings: vec!["datafusion.sql_parser.".into()],
        ..Policy::nothing()
    };
    let session = ENGINE.session(policy).expect("a session");
    let set = format!("SET datafusion.sql_parser.dialect = '{dialect}'");
    stores::ask_in(&session, &set).expect("a dialect");
    let (mut read, mut refused) = (0, TIMES + 1);
    while refused - read > 1 {
        let times = read.midpoint(refused);
        let statement = format!("EXPLAIN SELECT {}1 {}", open.repeat(times), close.repeat(times));
        match stores::ask_in(&session, &statement) {
            // Before it is read.
            Err(error) if error.contains("session: at most") => refused = times,
            _ => read = times,
        }
    }
    Corpus::Keep
});
