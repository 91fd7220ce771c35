//! `polysema ingest RUN MODEL CORPUS [key=value ...]` as the SQL statement it stands for.

use crate::jobs::named;
use crate::options::Options;
use crate::runs::INGEST;
use crate::text::{describe, is_name, quoted};

/// The statement for the words of the command line.
pub fn statement(
    run: &str,
    model: &str,
    corpus: &str,
    options: &[String],
) -> Result<String, String> {
    let mut arguments: Vec<String> = [run, model, corpus]
        .iter()
        .map(|text| quoted(text, '\''))
        .collect();
    if !options.is_empty() {
        let words: Result<Vec<_>, String> = options.iter().map(|option| word(option)).collect();
        let given = Options::of_words(&INGEST, words?);
        let given = given.map_err(|error| describe(&named("ingest")(error)))?;
        arguments.push(format!("{{{}}}", given.to_sql()));
    }
    Ok(format!("SELECT * FROM ingest({})", arguments.join(", ")))
}

/// The name and the value of `name=value`.
fn word(option: &str) -> Result<(&str, &str), String> {
    let parts = option.split_once('=').filter(|(key, _)| is_name(key));
    parts.ok_or_else(|| format!("ingest: options as key=value are required, got {option:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lowered(options: &[&str]) -> Result<String, String> {
        let options: Vec<String> = options.iter().map(|option| (*option).to_string()).collect();
        statement("o'brien", "models/gpt2", "a;b.txt", &options)
    }

    #[test]
    fn names_are_quoted_and_values_keep_their_type() {
        assert_eq!(
            lowered(&[]).as_deref(),
            Ok("SELECT * FROM ingest('o''brien', 'models/gpt2', 'a;b.txt')")
        );
        let options = [
            "context=128",
            "activation_threshold=0.5e-1",
            "replace=true",
            "order=top",
            "column='007'",
            "max_activations=it's=a",
        ];
        assert_eq!(
            lowered(&options).as_deref(),
            Ok(
                "SELECT * FROM ingest('o''brien', 'models/gpt2', 'a;b.txt', {'context': 128, \
                'activation_threshold': 0.05, 'order': 'top', 'column': '007', 'replace': true, \
                'max_activations': 'it''s=a'})"
            )
        );
        assert!(lowered(&["column=007"]).is_ok_and(|sql| sql.ends_with("{'column': '007'})")));
    }

    #[test]
    fn wrong_options_are_named() {
        for (option, expected) in [
            (
                "context",
                "options as key=value are required, got \"context\"",
            ),
            ("a b=1", "options as key=value are required, got \"a b=1\""),
            ("contxt=1", "; options: context, activation_threshold"),
            ("contxt=1", "got 'contxt' (is 'context' meant?)"),
            (
                "context=1e15",
                "ingest: context must be a whole number from 1 to 1048576, got 1e15",
            ),
        ] {
            let error = lowered(&[option]).expect_err(option);
            assert!(error.contains(expected), "{error}");
        }
    }
}
