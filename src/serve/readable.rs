//! Forms of PostgreSQL's SQL that questions to its catalogue have and this engine does not read: names and numbers of objects
//! by casts, fields of composite values, tables by their bare names. Above 400 lines, with its tests.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    AccessExpr, BinaryOperator, DataType, Expr, FunctionArguments, GroupByExpr, Ident, ObjectName,
    ObjectNamePart, Query, Select, SelectItem, SetExpr, Statement, TableFactor, Value, Visit,
    VisitMut, Visitor, VisitorMut, visit_expressions_mut, visit_relations_mut,
};
use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
use datafusion::sql::sqlparser::parser::Parser;

use super::pg_tables::is_table;
use super::statements::words;
use crate::text::{Lexeme, PieceKind, quoted};

/// Types whose values are numbers of objects and are written as names.
const KINDS: [&str; 5] = ["regclass", "regnamespace", "regproc", "regrole", "regtype"];

/// Columns that have the name of a function where PostgreSQL has its number.
const FUNCTION_NAMES: [&str; 12] = [
    "amhandler",
    "conproc",
    "oprcode",
    "typanalyze",
    "typinput",
    "typmodin",
    "typmodout",
    "typoutput",
    "typreceive",
    "typsend",
    "typsubscript",
    "lanplcallfoid",
];

/// Names that a client writes as `'x'::regclass` become calls, and the schemas that it reads out of the search path are
/// those that are looked at. By the text, since what comes after reads some statements by theirs.
pub(super) fn with_functions(text: &str) -> String {
    let pieces: Vec<(Lexeme, &str)> = words(text).collect();
    let word = |at: usize| pieces.get(at).map_or("", |(_, word)| *word);
    let is = |at: usize, words: &[&str]| {
        let mut pairs = words.iter().enumerate();
        pairs.all(|(n, expected)| word(at + n).eq_ignore_ascii_case(expected))
    };
    let (mut written, mut from, mut at) = (String::new(), 0, 0);
    while at < pieces.len() {
        let (piece, _) = &pieces[at];
        let (replacement, next) = if is_name(word(at), piece.kind) && word(at + 1) == "::" {
            let qualified = if is(at + 2, &["pg_catalog", "."]) {
                2
            } else {
                0
            };
            let kind = word(at + 2 + qualified).to_lowercase();
            let after = at + 3 + qualified;
            match kind.as_str() {
                "regclass" | "regnamespace" | "regtype" => (format!("{kind}({})", word(at)), after),
                // A function is known by its name.
                "regproc" => (word(at).to_string(), after),
                _ => (String::new(), at),
            }
        } else if is(at, &["IN", "("]) && is(at + 2, &SEARCH_PATH) {
            let mut depth = 0_usize;
            let end = (at + 1..pieces.len()).find(|at| {
                match word(*at) {
                    "(" => depth += 1,
                    ")" => depth -= 1,
                    _ => {}
                }
                depth == 0
            });
            match end {
                Some(end) => ("= ANY (current_schemas(false))".to_string(), end + 1),
                None => (String::new(), at),
            }
        } else {
            (String::new(), at)
        };
        if next > at {
            written.push_str(&text[from..piece.start]);
            written.push_str(&replacement);
            from = pieces[next - 1].0.end;
            at = next;
        } else {
            at += 1;
        }
    }
    written.push_str(&text[from..]);
    written
}

/// How a client begins that makes rows of the search path.
const SEARCH_PATH: [&str; 8] = ["SELECT", "CASE", "WHEN", "trim", "(", "s", "[", "i"];

/// A name as text, or a parameter in its place; the digits of a number are none.
fn is_name(word: &str, kind: PieceKind) -> bool {
    let digits = word.trim_matches('\'');
    match kind {
        PieceKind::Text => digits.is_empty() || !digits.chars().all(|c| c.is_ascii_digit()),
        _ => word.len() > 1 && word.starts_with('$'),
    }
}

/// Puts what the engine reads in the place of what only PostgreSQL does.
pub(super) fn readable(statement: &mut Statement) {
    let _ = visit_relations_mut(statement, |name| {
        if let [ObjectNamePart::Identifier(own)] = name.0.as_slice()
            && is_table(&own.value.to_lowercase())
        {
            let schema = ObjectNamePart::Identifier(Ident::new("pg_catalog"));
            name.0.insert(0, schema);
        }
        ControlFlow::<()>::Continue(())
    });
    let mut tables = Tables::default();
    let _ = Visit::visit(&*statement, &mut tables);
    let _ = visit_expressions_mut(statement, |expr| {
        if let Some(number) = tables.number(expr) {
            *expr = number;
        }
        if let Some(other) = other(expr) {
            *expr = other;
        }
        ControlFlow::<()>::Continue(())
    });
    let _ = VisitMut::visit(statement, &mut RowFunctions);
    if let Statement::Query(query) = statement {
        each_select(&mut query.body, &mut |select| {
            shown(select);
            named(select);
        });
    }
}

