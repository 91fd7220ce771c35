//! One line of a table of options: what a value may be, what holds when there is none, and how both are told.
//! Above 400 lines, since what is told follows from what is checked.

use std::fmt;

use datafusion::common::plan_err;
use datafusion::error::Result;
use polysema_udfs::calls::{Parameter, RELATION, TEXT_OR_RELATION};

use super::candidate::{Unchecked, number};
use crate::text::quoted;

/// No number of an option is larger: 32 bits hold all of them.
pub const MOST: f64 = 3e38;

/// What values there are.
#[derive(Debug, Clone, Copy)]
pub enum Kind {
    /// A whole number.
    Whole {
        /// The least.
        from: u64,
        /// The largest: what an option sizes is bounded here.
        to: u64,
    },
    /// A list of whole numbers, of at least one.
    Wholes {
        /// The least number.
        from: u64,
        /// The largest number.
        to: u64,
        /// The longest list.
        most: usize,
    },
    /// A finite number from `from` to `to`.
    Number {
        /// The lower end.
        from: f64,
        /// Whether the lower end itself is left out.
        above: bool,
        /// The upper end.
        to: f64,
        /// Whether the upper end itself is left out.
        below: bool,
    },
    /// True or false.
    Flag,
    /// Any text.
    Text,
    /// One of these words, or another one for it; else there may be a reason why that is none.
    Words(fn() -> Vec<&'static str>, fn(&str) -> OtherWord),
    /// A table or a query.
    Table,
    /// Any text, a table or a query.
    TextOrTable,
}

/// The word that another one stands for, or why it stands for none.
pub type OtherWord = Option<std::result::Result<&'static str, &'static str>>;

impl Kind {
    /// One of these words alone.
    pub const fn words(words: fn() -> Vec<&'static str>) -> Self {
        Self::Words(words, |_| None)
    }

    /// Numbers from `from` on.
    pub const fn from(from: f64) -> Self {
        Self::Number {
            from,
            above: false,
            to: MOST,
            below: false,
        }
    }

