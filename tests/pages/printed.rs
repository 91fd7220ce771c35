//! Whether two printed texts say the same: numbers with a fraction may differ in their last digits, since vector units add
//! in different orders, and columns and rules are as wide as the numbers make them. Everything else is compared exactly.

/// Relative and absolute difference of two numbers that are the same.
const TOLERANCE: (f64, f64) = (1e-3, 1e-5);

#[derive(Debug, PartialEq)]
enum Token {
    Number(f64),
    Char(char),
}

/// Numbers with a fraction, and every other character that is no filling.
fn tokens(text: &str) -> Vec<Token> {
    let mut found = vec![];
    let mut rest = text;
    let mut after_word = false;
    while let Some(c) = rest.chars().next() {
        let number = if after_word { "" } else { number(rest) };
        if number.contains(['.', 'e'])
            && let Ok(value) = number.parse()
        {
            found.push(Token::Number(value));
            rest = &rest[number.len()..];
            after_word = true;
            continue;
        }
        if !(c.is_whitespace() || "-+─".contains(c)) {
            found.push(Token::Char(c));
        }
        after_word = c.is_alphanumeric() || c == '.';
        rest = &rest[c.len_utf8()..];
    }
    found
}

/// The beginning of a text that is a number.
fn number(text: &str) -> &str {
    let digits = |from: usize| text[from..].bytes().take_while(u8::is_ascii_digit).count();
    let start = usize::from(text.starts_with('-'));
    let whole = digits(start);
    if whole == 0 {
        return "";
    }
    let mut end = start + whole;
    if text[end..].starts_with('.') && digits(end + 1) > 0 {
        end += 1 + digits(end + 1);
    }
    for exponent in ["e-", "e"] {
        if text[end..].starts_with(exponent) && digits(end + exponent.len()) > 0 {
            return &text[..end + exponent.len() + digits(end + exponent.len())];
        }
    }
    &text[..end]
}

/// Whether they say the same.
pub fn same(a: &str, b: &str) -> bool {
    let (a, b) = (tokens(a), tokens(b));
    let near = |(a, b): (&Token, &Token)| match (a, b) {
        (Token::Number(a), Token::Number(b)) => {
            (a - b).abs() <= TOLERANCE.1 + TOLERANCE.0 * a.abs().max(b.abs())
        }
        (a, b) => a == b,
    };
    a.len() == b.len() && a.iter().zip(&b).all(near)
}

#[test]
fn numbers_may_differ_in_their_last_digits_only() {
    assert!(same(" a | 0.71250\n---+---", " a |  0.71251\n---+----"));
    assert!(same("1.2e-7 x", "1.5e-7 x"));
    assert!(same("[-0.5, 1.0]", "[-0.50001, 1.0]"));
    for (a, b) in [
        ("0.71", "0.72"),
        ("17", "18"),
        ("1.0", "1"),
        ("-0.5", "0.5"),
        ("a 0.5", "b 0.5"),
        ("0.5", "0.5 0.5"),
        ("v1.5", "v1.5001"),
        ("«no» longer", "«no» longe"),
    ] {
        assert!(!same(a, b), "{a} and {b}");
    }
}