/// Tables by the names that a statement has for them.
#[derive(Default)]
struct Tables(Vec<[String; 2]>);

impl Visitor for Tables {
    type Break = ();

    fn pre_visit_table_factor(&mut self, table: &TableFactor) -> ControlFlow<()> {
        if let TableFactor::Table { name, alias, .. } = table
            && let Some(ObjectNamePart::Identifier(own)) = name.0.last()
        {
            let alias = alias.as_ref().map_or(own, |alias| &alias.name);
            self.0
                .push([&alias.value, &own.value].map(|name| name.to_lowercase()));
        }
        ControlFlow::Continue(())
    }
}

impl Tables {
    /// In the place of `t.tableoid`, which every row of PostgreSQL's has: the number of the table.
    fn number(&self, expr: &Expr) -> Option<Expr> {
        let Expr::CompoundIdentifier(names) = expr else {
            return None;
        };
        let [table, column] = names.as_slice() else {
            return None;
        };
        let asked = column.value.eq_ignore_ascii_case("tableoid");
        let table = table.value.to_lowercase();
        let known = self.0.iter().find(|[alias, _]| asked && *alias == table);
        known.map(|[_, name]| call("regclass", &[&format!("'pg_catalog.{name}'")]))
    }
}

/// Whether a call's name is `ARRAY`, of what may stand in it.
pub(super) fn is_array(name: &ObjectName) -> bool {
    name.to_string().eq_ignore_ascii_case("array")
}

/// Every SELECT of a query.
fn each_select(body: &mut SetExpr, of: &mut impl FnMut(&mut Select)) {
    match body {
        SetExpr::Select(select) => of(select),
        SetExpr::SetOperation { left, right, .. } => {
            each_select(left, of);
            each_select(right, of);
        }
        SetExpr::Query(query) => each_select(&mut query.body, of),
        _ => {}
    }
}

/// Gives columns names where two without a name would be the same.
fn named(select: &mut Select) {
    let texts: Vec<String> = select.projection.iter().map(ToString::to_string).collect();
    for (at, item) in select.projection.iter_mut().enumerate() {
        if let SelectItem::UnnamedExpr(expr) = item
            && texts[..at].contains(&texts[at])
        {
            *item = SelectItem::ExprWithAlias {
                expr: expr.clone(),
                alias: Ident::with_quote('"', format!("column{}", at + 1)),
            };
        }
    }
}

/// The expression in place of one, whose parts have been seen to.
fn other(expr: &mut Expr) -> Option<Expr> {
    match expr {
        Expr::Cast {
            expr: inner,
            data_type,
            ..
        } => {
            let kind = name_of(data_type);
            match KINDS.iter().find(|known| **known == kind) {
                Some(&"regproc" | &"regrole") => Some((**inner).clone()),
                Some(kind) => Some(call(kind, &[&inner.to_string()])),
                None if is_text(&kind) => {
                    *data_type = DataType::Text;
                    as_name(inner)
                }
                None => None,
            }
        }
        Expr::CompoundFieldAccess { root, access_chain } => match access_chain.as_slice() {
            [AccessExpr::Dot(Expr::Identifier(field))] => {
                let field = format!("'{}'", field.value);
                Some(call("get_field", &[&root.to_string(), &field]))
            }
            _ => None,
        },
        Expr::BinaryOp {
            left,
            op: BinaryOperator::Eq,
            right,
        } => {
            if is_flag(left) {
                as_flag(right);
            } else if is_flag(right) {
                as_flag(left);
            }
            let is_function = |expr: &Expr| {
                last(expr).is_some_and(|name| {
                    FUNCTION_NAMES.contains(&name.value.to_lowercase().as_str())
                })
            };
            let is_left = is_function(left);
            let side = match is_left || is_function(right) {
                true if is_left => right,
                true => left,
                false => return None,
            };
            if let Some(name) = last_mut(side).filter(|name| name.value.eq_ignore_ascii_case("oid"))
            {
                *name = Ident::new("proname");
            }
            None
        }
        Expr::Case {
            operand: Some(operand),
            conditions,
            ..
        } => {
            if is_flag(operand) {
                let conditions = conditions.iter_mut();
                conditions.for_each(|when| as_flag(&mut when.condition));
            }
            None
        }
        Expr::Like {
            pattern,
            escape_char,
            ..
        }
        | Expr::ILike {
            pattern,
            escape_char,
            ..
        } => {
            let escape = escape_char.as_ref().and_then(|value| match &value.value {
                Value::SingleQuotedString(escape) if escape != "\\" => Some(escape.clone()),
                _ => None,
            });
            if let Some(escape) = escape {
                // The engine knows one mark.
                let marked = format!("replace({pattern}, '\\', '\\\\')");
                let escape = quoted(&escape, '\'');
                **pattern = call("replace", &[&marked, &escape, "'\\'"]);
                *escape_char = None;
            }
            None
        }
        Expr::Subquery(query) => {
            one_at_most(query);
            None
        }
        Expr::Function(function) => match &function.args {
            FunctionArguments::Subquery(query) if is_array(&function.name) => {
                parsed(&format!("(SELECT array_agg(x) FROM ({query}) AS one (x))"))
            }
            _ => None,
        },
        _ => None,
    }
}

