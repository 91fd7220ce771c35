//! One value as people read it: six significant digits, long lists cut short, control characters visible.

use std::fmt::Write;

use datafusion::arrow::array::{Array, ArrayRef, AsArray};
use datafusion::arrow::datatypes::{DataType, Float16Type, Float32Type, Float64Type};
use datafusion::arrow::error::ArrowError;
use datafusion::arrow::util::display::{ArrayFormatter, FormatOptions};

/// Lists of numbers longer than this are cut short: a short vector fits a line, an embedding does not.
const MAX_NUMBERS: usize = 8;
/// Other lists longer than this are cut short; the ten top tokens of a cluster are shown.
const MAX_ITEMS: usize = 16;
/// Items shown of a list that is cut short.
const SHOWN: usize = 3;

/// How much of a value is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lists {
    /// Long lists are cut short, for the table.
    Short,
    /// Every item, for markdown.
    Whole,
}

/// The value of one row as text; NULL is `NULL`.
pub fn display(array: &ArrayRef, row: usize, lists: Lists) -> Result<String, ArrowError> {
    let mut text = String::new();
    write_value(array, row, lists, &mut text)?;
    Ok(text)
}

/// Whether a column of this type is aligned to the right.
pub fn is_number(data_type: &DataType) -> bool {
    match data_type {
        DataType::Dictionary(_, value) => is_number(value),
        other => other.is_numeric(),
    }
}

/// At most six significant digits; integral values keep one decimal so that they read as floats.
pub fn float(value: f64) -> String {
    if value == 0.0 || !value.is_finite() {
        return if value == 0.0 {
            "0.0".into()
        } else {
            value.to_string()
        };
    }
    let scientific = format!("{value:.5e}");
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (-5..9).contains(&exponent) {
        let decimals = usize::try_from(5 - exponent).unwrap_or(0);
        trim_zeros(&format!("{value:.decimals$}"))
    } else {
        format!("{}e{exponent}", trim_zeros(mantissa))
    }
}

fn trim_zeros(number: &str) -> String {
    if !number.contains('.') {
        return format!("{number}.0");
    }
    let trimmed = number.trim_end_matches('0');
    if trimmed.ends_with('.') {
        format!("{trimmed}0")
    } else {
        trimmed.to_string()
    }
}

fn write_value(
    array: &ArrayRef,
    row: usize,
    lists: Lists,
    out: &mut String,
) -> Result<(), ArrowError> {
    // A column of the type Null has no bitmap that would say so.
    if array.is_null(row) || array.data_type() == &DataType::Null {
        out.push_str("NULL");
        return Ok(());
    }
    match array.data_type() {
        DataType::Float16 => out.push_str(&float(f64::from(f32::from(
            array.as_primitive::<Float16Type>().value(row),
        )))),
        DataType::Float32 => out.push_str(&float(f64::from(
            array.as_primitive::<Float32Type>().value(row),
        ))),
        DataType::Float64 => out.push_str(&float(array.as_primitive::<Float64Type>().value(row))),
        DataType::List(_) => write_list(&array.as_list::<i32>().value(row), lists, out)?,
        DataType::LargeList(_) => write_list(&array.as_list::<i64>().value(row), lists, out)?,
        DataType::FixedSizeList(..) => {
            write_list(&array.as_fixed_size_list().value(row), lists, out)?
        }
        DataType::Struct(fields) => {
            let columns = array.as_struct();
            out.push('{');
            for (index, field) in fields.iter().enumerate() {
                let separator = if index == 0 { "" } else { ", " };
                let _ = write!(out, "{separator}{}: ", field.name());
                write_value(columns.column(index), row, lists, out)?;
            }
            out.push('}');
        }
        _ => {
            let formatter = ArrayFormatter::try_new(array.as_ref(), &FormatOptions::default())?;
            push_visible(&formatter.value(row).try_to_string()?, out);
        }
    }
    Ok(())
}

fn write_list(items: &ArrayRef, lists: Lists, out: &mut String) -> Result<(), ArrowError> {
    let limit = if items.data_type().is_numeric() {
        MAX_NUMBERS
    } else {
        MAX_ITEMS
    };
    let cut = lists == Lists::Short && items.len() > limit;
    let shown = if cut { SHOWN } else { items.len() };
    out.push('[');
    for row in 0..shown {
        if row > 0 {
            out.push_str(", ");
        }
        write_value(items, row, lists, out)?;
    }
    if cut {
        let _ = write!(out, ", … {} values", items.len());
    }
    out.push(']');
    Ok(())
}

