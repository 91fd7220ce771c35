//! What a user may read about a function, said once: the README's table, `\df`, `SHOW FUNCTIONS` and the argument
//! checks are all made from it.

use datafusion::arrow::datatypes::DataType;
use datafusion::logical_expr::{DocSection, Documentation};

/// Kind of a [`Parameter`] that is a relation: a table by name, in quotes or not, or a query in parentheses. A value
/// that may also be a query has a kind that ends in `or (SELECT ...)`. Either comes as a relation among the arguments.
pub const RELATION: &str = "table or (SELECT ...)";

/// Kind of an argument that is one or a text.
pub const TEXT_OR_RELATION: &str = "text, table or (SELECT ...)";

/// One argument or option.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parameter {
    /// Name as written in SQL.
    pub name: &'static str,
    /// SQL type, shape and range; see [`RELATION`] for tables and queries.
    pub kind: &'static str,
    /// What it means and what leaving it out does.
    pub summary: &'static str,
}

/// The option `run` of every function that reads the tables of a run. Its value is no option of the function itself: the
/// tables it finds are the run's.
pub const RUN: Parameter = Parameter {
    name: "run",
    kind: "text",
    summary: "the run whose tables are read (any schema that has them), which may also stand before the function's name, as in \
              mine.feature_clusters(); default the current run",
};

impl Parameter {
    /// Whether a name means a table.
    pub fn takes_table(&self) -> bool {
        self.kind.starts_with("table")
    }

    /// Whether a text is among its values, but no table by its name.
    pub fn takes_text(&self) -> bool {
        let is_text = ["text", "name", "'"]
            .iter()
            .any(|text| self.kind.contains(text));
        is_text && !self.takes_table()
    }

    /// Whether a word without quotes names a table, though text may mean something else.
    pub fn takes_table_name(&self) -> bool {
        self.takes_table() || (self.takes_query() && self.kind.contains("table"))
    }

    /// Whether a query in parentheses is taken as it is, not for its one value.
    pub fn takes_query(&self) -> bool {
        self.kind.ends_with("(SELECT ...)")
    }

    /// The type a parameter of a prepared statement has in its place, where there is one.
    pub fn data_type(&self) -> Option<DataType> {
        let types = [
            ("whole number", DataType::Int32),
            ("integer", DataType::Int32),
            ("number", DataType::Float64),
            ("text", DataType::Utf8),
            ("name", DataType::Utf8),
            ("'", DataType::Utf8),
            ("boolean", DataType::Boolean),
            ("true or false", DataType::Boolean),
        ];
        let found = types.iter().find(|(kind, _)| self.kind.starts_with(kind));
        found.map(|(_, data_type)| data_type.clone())
    }
}

/// The document of one SQL function.
#[derive(Debug, Clone, Copy)]
pub struct FunctionDoc {
    /// Name as written in SQL.
    pub name: &'static str,
    /// The chapter of the catalogue it stands in.
    pub chapter: &'static str,
    /// One sentence: what becomes of a row, a group or a neuron.
    pub summary: &'static str,
    /// Positional arguments in order.
    pub arguments: &'static [Parameter],
    /// How many of `arguments` must be given.
    pub required: usize,
    /// Keys of the trailing options struct; empty for scalar and aggregate functions.
    pub options: &'static [Parameter],
    /// Type, range and NULL behaviour of the result; for table functions its columns in order.
    pub returns: &'static str,
    /// A statement that runs on the demo's store.
    pub example: &'static str,
    /// Set when the name replaces one of DataFusion's own: what is the same and what differs.
    pub replaces: Option<&'static str>,
}

impl FunctionDoc {
    /// Whether the function reads the tables of a run.
    pub fn reads_run(&self) -> bool {
        self.options.contains(&RUN)
    }

    /// `name(a, b [, c] [, {options}])`.
    pub fn signature(&self) -> String {
        let mut signature = format!("{}(", self.name);
        for (i, argument) in self.arguments.iter().enumerate() {
            let comma = if i == 0 { "" } else { ", " };
            if i < self.required {
                signature += &format!("{comma}{}", argument.name);
            } else {
                signature += &format!("[{comma}{}]", argument.name);
            }
        }
        if !self.options.is_empty() {
            let comma = if self.arguments.is_empty() { "" } else { ", " };
            signature += &format!("[{comma}{{options}}]");
        }
        signature + ")"
    }

    /// The whole document as plain text.
    pub fn text(&self) -> String {
        let mut text = format!("{}\n{}\n", self.signature(), self.summary);
        let all = self.arguments.iter().chain(self.options);
        let margin = all.map(|p| p.name.len()).max().unwrap_or_default();
        for (title, parameters) in [("arguments", self.arguments), ("options", self.options)] {
            if !parameters.is_empty() {
                text += &format!("\n{title}\n");
                for p in parameters {
                    text += &format!("  {:<margin$}  {}: {}\n", p.name, p.kind, p.summary);
                }
            }
        }
        text += &format!("\nreturns\n  {}\n", self.returns);
        if let Some(replaces) = self.replaces {
            text += &format!("\nreplaces\n  {replaces}\n");
        }
        text + &format!("\nexample\n  {}\n", self.example)
    }

    /// The same facts in the form DataFusion's `SHOW FUNCTIONS` reads.
    pub fn to_datafusion(&self) -> Documentation {
        let section = DocSection {
            include: true,
            label: self.chapter,
            description: None,
        };
        let mut builder = Documentation::builder(
            section,
            format!("{} Returns {}", self.summary, self.returns),
            self.signature(),
        )
        .with_sql_example(self.example);
        for p in self.arguments.iter().chain(self.options) {
            builder = builder.with_argument(p.name, format!("{}: {}", p.kind, p.summary));
        }
        builder.build()
    }
}