/// A column that a client knows to have one row at most becomes an aggregate, without which the engine cannot know it.
fn one_at_most(query: &mut Query) {
    let is_plain = query.limit_clause.is_none() && query.order_by.is_none();
    let SetExpr::Select(select) = query.body.as_mut() else {
        return;
    };
    let groups = matches!(&select.group_by, GroupByExpr::Expressions(by, _) if by.is_empty());
    if !is_plain || !groups || select.distinct.is_some() || select.selection.is_none() {
        return;
    }
    if let [SelectItem::UnnamedExpr(expr)] = select.projection.as_mut_slice()
        && !aggregates(expr)
    {
        *expr = call("max", &[&expr.to_string()]);
    }
}

/// Whether it makes one of many rows already; so does a query that begins with a literal, which EXISTS has.
fn aggregates(expr: &Expr) -> bool {
    const NAMES: [&str; 8] = [
        "count", "max", "min", "sum", "avg", "agg", "bool_and", "bool_or",
    ];
    let text = expr.to_string().to_lowercase();
    let calls = |name: &&str| text.contains(&format!("{name}("));
    matches!(expr, Expr::Value(_)) || NAMES.iter().any(calls)
}

/// Functions that give rows, in the place of a value.
struct RowFunctions;

impl VisitorMut for RowFunctions {
    type Break = ();

    fn post_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        let SetExpr::Select(select) = query.body.as_mut() else {
            return ControlFlow::Continue(());
        };
        for item in &mut select.projection {
            if let SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } = item
                && let Some(rows) = rows_of(expr)
            {
                *expr = rows;
            }
        }
        ControlFlow::Continue(())
    }
}

/// The rows that a call gives, if it gives any.
fn rows_of(expr: &Expr) -> Option<Expr> {
    let Expr::Function(function) = expr else {
        return None;
    };
    match function.name.to_string().to_lowercase().as_str() {
        "generate_series" => Some(call("unnest", &[&function.to_string()])),
        "generate_subscripts" => {
            let FunctionArguments::List(arguments) = &function.args else {
                return None;
            };
            let array = arguments.args.first()?;
            let places = format!("generate_series(1, CAST(array_length({array}) AS BIGINT))");
            Some(call("unnest", &[&places]))
        }
        _ => None,
    }
}

/// What a client sees of the numbers that it asks for by such a type: names.
fn shown(select: &mut Select) {
    for item in &mut select.projection {
        if let SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } = item
            && let Some(name) = as_name(expr)
        {
            *expr = name;
        }
    }
}

/// The name of what a call of such a type has the number of.
fn as_name(expr: &Expr) -> Option<Expr> {
    let function = match expr {
        Expr::Function(function) => function,
        Expr::Nested(inner) => return as_name(inner),
        _ => return None,
    };
    match function.name.to_string().as_str() {
        kind @ ("regclass" | "regnamespace") => {
            Some(call(&format!("{kind}_name"), &[&expr.to_string()]))
        }
        "regtype" => Some(call(
            "format_type",
            &[&expr.to_string(), "CAST(NULL AS INT)"],
        )),
        _ => None,
    }
}

fn name_of(kind: &DataType) -> String {
    let name = kind.to_string().to_lowercase();
    name.strip_prefix("pg_catalog.")
        .map_or(name.clone(), str::to_string)
}

