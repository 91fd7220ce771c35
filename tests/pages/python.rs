//! The methods of the Python package, a table function each, from the catalogue.

use polysema_udfs::calls::{Function, FunctionDoc, Parameter};

/// The file of the package.
pub const FILE: &str = "python/polysema/_functions.py";

const HEAD: &str = r#""""The table functions as methods, made from the catalogue.

`UPDATE_PAGES=1 cargo test -p polysema --test pages` writes this file.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ._result import Result


class Functions:
    """One method for every table function; what is left out, or None, has its default."""

    def _call(self, name: str, arguments: list[tuple[str, Any]], options: dict[str, Any]) -> Result:
        raise NotImplementedError
"#;

/// Kept once at most: what a method named as a word of Python could not be called.
const KEYWORDS: [&str; 6] = ["from", "lambda", "in", "is", "not", "class"];

/// The whole file.
pub fn methods(functions: &[Function]) -> String {
    let tables = functions.iter().filter(|f| f.kind() == "table");
    let methods = tables.map(|function| method(function.doc));
    HEAD.to_string() + &methods.collect::<String>()
}

fn method(doc: &FunctionDoc) -> String {
    let named = |p: &Parameter| {
        assert!(!KEYWORDS.contains(&p.name), "{}: {}", doc.name, p.name);
        p.name
    };
    let mut text = format!("\n    def {}(\n        self,\n", doc.name);
    for (i, argument) in doc.arguments.iter().enumerate() {
        let (name, hint) = (named(argument), hint(argument));
        match i < doc.required {
            true => text += &format!("        {name}: {hint},\n"),
            false => text += &format!("        {name}: {hint} | None = None,\n"),
        }
    }
    // A detached job goes on without a reader; here every job has one.
    let options = doc.options.iter().filter(|option| option.name != "detach");
    let options: Vec<_> = options.collect();
    if !options.is_empty() {
        text += "        *,\n";
    }
    for option in &options {
        text += &format!(
            "        {}: {} | None = None,\n",
            named(option),
            hint(option)
        );
    }
    text += &format!("    ) -> Result:\n        \"\"\"{}\n", doc.summary);
    for (title, parameters) in [
        ("Arguments", doc.arguments.iter().collect::<Vec<_>>()),
        ("Options", options.clone()),
    ] {
        if !parameters.is_empty() {
            text += &format!("\n        {title}:\n");
        }
        for p in parameters {
            text += &wrapped(&format!("{}: {}; {}", p.name, p.kind, p.summary), 12, 16);
        }
    }
    text += "\n        Returns:\n";
    text += &wrapped(doc.returns, 12, 12);
    text += "        \"\"\"\n";
    let pairs = doc
        .arguments
        .iter()
        .map(|p| format!("(\"{0}\", {0})", p.name));
    let pairs = pairs.collect::<Vec<_>>().join(", ");
    text += "        options: dict[str, Any] = {\n";
    for option in &options {
        text += &format!("            \"{0}\": {0},\n", option.name);
    }
    text += "        }\n";
    text + &format!(
        "        return self._call(\"{}\", [{pairs}], options)\n",
        doc.name
    )
}

/// The type that Python's checkers know.
fn hint(p: &Parameter) -> &'static str {
    let kinds = [
        ("whole number or text", "int | str"),
        ("whole number", "int"),
        ("integer", "int"),
        ("number", "float"),
        ("true or false", "bool"),
        ("boolean", "bool"),
    ];
    if p.takes_query() || p.takes_table() {
        return "Any";
    }
    let found = kinds.iter().find(|(kind, _)| p.kind.starts_with(kind));
    match found {
        Some((_, hint)) => hint,
        None if p.takes_text() && !p.kind.contains("list") => "str",
        None => "Any",
    }
}

/// Lines of at most 100 characters; all but the first are indented further.
fn wrapped(text: &str, first: usize, rest: usize) -> String {
    let text = text.replace('\\', "\\\\");
    let mut lines = vec![" ".repeat(first)];
    for word in text.split_whitespace() {
        let line = lines.last().expect("a line");
        if line.len() + word.len() > 99 && !line.trim().is_empty() {
            lines.push(" ".repeat(rest));
        }
        let line = lines.last_mut().expect("a line");
        if !line.ends_with(' ') {
            line.push(' ');
        }
        line.push_str(word);
    }
    lines.join("\n") + "\n"
}
