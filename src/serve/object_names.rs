//! From the names of tables, schemas and types to their numbers, and back.

use std::sync::Arc;

use datafusion::catalog::SchemaProvider;
use datafusion::common::{ScalarValue, plan_err};
use datafusion::error::Result;

use super::call::{FunctionCall, number, text};
use crate::store::PUBLIC;

/// A name as a statement has it: in quotes where it needs them.
pub(super) fn name(name: &str) -> String {
    let mut letters = name.chars();
    let is_plain = letters
        .next()
        .is_some_and(|first| first.is_ascii_lowercase() || first == '_')
        && letters
            .all(|letter| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '_');
    match is_plain {
        true => name.to_string(),
        false => format!("\"{}\"", name.replace('"', "\"\"")),
    }
}

/// The parts of a name, quotes away: `a.b`, `"A"."b.c"`.
fn parts(name: &str) -> Vec<String> {
    let (mut parts, mut part, mut quoted) = (vec![], String::new(), false);
    let mut letters = name.trim().chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '"' if quoted && letters.peek() == Some(&'"') => {
                letters.next();
                part.push('"');
            }
            '"' => quoted = !quoted,
            '.' if !quoted => parts.push(std::mem::take(&mut part)),
            _ if quoted => part.push(letter),
            _ => part.extend(letter.to_lowercase()),
        }
    }
    parts.push(part);
    parts
}

/// The number of a table by its name.
fn relation(call: &FunctionCall<'_>) -> Result<Option<i32>> {
    let Some(name) = call.text(0) else {
        return Ok(None);
    };
    let catalog = call.seen.catalog()?;
    let has = |schema: &str, name: &str| {
        let schema = catalog.schema(schema);
        let has = |schema: Arc<dyn SchemaProvider>| {
            // A view is only listed.
            schema.table_exist(name) || schema.table_names().iter().any(|own| own == name)
        };
        schema.is_some_and(has)
    };
    let oid =
        |schema: &str, name: &str| has(schema, name).then(|| call.seen.oids.relation(schema, name));
    Ok(match parts(&name).as_slice() {
        [name] => [call.schema(), "pg_catalog", PUBLIC]
            .into_iter()
            .find_map(|schema| oid(schema, name)),
        [schema, name] | [_, schema, name] => oid(schema, name),
        _ => None,
    })
}

pub(super) fn regclass(call: &FunctionCall<'_>) -> Result<ScalarValue> {
    if let Some(oid) = number(call.values.first()) {
        return Ok(ScalarValue::from(oid));
    }
    match relation(call)? {
        None if call.name == "regclass" && call.text(0).is_some() => {
            let name = call.text(0).unwrap_or_default();
            plan_err!("regclass: the name of a table is required, got '{name}'")
        }
        oid => Ok(ScalarValue::Int32(oid)),
    }
}

pub(super) fn regclass_name(call: &FunctionCall<'_>) -> Result<ScalarValue> {
    let Some(oid) = number(call.values.first()) else {
        return Ok(ScalarValue::Utf8(None));
    };
    match call.seen.oids.named(oid).as_deref() {
        Some([schema, table]) if !table.is_empty() && !schema.is_empty() => {
            let is_seen = [call.schema(), "pg_catalog"].contains(&schema.as_str());
            text(&match is_seen {
                true => name(table),
                false => format!("{}.{}", name(schema), name(table)),
            })
        }
        _ if oid == 0 => text("-"),
        _ => text(&oid.to_string()),
    }
}

pub(super) fn regnamespace(call: &FunctionCall<'_>) -> Result<ScalarValue> {
    if let Some(oid) = number(call.values.first()) {
        return Ok(ScalarValue::from(oid));
    }
    let Some(name) = call.text(0) else {
        return Ok(ScalarValue::Int32(None));
    };
    let name = parts(&name).concat();
    match call.seen.catalog()?.schema(&name).is_some() {
        true => Ok(ScalarValue::from(call.seen.oids.schema(&name))),
        false => plan_err!("regnamespace: the name of a schema is required, got '{name}'"),
    }
}

pub(super) fn regnamespace_name(call: &FunctionCall<'_>) -> Result<ScalarValue> {
    let Some(oid) = number(call.values.first()) else {
        return Ok(ScalarValue::Utf8(None));
    };
    match call.seen.oids.named(oid).as_deref() {
        Some([schema, table]) if table.is_empty() => text(&name(schema)),
        _ => text(&oid.to_string()),
    }
}

/// The number of a type by its name, PostgreSQL's or the standard's.
pub(super) fn regtype(call: &FunctionCall<'_>) -> Result<ScalarValue> {
    if let Some(oid) = number(call.values.first()) {
        return Ok(ScalarValue::from(oid));
    }
    let Some(given) = call.text(0) else {
        return Ok(ScalarValue::Int32(None));
    };
    let lower = given.trim().to_lowercase();
    let lower = lower.strip_prefix("pg_catalog.").unwrap_or(&lower);
    let (of, is_array) = match lower.strip_suffix("[]") {
        Some(of) => (of, true),
        None => (lower, false),
    };
    let of = match of {
        "boolean" => "bool",
        "smallint" => "int2",
        "integer" | "int" => "int4",
        "bigint" => "int8",
        "real" => "float4",
        "double precision" => "float8",
        "decimal" => "numeric",
        "character varying" => "varchar",
        "character" => "bpchar",
        "timestamp without time zone" => "timestamp",
        "timestamp with time zone" => "timestamptz",
        "time without time zone" => "time",
        "time with time zone" => "timetz",
        of => of.trim_matches('"'),
    };
    let oid = match is_array {
        true => call.seen.types.get(&format!("_{of}")),
        false => call.seen.types.get(of),
    };
    match oid {
        None if call.name == "regtype" => {
            plan_err!("regtype: the name of a type is required, got '{given}'")
        }
        oid => Ok(ScalarValue::Int32(oid.copied())),
    }
}
