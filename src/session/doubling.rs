//! What is read more than once. The parser tries some forms one way and then another, and does all that stands inside them
//! again; so does the planner with queries in expressions and some functions. Inside each other that doubles at every level, and sixty letters
//! take a core for years, which no timeout can end. The forms are those that were found in sqlparser 0.62, by repeating each of
//! its keywords in thirty ways, and DataFusion 55; sqlparser 0.63 and 0.64 read fewer of them twice.

use datafusion::common::plan_err;
use datafusion::error::Result;
use datafusion::sql::sqlparser::dialect::Dialect;
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};

/// Most doublings: some hundredths of a second. Chosen.
const MOST: usize = 12;
/// Where names of arguments are read first, what clients ask of PostgreSQL's catalogue counts 13, and the count is a high one.
const MOST_WITH_NAMES: usize = 16;
/// Doublings from which on a statement is planned on a larger stack: what tries one way and then another has large frames.
const SOME: usize = 3;

/// What is open inside one pair of brackets or one CASE.
#[derive(Debug, Default, Clone, Copy)]
struct Level {
    /// Of all that stands in it, by what it stands in.
    outside: usize,
    /// Keywords whose operand has not ended.
    prefixes: usize,
    /// Dots of the name that is being read.
    dots: usize,
    is_case: bool,
    /// Inside what may be something else than it looks.
    in_doubt: bool,
}

impl Level {
    fn doublings(self) -> usize {
        self.outside + self.prefixes + self.dots
    }
}

/// Refuses a statement that would be read too often, before it is parsed in this dialect and planned with functions of which
/// some are planned twice, by their names in small letters.
pub(crate) fn require_few_readings(
    dialect: &dyn Dialect,
    is_planned_twice: impl Fn(&str) -> bool,
    tokens: &[TokenWithSpan],
) -> Result<()> {
    let tokens = tokens.iter().map(|token| &token.token);
    let most = match dialect.supports_named_fn_args_with_expr_name() {
        true => MOST_WITH_NAMES,
        false => MOST,
    };
    match doublings(dialect, is_planned_twice, tokens) {
        doublings if doublings <= most => Ok(()),
        doublings => plan_err!(
            "session: at most {most} queries, casts, keywords with parentheses and dots of a name inside each other are required, \
             got {doublings}: name the inner ones in a query of FROM, or put them into a table first"
        ),
    }
}

/// Whether it is read often enough for a larger stack.
pub(super) fn is_read_often(dialect: &dyn Dialect, tokens: &[TokenWithSpan]) -> bool {
    doublings(dialect, |_| false, tokens.iter().map(|token| &token.token)) > SOME
}

fn doublings<'a>(
    dialect: &dyn Dialect,
    is_planned_twice: impl Fn(&str) -> bool,
    tokens: impl Iterator<Item = &'a Token>,
) -> usize {
    let tokens: Vec<&Token> = tokens
        .filter(|token| !matches!(token, Token::Whitespace(_)))
        .collect();
    // What may be the name of an argument is read as one first.
    let of_names = usize::from(dialect.supports_named_fn_args_with_expr_name());
    let (mut levels, mut most) = (vec![], 0);
    let mut level = Level::default();
    for (i, &token) in tokens.iter().enumerate() {
        let before = i.checked_sub(1).map(|i| tokens[i]);
        let next = tokens.get(i + 1).copied();
        let in_a_name = before == Some(&Token::Period);
        let open = |weight: usize| Level {
            outside: level.outside + level.prefixes + weight,
            in_doubt: level.in_doubt || level.prefixes > 0,
            ..Level::default()
        };
        match token {
            // A name that goes on behind an operator is tried as one, too.
            Token::Period if !next.is_some_and(goes_on_a_name) => {
                level.prefixes += level.dots + 1;
                level.dots = 0;
            }
            Token::Period => level.dots += 1,
            Token::Comma => level = after(level),
            Token::SemiColon => (levels, level) = (vec![], Level::default()),
            Token::LParen => {
                let of_function = match before {
                    Some(Token::Word(name)) => is_planned_twice(&name.value.to_lowercase()).into(),
                    _ => 0,
                };
                let weight = of_function + of_parentheses(before, next, of_names);
                let inner = open(weight);
                levels.push(std::mem::replace(&mut level, inner));
            }
            Token::LBracket => {
                let of_array = usize::from(keyword(before) == Keyword::ARRAY);
                let inner = open(level.dots + of_array);
                levels.push(std::mem::replace(&mut level, inner));
            }
            Token::LBrace => {
                let inner = open(0);
                levels.push(std::mem::replace(&mut level, inner));
            }
            Token::RParen | Token::RBracket | Token::RBrace => {
                while level.is_case && !levels.is_empty() {
                    level = levels.pop().unwrap_or_default();
                }
                level = levels.pop().unwrap_or_default();
            }
            Token::Word(word) => {
                if !in_a_name {
                    level.dots = 0;
                }
                match word.keyword {
                    Keyword::INTERVAL => level.prefixes += 1 + level.dots + of_names,
                    Keyword::NOT => level.prefixes += 1 + level.dots,
                    Keyword::CASE if in_a_name => level.prefixes += 1 + level.dots,
                    Keyword::CASE => {
                        let in_doubt = level.in_doubt
                            || level.prefixes > 0
                            || !next.is_some_and(begins_a_case);
                        let inner = Level {
                            is_case: true,
                            in_doubt,
                            ..open(in_doubt.into())
                        };
                        levels.push(std::mem::replace(&mut level, inner));
                    }
                    Keyword::END if level.is_case && !in_a_name => {
                        level = levels.pop().unwrap_or_default();
                    }
                    Keyword::AND
                    | Keyword::OR
                    | Keyword::WHEN
                    | Keyword::THEN
                    | Keyword::ELSE
                    | Keyword::SELECT
                    | Keyword::FROM
                    | Keyword::WHERE
                    | Keyword::ON
                        if before.is_some_and(ends_an_operand) =>
                    {
                        level = after(level);
                    }
                    _ => {}
                }
            }
            _ => {}
        }
        most = most.max(level.doublings());
    }
    most
}

