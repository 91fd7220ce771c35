//! How much longer replacements make a text. Each that doubles it is a line of a small file, and forty of them more than any
//! memory, so that they are counted before the first is made.

use serde_json::Value;

/// How many times as long a text may become. Chosen: a space that becomes U+2581 is 3 times as long, and a known tokenizer
/// does that once or twice.
const MOST: usize = 256;

/// Refuses a normalizer or decoder that makes texts longer than that.
pub(super) fn check(tokenizer: &tokenizers::Tokenizer) -> Result<(), String> {
    let parts = [
        (
            "normalizer",
            serde_json::to_value(tokenizer.get_normalizer()),
        ),
        ("decoder", serde_json::to_value(tokenizer.get_decoder())),
    ];
    for (name, part) in parts {
        let growth = growth(&part.map_err(|e| e.to_string())?);
        if growth > MOST {
            return Err(format!(
                "a {name} that makes a text at most {MOST} times as long is required, got one of replacements that make it \
                 {growth} times as long"
            ));
        }
    }
    Ok(())
}

/// How many times as long a text is at most behind a part.
fn growth(part: &Value) -> usize {
    match part["type"].as_str() {
        Some("Sequence") => {
            let parts = ["normalizers", "decoders"].map(|key| part[key].as_array());
            let parts = parts.into_iter().flatten().flatten();
            parts.map(growth).fold(1, usize::saturating_mul)
        }
        Some("Replace") => {
            let to = part["content"].as_str().unwrap_or_default().len();
            match part["pattern"]["String"].as_str().unwrap_or_default().len() {
                // An empty pattern is found between any two letters, and so may be what a regular expression finds.
                0 => to.saturating_add(1),
                from => to.div_ceil(from).max(1),
            }
        }
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn replacements_behind_each_other_multiply() {
        let replace = |pattern: Value, content: &str| json!({"type": "Replace", "pattern": pattern, "content": content});
        let spaces = replace(json!({"String": " "}), "\u{2581}");
        let runs = replace(json!({"Regex": " {2,}"}), " ");
        let shorter = replace(json!({"String": "``"}), "\"");
        let empty = replace(json!({"String": ""}), "aaa");
        for (part, expected) in [(&spaces, 3), (&runs, 2), (&shorter, 1), (&empty, 4)] {
            assert_eq!(growth(part), expected, "{part}");
        }
        let inner = json!({"type": "Sequence", "decoders": [spaces, shorter]});
        let all = json!({"type": "Sequence", "normalizers": [inner, {"type": "NFC"}, runs, empty]});
        assert_eq!(growth(&all), 24);
        let doubled = vec![replace(json!({"String": "a"}), "aa"); 100];
        let many = json!({"type": "Sequence", "normalizers": doubled});
        assert_eq!(growth(&many), usize::MAX);
        assert_eq!(growth(&Value::Null), 1);
    }
}
