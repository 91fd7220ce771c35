//! Which file of a crate names which: every path in `use` and in code, in every spelling, resolved to the file that
//! defines what it names. A face that only hands an item on is looked through.

use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Segments of a module's path from the crate's root.
type ModulePath = Vec<String>;

/// The files of one crate and what they name of each other.
pub struct Imports {
    files: Vec<String>,
    /// Of each file, the files it names.
    named: Vec<BTreeSet<usize>>,
}

struct Module {
    file: usize,
    /// Names a face hands on, and from where.
    handed_on: HashMap<String, Vec<String>>,
    paths: Vec<Vec<String>>,
}

impl Imports {
    /// Reads the files of the crate whose sources lie below `base`.
    pub fn of(base: &str, sources: &[(String, String)]) -> Self {
        let mut modules = BTreeMap::new();
        for (file, (path, text)) in sources.iter().enumerate() {
            let inside = path[base.len() + 1..].trim_end_matches(".rs");
            let mut module: ModulePath = inside.split('/').map(str::to_string).collect();
            if matches!(module.last().map(String::as_str), Some("mod" | "lib")) {
                module.pop();
            }
            let (paths, handed_on) = paths(text);
            let found = Module {
                file,
                handed_on,
                paths,
            };
            modules.insert(module, found);
        }
        let mut named = vec![BTreeSet::new(); sources.len()];
        for (at, module) in &modules {
            for path in &module.paths {
                if let Some(file) = resolve(&modules, at, path, 0)
                    && file != module.file
                {
                    named[module.file].insert(file);
                }
            }
        }
        Self {
            files: sources.iter().map(|(path, _)| path.clone()).collect(),
            named,
        }
    }

    /// Pairs of files of which the first names the second.
    pub fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        let name = |i: usize| self.files[i].as_str();
        let named = self.named.iter().enumerate();
        named.flat_map(move |(from, to)| to.iter().map(move |to| (name(from), name(*to))))
    }

    /// Groups of files each of which names the others, over others.
    pub fn circles(&self) -> Vec<String> {
        let n = self.files.len();
        let reach: Vec<BTreeSet<usize>> = (0..n).map(|i| self.reached(i)).collect();
        let mut seen = BTreeSet::new();
        let mut circles = vec![];
        for i in 0..n {
            if !reach[i].contains(&i) || !seen.insert(i) {
                continue;
            }
            let circle: Vec<usize> = (0..n)
                .filter(|j| reach[i].contains(j) && reach[*j].contains(&i))
                .collect();
            seen.extend(&circle);
            let names: Vec<_> = circle.iter().map(|i| self.files[*i].as_str()).collect();
            circles.push(names.join(" <-> "));
        }
        circles
    }

    fn reached(&self, from: usize) -> BTreeSet<usize> {
        let mut reached = BTreeSet::new();
        let mut next: Vec<usize> = self.named[from].iter().copied().collect();
        while let Some(file) = next.pop() {
            if reached.insert(file) {
                next.extend(&self.named[file]);
            }
        }
        reached
    }
}

/// The file that defines what a path names; none outside the crate.
fn resolve(
    modules: &BTreeMap<ModulePath, Module>,
    at: &ModulePath,
    path: &[String],
    depth: usize,
) -> Option<usize> {
    let (mut module, mut rest) = match path.first()?.as_str() {
        "crate" => (vec![], &path[1..]),
        "self" => (at.clone(), &path[1..]),
        "super" => {
            let ups = path.iter().take_while(|word| *word == "super").count();
            let kept = at.len().checked_sub(ups)?;
            (at[..kept].to_vec(), &path[ups..])
        }
        child => {
            let below = [at.as_slice(), &[child.to_string()]].concat();
            if !modules.contains_key(&below) {
                return None;
            }
            (below, &path[1..])
        }
    };
    while let Some(word) = rest.first() {
        let below = [module.as_slice(), std::slice::from_ref(word)].concat();
        if !modules.contains_key(&below) {
            break;
        }
        (module, rest) = (below, &rest[1..]);
    }
    let found = modules.get(&module)?;
    // A face that hands on what another hands on, no deeper than any house is.
    if let Some(from) = rest.first().and_then(|word| found.handed_on.get(word))
        && depth < 8
    {
        return resolve(modules, &module, from, depth + 1).or(Some(found.file));
    }
    // A module's own name is its face, which is no import of what the face defines.
    (!rest.is_empty() || path.len() == 1 || !module.is_empty()).then_some(found.file)
}

