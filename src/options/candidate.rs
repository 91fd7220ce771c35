//! What may become an option's value: a literal of SQL, a word of the command line, a value of a manifest.

use std::fmt;

use datafusion::arrow::array::Array;
use datafusion::arrow::datatypes::DataType;
use datafusion::common::ScalarValue;

/// A value before it is checked. Its text is what messages show: texts stand in quotes.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Unchecked {
    Whole(i128),
    Number(f64),
    Flag(bool),
    Text(String),
    List(Vec<Unchecked>),
    /// No option takes it.
    Other(String),
}

impl Unchecked {
    /// A word of the command line, which is a number, a flag or a list where it reads as one.
    pub(super) fn of_word(word: &str) -> Self {
        if let Ok(whole) = word.parse() {
            return Self::Whole(whole);
        }
        if let Ok(number) = word.parse() {
            return Self::Number(number);
        }
        match serde_json::from_str(word) {
            Ok(value @ (serde_json::Value::Array(_) | serde_json::Value::Bool(_))) => {
                Self::of_json(&value)
            }
            _ => Self::Text(word.to_string()),
        }
    }

    pub(super) fn of_json(value: &serde_json::Value) -> Self {
        match value {
            serde_json::Value::Bool(flag) => Self::Flag(*flag),
            serde_json::Value::Number(number) => Self::of_word(&number.to_string()),
            serde_json::Value::String(text) => Self::Text(text.clone()),
            serde_json::Value::Array(items) => {
                Self::List(items.iter().map(Self::of_json).collect())
            }
            other => Self::Other(other.to_string()),
        }
    }

    pub(super) fn of_sql(value: &ScalarValue) -> Self {
        let other = || Self::Other(value.to_string());
        if value.is_null() {
            return other();
        }
        if let Some(Some(text)) = value.try_as_str() {
            return Self::Text(text.to_string());
        }
        match value {
            ScalarValue::Boolean(Some(flag)) => Self::Flag(*flag),
            ScalarValue::UInt64(Some(whole)) => Self::Whole(i128::from(*whole)),
            ScalarValue::List(list) => Self::of_items(&list.value(0)),
            ScalarValue::LargeList(list) => Self::of_items(&list.value(0)),
            ScalarValue::FixedSizeList(list) => Self::of_items(&list.value(0)),
            value if value.data_type().is_integer() => match value.cast_to(&DataType::Int64) {
                Ok(ScalarValue::Int64(Some(whole))) => Self::Whole(i128::from(whole)),
                _ => other(),
            },
            value if value.data_type().is_numeric() => match value.cast_to(&DataType::Float64) {
                Ok(ScalarValue::Float64(Some(number))) => Self::Number(number),
                _ => other(),
            },
            _ => other(),
        }
    }

    fn of_items(items: &dyn Array) -> Self {
        let item = |row| match ScalarValue::try_from_array(items, row) {
            Ok(value) => Self::of_sql(&value),
            Err(error) => Self::Other(error.to_string()),
        };
        Self::List((0..items.len()).map(item).collect())
    }
}

impl fmt::Display for Unchecked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Whole(whole) => write!(f, "{whole}"),
            Self::Number(x) => match number(*x) {
                whole if x.fract() == 0.0 && !whole.contains('e') => write!(f, "{whole}.0"),
                shortest => f.write_str(&shortest),
            },
            Self::Flag(flag) => write!(f, "{flag}"),
            Self::Text(text) => write!(f, "'{text}'"),
            Self::List(items) => {
                let items: Vec<_> = items.iter().map(Self::to_string).collect();
                write!(f, "[{}]", items.join(", "))
            }
            Self::Other(other) => write!(f, "{other}"),
        }
    }
}

/// A number as it is shortest.
pub(super) fn number(x: f64) -> String {
    let (plain, scientific) = (x.to_string(), format!("{x:e}"));
    if plain.len() <= scientific.len() + 3 {
        plain
    } else {
        scientific
    }
}