/// A level where the next expression begins.
fn after(level: Level) -> Level {
    Level {
        prefixes: 0,
        dots: 0,
        ..level
    }
}

fn of_parentheses(before: Option<&Token>, next: Option<&Token>, of_names: usize) -> usize {
    let of_query = match (keyword(before), keyword(next)) {
        // A query of FROM is planned once.
        (Keyword::FROM | Keyword::JOIN, _) => 0,
        // WITH a AS (...)
        (Keyword::AS | Keyword::MATERIALIZED, _) => 1,
        (_, Keyword::SELECT | Keyword::FROM | Keyword::WITH | Keyword::VALUES | Keyword::TABLE) => {
            1
        }
        _ => 0,
    };
    let of_call = match keyword(before) {
        Keyword::POSITION | Keyword::ROW => 2 + of_names,
        // Counted as what has an operand.
        Keyword::INTERVAL => 0,
        Keyword::NOT | Keyword::CASE => of_names,
        Keyword::CAST
        | Keyword::CEIL
        | Keyword::CONVERT
        | Keyword::CURRENT_DATE
        | Keyword::CURRENT_TIME
        | Keyword::CURRENT_TIMESTAMP
        | Keyword::EXTRACT
        | Keyword::FLOOR
        | Keyword::LOCALTIME
        | Keyword::LOCALTIMESTAMP
        | Keyword::OVERLAY
        | Keyword::SAFE_CAST
        | Keyword::SUBSTR
        | Keyword::SUBSTRING
        | Keyword::TRY_CAST
        | Keyword::TRY_CONVERT => 1 + of_names,
        _ if matches!(before, Some(Token::Word(_))) => of_names,
        _ => 0,
    };
    of_query + of_call
}

fn keyword(token: Option<&Token>) -> Keyword {
    match token {
        Some(Token::Word(word)) => word.keyword,
        _ => Keyword::NoKeyword,
    }
}

fn goes_on_a_name(token: &Token) -> bool {
    matches!(token, Token::Word(_) | Token::Mul)
}

/// Whether CASE with this behind it is not tried as a name.
fn begins_a_case(token: &Token) -> bool {
    match token {
        Token::Word(word) => matches!(word.keyword, Keyword::NoKeyword | Keyword::WHEN),
        Token::Number(..) | Token::SingleQuotedString(_) | Token::Placeholder(_) => true,
        _ => false,
    }
}

