//! From text to one parsed statement. The parser takes `cluster` after a comma for the beginning of `CLUSTER BY`; it
//! is the name of our most asked-for column, so it is made a plain name before parsing.

use datafusion::common::config::Dialect;
use datafusion::error::Result;
use datafusion::execution::session_state::SessionState;
use datafusion::sql::parser::{DFParserBuilder, Statement};
use datafusion::sql::sqlparser::dialect::dialect_from_str;
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::parser::Parser;
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan, Tokenizer};

/// Parses one statement; `CALL f(..)` is left as it is.
pub(super) fn parse(state: &SessionState, sql: &str, dialect: &Dialect) -> Result<Statement> {
    let Some(sql_dialect) = dialect_from_str(dialect) else {
        return state.sql_to_statement(sql, dialect);
    };
    let tokens = Tokenizer::new(sql_dialect.as_ref(), sql).tokenize_with_location();
    let Some(tokens) = tokens.ok().and_then(with_cluster_as_name) else {
        return state.sql_to_statement(sql, dialect);
    };
    let mut parser = DFParserBuilder::new("")
        .with_dialect(sql_dialect.as_ref())
        .build()?;
    parser.parser = Parser::new(sql_dialect.as_ref())
        .with_recursion_limit(state.config().options().sql_parser.recursion_limit.get())
        .with_tokens_with_locations(tokens);
    let mut statements = parser.parse_statements()?;
    match (statements.pop_front(), statements.is_empty()) {
        (Some(statement), true) => Ok(statement),
        _ => state.sql_to_statement(sql, dialect),
    }
}

/// The tokens with every `cluster` a name, if there is one that no `BY` follows.
fn with_cluster_as_name(mut tokens: Vec<TokenWithSpan>) -> Option<Vec<TokenWithSpan>> {
    let mut found = false;
    for i in 0..tokens.len() {
        let by_follows = tokens[i + 1..]
            .iter()
            .find(|next| !matches!(next.token, Token::Whitespace(_)))
            .is_some_and(|next| matches!(&next.token, Token::Word(w) if w.keyword == Keyword::BY));
        if let Token::Word(word) = &mut tokens[i].token
            && word.keyword == Keyword::CLUSTER
            && !by_follows
        {
            word.keyword = Keyword::NoKeyword;
            found = true;
        }
    }
    found.then_some(tokens)
}
