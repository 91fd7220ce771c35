//! What PostgreSQL's clients ask of its catalogue, as this engine reads it: first our own replacements, for what no rule
//! could make readable, then the rewrites of `datafusion-pg-catalog`.

use std::ops::ControlFlow;
use std::sync::LazyLock;

use datafusion::sql::sqlparser::ast::{
    Array, ArrayElemTypeDef, CastKind, DataType, Expr, FunctionArguments, Query, SetExpr,
    Statement, TableFactor, Value, visit_expressions_mut,
};
use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
use datafusion::sql::sqlparser::tokenizer::Tokenizer;
use datafusion_pg_catalog::sql::PostgresCompatibilityParser;
use pgwire::api::Type;

use super::readable::{is_array, readable, with_functions};
use super::statements::words;
use crate::session::require_few_readings;

/// Made once: it reads all that it knows of clients' statements.
static PARSER: LazyLock<PostgresCompatibilityParser> =
    LazyLock::new(PostgresCompatibilityParser::new);

/// A statement in place of a client's.
pub(super) struct Rewritten {
    pub(super) text: String,
    /// The types of its parameters, where the client must be told others than those of the plan.
    pub(super) types: Option<Vec<Type>>,
}

/// Whether a text asks of PostgreSQL's catalogue, or has a form that the engine reads but cannot run: such statements are
/// rewritten first, all others are read as they are.
pub(super) fn asks_the_catalogue(text: &str) -> bool {
    let words: Vec<&str> = words(text).map(|(_, word)| word).collect();
    is_show_tables(&words)
        || words.iter().any(|word| {
            let word = word.trim_matches('"').to_ascii_lowercase();
            word.starts_with("pg_")
                || matches!(
                    word.as_str(),
                    "regclass"
                        | "regtype"
                        | "regproc"
                        | "regprocedure"
                        | "regnamespace"
                        | "regrole"
                        | "information_schema"
                        | "session_user"
                        | "current_user"
                        | "current_role"
                        | "escape"
                )
        })
}

/// Whether it is `SHOW TABLES`.
fn is_show_tables(words: &[&str]) -> bool {
    matches!(words, [show, tables]
        if show.eq_ignore_ascii_case("show") && tables.eq_ignore_ascii_case("tables"))
}

/// The statement that a text stands for; none where it cannot be read so either.
pub(super) fn rewritten(text: &str) -> Option<Rewritten> {
    if text.contains("typeinfo_tree") {
        return Some(Rewritten {
            text: TYPES_OF_ASYNCPG.to_string(),
            types: Some(vec![Type::OID_ARRAY]),
        });
    }
    if is_show_tables(&words(text).map(|(_, word)| word).collect::<Vec<_>>()) {
        let text = "SELECT table_catalog, table_schema, table_name, table_type FROM information_schema.tables";
        return Some(plain(text.to_string()));
    }
    if text.contains("pg_get_function_arguments") && text.contains("pg_function_is_visible") {
        return Some(plain(functions_of_psql(text)));
    }
    let text = text.replace(OPTIONS_OF_PSQL, "''");
    let text = text.replace(TYPES_OF_ADBC[0], TYPES_OF_ADBC[1]);
    let text = with_functions(&text);
    let dialect = PostgreSqlDialect {};
    let tokens = Tokenizer::new(&dialect, &text).tokenize_with_location();
    require_few_readings(&dialect, |_| false, &tokens.ok()?).ok()?;
    let mut statements = PARSER.parse(&text).ok()?;
    match statements.as_mut_slice() {
        [statement] => {
            without_empty_tables(statement);
            readable(statement);
            Some(plain(statement.to_string()))
        }
        _ => None,
    }
}

fn plain(text: String) -> Rewritten {
    Rewritten { text, types: None }
}

/// What asyncpg asks of a type that it does not know, an array always: its query walks up domains and down rows, which are
/// not here. The columns are of types that it knows.
const TYPES_OF_ASYNCPG: &str = "\
    WITH wanted AS (SELECT oid, typelem FROM pg_catalog.pg_type WHERE array_has($1::int[], oid)), \
    found AS (SELECT oid, 0 AS depth FROM wanted UNION ALL SELECT typelem, 1 FROM wanted WHERE typelem <> 0) \
    SELECT t.oid, 'pg_catalog' AS ns, t.typname AS name, t.typtype AS kind, CAST(NULL AS INT) AS basetype, \
    t.typelem AS elemtype, e.typdelim AS elemdelim, CAST(NULL AS INT) AS range_subtype, \
    CAST(NULL AS VARCHAR[]) AS attrtypoids, CAST(NULL AS VARCHAR[]) AS attrnames, found.depth, \
    CAST(NULL AS VARCHAR) AS basetype_name, e.typname AS elemtype_name, CAST(NULL AS VARCHAR) AS range_subtype_name \
    FROM found JOIN pg_catalog.pg_type t ON t.oid = found.oid \
    LEFT JOIN pg_catalog.pg_type e ON e.oid = t.typelem AND t.typlen = -1 \
    ORDER BY depth DESC";

