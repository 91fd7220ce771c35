//! SQL text as pieces of the source with byte offsets, from sqlparser's tokenizer. Splitting, variables and
//! highlighting must agree on what is a string or a comment, so all three read this.

use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan, Tokenizer, Whitespace};

/// What a piece of the source is, as far as the shell cares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PieceKind {
    /// Blank space.
    Space,
    /// A comment, with its marks.
    Comment,
    /// A string literal of any spelling, with its quotes.
    Text,
    /// A number.
    Number,
    /// An unquoted word that SQL reserves somewhere.
    Keyword,
    /// Any other unquoted word.
    Word,
    /// An identifier in quotes.
    Quoted,
    /// `;`
    Semicolon,
    /// `:`
    Colon,
    /// `\`
    Backslash,
    /// Every other mark.
    Other,
}

/// One piece of the source; the pieces of a text follow each other without a gap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lexeme {
    /// What it is.
    pub kind: PieceKind,
    /// First byte.
    pub start: usize,
    /// One past the last byte.
    pub end: usize,
}

/// Where and why the text stops being SQL tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LexError {
    /// First byte of the piece that does not end.
    pub offset: usize,
    /// The reason, in the tokenizer's words.
    pub message: String,
}

/// Cuts a text into lexemes. With an error, the lexemes before it are still returned.
pub fn lex(text: &str) -> (Vec<Lexeme>, Option<LexError>) {
    let mut tokens = Vec::new();
    let outcome = Tokenizer::new(&GenericDialect {}, text)
        .with_unescape(false)
        .tokenize_with_location_into_buf(&mut tokens);
    let mut cursor = Cursor {
        text,
        offset: 0,
        line: 1,
        column: 1,
    };
    let lexemes: Vec<Lexeme> = tokens
        .iter()
        .map(|TokenWithSpan { token, span }| {
            let start = cursor.offset;
            cursor.advance(span.end.line, span.end.column);
            Lexeme {
                kind: kind(token),
                start,
                end: cursor.offset,
            }
        })
        .collect();
    // The tokenizer reports the place where it gave up, often the end; the piece began after the last good one.
    let error = outcome.err().map(|error| LexError {
        offset: cursor.offset,
        message: error.message,
    });
    (lexemes, error)
}

/// The statements of a text, without their semicolons; what is blank or only comments is none.
pub fn statements(text: &str) -> Vec<&str> {
    let (lexemes, error) = lex(text);
    let mut statements = vec![];
    let (mut from, mut says_something) = (0, false);
    for piece in lexemes {
        match piece.kind {
            PieceKind::Semicolon => {
                if says_something {
                    statements.push(&text[from..piece.start]);
                }
                (from, says_something) = (piece.end, false);
            }
            PieceKind::Space | PieceKind::Comment => {}
            _ => says_something = true,
        }
    }
    // A string that does not end is for the parser to complain of.
    if says_something || error.is_some() {
        statements.push(&text[from..]);
    }
    statements
}

/// The line of a byte, counted from 1.
pub fn line_of(text: &str, offset: usize) -> usize {
    1 + text.as_bytes()[..offset]
        .iter()
        .filter(|byte| **byte == b'\n')
        .count()
}

/// Turns the tokenizer's line and character into byte offsets, walking the text once.
struct Cursor<'a> {
    text: &'a str,
    offset: usize,
    line: u64,
    column: u64,
}

impl Cursor<'_> {
    fn advance(&mut self, line: u64, column: u64) {
        for character in self.text[self.offset..].chars() {
            if (self.line, self.column) >= (line, column) {
                break;
            }
            self.offset += character.len_utf8();
            if character == '\n' {
                self.line += 1;
                self.column = 1;
            } else {
                self.column += 1;
            }
        }
    }
}