/// Paths a file names, and those it only hands on.
fn paths(text: &str) -> (Vec<Vec<String>>, HashMap<String, Vec<String>>) {
    let (mut used, mut handed_on) = (vec![], HashMap::new());
    let code: String = text
        .lines()
        .map(|line| line.split("//").next().unwrap_or_default())
        .collect::<Vec<_>>()
        .join("\n");
    let mut rest = String::new();
    for statement in code.split_inclusive(';') {
        let start = statement.match_indices("use ").map(|(i, _)| i).find(|i| {
            let before = statement[..*i].trim_end();
            before.is_empty()
                || before.ends_with(['}', '{', ';', ']', ')', '\n'])
                || before.ends_with("pub")
        });
        let Some(start) = start else {
            rest.push_str(statement);
            continue;
        };
        let before = statement[..start].trim_end();
        let handed = before.ends_with("pub") || before.ends_with(')');
        let mut tree = vec![];
        expand(statement[start + 4..].trim_end_matches(';'), &[], &mut tree);
        for (name, path) in tree {
            if handed {
                handed_on.insert(name, path);
            } else {
                used.push(path);
            }
        }
        rest.push_str(before);
        rest.push('\n');
    }
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    for root in ["crate::", "super::", "self::"] {
        for (i, _) in rest.match_indices(root) {
            if rest[..i].ends_with(|c: char| is_word(c) || c == ':') {
                continue;
            }
            let end = rest[i..].find(|c: char| !is_word(c) && c != ':');
            let path = &rest[i..end.map_or(rest.len(), |end| i + end)];
            let words = path.split("::").filter(|word| !word.is_empty());
            used.push(words.map(str::to_string).collect());
        }
    }
    (used, handed_on)
}

/// Every name of a tree of imports with its whole path.
fn expand(tree: &str, before: &[String], found: &mut Vec<(String, Vec<String>)>) {
    let tree = tree.trim();
    let Some(open) = tree.find('{') else {
        let (path, name) = match tree.split_once(" as ") {
            Some((path, name)) => (path, Some(name.trim().to_string())),
            None => (tree, None),
        };
        let words = path.split("::").map(|word| word.trim().to_string());
        let mut path: Vec<String> = before.iter().cloned().chain(words).collect();
        if path.last().is_some_and(|word| word == "self") && path.len() > 1 {
            path.pop();
        }
        let last = path.last().cloned().unwrap_or_default();
        found.push((name.unwrap_or(last), path));
        return;
    };
    let words = tree[..open].split("::").map(str::trim);
    let words = words.filter(|word| !word.is_empty()).map(str::to_string);
    let before: Vec<String> = before.iter().cloned().chain(words).collect();
    let inside = &tree[open + 1..tree.rfind('}').unwrap_or(tree.len())];
    let (mut depth, mut start) = (0, 0);
    for (i, c) in inside.char_indices().chain([(inside.len(), ',')]) {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                if !inside[start..i].trim().is_empty() {
                    expand(&inside[start..i], &before, found);
                }
                start = i + 1;
            }
            _ => {}
        }
    }
}

#[test]
fn every_spelling_is_read() {
    let sources: Vec<(String, String)> = [
        ("src/lib.rs", "pub mod a; pub mod b; pub use b::Deep;"),
        ("src/a/mod.rs", "mod x;\nmod y;\npub use x::X;\nfn f() {}"),
        ("src/a/x.rs", "use super::{y::Y, X};\n"),
        (
            "src/a/y.rs",
            "use super::super::b::Deep;\nfn g() { crate::a::f() }",
        ),
        (
            "src/b.rs",
            "use crate::{a::{self, X as Z}, Deep};\n// use crate::a::y::Y;\n",
        ),
    ]
    .map(|(path, text)| (path.to_string(), text.to_string()))
    .to_vec();
    let imports = Imports::of("src", &sources);
    let pairs: Vec<_> = imports.pairs().collect();
    let expected = [
        ("src/a/x.rs", "src/a/y.rs"),
        ("src/a/y.rs", "src/a/mod.rs"),
        ("src/a/y.rs", "src/b.rs"),
        ("src/b.rs", "src/a/mod.rs"),
        ("src/b.rs", "src/a/x.rs"),
    ];
    assert_eq!(pairs, expected);
    assert_eq!(
        imports.circles(),
        ["src/a/x.rs <-> src/a/y.rs <-> src/b.rs"]
    );
}
