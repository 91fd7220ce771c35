//! Tables of many rows, a part at a time.

use askama::Template;

use super::query_string::QueryString;
use super::show;
use super::trouble::Trouble;

/// Which part of a table is asked for.
#[derive(Debug, Clone, Copy)]
pub struct Turn(i64);

impl Turn {
    /// Rows of a part.
    pub const ROWS: i64 = 50;

    /// The one that an address names as `page`; the first where it names none.
    pub fn read(asked: &QueryString) -> Result<Self, Trouble> {
        Ok(Self(asked.number("page", 1..=1_000_000)?.unwrap_or(1)))
    }

    /// How many rows come before it.
    pub fn from(self) -> i64 {
        (self.0 - 1) * Self::ROWS
    }

    /// What a page says of it, which has so many `rows` of those `found`.
    pub fn part(self, asked: &QueryString, found: i64, rows: usize) -> RowsPart {
        let turned = |page: i64| asked.with(&[("page", Some(page.to_string()))]);
        RowsPart {
            first: self.from() + 1,
            last: self.from() + i64::try_from(rows).unwrap_or(0),
            found,
            previous: (self.0 > 1).then(|| turned(self.0 - 1)),
            next: (self.from() + Self::ROWS < found).then(|| turned(self.0 + 1)),
        }
    }
}

/// A part of a table, and the addresses of those before and after it.
#[derive(Debug, Clone)]
pub struct RowsPart {
    /// Its first row, from 1, and its last.
    pub first: i64,
    last: i64,
    found: i64,
    previous: Option<String>,
    next: Option<String>,
}

/// The way to the parts before and after.
#[derive(Template)]
#[template(path = "turn.html")]
struct TurnTemplate<'a> {
    of: &'a str,
    part: &'a RowsPart,
}

impl RowsPart {
    /// Which rows it has.
    pub fn words(&self) -> String {
        let [first, last, found] = [self.first, self.last, self.found].map(show::count);
        format!("{first} to {last} of {found}")
    }

    /// The way to the other parts of what a reader calls `of`, as a part of a page, which is HTML.
    pub fn ways(&self, of: &str) -> String {
        // Writing into a string does not fail.
        TurnTemplate { of, part: self }.render().unwrap_or_default()
    }
}
