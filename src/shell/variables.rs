//! Variables of the shell: `:name`, `:'name'` and `:"name"` in a statement, by psql's rules with two differences.
//! An unknown name is an error, and a colon that touches the word or value before it is left alone, since
//! `{linkage:'complete'}` is an options struct here.

use std::collections::BTreeMap;

use crate::text::{Lexeme, PieceKind, is_name, lex, line_of, quoted};

/// Names and their values, as written.
#[derive(Debug, Clone, Default)]
pub struct Variables(BTreeMap<String, String>);

/// A reference to a variable that is not set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Undefined {
    /// Line within the statement, from 1.
    pub line: usize,
    /// The message.
    pub message: String,
}

impl Variables {
    /// Sets a variable; a name is letters, digits and underscores, not beginning with a digit. psql's ON_ERROR_STOP can only
    /// be on.
    pub fn set(&mut self, name: &str, value: &str) -> Result<(), String> {
        let is_off = ["off", "0", "false", "no"].contains(&value.to_lowercase().as_str());
        if name == "ON_ERROR_STOP" && is_off {
            return Err(format!(
                "ON_ERROR_STOP: on is required, got {value}: a script stops at its first error"
            ));
        }
        if !is_name(name) {
            return Err(format!(
                "variable: a name of letters, digits and underscores is required, got {name:?}"
            ));
        }
        self.0.insert(name.to_string(), value.to_string());
        Ok(())
    }

    /// Names and values in the order of the names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// The statement with every reference replaced; strings, comments and `::` casts are left as they are.
    pub fn substitute(&self, statement: &str) -> Result<String, Undefined> {
        let (lexemes, _) = lex(statement);
        let mut output = String::with_capacity(statement.len());
        let mut copied = 0;
        let mut index = 0;
        while index + 1 < lexemes.len() {
            let (colon, name) = (lexemes[index], lexemes[index + 1]);
            index += 1;
            let touches = index >= 2 && ends_value(&lexemes[index - 2], statement);
            if colon.kind != PieceKind::Colon || touches {
                continue;
            }
            let source = &statement[name.start..name.end];
            let (bare, quote) = match name.kind {
                PieceKind::Word | PieceKind::Keyword => (source, None),
                PieceKind::Text => (source.trim_matches('\''), Some('\'')),
                PieceKind::Quoted => (source.trim_matches('"'), Some('"')),
                _ => continue,
            };
            if !is_name(bare) {
                continue;
            }
            let Some(value) = self.0.get(bare) else {
                return Err(Undefined {
                    line: line_of(statement, colon.start),
                    message: self.undefined(bare),
                });
            };
            output.push_str(&statement[copied..colon.start]);
            match quote {
                None => output.push_str(value),
                Some(mark) => output.push_str(&quoted(value, mark)),
            }
            copied = name.end;
            index += 1;
        }
        output.push_str(&statement[copied..]);
        Ok(output)
    }

    /// The argument of a command: quotes are taken away, and references outside of them replaced.
    pub fn word(&self, argument: &str) -> Result<String, String> {
        let mut word = String::new();
        let mut rest = argument;
        while let Some(at) = rest.find([':', '\'']) {
            word.push_str(&rest[..at]);
            let (mark, after) = rest[at..].split_at(1);
            if mark == "'" {
                let (text, after) = text_in_quotes(after)
                    .ok_or_else(|| format!("a quote that ends is required, got {argument}"))?;
                word.push_str(&text);
                rest = after;
                continue;
            }
            let quote = after.chars().next().filter(|c| ['\'', '"'].contains(c));
            let name = &after[quote.map_or(0, char::len_utf8)..];
            let end = name.find(|c: char| !(c.is_alphanumeric() || c == '_'));
            let (name, behind) = name.split_at(end.unwrap_or(name.len()));
            let behind = match quote {
                Some(quote) => behind.strip_prefix(quote),
                None => Some(behind),
            };
            rest = after;
            match (is_name(name), behind) {
                (true, Some(behind)) => {
                    let value = self.0.get(name).ok_or_else(|| self.undefined(name))?;
                    word.push_str(value);
                    rest = behind;
                }
                _ => word.push(':'),
            }
        }
        Ok(word + rest)
    }

