//! The arguments of table functions: literals by position or by name, options by name or in one struct, tables.
//!
//! A stock table function is handed whatever expression was written, columns and parameters among them, and would
//! answer with silently wrong rows; so everything that is not a literal is refused here, by name.

use std::sync::Arc;

use datafusion::common::{Result, ScalarValue, plan_err};
use datafusion::logical_expr::{Expr, LogicalPlan, Subquery};

use super::document::{FunctionDoc, Parameter};

/// One argument as it was written.
#[derive(Debug, Clone)]
pub struct Written {
    /// The name before `=>`, in lower case unless it was quoted.
    pub name: Option<String>,
    /// What stands there; a table or a query is carried as [`Relation::into_expr`] makes it.
    pub value: Expr,
}

impl Written {
    /// An argument known by its position.
    pub fn unnamed(value: Expr) -> Self {
        Self { name: None, value }
    }
}

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

/// Finds the argument or option each value is meant for.
///
/// Errors (planning): too few or too many, an unknown name, a name given twice, an unnamed value after a named one.
pub fn sort(doc: &'static FunctionDoc, written: Vec<Written>) -> Result<Values> {
    let (function, n_written) = (doc.name, written.len());
    let mut sorted = Sorted {
        doc,
        arguments: vec![None; doc.arguments.len()],
        options: Vec::new(),
    };
    let last_unnamed = written.iter().rposition(|w| w.name.is_none());
    let mut named = None;
    let mut position = 0;
    for (i, Written { name, value }) in written.into_iter().enumerate() {
        match name {
            Some(name) => {
                sorted.put_named(&name, value)?;
                named = Some(name);
            }
            None if last_unnamed == Some(i)
                && let Some(fields) = struct_fields(&value)?
                && !doc.options.is_empty() =>
            {
                for (name, value) in fields {
                    sorted.put_option(&name.to_ascii_lowercase(), value)?;
                }
            }
            None => {
                if let Some(name) = named {
                    return plan_err!(
                        "{function}: values without a name must stand before those with one, got {} after '{name}'",
                        shown(&value)
                    );
                }
                match sorted.arguments.get_mut(position) {
                    Some(place) => *place = Some(value),
                    None => {
                        return plan_err!(
                            "{function}: usage is {}, got {n_written} arguments",
                            doc.signature()
                        );
                    }
                }
                position += 1;
            }
        }
    }
    if let Some(missing) = sorted.arguments[..doc.required]
        .iter()
        .position(Option::is_none)
    {
        let came = match named {
            None => format!("{n_written} arguments"),
            Some(_) => format!("no {}", doc.arguments[missing].name),
        };
        return plan_err!("{function}: usage is {}, got {came}", doc.signature());
    }
    let arguments = doc.arguments.iter().zip(sorted.arguments);
    let arguments = arguments.filter_map(|(parameter, value)| Some((parameter, value?)));
    Ok(arguments.chain(sorted.options).collect())
}

/// What has been given so far.
struct Sorted {
    doc: &'static FunctionDoc,
    arguments: Vec<Option<Expr>>,
    options: Values,
}

impl Sorted {
    fn put_named(&mut self, name: &str, value: Expr) -> Result<()> {
        let doc = self.doc;
        let Some(position) = doc.arguments.iter().position(|a| a.name == name) else {
            if doc.options.iter().any(|o| o.name == name) {
                return self.put_option(name, value);
            }
            let mut known = Vec::new();
            if !doc.arguments.is_empty() {
                known.push(format!("arguments are {}", names(doc.arguments)));
            }
            match (doc.arguments.is_empty(), doc.options.is_empty()) {
                (_, true) => {}
                (true, false) => known.push(format!("options are {}", names(doc.options))),
                (false, false) => known.push(format!("options {}", names(doc.options))),
            }
            return plan_err!("{}: {}, got '{name}'", doc.name, known.join(" and "));
        };
        if self.arguments[position].is_some() {
            return plan_err!(
                "{}: arguments are each given once, got two of '{name}'",
                doc.name
            );
        }
        self.arguments[position] = Some(value);
        Ok(())
    }

