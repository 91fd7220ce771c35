//! The functions by which a client of PostgreSQL asks about the server, its session and itself. Above 400 lines, with a line a
//! function.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field};
use datafusion::common::{ScalarValue, exec_err};
use datafusion::error::Result;
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, TypeSignature,
    Volatility,
};

use super::call::{CallAnswer, FunctionCall, number, text};
use super::object_names::{
    name, regclass, regclass_name, regnamespace, regnamespace_name, regtype,
};
use super::objects::{SessionView, USER};
use super::settings::{POSTGRES_VERSION, schemas};
use super::users::Role;
use crate::session::CATALOG;
use crate::store::PUBLIC;
use crate::text::quoted;

/// A function of a session.
#[derive(Debug)]
struct SessionFunction {
    name: &'static str,
    seen: Arc<SessionView>,
    gives: DataType,
    answer: CallAnswer,
    signature: Signature,
}

impl PartialEq for SessionFunction {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name && Arc::ptr_eq(&self.seen, &other.seen)
    }
}

impl Eq for SessionFunction {}

impl Hash for SessionFunction {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

impl ScalarUDFImpl for SessionFunction {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(self.gives.clone())
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let rows = args.number_rows;
        let row = |at: usize| -> Result<ScalarValue> {
            let values = args.args.iter().map(|argument| match argument {
                ColumnarValue::Scalar(value) => Ok(value.clone()),
                ColumnarValue::Array(values) => ScalarValue::try_from_array(values, at),
            });
            (self.answer)(&FunctionCall {
                name: self.name,
                seen: &self.seen,
                config: &args.config_options,
                values: &values.collect::<Result<Vec<_>>>()?,
            })
        };
        let is_one = |argument: &ColumnarValue| matches!(argument, ColumnarValue::Scalar(_));
        if args.args.iter().all(is_one) {
            return row(0).map(ColumnarValue::Scalar);
        }
        let values = match rows {
            0 => ScalarValue::try_new_null(&self.gives)?.to_array_of_size(0),
            rows => ScalarValue::iter_to_array((0..rows).map(row).collect::<Result<Vec<_>>>()?),
        };
        values.map(ColumnarValue::Array)
    }
}

fn texts<'a>(texts: impl Iterator<Item = &'a str>) -> Result<ScalarValue> {
    let texts: Vec<ScalarValue> = texts.map(ScalarValue::from).collect();
    Ok(ScalarValue::List(ScalarValue::new_list(
        &texts,
        &DataType::Utf8,
        true,
    )))
}

fn version(_: &FunctionCall<'_>) -> Result<ScalarValue> {
    text(&format!(
        "PostgreSQL {POSTGRES_VERSION} (polysema {}, DataFusion {})",
        env!("CARGO_PKG_VERSION"),
        datafusion::DATAFUSION_VERSION
    ))
}

fn user(call: &FunctionCall<'_>) -> Result<ScalarValue> {
    text(&call.seen.user)
}

/// The name that a table's name may begin with, whichever the client has connected to.
fn database(_: &FunctionCall<'_>) -> Result<ScalarValue> {
    text(CATALOG)
}

fn user_of(call: &FunctionCall<'_>) -> Result<ScalarValue> {
    match call.text(0) {
        Some(oid) if oid != USER.to_string() => text(&format!("unknown (OID={oid})")),
        Some(_) => user(call),
        None => Ok(ScalarValue::Utf8(None)),
    }
}

/// The schemas of unqualified names, with those that are always looked at if they are asked for.
fn current_schemas(call: &FunctionCall<'_>) -> Result<ScalarValue> {
    let implicit = matches!(call.values.first(), Some(ScalarValue::Boolean(Some(true))));
    let own = [call.schema(), PUBLIC];
    let own = match own[0] == own[1] {
        true => &own[..1],
        false => &own[..],
    };
    texts(
        implicit
            .then_some("pg_catalog")
            .into_iter()
            .chain(own.iter().copied()),
    )
}

/// Whether the client may do what the last argument says; PostgreSQL's words, of which all that are said must hold.
fn has_privilege(call: &FunctionCall<'_>) -> Result<ScalarValue> {
    let before_last = match call.name {
        "has_column_privilege" => 3,
        _ => 2,
    };
    let from_end = |back: usize| call.text(call.values.len().checked_sub(back)?);
    let (Some(words), Some(object)) = (from_end(1), from_end(before_last)) else {
        return Ok(ScalarValue::Boolean(None));
    };
    let schema = object.split('.').next().unwrap_or_default();
    let is_number = object.parse::<i64>().is_ok();
    let is_own = !is_number && (!object.contains('.') || schema.trim_matches('"') == PUBLIC);
    let may = |word: &str| match word.trim().to_lowercase().as_str() {
        "select" | "usage" | "connect" | "execute" => true,
        "create" | "temp" | "temporary" => call.seen.role != Role::Reader,
        "insert" | "update" | "delete" | "truncate" => call.seen.role != Role::Reader && is_own,
        _ => false,
    };
    Ok(ScalarValue::from(words.split(',').any(may)))
}

