//! The arguments of table functions: literals by position or by name, options by name or in one struct, tables.
//!
//! A stock table function is handed whatever expression was written, columns and parameters among them, and would
//! answer with silently wrong rows; so everything that is not a literal is refused here, by name.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use datafusion::common::{Result, ScalarValue, plan_err};
use datafusion::logical_expr::{Expr, LogicalPlan, Subquery};

use super::document::{FunctionDoc, Parameter, RUN};
use super::hints::assigned;

/// A table or query that stands for an argument.
#[derive(Debug, Clone, PartialEq)]
pub struct Relation {
    /// Its rows.
    pub plan: Arc<LogicalPlan>,
    /// As it was written; calls of other tables have other texts.
    pub written: String,
}

impl Relation {
    /// An expression that carries the relation among the other arguments.
    pub fn into_expr(self) -> Expr {
        Expr::ScalarSubquery(Subquery {
            subquery: self.plan,
            outer_ref_columns: vec![],
            spans: Default::default(),
        })
        .alias(self.written)
    }

    /// What [`Self::into_expr`] made.
    pub fn of(expr: &Expr) -> Option<Self> {
        let Expr::Alias(alias) = expr else {
            return None;
        };
        match alias.expr.as_ref() {
            Expr::ScalarSubquery(query) => Some(Self {
                plan: Arc::clone(&query.subquery),
                written: alias.name.clone(),
            }),
            _ => None,
        }
    }
}