fn ends_an_operand(token: &Token) -> bool {
    match token {
        Token::Word(word) => !matches!(
            word.keyword,
            Keyword::NOT | Keyword::INTERVAL | Keyword::CASE
        ),
        Token::Number(..)
        | Token::SingleQuotedString(_)
        | Token::Placeholder(_)
        | Token::RParen
        | Token::RBracket
        | Token::RBrace => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use datafusion::sql::sqlparser::dialect::{GenericDialect, PostgreSqlDialect};
    use datafusion::sql::sqlparser::parser::Parser;
    use datafusion::sql::sqlparser::tokenizer::Tokenizer;

    use super::*;

    /// What may stand inside itself, with what closes it.
    const FORMS: [(&str, &str); 41] = [
        ("ARRAY[", "]"),
        ("CASE ~", ""),
        ("CASE (", ")"),
        ("CASE IN (", ")"),
        ("CASE.", ""),
        ("CAST(", " AS INT)"),
        ("CEIL(", ")"),
        ("CONVERT(", ")"),
        ("CURRENT_DATE(", ")"),
        ("EXISTS(SELECT ", ")"),
        ("EXTRACT(DAY FROM ", ")"),
        ("EXTRACT(a, ", ")"),
        ("FLOOR(", ")"),
        ("INTERVAL ", ""),
        ("INTERVAL ~", ""),
        ("INTERVAL UNION (", ")"),
        ("INTERVAL AND (", ")"),
        ("INTERVAL a(", ")"),
        ("LOCALTIME(", ")"),
        ("NOT ~", ""),
        ("NOT(", ")"),
        ("NOT.", ""),
        ("OVERLAY(", ")"),
        ("POSITION(", " IN 1)"),
        ("ROW(", ")"),
        ("SUBSTRING(", " FROM 1)"),
        ("TRY_CAST(", " AS INT)"),
        ("Twice(a, ", ")"),
        ("(SELECT ", ")"),
        ("a IN (FROM ", ")"),
        ("a.b[", "]"),
        ("a.b.c[", "]"),
        ("a.b.c.", ""),
        ("~a.b.", ""),
        ("f(", ")"),
        ("f(a, ", ")"),
        ("(", ")"),
        ("[", "]"),
        ("{a: ", "}"),
        ("CASE WHEN ", " THEN 1 END"),
        ("a[1:", "]"),
    ];

    fn tokens(dialect: &dyn Dialect, sql: &str) -> Vec<TokenWithSpan> {
        let tokens = Tokenizer::new(dialect, sql).tokenize_with_location();
        tokens.expect("tokens")
    }

    fn refused(sql: &str) -> bool {
        let tokens = tokens(&GenericDialect {}, sql);
        require_few_readings(&GenericDialect {}, |name| name == "twice", &tokens).is_err()
    }

    /// Where one of them slipped through, this would not end.
    #[test]
    fn what_passes_is_soon_parsed() {
        let parsing = std::thread::Builder::new().stack_size(128 << 20);
        let longest = parsing.spawn(parse_pairs).expect("a thread").join();
        assert_eq!(longest.expect("no panic"), 24);
    }

    /// Two forms inside each other, as often as may be; how often that was at most.
    fn parse_pairs() -> usize {
        let mut longest = 0;
        for (first, second) in FORMS.iter().flat_map(|a| FORMS.iter().map(move |b| (a, b))) {
            // Neither reading of it is right.
            let nested = |n: usize| format!("SELECT {}1 $", [first.0, second.0].concat().repeat(n));
            let alone = (first == second).then_some(&PostgreSqlDialect {} as &dyn Dialect);
            for dialect in alone
                .into_iter()
                .chain([&GenericDialect {} as &dyn Dialect])
            {
                let tokens = |n: usize| tokens(dialect, &nested(n));
                let passes =
                    |n: &usize| require_few_readings(dialect, |_| false, &tokens(*n)).is_ok();
                let most = (1..25).rev().find(passes).expect("one passes");
                let parser = Parser::new(dialect).with_recursion_limit(50);
                let mut parser = parser.with_tokens_with_locations(tokens(most));
                assert!(parser.parse_statements().is_err(), "{}", nested(most));
                longest = longest.max(most);
            }
        }
        longest
    }

    #[test]
    fn what_doubles_is_refused_and_a_few_levels_are_not() {
        for (open, close) in &FORMS[..34] {
            let nested = |n: usize| format!("SELECT {}1{}", open.repeat(n), close.repeat(n));
            assert!(refused(&nested(20)), "{open}");
            assert!(!refused(&nested(3)), "{open}");
        }
        let with = |n: usize| {
            [
                "WITH a AS (".repeat(n),
                "SELECT 1".into(),
                ") SELECT 1".repeat(n),
            ]
            .concat()
        };
        assert!(refused(&with(20)) && !refused(&with(6)));
    }

    #[test]
    fn what_is_long_or_read_once_passes() {
        for (open, close) in &FORMS[34..] {
            let nested = |n: usize| format!("SELECT {}1{}", open.repeat(n), close.repeat(n));
            assert!(!refused(&nested(40)), "{open}");
        }
        for (part, between) in [
            ("NOT a", " AND "),
            ("NOT (t.a = 1)", " OR "),
            ("CAST(t.a AS INT)", " + "),
            ("CAST(CAST(a AS INT) AS TEXT)", " || "),
            ("INTERVAL '1' DAY", ", "),
            ("s.t.a", " * "),
            ("s.t.a[1]", ", "),
            ("a IN (SELECT b FROM s.t WHERE NOT c)", " AND "),
            ("CASE a WHEN 1 THEN t.b ELSE NOT c END", ", "),
            ("EXTRACT(DAY FROM t.a)", " - "),
            ("t.*", ", "),
            ("1 FROM t UNION ALL SELECT 1", " FROM u UNION ALL SELECT "),
        ] {
            let sql = format!("SELECT {}", vec![part; 100].join(between));
            assert!(!refused(&sql), "{part}");
        }
        let from = format!("{}t{}", "SELECT * FROM (".repeat(30), ")".repeat(30));
        assert!(!refused(&from.replace("FROM (t)", "FROM t")));
        let branches = "CASE WHEN a = 1 THEN 'x' ELSE ".repeat(30);
        assert!(!refused(&format!(
            "SELECT {branches}1{}",
            " END".repeat(30)
        )));
    }
}