/// `format(form, ...)`: `%s` as it is, `%I` as a name, `%L` as a literal.
fn format(call: &FunctionCall<'_>) -> Result<ScalarValue> {
    let Some(form) = call.text(0) else {
        return Ok(ScalarValue::Utf8(None));
    };
    let (mut written, mut next, mut marks) = (String::new(), 1, form.chars());
    while let Some(mark) = marks.next() {
        if mark != '%' {
            written.push(mark);
            continue;
        }
        let value = |next: &mut usize| {
            let value = call.text(*next);
            *next += 1;
            value
        };
        match marks.next() {
            Some('%') => written.push('%'),
            Some('s') => written.push_str(&value(&mut next).unwrap_or_default()),
            Some('I') => written.push_str(&name(&value(&mut next).unwrap_or_default())),
            Some('L') => match value(&mut next) {
                Some(value) => written.push_str(&quoted(&value, '\'')),
                None => written.push_str("NULL"),
            },
            other => {
                let other = other.map(String::from).unwrap_or_default();
                return exec_err!("format: %s, %I, %L or %% is required, got '%{other}'");
            }
        }
        if next > call.values.len() {
            return exec_err!(
                "format: a value for each of '{form}' is required, got {}",
                call.values.len() - 1
            );
        }
    }
    text(&written)
}

fn quote(call: &FunctionCall<'_>) -> Result<ScalarValue> {
    match call.text(0) {
        Some(value) => text(&quoted(&value, '\'')),
        None if call.name == "quote_nullable" => text("NULL"),
        None => Ok(ScalarValue::Utf8(None)),
    }
}

fn setting(call: &FunctionCall<'_>) -> Result<ScalarValue> {
    let Some(name) = call.text(0) else {
        return exec_err!("current_setting: the name of a setting is required, got none");
    };
    let settings = call.seen.settings();
    let may_miss = matches!(call.values.get(1), Some(ScalarValue::Boolean(Some(true))));
    match settings.get(&name) {
        Some(value) => text(value),
        None if may_miss => Ok(ScalarValue::Utf8(None)),
        None => {
            exec_err!("current_setting: a setting that is there is required, got '{name}'")
        }
    }
}

fn change(call: &FunctionCall<'_>) -> Result<ScalarValue> {
    let Some(name) = call.text(0) else {
        return exec_err!("set_config: the name of a setting is required, got none");
    };
    let value = call.text(1).unwrap_or_default();
    if name.eq_ignore_ascii_case("search_path") && !schemas(&value).is_empty() {
        return exec_err!("set_config: SET search_path TO {value} selects a run, got set_config");
    }
    let mut settings = call.seen.settings();
    match settings.set(&name, Some(&value)) {
        Ok(_) => text(&value),
        Err(error) => exec_err!("{error}"),
    }
}

/// What a column means.
fn column_description(call: &FunctionCall<'_>) -> Result<ScalarValue> {
    let [table, column] = [0, 1].map(|at| number(call.values.get(at)));
    let meaning = table.zip(column);
    let meaning = meaning.and_then(|(table, column)| call.seen.meaning(table, column));
    Ok(ScalarValue::Utf8(meaning.map(str::to_string)))
}

/// The encoding of a number: the one there is, and no name of the others.
fn encoding(call: &FunctionCall<'_>) -> Result<ScalarValue> {
    match number(call.values.first()) {
        Some(6) => text("UTF8"),
        Some(_) => text(""),
        None => Ok(ScalarValue::Utf8(None)),
    }
}

fn view_definition(call: &FunctionCall<'_>) -> Result<ScalarValue> {
    let oid = number(call.values.first());
    let definition = oid.and_then(|oid| call.seen.definition(oid));
    Ok(ScalarValue::Utf8(definition))
}

fn no_text(_: &FunctionCall<'_>) -> Result<ScalarValue> {
    Ok(ScalarValue::Utf8(None))
}

fn nothing_expanded(_: &FunctionCall<'_>) -> Result<ScalarValue> {
    ScalarValue::try_new_null(&expanded())
}

/// A value of an array with its place.
fn expanded() -> DataType {
    let value = Field::new("x", DataType::Int16, true);
    DataType::Struct(vec![value, Field::new("n", DataType::Int32, true)].into())
}

fn null(_: &FunctionCall<'_>) -> Result<ScalarValue> {
    Ok(ScalarValue::Null)
}

fn always(_: &FunctionCall<'_>) -> Result<ScalarValue> {
    Ok(ScalarValue::from(true))
}

fn never(_: &FunctionCall<'_>) -> Result<ScalarValue> {
    Ok(ScalarValue::from(false))
}

fn nothing(_: &FunctionCall<'_>) -> Result<ScalarValue> {
    Ok(ScalarValue::from(0_i64))
}

fn none(_: &FunctionCall<'_>) -> Result<ScalarValue> {
    Ok(ScalarValue::from(0_i32))
}

fn connection(call: &FunctionCall<'_>) -> Result<ScalarValue> {
    Ok(ScalarValue::from(call.seen.connection))
}

