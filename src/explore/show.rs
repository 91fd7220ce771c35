//! How numbers and foreign texts stand on a page.

use std::borrow::Borrow;
use std::fmt::{Display, Formatter, Result, Write};

use polysema_udfs::svg::is_hidden;

/// Text of a corpus as a reader may see it: what would change the order of a line, hide or be hidden, is shown as its
/// number. The template escapes what HTML reads.
#[derive(Debug, Clone, Copy)]
pub struct Visible<'a>(pub &'a str);

impl Display for Visible<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        for c in self.0.chars() {
            match c {
                '\n' => f.write_char('↵')?,
                '\t' => f.write_char('⇥')?,
                c if is_hidden(c) => write!(f, "\\u{{{:x}}}", c as u32)?,
                c => f.write_char(c)?,
            }
        }
        Ok(())
    }
}

/// What counts; templates hand fields on by reference, and other values as they are.
pub trait Countable {
    /// How many.
    fn number(self) -> i64;
}

impl Countable for i64 {
    fn number(self) -> i64 {
        self
    }
}

impl Countable for i32 {
    fn number(self) -> i64 {
        self.into()
    }
}

impl<N: Countable + Copy> Countable for &N {
    fn number(self) -> i64 {
        (*self).number()
    }
}

/// A count, its thousands apart.
pub fn count(n: impl Countable) -> String {
    let n = n.number();
    let digits = n.unsigned_abs().to_string();
    let mut text = String::from(if n < 0 { "−" } else { "" });
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A number to so many places; a dash for none.
pub fn fixed(x: impl Borrow<Option<f64>>, places: usize) -> String {
    match x.borrow() {
        Some(x) => format!("{x:.places$}").replace('-', "−"),
        None => "–".to_string(),
    }
}

/// A number to six digits, as short as they allow.
pub fn number(x: impl Borrow<f64>) -> String {
    let x = *x.borrow();
    if x == 0.0 || !x.is_finite() {
        return if x == 0.0 {
            "0".to_string()
        } else {
            x.to_string()
        };
    }
    let power = x.abs().log10().floor();
    if !(-5.0..15.0).contains(&power) {
        return format!("{x:.5e}");
    }
    let places = (5.0 - power).max(0.0) as usize;
    let text = format!("{x:.places$}");
    match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_string(),
        false => text,
    }
}

/// The options that were given, of an object in JSON, with their values in words.
pub fn options(json: Option<&str>) -> Vec<(String, String)> {
    let options: serde_json::Map<_, _> =
        serde_json::from_str(json.unwrap_or("{}")).unwrap_or_default();
    let given = options.into_iter().filter(|(_, value)| !value.is_null());
    given
        .map(|(name, value)| match value {
            serde_json::Value::String(text) => (name, text),
            other => (name, other.to_string()),
        })
        .collect()
}

/// A share as percent.
pub fn percent(x: impl Borrow<Option<f64>>) -> String {
    match *x.borrow() {
        Some(x) if x > 0.0 && x < 0.001 => "< 0.1 %".to_string(),
        Some(x) => format!("{:.1} %", x * 100.0),
        None => "–".to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hidden_characters_are_seen() {
        let hostile = "a\u{202e}b\u{200b}\n\u{1b}[2J\u{feff}é🙂";
        let expected = "a\\u{202e}b\\u{200b}↵\\u{1b}[2J\\u{feff}é🙂";
        assert_eq!(Visible(hostile).to_string(), expected);
    }

    #[test]
    fn numbers_are_read_at_a_glance() {
        assert_eq!(
            [0, 999, 1000, 36_864, 1_234_567].map(count),
            ["0", "999", "1,000", "36,864", "1,234,567"]
        );
        assert_eq!(fixed(Some(-0.25), 2), "−0.25");
        assert_eq!(fixed(None, 2), "–");
        assert_eq!(percent(Some(0.0004)), "< 0.1 %");
        assert_eq!(
            [0.0, 1.0 / 3.0, 2e-7, -1234567.0, 0.5, f64::NAN].map(number),
            ["0", "0.333333", "2.00000e-7", "-1234567", "0.5", "NaN"]
        );
    }
}
