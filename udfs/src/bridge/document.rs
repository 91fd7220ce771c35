//! What a user may read about a function, said once: the README's table, `\df`, `SHOW FUNCTIONS` and the argument
//! checks are all made from it.

use std::sync::Arc;

use datafusion::catalog::TableFunctionImpl;
use datafusion::logical_expr::{AggregateUDF, DocSection, Documentation, ScalarUDF};

/// One argument or option.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parameter {
    /// Name as written in SQL.
    pub name: &'static str,
    /// SQL type, shape and range.
    pub kind: &'static str,
    /// What it means and what leaving it out does.
    pub summary: &'static str,
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
        for (title, parameters) in [("arguments", self.arguments), ("options", self.options)] {
            if !parameters.is_empty() {
                text += &format!("\n{title}\n");
                for p in parameters {
                    text += &format!("  {:<12} {}: {}\n", p.name, p.kind, p.summary);
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
        for p in self.arguments {
            builder = builder.with_argument(p.name, format!("{}: {}", p.kind, p.summary));
        }
        builder.build()
    }
}

/// The engine-facing half of a function.
#[derive(Debug, Clone)]
pub enum Implementation {
    /// One value per row.
    Scalar(Arc<ScalarUDF>),
    /// One value per group.
    Aggregate(Arc<AggregateUDF>),
    /// A relation.
    Table(Arc<dyn TableFunctionImpl>),
}

/// An entry of the catalogue.
#[derive(Debug, Clone)]
pub struct Function {
    /// What users read.
    pub doc: &'static FunctionDoc,
    /// What DataFusion runs.
    pub implementation: Implementation,
}

impl Function {
    /// `scalar`, `aggregate` or `table`.
    pub fn kind(&self) -> &'static str {
        match self.implementation {
            Implementation::Scalar(_) => "scalar",
            Implementation::Aggregate(_) => "aggregate",
            Implementation::Table(_) => "table",
        }
    }
}