const FUNCTIONS: &[(&str, DataType, CallAnswer)] = &[
    ("version", DataType::Utf8, version),
    ("current_user", DataType::Utf8, user),
    ("session_user", DataType::Utf8, user),
    ("user", DataType::Utf8, user),
    ("current_role", DataType::Utf8, user),
    ("pg_get_userbyid", DataType::Utf8, user_of),
    ("current_database", DataType::Utf8, database),
    ("current_catalog", DataType::Utf8, database),
    ("current_schema", DataType::Utf8, |call| text(call.schema())),
    ("pg_backend_pid", DataType::Int32, connection),
    ("has_table_privilege", DataType::Boolean, has_privilege),
    ("has_column_privilege", DataType::Boolean, has_privilege),
    ("has_any_column_privilege", DataType::Boolean, has_privilege),
    ("has_schema_privilege", DataType::Boolean, has_privilege),
    ("has_database_privilege", DataType::Boolean, has_privilege),
    ("has_function_privilege", DataType::Boolean, has_privilege),
    ("format", DataType::Utf8, format),
    ("quote_literal", DataType::Utf8, quote),
    ("quote_nullable", DataType::Utf8, quote),
    ("current_setting", DataType::Utf8, setting),
    ("pg_encoding_to_char", DataType::Utf8, encoding),
    ("pg_is_in_recovery", DataType::Boolean, never),
    ("pg_is_other_temp_schema", DataType::Boolean, never),
    ("pg_my_temp_schema", DataType::Int32, none),
    ("pg_type_is_visible", DataType::Boolean, always),
    ("pg_function_is_visible", DataType::Boolean, always),
    ("pg_collation_is_visible", DataType::Boolean, always),
    ("pg_get_serial_sequence", DataType::Utf8, no_text),
    ("pg_get_viewdef", DataType::Utf8, view_definition),
    ("pg_get_indexdef", DataType::Utf8, no_text),
    ("pg_get_ruledef", DataType::Utf8, no_text),
    ("pg_get_triggerdef", DataType::Utf8, no_text),
    ("pg_get_functiondef", DataType::Utf8, no_text),
    ("pg_get_function_result", DataType::Utf8, no_text),
    ("pg_get_function_arguments", DataType::Utf8, no_text),
    (
        "pg_get_function_identity_arguments",
        DataType::Utf8,
        no_text,
    ),
    ("pg_get_constraintdef", DataType::Utf8, no_text),
    ("pg_get_partkeydef", DataType::Utf8, no_text),
    ("pg_get_expr", DataType::Utf8, no_text),
    ("pg_tablespace_location", DataType::Utf8, no_text),
    ("pg_advisory_unlock_all", DataType::Null, null),
    ("pg_database_size", DataType::Int64, nothing),
    ("pg_relation_size", DataType::Int64, nothing),
    ("pg_table_size", DataType::Int64, nothing),
    ("pg_indexes_size", DataType::Int64, nothing),
    ("pg_total_relation_size", DataType::Int64, nothing),
    ("pg_stat_get_numscans", DataType::Int64, nothing),
    ("obj_description", DataType::Utf8, no_text),
    ("shobj_description", DataType::Utf8, no_text),
    ("col_description", DataType::Utf8, column_description),
    ("regclass", DataType::Int32, regclass),
    ("to_regclass", DataType::Int32, regclass),
    ("regclass_name", DataType::Utf8, regclass_name),
    ("regnamespace", DataType::Int32, regnamespace),
    ("regnamespace_name", DataType::Utf8, regnamespace_name),
    ("regtype", DataType::Int32, regtype),
    ("to_regtype", DataType::Int32, regtype),
    ("regrole_name", DataType::Utf8, user_of),
];

/// The functions of a session.
pub(super) fn of_session(seen: &Arc<SessionView>) -> impl Iterator<Item = ScalarUDF> {
    let any = |volatility| {
        Signature::one_of(
            vec![TypeSignature::Nullary, TypeSignature::VariadicAny],
            volatility,
        )
    };
    let function = move |name, gives, answer, volatility| {
        ScalarUDF::new_from_impl(SessionFunction {
            name,
            seen: Arc::clone(seen),
            gives,
            answer,
            signature: any(volatility),
        })
    };
    let texts = DataType::new_list(DataType::Utf8, true);
    let others = [
        // Of a column that has no rows here.
        (
            "_pg_expandarray",
            expanded(),
            nothing_expanded as CallAnswer,
            Volatility::Stable,
        ),
        (
            "current_schemas",
            texts,
            current_schemas as CallAnswer,
            Volatility::Stable,
        ),
        (
            "set_config",
            DataType::Utf8,
            change as CallAnswer,
            Volatility::Volatile,
        ),
    ];
    let stable = FUNCTIONS
        .iter()
        .map(|(name, gives, answer)| (*name, gives.clone(), *answer, Volatility::Stable));
    stable
        .chain(others)
        .map(move |(name, gives, answer, volatility)| function(name, gives, answer, volatility))
}
