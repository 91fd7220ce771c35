//! What the ending of COPY's file says, where no STORED AS does: the endings that are read by name are written, too.

use datafusion::common::{Diagnostic, Span, plan_datafusion_err, plan_err};
use datafusion::error::{DataFusionError, Result};
use datafusion::sql::parser::{CopyToStatement, Statement};
use datafusion::sql::sqlparser::ast::Value;
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};

use super::named_files::{ENDINGS, read_as};

/// The statement with the format of its file.
///
/// Errors (planning): the ending says none.
pub(super) fn with_format(statement: Statement) -> Result<Statement> {
    match statement {
        Statement::CopyTo(copy) => Ok(Statement::CopyTo(formatted(copy)?)),
        Statement::Explain(mut explain) => {
            *explain.statement = with_format(*explain.statement)?;
            Ok(Statement::Explain(explain))
        }
        other => Ok(other),
    }
}

fn formatted(mut copy: CopyToStatement) -> Result<CopyToStatement> {
    if copy.stored_as.is_some() {
        return Ok(copy);
    }
    let Some((format, option)) = read_as(&copy.target) else {
        return plan_err!(
            "COPY: a file that ends in {}, or STORED AS and a format, is required, got '{}'",
            ENDINGS.as_str(),
            copy.target
        );
    };
    copy.stored_as = Some(format.to_uppercase());
    // Before the statement's own, which are the last word.
    let option = option.map(|(key, value)| {
        let value = Value::SingleQuotedString(value.to_string());
        (key.to_string(), value)
    });
    copy.options.splice(..0, option);
    Ok(copy)
}

/// The error of `COPY ... TO` a file without quotes, of a statement that could not be parsed.
pub(super) fn file_without_quotes(tokens: &[TokenWithSpan]) -> Option<DataFusionError> {
    let is = |token: &TokenWithSpan, keyword| matches!(&token.token, Token::Word(word) if word.keyword == keyword);
    let blank = |token: &&TokenWithSpan| matches!(token.token, Token::Whitespace(_));
    let mut seen = tokens.iter().skip_while(blank);
    seen.next().filter(|first| is(first, Keyword::COPY))?;
    let to = tokens.iter().rposition(|token| is(token, Keyword::TO))?;
    let target: Vec<_> = (tokens[to + 1..].iter().skip_while(blank))
        .take_while(|token| {
            !matches!(
                token.token,
                Token::Whitespace(_) | Token::SemiColon | Token::EOF
            )
        })
        .collect();
    let first = target
        .first()
        .filter(|first| !matches!(first.token, Token::SingleQuotedString(_)))?;
    let file: String = target.iter().map(|token| token.token.to_string()).collect();
    let error = plan_datafusion_err!(
        "COPY: a file in single quotes is required after TO, got {file}: write TO '{file}'"
    );
    let place = Span::try_from_sqlparser_span(first.span);
    Some(error.with_diagnostic_fn(|error| Diagnostic::new_error(error.strip_backtrace(), place)))
}
