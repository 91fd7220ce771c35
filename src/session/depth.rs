//! How deep a statement nests. Parsed statements, plans and expressions are trees that are walked, compared and dropped
//! by recursion, in many places of several libraries: one that is too deep overflows the stack, which ends the process.

use datafusion::common::plan_err;
use datafusion::error::Result;
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};

/// Most levels. Chosen: what a thread's usual stack of 2 MiB evaluates and drops in a build without optimisation.
pub(super) const MOST: usize = 300;
/// Levels from which on a statement is planned on a larger stack.
pub(super) const DEEP: usize = 40;

/// What is open inside one pair of parentheses, counted from its left end: a chain of operators or of queries is a tree
/// as deep as it is long.
#[derive(Debug, Default, Clone, Copy)]
struct Level {
    queries: usize,
    conditions: usize,
    operators: usize,
    /// Opened by CASE, closed by END.
    is_case: bool,
}

impl Level {
    fn depth(self) -> usize {
        1 + self.queries + self.conditions + self.operators
    }

    fn next_expression(&mut self) {
        self.conditions = 0;
        self.operators = 0;
    }
}

/// Refuses a statement that nests deeper than is safe, before it is parsed.
pub(super) fn require_shallow(tokens: &[TokenWithSpan]) -> Result<()> {
    match depth(tokens) {
        depth if depth <= MOST => Ok(()),
        depth => plan_err!(
            "session: at most {MOST} operators in a row, queries in a UNION or parentheses inside each other are \
             required, got {depth}: write x IN (...), or put the values or the queries into a table first"
        ),
    }
}

/// A bound of the depth of the tree that the tokens are parsed to.
pub(super) fn depth(tokens: &[TokenWithSpan]) -> usize {
    let mut levels = vec![Level::default()];
    // Of the levels below the last.
    let mut below = 0;
    let mut deepest = 0;
    for token in tokens {
        let Some(level) = levels.last_mut() else {
            break;
        };
        match &token.token {
            Token::Whitespace(_) | Token::Period => continue,
            Token::Comma => level.next_expression(),
            Token::SemiColon => {
                levels = vec![Level::default()];
                below = 0;
            }
            Token::LParen | Token::LBracket | Token::LBrace => {
                // A subscript of a subscript: an operator like others.
                level.operators += usize::from(matches!(token.token, Token::LBracket));
                below += level.depth();
                levels.push(Level::default());
            }
            Token::RParen | Token::RBracket | Token::RBrace => close(&mut levels, &mut below),
            Token::Word(word) => match word.keyword {
                Keyword::CASE => {
                    below += level.depth();
                    levels.push(Level {
                        is_case: true,
                        ..Level::default()
                    });
                }
                Keyword::END if level.is_case => close(&mut levels, &mut below),
                Keyword::UNION | Keyword::EXCEPT | Keyword::INTERSECT | Keyword::JOIN => {
                    level.queries += 1;
                    level.next_expression();
                }
                Keyword::AND | Keyword::OR | Keyword::NOT => {
                    level.conditions += 1;
                    level.operators = 0;
                }
                Keyword::IS
                | Keyword::IN
                | Keyword::LIKE
                | Keyword::ILIKE
                | Keyword::SIMILAR
                | Keyword::BETWEEN
                | Keyword::COLLATE
                | Keyword::AT
                | Keyword::DIV
                | Keyword::XOR => level.operators += 1,
                Keyword::SELECT
                | Keyword::FROM
                | Keyword::WHERE
                | Keyword::GROUP
                | Keyword::HAVING
                | Keyword::ORDER
                | Keyword::ON
                | Keyword::WHEN
                | Keyword::THEN
                | Keyword::ELSE => level.next_expression(),
                _ => {}
            },
            token if is_value(token) => {}
            _ => level.operators += 1,
        }
        let last = levels.last().map_or(0, |level| level.depth());
        deepest = deepest.max(below + last);
    }
    deepest
}

fn close(levels: &mut Vec<Level>, below: &mut usize) {
    if levels.len() > 1 {
        levels.pop();
        *below -= levels.last().map_or(0, |level| level.depth());
    }
}

fn is_value(token: &Token) -> bool {
    matches!(
        token,
        Token::Number(..)
            | Token::SingleQuotedString(_)
            | Token::DoubleQuotedString(_)
            | Token::NationalStringLiteral(_)
            | Token::EscapedStringLiteral(_)
            | Token::DollarQuotedString(_)
            | Token::HexStringLiteral(_)
            | Token::Placeholder(_)
            | Token::Colon
            | Token::EOF
    )
}

#[cfg(test)]
mod tests {
    use datafusion::sql::sqlparser::dialect::GenericDialect;
    use datafusion::sql::sqlparser::tokenizer::Tokenizer;

    use super::*;

    fn of(sql: &str) -> usize {
        let dialect = GenericDialect {};
        let tokens = Tokenizer::new(&dialect, sql).tokenize_with_location();
        depth(&tokens.expect("tokens"))
    }

    #[test]
    fn chains_and_nests_are_deep() {
        assert_eq!(of("SELECT 1"), 1);
        assert_eq!(of("SELECT 1+1+1"), 3);
        assert_eq!(of("SELECT ((1))"), 3);
        assert_eq!(of("SELECT 1 UNION ALL SELECT 2 UNION ALL SELECT 3"), 3);
        assert_eq!(of("SELECT CASE WHEN a THEN CASE WHEN b THEN 1 END END"), 3);
        assert_eq!(of("SELECT 1 FROM t WHERE a = 1 OR a = 2 OR a = 3"), 4);
        assert_eq!(of("SELECT x::INT::INT"), 3);
        assert_eq!(of("SELECT f(1 + g(2 + h(3)))"), 6);
    }

    #[test]
    fn lists_are_wide() {
        let numbers = vec!["-1"; 10_000].join(", ");
        assert!(of(&format!("SELECT a FROM t WHERE a IN ({numbers})")) < 6);
        let rows = vec!["(1, 'a')"; 10_000].join(", ");
        assert!(of(&format!("SELECT * FROM (VALUES {rows})")) < 6);
        let columns = vec!["a + b AS c"; 1_000].join(", ");
        assert!(of(&format!("SELECT {columns} FROM t")) < 6);
        let whens = vec!["WHEN a = 1 THEN 2"; 1_000].join(" ");
        assert!(of(&format!("SELECT CASE {whens} END")) < 6);
    }
}
