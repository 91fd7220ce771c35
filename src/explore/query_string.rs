//! What stands behind the question mark of an address: known names, each once, values in their ranges.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::str::FromStr;

use url::form_urlencoded;

use super::trouble::Trouble;

/// The most characters of a value.
const LONGEST: usize = 512;
/// Of one that is a text of its own.
const LONGEST_TEXT: usize = 10_000;
/// Which are.
const TEXTS: [&str; 2] = ["sql", "text"];

/// Names and values; an empty value, as forms send it, is none.
#[derive(Debug)]
pub struct QueryString(Vec<(String, String)>);

impl QueryString {
    /// Reads it, of these names.
    pub fn read(query: Option<&str>, known: &[&str]) -> Result<Self, Trouble> {
        let mut given: Vec<(String, String)> = vec![];
        for (name, value) in form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
            if !known.contains(&name.as_ref()) {
                let known = match known {
                    [] => "no parameter is".to_string(),
                    known => format!("one of the parameters {} is", known.join(", ")),
                };
                return Err(Trouble::asked(format!(
                    "{known} required in the address, got '{name}'"
                )));
            }
            if given.iter().any(|(other, _)| *other == name) {
                return Err(Trouble::asked(format!(
                    "the parameter {name} is required once, got it twice"
                )));
            }
            let longest = match TEXTS.contains(&name.as_ref()) {
                true => LONGEST_TEXT,
                false => LONGEST,
            };
            if value.chars().count() > longest {
                return Err(Trouble::asked(format!(
                    "at most {longest} characters are required as {name}, got {}",
                    value.chars().count()
                )));
            }
            given.push((name.into_owned(), value.into_owned()));
        }
        given.retain(|(_, value)| !value.is_empty());
        Ok(Self(given))
    }

    /// A value as it is written.
    pub fn text(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().find(|(given, _)| given == name);
        found.map(|(_, value)| value.as_str())
    }

    /// A number in a range.
    pub fn number<N: FromStr + PartialOrd + Display>(
        &self,
        name: &str,
        range: RangeInclusive<N>,
    ) -> Result<Option<N>, Trouble> {
        let Some(text) = self.text(name) else {
            return Ok(None);
        };
        let number = text.trim().parse().ok();
        match number.filter(|number| range.contains(number)) {
            Some(number) => Ok(Some(number)),
            None => Err(Trouble::asked(format!(
                "a number from {} to {} is required as {name}, got '{text}'",
                range.start(),
                range.end()
            ))),
        }
    }

    /// One of some words; the first where none is given.
    pub fn choice<'a>(&self, name: &str, words: &[&'a str]) -> Result<&'a str, Trouble> {
        let Some(text) = self.text(name) else {
            return Ok(words.first().copied().unwrap_or_default());
        };
        let known = words.iter().find(|word| **word == text);
        known.copied().ok_or_else(|| {
            Trouble::asked(format!(
                "one of {} is required as {name}, got '{text}'",
                words.join(", ")
            ))
        })
    }

    /// The distance that clusters are cut at, where it is asked for.
    pub fn threshold(&self) -> Result<Option<f64>, Trouble> {
        self.number("threshold", 0.0..=2.0)
    }

    /// The same, or the usual one.
    pub fn threshold_or_usual(&self) -> Result<f64, Trouble> {
        let asked = self.threshold()?;
        Ok(asked.unwrap_or(crate::settings::defaults().threshold))
    }

    /// As an address has it, with other values for some names; none leaves a name out.
    pub fn with(&self, changed: &[(&str, Option<String>)]) -> String {
        let mut written = form_urlencoded::Serializer::new(String::new());
        for (name, value) in &self.0 {
            if !changed.iter().any(|(other, _)| other == name) {
                written.append_pair(name, value);
            }
        }
        for (name, value) in changed {
            if let Some(value) = value {
                written.append_pair(name, value);
            }
        }
        match written.finish() {
            none if none.is_empty() => none,
            some => format!("?{some}"),
        }
    }
}

/// What the address of a neuron takes along from a page with its own threshold.
pub fn along(threshold: Option<f64>) -> String {
    threshold.map_or(String::new(), |threshold| format!("?threshold={threshold}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn absurd_ones_are_refused_and_say_what_is_required() {
        let known = ["threshold", "sort", "sql"];
        let long = |name: &str, n| format!("{name}={}", "a".repeat(n));
        let [sort, sql, longer] = [long("sort", 600), long("sql", 9000), long("sql", 10_001)];
        let read = |query| QueryString::read(Some(query), &known);
        let message = |query| read(query).unwrap_err().message;
        assert!(message("x=1").contains("threshold, sort, sql"));
        assert!(message("sort=a&sort=b").contains("once"));
        assert!(message(&sort).contains("512 characters"));
        assert!(read(&sql).is_ok());
        assert!(message(&longer).contains("10000 characters"));
        let given = read("threshold=NaN&sort=").unwrap();
        let number = given.number("threshold", 0.0..=2.0).unwrap_err();
        assert!(number.message.contains("from 0 to 2"), "{}", number.message);
        assert_eq!(given.choice("sort", &["neuron", "size"]).unwrap(), "neuron");
        assert!(read("%FF%00=1").is_err());
        assert_eq!(
            given.with(&[("threshold", Some("0.4".into())), ("sort", None)]),
            "?threshold=0.4"
        );
    }
}
