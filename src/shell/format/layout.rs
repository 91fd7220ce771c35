//! How results are laid out, and on what.

use super::Format;

/// Whether a table has a line for every value instead of one for every row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expanded {
    /// Never.
    Off,
    /// Always.
    On,
    /// Where the rows are wider than the terminal.
    Auto,
}

impl Expanded {
    /// Its name in `\x`.
    pub fn name(self) -> &'static str {
        match self {
            Expanded::Off => "off",
            Expanded::On => "on",
            Expanded::Auto => "auto",
        }
    }
}

/// How a result is written.
#[derive(Debug, Clone, Copy)]
pub struct Layout {
    /// The text form.
    pub format: Format,
    /// Width of the terminal, if the result goes to one.
    pub width: Option<usize>,
    /// Of tables.
    pub expanded: Expanded,
    /// Whether values that are wider than their column go on below, at words, in place of being cut short.
    pub wraps: bool,
    /// Rows of a table that are shown on a terminal; all if there is no number.
    pub max_rows: Option<usize>,
}

impl Layout {
    /// For programs: all rows, as wide as they are.
    pub fn plain(format: Format) -> Self {
        Self {
            format,
            width: None,
            expanded: Expanded::Off,
            wraps: false,
            max_rows: None,
        }
    }

    /// Rows of a table that are shown.
    pub fn screen_rows(&self) -> Option<usize> {
        self.width.and(self.max_rows)
    }
}
