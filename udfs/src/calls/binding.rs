//! Arguments as they are written: by position, by name, options in one struct. Each is brought to the place it is meant
//! for in the function's document.

use datafusion::common::utils::datafusion_strsim::normalized_levenshtein;
use datafusion::common::{Result, ScalarValue, plan_err};
use datafusion::logical_expr::Expr;

use super::arguments::{Values, shown};
use super::document::FunctionDoc;
use super::hints::by_name;

/// One argument as it was written.
#[derive(Debug, Clone)]
pub struct WrittenArgument {
    /// The name before `=>`, in lower case unless it was quoted.
    pub name: Option<String>,
    /// What stands there; a table or a query is carried as its `into_expr` makes it.
    pub value: Expr,
}

impl WrittenArgument {
    /// An argument known by its position.
    pub fn unnamed(value: Expr) -> Self {
        Self { name: None, value }
    }
}

/// Finds the argument or option each value is meant for.
///
/// Errors (planning): too few or too many, an unknown name, a name given twice, an unnamed value after a named one.
pub fn bind(doc: &'static FunctionDoc, written: Vec<WrittenArgument>) -> Result<Values> {
    let (function, n_written) = (doc.name, written.len());
    let mut bound = BoundValues {
        doc,
        arguments: vec![None; doc.arguments.len()],
        options: Vec::new(),
    };
    let last_unnamed = written.iter().rposition(|w| w.name.is_none());
    let mut named = None;
    let mut position = 0;
    for (i, WrittenArgument { name, value }) in written.into_iter().enumerate() {
        match name {
            Some(name) => {
                bound.put_named(&name, value)?;
                named = Some(name);
            }
            None if last_unnamed == Some(i)
                && let Some(fields) = struct_fields(&value)?
                && !doc.options.is_empty() =>
            {
                for (name, value) in fields {
                    bound.put_option(&name.to_ascii_lowercase(), value)?;
                }
            }
            None => {
                if let Some(name) = named {
                    return plan_err!(
                        "{function}: values without a name must stand before those with one, got {} after '{name}'",
                        shown(&value)
                    );
                }
                match bound.arguments.get_mut(position) {
                    Some(place) => *place = Some(value),
                    None => {
                        return plan_err!(
                            "{function}: usage is {}, got {n_written} arguments{}",
                            doc.signature(),
                            by_name(doc, &value)
                        );
                    }
                }
                position += 1;
            }
        }
    }
    if let Some(missing) = bound.arguments[..doc.required]
        .iter()
        .position(Option::is_none)
    {
        let came = match named {
            None => format!("{n_written} arguments"),
            Some(_) => format!("no {}", doc.arguments[missing].name),
        };
        return plan_err!("{function}: usage is {}, got {came}", doc.signature());
    }
    let arguments = doc.arguments.iter().zip(bound.arguments);
    let arguments = arguments.filter_map(|(parameter, value)| Some((parameter, value?)));
    Ok(arguments.chain(bound.options).collect())
}

/// What has been given so far.
struct BoundValues {
    doc: &'static FunctionDoc,
    arguments: Vec<Option<Expr>>,
    options: Values,
}

impl BoundValues {
    fn put_named(&mut self, name: &str, value: Expr) -> Result<()> {
        let doc = self.doc;
        let Some(position) = doc.arguments.iter().position(|a| a.name == name) else {
            if doc.options.iter().any(|o| o.name == name) {
                return self.put_option(name, value);
            }
            let kinds = [
                ("argument", "arguments", doc.arguments),
                ("option", "options", doc.options),
            ];
            let kinds = kinds.iter().filter(|(.., of)| !of.is_empty());
            let required: Vec<_> = kinds.clone().map(|(kind, ..)| *kind).collect();
            let listed = kinds.map(|(_, kinds, of)| {
                let names = nearest_first(of.iter().map(|p| p.name), name);
                format!("; {kinds}: {names}")
            });
            let names = doc.arguments.iter().chain(doc.options).map(|p| p.name);
            return plan_err!(
                "{}: an {} is required, got '{name}'{}{}",
                doc.name,
                required.join(" or "),
                did_you_mean(names, name),
                listed.collect::<String>()
            );
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
            let names = doc.options.iter().map(|option| option.name);
            return plan_err!("{}: {}", doc.name, unknown_option(names, name));
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

/// Similarity from which a name may be a slip of the pen. Chosen, not tuned.
const SIMILAR: f64 = 0.6;

/// The names that are similar to `got`, the nearest first, each with its place among `names`.
fn similar<'a>(names: impl Iterator<Item = &'a str>, got: &str) -> Vec<(usize, &'a str)> {
    let scored = names.enumerate();
    let scored = scored.map(|(i, name)| (normalized_levenshtein(name, got), i, name));
    let mut near: Vec<_> = scored.filter(|(score, ..)| *score >= SIMILAR).collect();
    near.sort_by(|a, b| b.0.total_cmp(&a.0));
    near.into_iter().map(|(_, i, name)| (i, name)).collect()
}

/// `a, b, c`, what is similar to `got` first.
fn nearest_first<'a>(names: impl Iterator<Item = &'a str> + Clone, got: &str) -> String {
    let near = similar(names.clone(), got);
    let others = names.enumerate().filter(|other| !near.contains(other));
    let ordered: Vec<_> = near
        .iter()
        .copied()
        .chain(others)
        .map(|(_, name)| name)
        .collect();
    ordered.join(", ")
}

/// ` (is 'b' meant?)` where one of the known names is similar to what was written, else nothing.
pub fn did_you_mean<'a>(names: impl Iterator<Item = &'a str>, got: &str) -> String {
    match similar(names, got).first() {
        Some((_, name)) => format!(" (is '{name}' meant?)"),
        None => String::new(),
    }
}

/// What to say of an option that is none of the known ones, what was probably meant first.
pub fn unknown_option<'a>(names: impl Iterator<Item = &'a str> + Clone, got: &str) -> String {
    let meant = did_you_mean(names.clone(), got);
    let listed = nearest_first(names, got);
    format!("an option is required, got '{got}'{meant}; options: {listed}")
}