/// A token may be a newline; it must not break the line it is shown in.
pub fn visible(text: &str) -> String {
    let mut out = String::new();
    push_visible(text, &mut out);
    out
}

fn push_visible(text: &str, out: &mut String) {
    for character in text.chars() {
        match character {
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            other if other.is_control() => {
                let _ = write!(out, "\\u{{{:x}}}", u32::from(other));
            }
            other => out.push(other),
        }
    }
}

/// Columns a text takes on a terminal: none for combining marks, two for East Asian and emoji characters. The
/// ranges are the large blocks of Unicode's East Asian Width, enough to keep a table straight.
pub fn width(text: &str) -> usize {
    text.chars().map(character_width).sum()
}

/// What stands around the key token of a context.
const KEY: [char; 2] = ['«', '»'];

/// The longest beginning of the text that fits `columns`, ended by `…` when something was cut off. A context begins with
/// `…` where its key token would be cut off.
pub fn truncate(text: &str, columns: usize) -> String {
    if width(text) <= columns {
        return text.to_string();
    }
    let beginning = beginning(text, columns);
    let [Some(key), Some(end)] = KEY.map(|mark| text.find(mark)) else {
        return beginning;
    };
    let end = end + KEY[1].len_utf8();
    if key > end || end + '…'.len_utf8() <= beginning.len() {
        return beginning;
    }
    // Half of the room that the token leaves is before it, more where less follows.
    let free = columns.saturating_sub(width(&text[key..end]) + 2);
    let before = (free / 2).max(free.saturating_sub(width(&text[end..])));
    let mut from = key;
    let mut used = 0;
    for (at, character) in text[..key].char_indices().rev() {
        used += character_width(character);
        if used > before {
            break;
        }
        from = at;
    }
    format!(
        "…{}",
        truncate_end(&text[from..], columns.saturating_sub(1))
    )
}

fn truncate_end(text: &str, columns: usize) -> String {
    match width(text) <= columns {
        true => text.to_string(),
        false => beginning(text, columns),
    }
}

/// The longest beginning that fits with `…` after it.
fn beginning(text: &str, columns: usize) -> String {
    let mut kept = String::new();
    let mut used = 1;
    for character in text.chars() {
        used += character_width(character);
        if used > columns {
            break;
        }
        kept.push(character);
    }
    kept.push('…');
    kept
}

fn character_width(character: char) -> usize {
    match u32::from(character) {
        0x0300..=0x036F | 0x200B..=0x200F | 0xFE00..=0xFE0F => 0,
        0x1100..=0x115F | 0x2E80..=0xA4CF | 0xAC00..=0xD7A3 | 0xF900..=0xFAFF => 2,
        0xFE30..=0xFE6F | 0xFF00..=0xFF60 | 0xFFE0..=0xFFE6 => 2,
        0x1F300..=0x1F64F | 0x1F900..=0x1F9FF | 0x20000..=0x3FFFD => 2,
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_have_six_digits_at_most() {
        let cases = [
            (0.0, "0.0"),
            (1.0, "1.0"),
            (-2.5, "-2.5"),
            (0.1 + 0.2, "0.3"),
            (1.0 / 3.0, "0.333333"),
            (123.456_789, "123.457"),
            (123_456.789, "123457.0"),
            (1.234_567_8e-5, "0.0000123457"),
            (1.5e-9, "1.5e-9"),
            (2.5e12, "2.5e12"),
            (f64::INFINITY, "inf"),
            (f64::NAN, "NaN"),
        ];
        for (value, expected) in cases {
            assert_eq!(float(value), expected);
        }
    }

    #[test]
    fn widths_follow_the_terminal() {
        assert_eq!(width("añb"), 3);
        assert_eq!(width("e\u{301}"), 1);
        assert_eq!(width("日本"), 4);
        assert_eq!(truncate("abcdef", 4), "abc…");
        assert_eq!(truncate("日本語", 4), "日…");
        assert_eq!(truncate("abcd", 4), "abcd");
        // The key token stays.
        assert_eq!(truncate("a «key» token", 8), "a «key»…");
        assert_eq!(truncate("before it a «key» token", 13), "… a «key» to…");
        assert_eq!(truncate("before it a «key»", 10), "… a «key»");
        assert_eq!(truncate("before a «long key» token", 6), "…«lon…");
    }
}