/// The values of one call, each with its place in the document: arguments in their order, then options as written.
pub type Values = Vec<(&'static Parameter, Expr)>;

/// The checked arguments of one call.
#[derive(Debug, Clone, PartialEq)]
pub struct Arguments {
    doc_name: &'static str,
    parameters: &'static [Parameter],
    positional: Vec<(&'static str, ScalarValue)>,
    options: Vec<(String, ScalarValue)>,
    relations: Vec<(&'static str, Relation)>,
    run: Option<String>,
}

impl Arguments {
    /// The values of one call, which must be literals or, where the document says so, relations.
    ///
    /// Errors (planning): a value that is neither.
    pub fn new(doc: &'static FunctionDoc, values: Values) -> Result<Self> {
        let mut arguments = Self {
            parameters: doc.arguments,
            ..Self::none(doc.name)
        };
        for (parameter, value) in values {
            if parameter.takes_query()
                && let Some(relation) = Relation::of(&value)
            {
                arguments.relations.push((parameter.name, relation));
                continue;
            }
            if parameter.takes_table() && !is_null(&value) {
                return plan_err!(
                    "{}: {} must be a {}, got {}",
                    doc.name,
                    parameter.name,
                    parameter.kind,
                    shown(&value)
                );
            }
            let value = literal(doc, parameter, &value)?;
            if *parameter == RUN {
                arguments.run = arguments.text_of(parameter.name, &value)?;
                continue;
            }
            if doc.arguments.iter().any(|a| a.name == parameter.name) {
                arguments.positional.push((parameter.name, value));
            } else {
                arguments.options.push((parameter.name.to_string(), value));
            }
        }
        Ok(arguments)
    }

    /// A call without arguments.
    pub fn none(function: &'static str) -> Self {
        Self {
            doc_name: function,
            parameters: &[],
            positional: Vec::new(),
            options: Vec::new(),
            relations: Vec::new(),
            run: None,
        }
    }

    /// The function's name, for messages.
    pub fn function(&self) -> &'static str {
        self.doc_name
    }

    /// An argument or option by name; `None` when left out or NULL.
    pub fn get(&self, name: &str) -> Option<&ScalarValue> {
        let positional = self
            .positional
            .iter()
            .find(|(n, _)| *n == name)
            .map(|(_, v)| v);
        let option = self.options.iter().find(|(n, _)| n == name).map(|(_, v)| v);
        option.or(positional).filter(|value| !value.is_null())
    }

    /// The run whose tables the call reads, where it names one.
    pub fn run(&self) -> Option<&str> {
        self.run.as_deref()
    }

    /// Whether an argument was given, as NULL.
    pub fn is_null(&self, name: &str) -> bool {
        let mut given = self.positional.iter();
        given.any(|(n, value)| *n == name && value.is_null())
    }

    /// The table or query given for an argument whose document allows one.
    pub fn relation(&self, name: &str) -> Option<&Relation> {
        let mut relations = self.relations.iter();
        relations.find(|(n, _)| *n == name).map(|(_, r)| r)
    }

    /// The call as SQL, by which EXPLAIN and the optimizer tell it from another.
    pub fn call(&self) -> String {
        let literal = |value: &ScalarValue| match value.try_as_str() {
            Some(Some(text)) => brief(&format!("'{}'", text.replace('\'', "''"))),
            _ => brief(&value.to_string()),
        };
        let relation = |name: &str| self.relation(name).map(|r| brief(&r.written));
        let given = |name: &str| {
            let value = self.positional.iter().find(|(n, _)| *n == name);
            relation(name).or_else(|| value.map(|(_, v)| literal(v)))
        };
        let mut written: Vec<_> = self.parameters.iter().map(|p| given(p.name)).collect();
        while let Some(None) = written.last() {
            written.pop();
        }
        let mut written: Vec<_> = written
            .into_iter()
            .map(|value| value.unwrap_or_else(|| "NULL".to_string()))
            .collect();
        let options = self.options.iter().map(|(n, v)| (n.as_str(), literal(v)));
        let related = self.relations.iter();
        let related = related.filter(|(name, _)| !self.parameters.iter().any(|p| p.name == *name));
        let related = related.map(|(name, r)| (*name, brief(&r.written)));
        let run = self.run.clone().map(ScalarValue::from);
        let run = run.iter().map(|run| (RUN.name, literal(run)));
        let options: Vec<_> = options
            .chain(related)
            .chain(run)
            .map(|(name, value)| format!("{name}: {value}"))
            .collect();
        if !options.is_empty() {
            written.push(format!("{{{}}}", options.join(", ")));
        }
        format!("{}({})", self.doc_name, written.join(", "))
    }

    /// The options in the order they were written.
    pub fn options(&self) -> &[(String, ScalarValue)] {
        &self.options
    }

    /// Text.
    pub fn text(&self, name: &str) -> Result<Option<String>> {
        match self.get(name) {
            Some(value) => self.text_of(name, value),
            None => Ok(None),
        }
    }

    fn text_of(&self, name: &str, value: &ScalarValue) -> Result<Option<String>> {
        match value.try_as_str() {
            Some(text) => Ok(text.map(str::to_string)),
            None if value.is_null() => Ok(None),
            None => self.wrong(name, "text", value),
        }
    }

    /// A whole number of any integer type.
    pub fn integer(&self, name: &str) -> Result<Option<i64>> {
        let Some(value) = self.get(name) else {
            return Ok(None);
        };
        if !value.data_type().is_integer() {
            return self.wrong(name, "a whole number", value);
        }
        match value.cast_to(&datafusion::arrow::datatypes::DataType::Int64) {
            Ok(ScalarValue::Int64(Some(number))) => Ok(Some(number)),
            _ => self.wrong(name, "a whole number that fits 64 bits", value),
        }
    }

    /// A finite number of any numeric type.
    pub fn number(&self, name: &str) -> Result<Option<f64>> {
        let Some(value) = self.get(name) else {
            return Ok(None);
        };
        if !value.data_type().is_numeric() {
            return self.wrong(name, "a number", value);
        }
        match value.cast_to(&datafusion::arrow::datatypes::DataType::Float64) {
            Ok(ScalarValue::Float64(Some(number))) if number.is_finite() => Ok(Some(number)),
            _ => self.wrong(name, "a finite number", value),
        }
    }

    /// True or false.
    pub fn boolean(&self, name: &str) -> Result<Option<bool>> {
        match self.get(name) {
            None => Ok(None),
            Some(ScalarValue::Boolean(Some(flag))) => Ok(Some(*flag)),
            Some(value) => self.wrong(name, "true or false", value),
        }
    }

    fn wrong<T>(&self, name: &str, required: &str, value: &ScalarValue) -> Result<T> {
        let got = match value.try_as_str().flatten() {
            Some(text) => format!("'{text}'"),
            None => value.to_string(),
        };
        plan_err!("{}: {name} must be {required}, got {got}", self.doc_name)
    }
}

/// A long value by its beginning and its hash: a vector of hundreds of numbers says nothing in a plan.
fn brief(text: &str) -> String {
    const LONGEST: usize = 100;
    if text.chars().count() <= LONGEST {
        return text.to_string();
    }
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    let beginning: String = text.chars().take(LONGEST / 2).collect();
    format!("{beginning}... {:016x}", hasher.finish())
}

/// A value that is not what it should be, for messages.
pub fn shown(expr: &Expr) -> String {
    match expr {
        Expr::Literal(value, _) => value.to_string(),
        Expr::Alias(alias) => shown(&alias.expr),
        Expr::Column(column) => format!("the column {column}"),
        Expr::OuterReferenceColumn(_, column) => format!("the column {column}"),
        Expr::Placeholder(placeholder) => format!("the parameter {}", placeholder.id),
        Expr::ScalarSubquery(_) => "a subquery".to_string(),
        other => format!("the expression {other}"),
    }
}

fn is_null(expr: &Expr) -> bool {
    matches!(expr, Expr::Literal(value, _) if value.is_null())
}

fn literal(doc: &FunctionDoc, parameter: &Parameter, expr: &Expr) -> Result<ScalarValue> {
    match expr {
        Expr::Literal(value, _) => return Ok(value.clone()),
        Expr::Alias(alias) => return literal(doc, parameter, &alias.expr),
        _ => {}
    }
    let column = match expr {
        Expr::Column(column) => Some(column),
        _ => None,
    };
    let hint = if let Some(assigned) = assigned(doc, expr) {
        format!(" (write {assigned})")
    } else if let Some(column) = column.filter(|_| parameter.takes_text()) {
        format!(" (text stands in single quotes: '{}')", column.flat_name())
    } else if doc.required == 0 && doc.arguments.iter().any(|a| a.name == "neuron") {
        format!(
            " (for the rows of a table: JOIN {}({}) f USING (layer, neuron))",
            doc.name,
            if doc.options.iter().any(|o| o.name == "kind") {
                "{kind: 'all'}"
            } else {
                ""
            }
        )
    } else {
        String::new()
    };
    plan_err!(
        "{}: {} must be a literal, got {}{hint}",
        doc.name,
        parameter.name,
        shown(expr)
    )
}
