//! Values of rows that are text, and the types that hold all values of a column exactly.

use std::ops::RangeInclusive;
use std::sync::Arc;

use datafusion::arrow::array::{
    ArrayRef, BooleanArray, Float64Array, Int64Array, StringArray, UInt64Array,
};
use datafusion::arrow::datatypes::{DataType, Field};
use serde_json::Value;

/// The columns of rows by their names, in the order they were first seen.
pub(super) type Kinds = Vec<(String, ValueKind)>;

/// Most columns beside the text: every row has a cell of each, also where a file's rows name others one by one. Chosen, not
/// tuned.
pub(super) const MOST_COLUMNS: usize = 1 << 10;

/// Takes a value into account.
pub(super) fn count(kinds: &mut Kinds, name: String, kind: ValueKind) -> Result<(), String> {
    let n = kinds.len();
    match kinds.iter_mut().find(|(known, _)| *known == name) {
        Some((_, known)) => *known = known.join(kind),
        None if n < MOST_COLUMNS => kinds.push((name, kind)),
        None => return Err(too_many(&name)),
    }
    Ok(())
}

/// What is said of a column more than there may be.
pub(super) fn too_many(name: &str) -> String {
    format!("at most {MOST_COLUMNS} columns beside the text are required, got '{name}' as well")
}

/// The columns as they are stored.
pub(super) fn fields(kinds: &Kinds) -> Vec<Field> {
    let kinds = kinds.iter();
    kinds
        .map(|(name, kind)| Field::new(name, kind.data_type(), true))
        .collect()
}

/// A value of a column.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Cell {
    Null,
    Boolean(bool),
    /// A whole number as it was written.
    Whole(i128),
    Float(f64),
    Text(String),
    /// Anything else, as JSON.
    Json(String),
}

impl Cell {
    /// A value whose text is `raw`: numbers are read from it, since `Value` rounds those that it has no room for.
    pub(super) fn of_json(value: Value, raw: &str) -> Self {
        match value {
            Value::Null => Self::Null,
            Value::Bool(value) => Self::Boolean(value),
            Value::String(text) => Self::Text(text),
            Value::Number(_) if raw.contains(['.', 'e', 'E']) => match raw.parse() {
                Ok(float) => Self::Float(float),
                Err(_) => Self::Json(raw.to_string()),
            },
            Value::Number(_) => match raw.parse() {
                Ok(whole) if WHOLE.contains(&whole) => Self::Whole(whole),
                _ => Self::Json(raw.to_string()),
            },
            Value::Array(_) | Value::Object(_) => Self::Json(without_spaces(raw)),
        }
    }

    /// A cell of a table of text; one of nothing is NULL. Digits behind a zero are no number but a name, as in 007.
    pub(super) fn of_text(text: &str) -> Self {
        let digits = text.strip_prefix('-').unwrap_or(text);
        let is_number = digits.starts_with(|c: char| c.is_ascii_digit())
            && (digits == "0" || !digits.starts_with('0') || digits.starts_with("0."));
        match text {
            "" => Self::Null,
            "true" | "True" | "TRUE" => Self::Boolean(true),
            "false" | "False" | "FALSE" => Self::Boolean(false),
            _ if is_number => match serde_json::from_str(text) {
                Ok(value) => Self::of_json(value, text),
                Err(_) => Self::Text(text.to_string()),
            },
            _ => Self::Text(text.to_string()),
        }
    }

    /// As JSON.
    fn json(&self) -> Option<String> {
        match self {
            Self::Null => None,
            Self::Boolean(value) => Some(value.to_string()),
            Self::Whole(value) => Some(value.to_string()),
            Self::Float(value) => Some(Value::from(*value).to_string()),
            Self::Text(text) => Some(Value::from(text.as_str()).to_string()),
            Self::Json(text) => Some(text.clone()),
        }
    }
}

