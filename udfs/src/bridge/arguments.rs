//! The arguments of table functions: positional literals, then one options struct.
//!
//! A stock table function is handed whatever expression was written, columns and parameters among them, and would
//! answer with silently wrong rows; so everything that is not a literal is refused here, by name.

use datafusion::common::{Result, ScalarValue, plan_datafusion_err, plan_err};
use datafusion::logical_expr::Expr;

use super::document::{FunctionDoc, Parameter};

/// The checked arguments of one call.
#[derive(Debug, Clone, PartialEq)]
pub struct Arguments {
    doc_name: &'static str,
    positional: Vec<(&'static str, ScalarValue)>,
    options: Vec<(String, ScalarValue)>,
}

impl Arguments {
    /// Sorts `exprs` into the document's arguments and options.
    ///
    /// Errors (planning): an argument that is no literal, too few or too many, an unknown option.
    pub fn parse(doc: &'static FunctionDoc, exprs: &[Expr]) -> Result<Self> {
        let function = doc.name;
        let mut literals = exprs
            .iter()
            .enumerate()
            .map(|(i, expr)| literal(doc, i, expr))
            .collect::<Result<Vec<_>>>()?;
        let mut options = Vec::new();
        if !doc.options.is_empty() && matches!(literals.last(), Some(ScalarValue::Struct(_))) {
            let Some(ScalarValue::Struct(row)) = literals.pop() else {
                unreachable!("just matched")
            };
            for (field, column) in row.fields().iter().zip(row.columns()) {
                let name = field.name().to_ascii_lowercase();
                if !doc.options.iter().any(|option| option.name == name) {
                    return plan_err!(
                        "{function}: options are {}, got '{name}'",
                        names(doc.options)
                    );
                }
                if options.iter().any(|(known, _)| *known == name) {
                    return plan_err!(
                        "{function}: options are each given once, got two of '{name}'"
                    );
                }
                options.push((name, ScalarValue::try_from_array(column, 0)?));
            }
        }
        if literals.len() > doc.arguments.len() || literals.len() < doc.required {
            return plan_err!(
                "{function}: usage is {}, got {} arguments",
                doc.signature(),
                exprs.len()
            );
        }
        let positional = doc.arguments.iter().map(|a| a.name).zip(literals).collect();
        Ok(Self {
            doc_name: function,
            positional,
            options,
        })
    }

    /// A call without arguments.
    pub fn none(function: &'static str) -> Self {
        Self {
            doc_name: function,
            positional: Vec::new(),
            options: Vec::new(),
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

    /// The call as SQL, by which EXPLAIN and the optimizer tell it from another.
    pub fn call(&self) -> String {
        let literal = |value: &ScalarValue| match value.try_as_str() {
            Some(Some(text)) => format!("'{text}'"),
            _ => value.to_string(),
        };
        let mut written: Vec<_> = self.positional.iter().map(|(_, v)| literal(v)).collect();
        if !self.options.is_empty() {
            let options: Vec<_> = self
                .options
                .iter()
                .map(|(name, value)| format!("{name}: {}", literal(value)))
                .collect();
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
        let Some(value) = self.get(name) else {
            return Ok(None);
        };
        match value.try_as_str() {
            Some(Some(text)) => Ok(Some(text.to_string())),
            _ => self.wrong(name, "text", value),
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
        plan_err!("{}: {name} must be {required}, got {value}", self.doc_name)
    }
}

/// `a, b and c` for messages.
pub fn names(parameters: &[Parameter]) -> String {
    parameters
        .iter()
        .map(|p| p.name)
        .collect::<Vec<_>>()
        .join(", ")
}

fn literal(doc: &FunctionDoc, position: usize, expr: &Expr) -> Result<ScalarValue> {
    let name = doc
        .arguments
        .get(position)
        .map_or("options", |argument| argument.name);
    let came = match expr {
        Expr::Literal(value, _) => return Ok(value.clone()),
        Expr::Alias(alias) => return literal(doc, position, &alias.expr),
        Expr::Column(column) => format!("the column {column}"),
        Expr::OuterReferenceColumn(_, column) => format!("the column {column}"),
        Expr::Placeholder(placeholder) => format!("the parameter {}", placeholder.id),
        Expr::ScalarSubquery(_) => "a subquery".to_string(),
        other => format!("the expression {other}"),
    };
    let all = doc.arguments.iter().any(|a| a.name == "neuron");
    let hint = if all {
        format!(
            " (for the rows of a table: JOIN {}() f USING (layer, neuron))",
            doc.name
        )
    } else {
        String::new()
    };
    Err(plan_datafusion_err!(
        "{}: {name} must be a literal, got {came}{hint}",
        doc.name
    ))
}