    /// Numbers above `from`.
    pub const fn above(from: f64) -> Self {
        Self::Number {
            from,
            above: true,
            to: MOST,
            below: false,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Whole { from, to } => write!(f, "whole number from {from} to {}", count(*to)),
            Self::Wholes { from, to, most } => write!(
                f,
                "list of 1 to {most} whole numbers from {from} to {}",
                count(*to)
            ),
            Self::Number {
                from,
                above: false,
                to,
                below: false,
            } => write!(f, "number from {from} to {}", number(*to)),
            Self::Number {
                from,
                above: true,
                to: MOST,
                ..
            } => write!(f, "number above {from}, at most {}", number(MOST)),
            Self::Number {
                from,
                above,
                to,
                below,
            } => {
                let open = if *above { '(' } else { '[' };
                let close = if *below { ')' } else { ']' };
                write!(f, "number in {open}{from}, {to}{close}")
            }
            Self::Flag => f.write_str("true or false"),
            Self::Text => f.write_str("text"),
            Self::Words(words, _) => f.write_str(&one_of(words().iter())),
            Self::Table => f.write_str(RELATION),
            Self::TextOrTable => f.write_str(TEXT_OR_RELATION),
        }
    }
}

/// The bounds of 31 bits and more are read most easily as powers.
fn count(n: u64) -> String {
    match n.checked_add(1) {
        Some(next) if n >= 1 << 24 && next.is_power_of_two() => {
            format!("2^{} - 1", next.trailing_zeros())
        }
        _ => n.to_string(),
    }
}

/// `'a', 'b' or 'c'`.
fn one_of(words: impl Iterator<Item = impl fmt::Display>) -> String {
    let mut words: Vec<_> = words.map(|word| format!("'{word}'")).collect();
    match words.pop() {
        Some(last) if !words.is_empty() => format!("{} or {last}", words.join(", ")),
        last => last.unwrap_or_default(),
    }
}

/// What holds when an option is left out.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Usual {
    /// Nothing.
    Nothing,
    /// Nothing that could be written; what it is instead is said.
    Said(&'static str),
    /// A whole number.
    Whole(u64),
    /// A list of whole numbers.
    Wholes(&'static [u64]),
    /// A number.
    Number(f64),
    /// True or false.
    Flag(bool),
    /// A text or a word.
    Text(&'static str),
}

impl Usual {
    /// The value, where there is one.
    pub(super) fn value(self) -> Option<Value> {
        Some(match self {
            Self::Nothing | Self::Said(_) => return None,
            Self::Whole(whole) => Value::Whole(whole),
            Self::Wholes(items) => Value::Wholes(items.to_vec()),
            Self::Number(number) => Value::Number(number),
            Self::Flag(flag) => Value::Flag(flag),
            Self::Text(text) => Value::Text(text.to_string()),
        })
    }
}

impl fmt::Display for Usual {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Said(said) => f.write_str(said),
            Self::Number(x) => f.write_str(&number(*x)),
            Self::Text(text) => f.write_str(text),
            other => match other.value() {
                Some(value) => write!(f, "{value}"),
                None => Ok(()),
            },
        }
    }
}

/// Which other options an option goes with. One that would have no effect is refused.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Rule {
    /// Only where that option, given or usual, is one of these words.
    With(&'static str, &'static [&'static str]),
    /// Only where that option, given or usual, is a number above 0.
    Above0(&'static str),
    /// Only where that option is given.
    WithGiven(&'static str),
    /// Not beside that option.
    Without(&'static str),
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::With(option, words) => write!(f, "{option} {}", one_of(words.iter())),
            Self::Above0(option) => write!(f, "{option} above 0"),
            Self::WithGiven(option) | Self::Without(option) => f.write_str(option),
        }
    }
}

/// What holds when an option is left out, but another one is so.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Instead {
    /// The other option.
    pub option: &'static str,
    /// Its words, given or usual; of none, whenever it is given.
    pub words: &'static [&'static str],
    /// What holds then.
    pub usual: Usual,
}

impl fmt::Display for Instead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.usual {
            Usual::Nothing => f.write_str("none")?,
            usual => write!(f, "{usual}")?,
        }
        write!(f, " with {}", self.option)?;
        match self.words {
            [] => Ok(()),
            words => write!(f, " {}", one_of(words.iter())),
        }
    }
}

/// A checked value.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// A whole number.
    Whole(u64),
    /// A list of whole numbers.
    Wholes(Vec<u64>),
    /// A finite number.
    Number(f64),
    /// True or false.
    Flag(bool),
    /// A text, a word, or a table as it was written.
    Text(String),
}

impl Value {
    /// For a manifest.
    pub(super) fn to_json(&self) -> serde_json::Value {
        match self {
            Self::Whole(whole) => (*whole).into(),
            Self::Wholes(items) => items.clone().into(),
            Self::Number(number) => (*number).into(),
            Self::Flag(flag) => (*flag).into(),
            Self::Text(text) => text.clone().into(),
        }
    }
}

/// As a literal of SQL.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Whole(whole) => write!(f, "{whole}"),
            Self::Wholes(items) => write!(f, "{items:?}"),
            Self::Number(number) => write!(f, "{number:?}"),
            Self::Flag(flag) => write!(f, "{flag}"),
            Self::Text(text) => f.write_str(&quoted(text, '\'')),
        }
    }
}

/// One option: a line of a table.
#[derive(Debug, Clone, Copy)]
pub struct Spec {
    /// Name, in SQL and on the command line.
    pub name: &'static str,
    /// What values there are.
    pub kind: Kind,
    /// What holds when it is left out.
    pub usual: Usual,
    /// What holds then where another option is so; the first that is counts.
    pub instead: &'static [Instead],
    /// What it does.
    pub meaning: &'static str,
    /// Which other options it goes with.
    pub rules: &'static [Rule],
}

impl Spec {
    /// The value of this option, if it is one.
    ///
    /// Errors (planning): outside the range, or of another type.
    pub(super) fn accept(&self, candidate: Unchecked) -> Result<Value> {
        match self.kind.value(&candidate) {
            Some(value) => Ok(value),
            None => {
                let why = match (self.kind, &candidate) {
                    (Kind::Words(_, other), Unchecked::Text(text)) => other(text),
                    _ => None,
                };
                let why = why.and_then(std::result::Result::err);
                let why = why.map_or_else(String::new, |why| format!(": {why}"));
                let (name, required) = (self.name, self.required());
                plan_err!("{name} must be {required}, got {candidate}{why}")
            }
        }
    }

