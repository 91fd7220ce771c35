//! What the pages say is so: every command of README.md and docs/ runs, what they show is what is printed, and their tables
//! are the catalogue's. `UPDATE_PAGES=1 cargo test -p polysema --test pages` writes what is printed into the pages.

#[path = "pages/functions.rs"]
mod functions;
#[path = "pages/markdown.rs"]
mod markdown;
#[path = "pages/printed.rs"]
mod printed;
#[path = "pages/python.rs"]
mod python;
#[path = "pages/tables.rs"]
mod tables;
#[path = "pages/workplace.rs"]
mod workplace;

use std::fs;
use std::path::Path;
use std::sync::Arc;

use polysema::options;
use polysema::runs::INGEST;
use polysema::store::Store;
use polysema_udfs::calls::Function;
use rayon::prelude::*;

use markdown::{Command, Typed};
use tables::{FILES, IMAGES, INSTEAD, NOT_RUN};
use workplace::{Said, Workplace};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Whether the pages are to be written.
fn update() -> bool {
    std::env::var_os("UPDATE_PAGES").is_some()
}

fn read(page: &str) -> String {
    let text = fs::read_to_string(root().join(page));
    text.unwrap_or_else(|error| panic!("{page} is required at the project's root, got {error}"))
}

/// All functions in reading order.
fn all_functions() -> Vec<Function> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let store = Store::open(&folder.path().join("empty.store")).expect("an empty store");
    let mut functions = polysema_udfs::catalog::functions();
    functions.extend(polysema::functions::functions(&Arc::new(store)));
    functions
}

/// The page says this, as it is printed; with `UPDATE_PAGES` it is made to.
#[track_caller]
fn check(page: &str, expected: &str) {
    let path = root().join(page);
    let found = fs::read_to_string(&path).unwrap_or_default();
    if printed::same(&found, expected) {
        return;
    }
    if update() {
        fs::create_dir_all(path.parent().expect("a folder")).expect("a writable folder");
        fs::write(&path, expected).expect("a writable page");
        return;
    }
    let mut lines = found.lines().zip(expected.lines());
    let differing = lines.find(|(found, expected)| !printed::same(found, expected));
    panic!(
        "{page} must say what is printed, got {differing:?} or another number of lines ({} and {}); write it with \
         UPDATE_PAGES=1 cargo test -p polysema --test pages",
        found.lines().count(),
        expected.lines().count()
    );
}

/// A page with the text between two markers replaced.
fn with_section(page: &str, name: &str, text: &str) -> String {
    let (open, close) = (format!("<!-- {name} -->\n"), format!("<!-- /{name} -->"));
    let parts = page.split_once(&open).and_then(|(before, rest)| {
        let (_, after) = rest.split_once(&close)?;
        Some(format!("{before}{open}\n{text}\n{close}{after}"))
    });
    parts.unwrap_or_else(|| {
        panic!(
            "a page must have the lines '{}' and '{close}'",
            open.trim_end()
        )
    })
}

/// Every page but the generated ones.
fn pages() -> Vec<String> {
    let mut pages = vec![];
    for entry in fs::read_dir(root().join("docs")).expect("docs/") {
        let name = entry.expect("an entry").file_name();
        let name = name.to_str().expect("a page's name");
        if name.ends_with(".md") {
            pages.push(format!("docs/{name}"));
        }
    }
    pages.sort();
    let others = [
        "README.md",
        "ARCHITECTURE.md",
        "CHANGELOG.md",
        "CONTRIBUTING.md",
        "udfs/README.md",
    ];
    pages.extend(others.map(String::from));
    pages
}

/// The reason why a command is not run, if it is not; what can be said of it without is checked.
fn not_run(command: &str) -> Option<&'static str> {
    if command.contains("...") {
        return Some("a part of a statement");
    }
    let (_, why) = NOT_RUN
        .iter()
        .find(|(begin, _)| command.starts_with(begin))?;
    let words: Vec<&str> = command.split_whitespace().collect();
    for pair in words.windows(2) {
        let folders: &[&str] = match pair[0] {
            "--bench" => &["benches", "udfs/benches"],
            "--test" => &["tests", "udfs/tests"],
            _ => continue,
        };
        let exists = |folder: &&str| root().join(folder).join(format!("{}.rs", pair[1])).exists();
        assert!(
            folders.iter().any(exists),
            "{command}: there is no {}",
            pair[1]
        );
    }
    if why.starts_with("the continuous integration") {
        assert!(
            read(".ci/run").replace("--locked ", "").contains(command),
            ".ci/run runs {command}"
        );
    }
    Some(why)
}

