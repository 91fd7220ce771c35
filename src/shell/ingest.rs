//! `polysema ingest RUN MODEL CORPUS [key=value ...]` as the SQL statement it stands for.

use serde_json::{Number, Value};

use super::variables::{is_name, quoted};

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
        let options: Result<Vec<String>, String> =
            options.iter().map(|option| lower_option(option)).collect();
        arguments.push(format!("{{{}}}", options?.join(", ")));
    }
    Ok(format!("SELECT * FROM ingest({})", arguments.join(", ")))
}

fn lower_option(option: &str) -> Result<String, String> {
    let parts = option.split_once('=').filter(|(key, _)| is_name(key));
    let (key, value) = parts
        .ok_or_else(|| format!("ingest: options as key=value are required, got {option:?}"))?;
    Ok(format!("'{key}': {}", lower_value(key, value)?))
}

fn lower_value(key: &str, value: &str) -> Result<String, String> {
    if value == "true" || value == "false" || serde_json::from_str::<Number>(value).is_ok() {
        return Ok(value.to_string());
    }
    if value.starts_with('[') {
        let items: Vec<Value> = serde_json::from_str(value).map_err(|error| {
            format!("ingest: a list as [1, 2] is required for {key}, got {value:?} ({error})")
        })?;
        let items: Result<Vec<String>, String> =
            items.iter().map(|item| lower_item(key, item)).collect();
        return Ok(format!("[{}]", items?.join(", ")));
    }
    let text = value
        .strip_prefix('\'')
        .and_then(|rest| rest.strip_suffix('\''))
        .unwrap_or(value);
    Ok(quoted(text, '\''))
}

fn lower_item(key: &str, item: &Value) -> Result<String, String> {
    match item {
        Value::Bool(_) | Value::Number(_) => Ok(item.to_string()),
        Value::String(text) => Ok(quoted(text, '\'')),
        _ => Err(format!(
            "ingest: numbers or texts are required in the list of {key}, got {item}"
        )),
    }
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
            "activation_threshold=-0.5e-1",
            "replace=true",
            "order=top",
            "column='007'",
            "bos=it's=a",
            "layers=[0, 1]",
            "note=",
            "x=inf",
        ];
        assert_eq!(
            lowered(&options).as_deref(),
            Ok(
                "SELECT * FROM ingest('o''brien', 'models/gpt2', 'a;b.txt', {'context': 128, \
                'activation_threshold': -0.5e-1, 'replace': true, 'order': 'top', 'column': '007', \
                'bos': 'it''s=a', 'layers': [0, 1], 'note': '', 'x': 'inf'})"
            )
        );
    }

    #[test]
    fn wrong_options_are_named() {
        for (option, expected) in [
            (
                "context",
                "options as key=value are required, got \"context\"",
            ),
            ("a b=1", "options as key=value are required, got \"a b=1\""),
            ("layers=[0", "a list as [1, 2] is required for layers"),
            (
                "layers=[[0]]",
                "numbers or texts are required in the list of layers, got [0]",
            ),
        ] {
            let error = lowered(&[option]).expect_err(option);
            assert!(error.contains(expected), "{error}");
        }
    }
}