    fn required(&self) -> String {
        match self.kind {
            Kind::Flag | Kind::Text | Kind::Words(..) | Kind::TextOrTable => self.kind.to_string(),
            Kind::Whole { .. } | Kind::Wholes { .. } | Kind::Number { .. } | Kind::Table => {
                format!("a {}", self.kind)
            }
        }
    }

    /// What it does, what it goes with and what holds when it is left out.
    pub fn summary(&self) -> String {
        let mut summary = self.meaning.to_string();
        for rule in self.rules {
            if !matches!(rule, Rule::Without(_)) {
                summary += &format!("; only with {rule}");
            }
        }
        match self.default() {
            default if default.is_empty() => summary,
            default => format!("{summary}; default {default}"),
        }
    }

    /// What holds when it is left out, in words; empty where that is nothing.
    pub fn default(&self) -> String {
        let usual = Some(self.usual.to_string()).filter(|usual| !usual.is_empty());
        let instead = self.instead.iter().map(Instead::to_string);
        usual
            .into_iter()
            .chain(instead)
            .collect::<Vec<_>>()
            .join(", ")
    }
}

impl Kind {
    fn value(self, candidate: &Unchecked) -> Option<Value> {
        let whole = |candidate: &Unchecked, from: u64, to: u64| match candidate {
            Unchecked::Whole(whole) => {
                let whole = u64::try_from(*whole).ok();
                whole.filter(|whole| (from..=to).contains(whole))
            }
            _ => None,
        };
        match (self, candidate) {
            (Self::Whole { from, to }, candidate) => whole(candidate, from, to).map(Value::Whole),
            (Self::Wholes { from, to, most }, Unchecked::List(items)) => {
                let fits = (1..=most).contains(&items.len());
                let items = items.iter().map(|item| whole(item, from, to));
                fits.then(|| items.collect()).flatten().map(Value::Wholes)
            }
            (
                Self::Number {
                    from,
                    above,
                    to,
                    below,
                },
                Unchecked::Number(_) | Unchecked::Whole(_),
            ) => {
                let x = match candidate {
                    Unchecked::Whole(whole) => *whole as f64,
                    Unchecked::Number(x) => *x,
                    _ => return None,
                };
                let low = if above { x > from } else { x >= from };
                let high = if below { x < to } else { x <= to };
                // Kernels compute in 32 bits: what is 0 or an end there is it here.
                let narrow = f64::from(x as f32);
                let kept = (narrow == 0.0) == (x == 0.0) && !(below && narrow >= to);
                (low && high && kept).then_some(Value::Number(x))
            }
            (Self::Flag, Unchecked::Flag(flag)) => Some(Value::Flag(*flag)),
            (Self::Text | Self::Table | Self::TextOrTable, Unchecked::Text(text)) => {
                Some(Value::Text(text.clone()))
            }
            (Self::Words(words, other), Unchecked::Text(text)) => {
                let mut known = words().into_iter();
                let word = known.find(|word| word == text);
                let word = word.or_else(|| other(text)?.ok());
                word.map(|word| Value::Text(word.to_string()))
            }
            _ => None,
        }
    }
}

/// A table of options as a function's document carries it. The texts live as long as the process, as documents do.
pub fn parameters(table: &[Spec]) -> &'static [Parameter] {
    let parameters = table.iter().map(|spec| Parameter {
        name: spec.name,
        kind: spec.kind.to_string().leak(),
        summary: spec.summary().leak(),
    });
    parameters.collect::<Vec<_>>().leak()
}

/// A table of options in Markdown.
pub fn markdown(table: &[Spec]) -> String {
    let mut text = "| option | value | default | meaning |\n|---|---|---|---|\n".to_string();
    for spec in table {
        let (name, kind, meaning) = (spec.name, spec.kind, spec.meaning);
        let default = spec.default();
        text += &format!("| `{name}` | {kind} | {default} | {meaning} |\n");
    }
    text
}