    fn put_option(&mut self, name: &str, value: Expr) -> Result<()> {
        let doc = self.doc;
        let Some(option) = doc.options.iter().find(|option| option.name == name) else {
            return plan_err!(
                "{}: options are {}, got '{name}'",
                doc.name,
                names(doc.options)
            );
        };
        if self.options.iter().any(|(known, _)| known.name == name) {
            return plan_err!(
                "{}: options are each given once, got two of '{name}'",
                doc.name
            );
        }
        self.options.push((option, value));
        Ok(())
    }
}

/// Names and values of a struct, written out or already a literal.
fn struct_fields(value: &Expr) -> Result<Option<Vec<(String, Expr)>>> {
    match value {
        Expr::Alias(alias) => struct_fields(&alias.expr),
        Expr::Literal(ScalarValue::Struct(row), _) => {
            let fields = row.fields().iter().zip(row.columns());
            let fields = fields.map(|(field, column)| {
                let value = ScalarValue::try_from_array(column, 0)?;
                Ok((field.name().clone(), Expr::Literal(value, None)))
            });
            Ok(Some(fields.collect::<Result<_>>()?))
        }
        Expr::ScalarFunction(call) if call.name() == "named_struct" => {
            let fields = call.args.chunks(2).map(|pair| match pair {
                [Expr::Literal(name, _), value] => {
                    let name = name.try_as_str().flatten()?;
                    Some((name.to_string(), value.clone()))
                }
                _ => None,
            });
            Ok(fields.collect())
        }
        _ => Ok(None),
    }
}

/// The checked arguments of one call.
#[derive(Debug, Clone, PartialEq)]
pub struct Arguments {
    doc_name: &'static str,
    parameters: &'static [Parameter],
    positional: Vec<(&'static str, ScalarValue)>,
    options: Vec<(String, ScalarValue)>,
    relations: Vec<(&'static str, Relation)>,
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
            if doc.arguments.iter().any(|a| a.name == parameter.name) {
                arguments.positional.push((parameter.name, value));
            } else {
                arguments.options.push((parameter.name.to_string(), value));
            }
        }
        Ok(arguments)
    }

    /// Sorts `exprs`, which have no names, into the document's arguments and options.
    ///
    /// Errors (planning): those of [`sort`] and [`Self::new`].
    pub fn parse(doc: &'static FunctionDoc, exprs: &[Expr]) -> Result<Self> {
        let written = exprs.iter().cloned().map(Written::unnamed).collect();
        Self::new(doc, sort(doc, written)?)
    }

    /// A call without arguments.
    pub fn none(function: &'static str) -> Self {
        Self {
            doc_name: function,
            parameters: &[],
            positional: Vec::new(),
            options: Vec::new(),
            relations: Vec::new(),
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

    /// The table or query given for an argument whose document allows one.
    pub fn relation(&self, name: &str) -> Option<&Relation> {
        let mut relations = self.relations.iter();
        relations.find(|(n, _)| *n == name).map(|(_, r)| r)
    }

    /// The call as SQL, by which EXPLAIN and the optimizer tell it from another.
    pub fn call(&self) -> String {
        let literal = |value: &ScalarValue| match value.try_as_str() {
            Some(Some(text)) => format!("'{}'", text.replace('\'', "''")),
            _ => value.to_string(),
        };
        let relation = |name: &str| self.relation(name).map(|r| r.written.clone());
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
        let related = related.map(|(name, r)| (*name, r.written.clone()));
        let options: Vec<_> = options
            .chain(related)
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
    let hint = if doc.arguments.iter().any(|a| a.name == "neuron") {
        format!(
            " (for the rows of a table: JOIN {}() f USING (layer, neuron))",
            doc.name
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