fn run(command: &Command, place: &Workplace) -> Option<Said> {
    let (Typed::Shell(written) | Typed::Prompt(written)) = &command.typed;
    let mut text = written.clone();
    for (written, instead, _) in INSTEAD {
        text = text.replace(written, instead);
    }
    if not_run(&text).is_some() {
        return None;
    }
    Some(match &command.typed {
        Typed::Shell(_) => place.shell(&text.replace("cargo run -- ", "polysema ")),
        Typed::Prompt(_) => match text.starts_with("FROM ") {
            true => place.prompt(&format!("SELECT * {text}")),
            false => place.prompt(&text),
        },
    })
}

/// Every command of a page in a folder of its own, one after the other; those that do not do what the page says.
fn wrong(page: &str, names: &[&str]) -> Vec<String> {
    let text = read(page);
    let (commands, mut wrong) = markdown::commands(page, &text, names);
    let place = Workplace::with(FILES);
    let mut lines: Vec<String> = text.lines().map(String::from).collect();
    let mut shown = vec![];
    for command in &commands {
        let Some(said) = run(command, &place) else {
            continue;
        };
        let at = format!("{page}:{}: {:?}", command.line + 1, command.typed);
        if !said.succeeded {
            wrong.push(format!("{at} fails: {}", said.err));
        } else if let Some(range) = &command.output {
            let same = printed::same(&lines[range.clone()].join("\n"), &said.out);
            if !same && !update() {
                wrong.push(format!("{at} prints\n{}", said.out));
            }
            shown.push((range.clone(), said.out, same));
        }
    }
    if update() {
        for (range, out, _) in shown.into_iter().rev().filter(|(_, _, same)| !same) {
            let printed = out
                .lines()
                .map(|line| format!("    {line}").trim_end().to_string());
            lines.splice(range, std::iter::once(String::new()).chain(printed));
        }
        let written = fs::write(root().join(page), lines.join("\n") + "\n");
        written.expect("a writable page");
    }
    wrong
}

#[test]
fn every_command_does_what_its_page_says() {
    let functions = all_functions();
    let names: Vec<&str> = functions.iter().map(|function| function.doc.name).collect();
    let pages = pages();
    let wrong = pages.par_iter().flat_map_iter(|page| wrong(page, &names));
    let wrong: Vec<String> = wrong.collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// From the line of the closing row of its ingest on: the rate and the seconds are the machine's.
#[test]
fn the_demo_prints_what_is_kept() {
    let said = Workplace::empty().shell("polysema demo");
    assert!(said.succeeded, "{}", said.err);
    let steady = |line: &str| match line.starts_with(" done ") {
        true => line.split(" | ").take(4).collect::<Vec<_>>().join(" | ") + " | ...",
        false => line.to_string(),
    };
    let printed: Vec<String> = said.out.lines().map(steady).collect();
    check("tests/pages/demo.txt", &(printed.join("\n") + "\n"));
}

#[test]
fn the_pages_show_the_catalogue() {
    let readme = polysema_udfs::catalog::markdown(&all_functions());
    for (page, section, table) in [
        ("README.md", "functions", readme),
        (
            "docs/ingest.md",
            "ingest options",
            options::markdown(&INGEST),
        ),
    ] {
        check(page, &with_section(&read(page), section, &table));
    }
}

#[test]
fn every_function_has_a_page() {
    // In reading order in one store: a later example asks what an earlier one made.
    let place = Workplace::with(FILES);
    let said = place.prompt(IMAGES);
    assert!(said.succeeded, "{}", said.err);
    let functions = all_functions();
    check(
        &format!("{}/README.md", functions::FOLDER),
        &functions::index(&functions),
    );
    let mut pages = vec!["README.md".to_string()];
    for function in &functions {
        check(
            &functions::path(function.doc),
            &functions::page(function, &place),
        );
        pages.push(format!("{}.md", function.doc.name));
    }
    for entry in fs::read_dir(root().join(functions::FOLDER)).expect("the pages") {
        let name = entry
            .expect("an entry")
            .file_name()
            .into_string()
            .expect("UTF-8");
        assert!(
            pages.contains(&name),
            "{}/{name} is the page of no function",
            functions::FOLDER
        );
    }
}

#[test]
fn the_python_package_has_every_table_function() {
    check(python::FILE, &python::methods(&all_functions()));
}
