//! The page of a function, from its document, its columns as the engine gives them, what its source says of errors, cost and
//! origin, the messages of its contract in `tests/slt`, and what its example prints.

use polysema::store::Table;
use polysema_udfs::calls::{Function, FunctionDoc, Implementation, Parameter};

use super::workplace::Workplace;
use super::{read, root};

/// The folder of the pages.
pub const FOLDER: &str = "docs/sql";

/// `docs/sql/NAME.md`.
pub fn path(doc: &FunctionDoc) -> String {
    format!("{FOLDER}/{}.md", doc.name)
}

/// The list of all pages.
pub fn index(functions: &[Function]) -> String {
    let mut text = "# SQL functions\n\nA page each, with options, columns, errors, and an example with what it prints on the demo's \
                    store (`polysema demo`).\nThe pages are made by `UPDATE_PAGES=1 cargo test -p polysema --test pages`.\n"
        .to_string();
    let mut chapter = "";
    for Function { doc, .. } in functions {
        if doc.chapter != chapter {
            chapter = doc.chapter;
            text += &format!("\n## {chapter}\n\n| function | what it gives |\n|---|---|\n");
        }
        text += &format!("| [`{0}`]({0}.md) | {1} |\n", doc.name, cell(doc.summary));
    }
    text
}

/// The page of a function, whose example is run in this place.
pub fn page(function: &Function, place: &Workplace) -> String {
    let doc = function.doc;
    let kind = match function.implementation {
        Implementation::Scalar(_) => "Scalar function",
        Implementation::Aggregate(_) => "Aggregate function",
        Implementation::Table(_) => "Table function",
    };
    let mut text = format!(
        "# {}\n\n    {}\n\n{}\n",
        doc.name,
        doc.signature(),
        doc.summary
    );
    text += &format!(
        "\n{kind}, chapter `{}` of [all functions](README.md).\n",
        doc.chapter
    );
    if let Some(replaces) = doc.replaces {
        text += &format!("\nIt takes the place of {replaces}.\n");
    }
    text += &parameters("Arguments", "argument", doc.arguments);
    text += &parameters("Options", "option", doc.options);
    text += &match function.implementation {
        Implementation::Table(_) => columns(doc, place),
        _ => format!("\n## Result\n\n{}.\n", doc.returns),
    };
    text += &of_source(doc);
    text += &errors(doc);
    let said = place.prompt(doc.example);
    assert!(said.succeeded, "{}: {}", doc.name, said.err);
    assert!(
        said.out.lines().count() > 2,
        "{}: the example gives rows",
        doc.name
    );
    let printed: Vec<String> = said
        .out
        .lines()
        .map(|line| format!("    {line}").trim_end().to_string())
        .collect();
    let example = spaced(doc.example);
    text + &format!(
        "\n## Example\n\n    demo> {example};\n\n{}\n",
        printed.join("\n")
    )
}

/// One line, one space where the source has more.
fn spaced(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

fn parameters(title: &str, what: &str, parameters: &[Parameter]) -> String {
    if parameters.is_empty() {
        return String::new();
    }
    let mut text = format!("\n## {title}\n\n| {what} | value | meaning |\n|---|---|---|\n");
    for p in parameters {
        text += &format!(
            "| `{}` | {} | {} |\n",
            p.name,
            cell(p.kind),
            cell(p.summary)
        );
    }
    text
}

/// The columns of a table function: their types from a view of it, their meanings from its document.
fn columns(doc: &FunctionDoc, place: &Workplace) -> String {
    let call = call(doc);
    let view = format!("CREATE VIEW columns_of AS SELECT * FROM {call}");
    let said = place.prompts(&[&view, "\\d columns_of"], "ndjson");
    assert!(said.succeeded, "{}: {}", doc.name, said.err);
    let (named, notes) = named_columns(doc.returns);
    let mut text =
        "\n## Columns\n\n| column | type | NULL | meaning |\n|---|---|---|---|\n".to_string();
    let mut names = vec![];
    for line in said.out.lines() {
        let column: serde_json::Value = serde_json::from_str(line).expect("JSON");
        let part = |key: &str| {
            column[key]
                .as_str()
                .unwrap_or_else(|| panic!("{line} has {key}"))
                .to_string()
        };
        let (name, data_type, null) = (part("column"), part("type"), part("null"));
        let own = named
            .iter()
            .find(|(of, _)| *of == name)
            .and_then(|(_, meaning)| meaning.clone());
        let meaning = own.or_else(|| Table::Examples.meaning(&name).map(String::from));
        let meaning =
            meaning.unwrap_or_else(|| panic!("{}: `returns` must say what {name} means", doc.name));
        text += &format!("| `{name}` | {data_type} | {null} | {} |\n", cell(&meaning));
        names.push(name);
    }
    for (name, _) in &named {
        if !names.contains(name) {
            panic!(
                "{}: `returns` has a column {name}, the table none",
                doc.name
            );
        }
    }
    if let Some(notes) = notes {
        text += &format!("\nRows: {notes}.\n");
    }
    text
}

/// The call in the example of a function.
fn call(doc: &FunctionDoc) -> &'static str {
    let start = doc
        .example
        .find(&format!("{}(", doc.name))
        .expect("an example calls its function");
    let call = &doc.example[start..];
    let mut depth = 0;
    for (i, c) in call.char_indices() {
        match c {
            '(' => depth += 1,
            ')' if depth == 1 => return &call[..=i],
            ')' => depth -= 1,
            _ => {}
        }
    }
    panic!("{}: the example must close its call", doc.name)
}