fn kind(token: &Token) -> PieceKind {
    match token {
        Token::Whitespace(
            Whitespace::SingleLineComment { .. } | Whitespace::MultiLineComment(_),
        ) => PieceKind::Comment,
        Token::Whitespace(_) => PieceKind::Space,
        Token::Number(..) => PieceKind::Number,
        Token::Word(word) if word.quote_style.is_some() => PieceKind::Quoted,
        Token::Word(word) if word.keyword == Keyword::NoKeyword => PieceKind::Word,
        Token::Word(_) => PieceKind::Keyword,
        Token::DoubleQuotedString(_) => PieceKind::Quoted,
        Token::SemiColon => PieceKind::Semicolon,
        Token::Colon => PieceKind::Colon,
        Token::Backslash => PieceKind::Backslash,
        Token::SingleQuotedString(_)
        | Token::TripleSingleQuotedString(_)
        | Token::TripleDoubleQuotedString(_)
        | Token::DollarQuotedString(_)
        | Token::SingleQuotedByteStringLiteral(_)
        | Token::DoubleQuotedByteStringLiteral(_)
        | Token::SingleQuotedRawStringLiteral(_)
        | Token::DoubleQuotedRawStringLiteral(_)
        | Token::NationalStringLiteral(_)
        | Token::EscapedStringLiteral(_)
        | Token::UnicodeStringLiteral(_)
        | Token::QuoteDelimitedStringLiteral(_)
        | Token::NationalQuoteDelimitedStringLiteral(_)
        | Token::HexStringLiteral(_) => PieceKind::Text,
        _ => PieceKind::Other,
    }
}

/// A value inside quotes, with the quotes in it doubled: a SQL string for `'`, a SQL name for `"`.
pub fn quoted(value: &str, mark: char) -> String {
    let doubled = value.replace(mark, &format!("{mark}{mark}"));
    format!("{mark}{doubled}{mark}")
}

/// Whether the text is a word: letters, digits and underscores, not beginning with a digit.
pub fn is_name(text: &str) -> bool {
    let mut characters = text.chars();
    characters
        .next()
        .is_some_and(|first| first.is_alphabetic() || first == '_')
        && characters.all(|character| character.is_alphanumeric() || character == '_')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pieces(text: &str) -> Vec<(PieceKind, &str)> {
        lex(text)
            .0
            .iter()
            .map(|l| (l.kind, &text[l.start..l.end]))
            .collect()
    }

    #[test]
    fn offsets_are_bytes_and_leave_no_gap() {
        let text = "select 'é\n—' -- ü\n, \"ñ\" /* a /* b */ ; */, $q$ x; $q$;";
        let joined: String = pieces(text).iter().map(|(_, piece)| *piece).collect();
        assert_eq!(joined, text);
        assert!(pieces(text).contains(&(PieceKind::Text, "'é\n—'")));
        assert!(pieces(text).contains(&(PieceKind::Quoted, "\"ñ\"")));
        assert!(pieces(text).contains(&(PieceKind::Comment, "/* a /* b */ ; */")));
        assert!(pieces(text).contains(&(PieceKind::Text, "$q$ x; $q$")));
        assert_eq!(
            pieces(text)
                .iter()
                .filter(|(kind, _)| *kind == PieceKind::Semicolon)
                .count(),
            1
        );
    }

    #[test]
    fn statements_end_at_semicolons_outside_quotes() {
        let text = "SELECT ';' ; -- one;\n SET x = 1;; /* ; */ ";
        assert_eq!(statements(text), ["SELECT ';' ", " -- one;\n SET x = 1"]);
        assert_eq!(statements("SELECT 1; 'a"), ["SELECT 1", " 'a"]);
        assert!(statements(" ; -- nothing").is_empty());
    }

    #[test]
    fn an_unfinished_string_is_located_where_it_begins() {
        let text = "select 1,\n 'abc\n def";
        let (lexemes, error) = lex(text);
        let error = error.expect("the string does not end");
        assert_eq!(&text[error.offset..], "'abc\n def");
        assert_eq!(line_of(text, error.offset), 2);
        assert_eq!(lexemes.last().map(|l| l.end), Some(error.offset));
    }
}
