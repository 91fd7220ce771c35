//! The tables of options of every function: what documents say of them, and the ends of every range.

use polysema::classifiers::TRAIN_MLP;
use polysema::corpus::CORPUS;
use polysema::options::{Kind, MOST, Options, Rule, Spec, Usual, parameters};
use polysema::runs::{IMPORT_RUN, INGEST};
use polysema::saes::{IMPORT_SAE, TRAIN_SAE};

fn tables() -> [(&'static str, &'static [Spec]); 6] {
    [
        ("ingest", &INGEST),
        ("import_run", &IMPORT_RUN),
        ("activations", &CORPUS),
        ("train_mlp", &TRAIN_MLP),
        ("train_sae", &TRAIN_SAE),
        ("import_sae", &IMPORT_SAE),
    ]
}

/// Reads one option where no other is looked at.
fn read(spec: &Spec, word: &str) -> Result<Options, String> {
    let alone = Spec {
        rules: &[],
        ..*spec
    };
    Options::of_words(&[alone], [(spec.name, word)]).map_err(|error| error.strip_backtrace())
}

#[test]
fn names_are_unique_and_defaults_are_shown_and_in_range() {
    for (function, table) in tables() {
        let mut names: Vec<_> = table.iter().map(|spec| spec.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), table.len(), "{function}");
        for (spec, parameter) in table.iter().zip(parameters(table)) {
            assert_eq!(spec.name, parameter.name);
            let default = spec.default();
            let shown =
                default.is_empty() || parameter.summary.contains(&format!("default {default}"));
            assert!(shown, "{function}: {}: {}", spec.name, parameter.summary);
            let usual = std::iter::once(spec.usual);
            for usual in usual.chain(spec.instead.iter().map(|instead| instead.usual)) {
                if !matches!(usual, Usual::Nothing | Usual::Said(_)) {
                    read(spec, &usual.to_string()).expect("a default in its range");
                }
            }
            // An option excluded by one that the function does not take is so in vain; one bound to it could never be given.
            for rule in spec
                .rules
                .iter()
                .filter(|rule| !matches!(rule, Rule::Without(_)))
            {
                let shown = rule.to_string();
                let known = table
                    .iter()
                    .any(|other| shown.split(' ').next() == Some(other.name));
                assert!(known, "{function}: {} {shown}", spec.name);
            }
            let bound = spec.rules.iter().filter_map(|rule| match rule {
                Rule::With(option, words) => Some((option, words)),
                _ => None,
            });
            let instead = spec.instead.iter().map(|i| (&i.option, &i.words));
            for (option, words) in bound.chain(instead) {
                let other = table.iter().find(|other| other.name == *option);
                let other = other.unwrap_or_else(|| panic!("{function}: {option}"));
                for word in *words {
                    read(other, word).expect("a word of the other option");
                }
            }
        }
    }
}

#[test]
fn the_ends_of_every_range_are_kept() {
    for (function, table) in tables() {
        for spec in table {
            let name = spec.name;
            let accepted = |word: &str| read(spec, word).is_ok();
            let wrong: Vec<String> = match spec.kind {
                Kind::Whole { from, to } => {
                    assert!(
                        accepted(&from.to_string()) && accepted(&to.to_string()),
                        "{name}"
                    );
                    assert!(
                        from == 0 || !accepted(&(from - 1).to_string()),
                        "{function}: {name}"
                    );
                    let beyond = u128::from(to) + 1;
                    vec![beyond.to_string(), "1e15".into(), "0.5".into()]
                }
                Kind::Wholes { to, most, .. } => {
                    let long = vec!["1"; most + 1].join(", ");
                    vec![
                        format!("[{}]", to + 1),
                        format!("[{long}]"),
                        "[]".into(),
                        "[1e12]".into(),
                    ]
                }
                Kind::Number {
                    from,
                    above,
                    to,
                    below,
                } => {
                    assert_eq!(accepted(&from.to_string()), !above, "{function}: {name}");
                    assert_eq!(accepted(&to.to_string()), !below, "{function}: {name}");
                    vec![(2.0 * to).to_string(), "inf".into()]
                }
                Kind::Flag | Kind::Words(..) => vec!["1e15".into()],
                // Any text is one.
                Kind::Text | Kind::Table | Kind::TextOrTable => continue,
            };
            let always = ["-1", "NaN", "18446744073709551616", "x", "'1'"].map(String::from);
            for word in wrong.iter().chain(&always) {
                let within = matches!(spec.kind, Kind::Number { to: MOST, .. }) && word.len() > 18;
                let message = match read(spec, word) {
                    Err(message) => message,
                    Ok(_) if within => continue,
                    Ok(_) => panic!("{function}: {name} takes {word}"),
                };
                let expected = format!("{name} must be ");
                assert!(
                    message.contains(&expected) && message.contains(", got "),
                    "{message}"
                );
            }
        }
    }
}