/// The whole numbers that a column of 64 bits can hold.
const WHOLE: RangeInclusive<i128> = i64::MIN as i128..=u64::MAX as i128;
/// Whole numbers up to this size are floats, too.
const EXACT: i128 = 1 << 53;

/// What the values of one key have in common.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum ValueKind {
    Null,
    Boolean,
    Number(Numbers),
    String,
    /// Anything else, or a mixture: kept as JSON text.
    Json,
}

/// The least and the largest whole number, and whether there are floats.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Numbers {
    least: i128,
    most: i128,
    floats: bool,
}

impl ValueKind {
    pub(super) fn of(value: &Cell) -> ValueKind {
        match value {
            Cell::Null => ValueKind::Null,
            Cell::Boolean(_) => ValueKind::Boolean,
            Cell::Whole(n) => ValueKind::Number(Numbers {
                least: *n,
                most: *n,
                floats: false,
            }),
            Cell::Float(_) => ValueKind::Number(Numbers {
                least: 0,
                most: 0,
                floats: true,
            }),
            Cell::Text(_) => ValueKind::String,
            Cell::Json(_) => ValueKind::Json,
        }
    }

    pub(super) fn join(self, other: ValueKind) -> ValueKind {
        match (self, other) {
            (a, b) if a == b => a,
            (ValueKind::Null, kind) | (kind, ValueKind::Null) => kind,
            (ValueKind::Number(a), ValueKind::Number(b)) => ValueKind::Number(Numbers {
                least: a.least.min(b.least),
                most: a.most.max(b.most),
                floats: a.floats || b.floats,
            }),
            _ => ValueKind::Json,
        }
    }

    /// The type that holds every value exactly.
    pub(super) fn data_type(self) -> DataType {
        match self {
            ValueKind::Boolean => DataType::Boolean,
            ValueKind::Number(of) if of.floats => match of.least >= -EXACT && of.most <= EXACT {
                true => DataType::Float64,
                false => DataType::Utf8,
            },
            ValueKind::Number(of) if of.most <= i128::from(i64::MAX) => DataType::Int64,
            ValueKind::Number(of) if of.least >= 0 => DataType::UInt64,
            ValueKind::Number(_) | ValueKind::Null | ValueKind::String | ValueKind::Json => {
                DataType::Utf8
            }
        }
    }

    pub(super) fn array(self, values: &[Cell]) -> ArrayRef {
        let values = values.iter();
        match (self.data_type(), self) {
            (DataType::Boolean, _) => Arc::new(BooleanArray::from_iter(values.map(|v| match v {
                Cell::Boolean(value) => Some(*value),
                _ => None,
            }))),
            (DataType::Int64, _) => Arc::new(Int64Array::from_iter(values.map(|v| match v {
                Cell::Whole(n) => i64::try_from(*n).ok(),
                _ => None,
            }))),
            (DataType::UInt64, _) => Arc::new(UInt64Array::from_iter(values.map(|v| match v {
                Cell::Whole(n) => u64::try_from(*n).ok(),
                _ => None,
            }))),
            (DataType::Float64, _) => Arc::new(Float64Array::from_iter(values.map(|v| match v {
                Cell::Whole(n) => Some(*n as f64),
                Cell::Float(value) => Some(*value),
                _ => None,
            }))),
            (_, ValueKind::String) => Arc::new(StringArray::from_iter(values.map(|v| match v {
                Cell::Text(text) => Some(text.as_str()),
                _ => None,
            }))),
            _ => Arc::new(StringArray::from_iter(values.map(Cell::json))),
        }
    }
}

/// JSON without the spaces between its parts.
fn without_spaces(json: &str) -> String {
    let (mut in_string, mut escaped) = (false, false);
    let kept = json.chars().filter(|c| {
        if in_string {
            in_string = escaped || *c != '"';
            escaped = !escaped && *c == '\\';
            return true;
        }
        in_string = *c == '"';
        !c.is_ascii_whitespace()
    });
    kept.collect()
}