/// The Arrow driver's question for types that have a binary form: a function is known by its name here, not by a number.
const TYPES_OF_ADBC: [&str; 2] = [
    "(typreceive != 0 OR typsend != 0)",
    "(typreceive != '-' OR typsend != '-')",
];

/// In psql's `\d+`: options of a table's storage, as an array of a query.
const OPTIONS_OF_PSQL: &str = "pg_catalog.array_to_string(c.reloptions || array(select 'toast.' || x from \
    pg_catalog.unnest(tc.reloptions) x), ', ')";

/// psql's `\df [PATTERN]`: the functions of the catalogue, by their chapters.
fn functions_of_psql(text: &str) -> String {
    let pattern = text.split_once("p.proname OPERATOR(pg_catalog.~) '");
    let pattern = pattern.and_then(|(_, after)| after.split_once('\''));
    let pattern = pattern.map_or("", |(pattern, _)| pattern);
    format!(
        "SELECT chapter AS \"Schema\", name AS \"Name\", kind AS \"Result data type\", \
         signature AS \"Argument data types\", 'func' AS \"Type\" FROM info.functions \
         WHERE regexp_like(name, '{pattern}') ORDER BY 1, 2"
    )
}

/// Tables of PostgreSQL's that have no row about a relation here; nor does a column have a collation.
const EMPTY: &[&str] = &[
    "pg_attrdef",
    "pg_auth_members",
    "pg_collation",
    "pg_constraint",
    "pg_description",
    "pg_foreign_table",
    "pg_index",
    "pg_inherits",
    "pg_policy",
    "pg_rewrite",
    "pg_sequence",
    "pg_shdescription",
    "pg_statistic_ext",
    "pg_trigger",
];

/// Puts NULL in the place of a value that is asked of such a table for each row of another, which DataFusion cannot plan.
fn without_empty_tables(statement: &mut Statement) {
    let null = || Expr::value(Value::Null);
    let is_null = |expr: &Expr| matches!(expr, Expr::Value(value) if value.value == Value::Null);
    let _ = visit_expressions_mut(statement, |expr| {
        let value = match expr {
            Expr::Subquery(query) if has_no_rows(query) => Some(null()),
            Expr::Function(function) => match &function.args {
                FunctionArguments::Subquery(query)
                    if is_array(&function.name) && has_no_rows(query) =>
                {
                    Some(no_texts())
                }
                _ => None,
            },
            Expr::Exists { subquery, negated } if has_no_rows(subquery) => {
                Some(Expr::value(Value::Boolean(*negated)))
            }
            Expr::Case {
                conditions,
                else_result,
                ..
            } if conditions.iter().all(|when| is_null(&when.result))
                && else_result.as_deref().is_none_or(is_null) =>
            {
                Some(null())
            }
            _ => None,
        };
        if let Some(value) = value {
            *expr = value;
        }
        ControlFlow::<()>::Continue(())
    });
}

/// `ARRAY[]` of text.
fn no_texts() -> Expr {
    let text = DataType::Text;
    Expr::Cast {
        kind: CastKind::Cast,
        expr: Box::new(Expr::Array(Array {
            elem: vec![],
            named: true,
        })),
        data_type: DataType::Array(ArrayElemTypeDef::SquareBracket(Box::new(text), None)),
        array: false,
        format: None,
    }
}

fn has_no_rows(query: &Query) -> bool {
    let SetExpr::Select(select) = query.body.as_ref() else {
        return false;
    };
    // One of no rows is a number.
    let counts = select
        .projection
        .iter()
        .any(|item| item.to_string().to_lowercase().contains("count("));
    let tables = select.from.iter().map(|from| &from.relation);
    let is_empty = |table: &TableFactor| match table {
        TableFactor::Table { name, .. } => name.0.last().is_some_and(|part| {
            let name = part.to_string().to_lowercase();
            EMPTY.contains(&name.as_str())
        }),
        _ => false,
    };
    !counts && tables.into_iter().any(is_empty)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_of_an_empty_table_is_null() {
        let text = "SELECT a.attname, CASE WHEN a.atthasdef THEN (SELECT d.adbin FROM pg_catalog.pg_attrdef d \
                    WHERE d.adrelid = a.attrelid) ELSE NULL END AS def, (SELECT count(*) FROM pg_index) AS n \
                    FROM pg_catalog.pg_attribute a";
        let text = rewritten(text).unwrap().text;
        assert!(text.contains("NULL AS def"), "{text}");
        assert!(text.contains("pg_index"), "{text}");
    }

    #[test]
    fn functions_are_found_by_psqls_pattern() {
        let text = "SELECT pg_catalog.pg_get_function_arguments(p.oid) FROM pg_catalog.pg_proc p \
                    WHERE p.proname OPERATOR(pg_catalog.~) '^(feature.*)$' COLLATE pg_catalog.default \
                    AND pg_catalog.pg_function_is_visible(p.oid)";
        let text = rewritten(text).unwrap().text;
        assert!(
            text.contains("regexp_like(name, '^(feature.*)$')"),
            "{text}"
        );
    }
}