/// The names in what a table function returns, `a, b (its meaning), c; about the rows`, and what is said of the rows.
fn named_columns(returns: &str) -> (Vec<(String, Option<String>)>, Option<String>) {
    let (mut depth, mut start, mut parts, mut notes) = (0, 0, vec![], None);
    for (i, c) in returns.char_indices() {
        match c {
            '(' => depth += 1,
            ')' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(&returns[start..i]);
                start = i + 1;
            }
            ';' if depth == 0 => {
                notes = Some(spaced(&returns[i + 1..]));
                parts.push(&returns[start..i]);
                start = returns.len();
                break;
            }
            _ => {}
        }
    }
    parts.push(&returns[start..]);
    let of_part = |part: &str| {
        let part = spaced(part);
        match part.split_once(" (") {
            Some((name, meaning)) => (
                name.to_string(),
                meaning.strip_suffix(')').map(String::from),
            ),
            None => (part, None),
        }
    };
    let named = parts
        .into_iter()
        .map(of_part)
        .filter(|(name, _)| !name.is_empty());
    (named.collect(), notes)
}

/// What the module documentation of the function's source says beyond its name.
fn of_source(doc: &FunctionDoc) -> String {
    let path =
        ["udfs/src", "src"].map(|base| format!("{base}/functions/{}/{}.rs", doc.chapter, doc.name));
    let path = path
        .iter()
        .find(|path| root().join(path).exists())
        .expect("a function has a source");
    let source = read(path);
    let lines = source.lines().map_while(|line| line.strip_prefix("//!"));
    let text = lines
        .map(|line| line.strip_prefix(' ').unwrap_or(line))
        .collect::<Vec<_>>()
        .join("\n");
    let (first, rest) = text.split_once("\n\n").unwrap_or((&text, ""));
    // The first sentence of a function of the engine is its name and its summary again.
    let kept = if first.starts_with('`') {
        rest.to_string()
    } else {
        text.clone()
    };
    let kept = kept
        .replace("\nCost: ", "\n\nCost: ")
        .replace(". Cost: ", ".\n\nCost: ")
        .replace("\nSource: ", "\n\nSource: ");
    match kept.is_empty() {
        true => String::new(),
        false => format!(
            "\n## How\n\n{}\n",
            kept.trim_end().replace("\n\n\n", "\n\n")
        ),
    }
}

/// The messages of its contract.
fn errors(doc: &FunctionDoc) -> String {
    let slt = format!("tests/slt/{}/{}.slt", doc.chapter, doc.name);
    let mut messages = vec![];
    for line in read(&slt).lines() {
        let Some(message) = ["statement error ", "query error "]
            .iter()
            .find_map(|begin| line.strip_prefix(begin))
        else {
            continue;
        };
        let mut plain = String::new();
        let message = message.replace(".*", "...");
        let mut characters = message.chars();
        while let Some(c) = characters.next() {
            plain.extend(if c == '\\' {
                characters.next()
            } else {
                Some(c)
            });
        }
        let whole = plain.starts_with(&format!("{}: ", doc.name)) && plain.contains("got ");
        if whole && !messages.contains(&plain) {
            messages.push(plain);
        }
    }
    if messages.is_empty() {
        return String::new();
    }
    format!(
        "\n## Errors\n\nAmong them (`{slt}` has all, with the statements):\n\n    {}\n",
        messages.join("\n    ")
    )
}