/// Whether a type is text here.
fn is_text(kind: &str) -> bool {
    matches!(
        kind.strip_prefix("information_schema.").unwrap_or(kind),
        "text"
            | "varchar"
            | "character varying"
            | "bpchar"
            | "\"char\""
            | "name"
            | "cstring"
            | "character_data"
            | "sql_identifier"
            | "yes_or_no"
    )
}

/// Whether it is a column of the catalogue that is true or false.
fn is_flag(expr: &Expr) -> bool {
    const BEGINNINGS: [&str; 9] = [
        "indis",
        "relhas",
        "relis",
        "attis",
        "atthas",
        "attnotnull",
        "typnotnull",
        "tgis",
        "datis",
    ];
    last(expr).is_some_and(|name| {
        let name = name.value.to_lowercase();
        BEGINNINGS
            .iter()
            .any(|beginning| name.starts_with(beginning))
    })
}

/// A truth value that was written as text.
fn as_flag(expr: &mut Expr) {
    let flag = match expr {
        Expr::Value(value) => match &value.value {
            Value::SingleQuotedString(text) => match text.as_str() {
                "t" | "true" | "on" | "1" => true,
                "f" | "false" | "off" | "0" => false,
                _ => return,
            },
            _ => return,
        },
        _ => return,
    };
    *expr = Expr::value(Value::Boolean(flag));
}

fn last(expr: &Expr) -> Option<&Ident> {
    match expr {
        Expr::Identifier(name) => Some(name),
        Expr::CompoundIdentifier(names) => names.last(),
        _ => None,
    }
}

fn last_mut(expr: &mut Expr) -> Option<&mut Ident> {
    match expr {
        Expr::Identifier(name) => Some(name),
        Expr::CompoundIdentifier(names) => names.last_mut(),
        _ => None,
    }
}

fn call(name: &str, arguments: &[&str]) -> Expr {
    let text = format!("{name}({})", arguments.join(", "));
    // What was written from an expression is read again.
    parsed(&text).unwrap_or_else(|| Expr::Identifier(Ident::new(name)))
}

fn parsed(text: &str) -> Option<Expr> {
    let parser = Parser::new(&PostgreSqlDialect {}).try_with_sql(text);
    parser.ok()?.parse_expr().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> String {
        let text = with_functions(text);
        let mut statements = Parser::parse_sql(&PostgreSqlDialect {}, &text).unwrap();
        readable(&mut statements[0]);
        statements[0].to_string()
    }

    #[test]
    fn names_of_objects_become_calls() {
        assert_eq!(
            read(
                "SELECT 1 FROM t WHERE classoid = 'pg_class'::pg_catalog.regclass AND relid = '12'::regclass"
            ),
            "SELECT 1 FROM t WHERE classoid = regclass('pg_class') AND relid = regclass('12')"
        );
        assert_eq!(
            read(
                "SELECT c.oid::regclass, a.atttypid::regtype::text AS t FROM pg_class c, pg_attribute a"
            ),
            "SELECT regclass_name(regclass(c.oid)), format_type(regtype(a.atttypid), CAST(NULL AS INT)) AS t \
             FROM pg_catalog.pg_class c, pg_catalog.pg_attribute a"
        );
    }

    #[test]
    fn a_function_is_found_by_its_name() {
        assert_eq!(
            read("SELECT 1 FROM pg_type t LEFT JOIN pg_proc p ON p.oid = t.typreceive"),
            "SELECT 1 FROM pg_catalog.pg_type t LEFT JOIN pg_catalog.pg_proc p ON p.proname = t.typreceive"
        );
    }

    #[test]
    fn patterns_have_the_engines_mark() {
        assert_eq!(
            read("SELECT 1 FROM t WHERE a NOT LIKE $1 || '%' ESCAPE '/'"),
            r"SELECT 1 FROM t WHERE a NOT LIKE replace(replace($1 || '%', '\', '\\'), '/', '\')"
        );
    }

    #[test]
    fn the_search_path_is_asked_of_the_session() {
        let text = "SELECT CASE WHEN quote_ident(s) IN ( SELECT CASE WHEN trim(s[i]) = '\"$user\"' THEN user ELSE trim(s[i]) END \
                    FROM f(a(b)) AS i ) THEN 1 ELSE 0 END";
        assert_eq!(
            with_functions(text),
            "SELECT CASE WHEN quote_ident(s) = ANY (current_schemas(false)) THEN 1 ELSE 0 END"
        );
    }
}
