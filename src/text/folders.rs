//! Paths of this machine in texts that go to those who may not read its files: they are told the names of files, not where
//! they lie.

/// What ends a path in a text that is not quoted.
const ENDS: &[char] = &[
    ' ', '\t', '\n', '\'', '"', ',', ';', '(', ')', '[', ']', '{', '}', '|',
];

/// A text in which each path from the root on is its last name.
pub fn without_folders(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('/') {
        let (before, path) = rest.split_at(at);
        shown += before;
        let length = path.find(ENDS).unwrap_or(path.len());
        let (path, after) = path.split_at(length);
        // After a letter it is a part of something else: a ratio, a name of the hub, a path from the working folder on.
        let begins = !before
            .ends_with(|letter: char| letter.is_alphanumeric() || "._-:/~*".contains(letter));
        match begins {
            true => shown += last_name(path),
            false => shown += path,
        }
        rest = after;
    }
    shown + rest
}

/// The name of a file or folder without those that it lies in; what the hub has keeps its whole name.
pub fn name_alone(path: &str) -> &str {
    match path.starts_with("hf:") {
        true => path,
        false => last_name(path),
    }
}

fn last_name(path: &str) -> &str {
    // What follows a path in messages is no part of it.
    let end = path.trim_end_matches([':', '.']);
    let name = end.trim_end_matches('/').rsplit('/').next().unwrap_or(end);
    let from = name.as_ptr() as usize - path.as_ptr() as usize;
    match name.is_empty() {
        true => path,
        false => path[from..].trim_end_matches('/'),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_from_the_root_on_lose_their_folders() {
        for (text, expected) in [
            (
                "run=r, corpus=/srv/data/c.jsonl, context=64",
                "run=r, corpus=c.jsonl, context=64",
            ),
            (
                "read /srv/s/runs/a/manifest.json: gone",
                "read manifest.json: gone",
            ),
            ("'/srv/a b/c'", "'a b/c'"),
            (
                r#"{"images":"/srv/images/","n":1}"#,
                r#"{"images":"images","n":1}"#,
            ),
            (
                "1/2 of hf:openai/gpt2 and tests/data",
                "1/2 of hf:openai/gpt2 and tests/data",
            ),
            ("see /srv/x.", "see x."),
            ("/", "/"),
            ("", ""),
        ] {
            assert_eq!(without_folders(text), expected);
        }
    }

    #[test]
    fn a_name_stands_alone() {
        for (path, expected) in [
            ("/srv/models/gpt2", "gpt2"),
            ("models/gpt2/", "gpt2"),
            ("hf:openai-community/gpt2", "hf:openai-community/gpt2"),
            ("corpus.jsonl", "corpus.jsonl"),
            ("/", "/"),
            ("", ""),
        ] {
            assert_eq!(name_alone(path), expected);
        }
    }
}
