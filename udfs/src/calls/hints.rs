//! How what was written in another way is written here, for messages.

use datafusion::logical_expr::{Expr, Operator};

use super::document::{FunctionDoc, Parameter};

/// How a value that has no place among the arguments is written as an option.
pub(super) fn by_name(doc: &FunctionDoc, value: &Expr) -> String {
    if let Some(assigned) = assigned(doc, value) {
        return format!(" (write {assigned})");
    }
    let Expr::Literal(literal, _) = value else {
        return String::new();
    };
    let text = literal.try_as_str().flatten();
    let takes = |option: &&Parameter| match text {
        Some(text) => [option.kind, option.summary].iter().any(|said| {
            let mut words = said.split(|c: char| c != '_' && !c.is_alphanumeric());
            words.any(|word| word == text)
        }),
        None => option.kind.starts_with("number"),
    };
    let written = text.map_or_else(|| literal.to_string(), |text| format!("'{text}'"));
    match doc.options.iter().find(takes) {
        Some(option) => format!(" (options stand by name, as {} => {written})", option.name),
        None => String::new(),
    }
}

/// `name = value`, which compares, as the argument or option that is meant: `name => value`.
pub(super) fn assigned(doc: &FunctionDoc, value: &Expr) -> Option<String> {
    let Expr::BinaryExpr(compared) = value else {
        return None;
    };
    let Expr::Column(column) = compared.left.as_ref() else {
        return None;
    };
    let mut names = doc.arguments.iter().chain(doc.options).map(|p| p.name);
    let is_named = compared.op == Operator::Eq && names.any(|name| name == column.name);
    let value = match compared.right.as_ref() {
        Expr::Literal(value, _) => match value.try_as_str().flatten() {
            Some(text) => format!("'{text}'"),
            None => value.to_string(),
        },
        _ => "...".to_string(),
    };
    is_named.then(|| format!("{} => {value}", column.name))
}