    fn undefined(&self, name: &str) -> String {
        let known: Vec<&str> = self.0.keys().map(String::as_str).collect();
        let known = if known.is_empty() {
            "none".to_string()
        } else {
            known.join(", ")
        };
        format!(
            "variable: a variable that is set is required, got :{name} (set: {known}; use --var {name}=... or \\set {name} ...)"
        )
    }
}

/// A text up to the quote that ends it, and what is behind that; two quotes are one.
fn text_in_quotes(mut rest: &str) -> Option<(String, &str)> {
    let mut text = String::new();
    loop {
        let (before, after) = rest.split_once('\'')?;
        text.push_str(before);
        match after.strip_prefix('\'') {
            Some(more) => {
                text.push('\'');
                rest = more;
            }
            None => return Some((text, after)),
        }
    }
}

fn ends_value(lexeme: &Lexeme, statement: &str) -> bool {
    match lexeme.kind {
        PieceKind::Word
        | PieceKind::Keyword
        | PieceKind::Quoted
        | PieceKind::Text
        | PieceKind::Number
        | PieceKind::Colon => true,
        PieceKind::Other => matches!(&statement[lexeme.start..lexeme.end], ")" | "]"),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variables() -> Variables {
        let mut variables = Variables::default();
        for (name, value) in [
            ("n", "3"),
            ("who", "O'Brien"),
            ("t", "a \"b\""),
            ("layer", "7"),
        ] {
            variables.set(name, value).expect("the names are words");
        }
        variables
    }

    #[test]
    fn three_spellings() {
        let text = "SELECT :n,:'who' FROM :\"t\" WHERE x=:n AND y[:n] AND f(:layer)";
        assert_eq!(
            variables().substitute(text).expect("all are set"),
            "SELECT 3,'O''Brien' FROM \"a \"\"b\"\"\" WHERE x=3 AND y[3] AND f(7)"
        );
    }

    #[test]
    fn strings_comments_casts_and_structs_stay() {
        let text = "SELECT ':n', x::n, '1'::int -- :n\n, /* :n */ {linkage:'complete', 'a':who}, a[1:n], $$:n$$";
        assert_eq!(
            variables().substitute(text).expect("nothing is replaced"),
            text
        );
        assert_eq!(variables().substitute("{a: :n}").expect("set"), "{a: 3}");
    }

    #[test]
    fn an_undefined_name_is_an_error_with_its_line() {
        let error = variables()
            .substitute("SELECT 1,\n :m")
            .expect_err("m is not set");
        assert_eq!(error.line, 2);
        assert!(
            error.message.contains("got :m (set: layer, n, t, who;"),
            "{}",
            error.message
        );
    }

    #[test]
    fn arguments_of_commands() {
        let word = |argument| variables().word(argument);
        for (argument, expected) in [
            ("out.csv", "out.csv"),
            ("out_:n.csv", "out_3.csv"),
            (":'who'.csv", "O'Brien.csv"),
            (":\"t\"", "a \"b\""),
            ("'two words.csv'", "two words.csv"),
            ("'it''s :n'", "it's :n"),
            ("C:\\a 10:30", "C:\\a 10:30"),
            ("a::layer", "a:7"),
            ("a:", "a:"),
        ] {
            assert_eq!(word(argument).as_deref(), Ok(expected), "{argument}");
        }
        assert!(word(":m").is_err_and(|message| message.contains("got :m (set: ")));
        assert!(word("'open").is_err());
    }

    #[test]
    fn names_are_words() {
        assert!(Variables::default().set("a-b", "1").is_err());
        assert!(Variables::default().set("1a", "1").is_err());
        assert!(Variables::default().set("_a1", "1").is_ok());
    }
}
