//! A page as its commands: prompts with what they print, lines of a shell, statements, and code in the text that one could
//! type.

use std::ops::Range;

use super::tables::NOT_COMMANDS;

/// What the page says to type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Typed {
    /// A line of a shell.
    Shell(String),
    /// A statement, or a command of the prompt.
    Prompt(String),
}

/// A command of a page.
#[derive(Debug, Clone)]
pub struct Command {
    /// Its line, from 0.
    pub line: usize,
    pub typed: Typed,
    /// The lines of the page that show what it prints, if they do.
    pub output: Option<Range<usize>>,
}

/// Words that begin a line of a shell.
const OF_SHELLS: [&str; 3] = ["cargo ", "polysema ", "UPDATE_"];
/// Words that begin a statement, `FROM` a short one.
const OF_SQL: [&str; 12] = [
    "SELECT ", "SET ", "CREATE ", "COPY ", "DROP ", "CALL ", "EXPLAIN ", "INSERT ", "UPDATE ",
    "DELETE ", "FROM ", "SHOW ",
];
/// Names of a setting and commands, which need more to be run.
const NAMES: [&str; 3] = ["SET polysema.run", "\\dendrogram", "\\histogram"];
const PROMPT: &str = "demo> ";

fn begins(text: &str, words: &[&str]) -> bool {
    words.iter().any(|word| text.starts_with(word))
}

/// The commands of a page in order, and its blocks that are none and are not known as such.
pub fn commands(page: &str, text: &str, functions: &[&str]) -> (Vec<Command>, Vec<String>) {
    let lines: Vec<&str> = text.lines().collect();
    let (mut found, mut unknown) = (vec![], vec![]);
    let (mut prose, mut generated) = (0..0, false);
    let mut i = 0;
    while i < lines.len() {
        let line = lines[i];
        let fence = line.starts_with("```");
        let indented = line.starts_with("    ") && i > 0 && lines[i - 1].is_empty();
        if line.starts_with("<!-- ") {
            generated = !line.starts_with("<!-- /");
        }
        if generated || !(fence || indented) {
            if generated || line.is_empty() {
                found.extend(spans(&lines, prose, functions));
                prose = i + 1..i + 1;
            } else {
                prose.end = i + 1;
            }
            i += 1;
            continue;
        }
        found.extend(spans(&lines, prose, functions));
        let start = i + usize::from(fence);
        let of_block = |line: &str| match fence {
            true => !line.starts_with("```"),
            false => line.is_empty() || line.starts_with("    "),
        };
        i = start;
        while i < lines.len() && of_block(lines[i]) {
            i += 1;
        }
        let mut end = i;
        while lines[end - 1].is_empty() {
            end -= 1;
        }
        i += usize::from(fence);
        prose = i..i;
        let first = lines[start].trim();
        let none = |(of, begin, _): &(&str, &str, &str)| *of == page && first.starts_with(begin);
        if NOT_COMMANDS.iter().any(none) {
            continue;
        }
        let commands = block(&lines, start..end);
        if commands.is_empty() {
            unknown.push(format!("{page}:{}: {first}", start + 1));
        }
        found.extend(commands);
    }
    found.extend(spans(&lines, prose, functions));
    (found, unknown)
}

/// The commands of a block of code.
fn block(lines: &[&str], range: Range<usize>) -> Vec<Command> {
    let text = |i: usize| lines[i].strip_prefix("    ").unwrap_or(lines[i]);
    let mut found = vec![];
    let mut i = range.start;
    while i < range.end {
        let (line, first) = (i, text(i));
        i += 1;
        if begins(first, &OF_SHELLS) || first == "polysema" {
            let typed = first.split(" # ").next().unwrap_or(first).trim();
            found.push(Command {
                line,
                typed: Typed::Shell(typed.into()),
                output: None,
            });
            continue;
        }
        let prompt = first.starts_with(PROMPT);
        let first = first.strip_prefix(PROMPT).unwrap_or(first);
        if !(prompt || begins(first, &OF_SQL)) {
            continue;
        }
        let mut statement = first
            .split(" -- ")
            .next()
            .unwrap_or(first)
            .trim_end()
            .to_string();
        while !statement.ends_with(';') && !statement.starts_with('\\') && i < range.end {
            statement += &format!(
                "\n{}",
                text(i).split(" -- ").next().unwrap_or_default().trim_end()
            );
            i += 1;
        }
        let start = i;
        while prompt && i < range.end && !text(i).starts_with(PROMPT) {
            i += 1;
        }
        found.push(Command {
            line,
            typed: Typed::Prompt(statement),
            output: prompt.then_some(start..i),
        });
    }
    found
}

/// The commands in the text of a paragraph.
fn spans(lines: &[&str], prose: Range<usize>, functions: &[&str]) -> Vec<Command> {
    let start = prose.start;
    let text = lines[prose].join("\n");
    let mut line = start;
    let mut found = vec![];
    for (i, part) in text.split('`').enumerate() {
        if i % 2 == 1 {
            let span = part.split_whitespace().collect::<Vec<_>>().join(" ");
            let call = |name: &&str| {
                span.strip_prefix(*name)
                    .is_some_and(|rest| rest.starts_with('('))
            };
            let typed = if begins(&span, &OF_SHELLS) {
                Some(Typed::Shell(span))
            } else if NAMES.contains(&&*span) || span.chars().all(|c| c.is_uppercase() || c == ' ')
            {
                None
            } else if begins(&span, &OF_SQL) || span.starts_with('\\') {
                Some(Typed::Prompt(span))
            } else {
                functions
                    .iter()
                    .any(call)
                    .then(|| Typed::Prompt(format!("SELECT * FROM {span}")))
            };
            found.extend(typed.map(|typed| Command {
                line,
                typed,
                output: None,
            }));
        }
        line += part.matches('\n').count();
    }
    found
}
