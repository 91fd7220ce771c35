//! From text to one parsed statement. Two things are ours: the parser takes `cluster` after a comma for the beginning of
//! `CLUSTER BY`, though it is the name of our most asked-for column; and `CALL f(..)` is `SELECT * FROM f(..)`.

use datafusion::common::{internal_err, plan_datafusion_err, plan_err};
use datafusion::error::Result;
use datafusion::execution::session_state::SessionState;
use datafusion::sql::parser::{DFParserBuilder, ResetStatement, Statement};
use datafusion::sql::sqlparser::ast;
use datafusion::sql::sqlparser::dialect::{Dialect, GenericDialect, dialect_from_str};
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::parser::Parser;
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan, Tokenizer};

use super::copy_target::{file_without_quotes, with_format};
use super::depth::{DEEP, depth, require_shallow};
use super::doubling::{is_read_often, require_few_readings};
use super::setting::whole_name;

/// Parses one statement.
pub(super) fn parse(state: &SessionState, sql: &str) -> Result<Statement> {
    let options = &state.config_options().sql_parser;
    let dialect = dialect_from_str(options.dialect).ok_or_else(|| {
        plan_datafusion_err!(
            "session: a dialect of datafusion.sql_parser.dialect is required, got {}",
            options.dialect
        )
    })?;
    let tokens = Tokenizer::new(dialect.as_ref(), sql).tokenize_with_location();
    let tokens = match tokens {
        Ok(tokens) => tokens,
        // Its own error says where.
        Err(_) => return state.sql_to_statement(sql, &options.dialect),
    };
    require_shallow(&tokens)?;
    require_few_readings(
        dialect.as_ref(),
        |name| is_planned_twice(state, name),
        &tokens,
    )?;
    let limit = options.recursion_limit.get();
    let tokens = cluster_as_name(tokens);
    let parsed = statements(dialect.as_ref(), limit, tokens.clone());
    let mut statements = parsed.map_err(|error| file_without_quotes(&tokens).unwrap_or(error))?;
    let (first, others) = (statements.next(), statements.count());
    match first {
        Some(statement) if others == 0 => {
            let statement = call_as_query(statement, dialect.as_ref(), limit)?;
            with_whole_settings(with_format(statement)?, dialect.as_ref(), limit)
        }
        Some(_) => plan_err!("session: one statement is required, got {}", others + 1),
        None => plan_err!("session: a statement is required, got none"),
    }
}

/// Whether DataFusion finds the type of a function's arguments twice: by another name of it the call is renamed, and a renamed
/// expression asks what is in it for its type and once more for its metadata; `coalesce` and `map` do likewise.
fn is_planned_twice(state: &SessionState, name: &str) -> bool {
    let scalar = state.scalar_functions().get(name).map(|f| f.name());
    let higher_order = state.higher_order_functions().get(name).map(|f| f.name());
    let aggregate = state.aggregate_functions().get(name).map(|f| f.name());
    let window = state.window_functions().get(name).map(|f| f.name());
    let own = scalar.or(higher_order).or(aggregate).or(window);
    matches!(name, "coalesce" | "map") || own.is_some_and(|own| own != name)
}

/// Whether it is so deep that it is planned on a stack of its own.
pub(super) fn is_deep(sql: &str) -> bool {
    // Every level takes two letters at least.
    let dialect = GenericDialect {};
    sql.len() > 2 * DEEP
        && Tokenizer::new(&dialect, sql)
            .tokenize_with_location()
            .is_ok_and(|tokens| depth(&tokens) > DEEP || is_read_often(&dialect, &tokens))
}

fn statements(
    dialect: &dyn Dialect,
    limit: usize,
    tokens: Vec<TokenWithSpan>,
) -> Result<impl Iterator<Item = Statement>> {
    let mut parser = DFParserBuilder::new("").with_dialect(dialect).build()?;
    parser.parser = Parser::new(dialect)
        .with_recursion_limit(limit)
        .with_tokens_with_locations(tokens);
    Ok(parser.parse_statements()?.into_iter())
}

/// The tokens with every `cluster` a name that no `BY` follows.
fn cluster_as_name(mut tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    for i in 0..tokens.len() {
        let is = |token: &Token, keyword| matches!(token, Token::Word(w) if w.keyword == keyword);
        if !is(&tokens[i].token, Keyword::CLUSTER) {
            continue;
        }
        let mut after = tokens[i + 1..].iter().map(|next| &next.token);
        let next = after.find(|next| !matches!(next, Token::Whitespace(_)));
        if !next.is_some_and(|next| is(next, Keyword::BY))
            && let Token::Word(word) = &mut tokens[i].token
        {
            word.keyword = Keyword::NoKeyword;
        }
    }
    tokens
}

/// Settings by their whole names in `SHOW`, `SET x TO DEFAULT` as `RESET x`, and `USE r` as the SET that selects run r.
fn with_whole_settings(
    mut statement: Statement,
    dialect: &dyn Dialect,
    limit: usize,
) -> Result<Statement> {
    let Statement::Statement(inner) = &mut statement else {
        return Ok(statement);
    };
    match inner.as_mut() {
        // A table without a schema is the session's, and goes with it.
        ast::Statement::CreateTable(table) if table.temporary && table.name.0.len() == 1 => {
            table.temporary = false;
        }
        ast::Statement::CreateView(view) if view.temporary && view.name.0.len() == 1 => {
            view.temporary = false;
        }
        ast::Statement::ShowVariable { variable } => {
            if let [first, ..] = variable.as_slice() {
                let whole = whole_name(first.value.to_lowercase());
                if let Some((namespace, name)) = whole.split_once('.') {
                    variable.splice(..1, [namespace, name].map(ast::Ident::from));
                }
            }
        }
        ast::Statement::Set(ast::Set::SingleAssignment {
            variable, values, ..
        }) => {
            if let [ast::Expr::Identifier(word)] = values.as_slice()
                && word.quote_style.is_none()
                && word.value.eq_ignore_ascii_case("default")
            {
                return Ok(Statement::Reset(ResetStatement::Variable(variable.clone())));
            }
        }
        ast::Statement::Use(
            ast::Use::Object(name) | ast::Use::Schema(name) | ast::Use::Database(name),
        ) => {
            let run = name.0.iter().filter_map(|part| part.as_ident());
            let run: Vec<_> = run.map(|part| part.value.replace('\'', "''")).collect();
            let set = format!("SET polysema.run = '{}'", run.join("."));
            let tokens = Tokenizer::new(dialect, &set).tokenize_with_location();
            let tokens = tokens.map_err(|e| plan_datafusion_err!("session: {e}"))?;
            if let Some(set) = statements(dialect, limit, tokens)?.next() {
                return Ok(set);
            }
        }
        _ => {}
    }
    Ok(statement)
}

/// `CALL f(..)` as the query it means, the call put where that of a model query stands.
fn call_as_query(statement: Statement, dialect: &dyn Dialect, limit: usize) -> Result<Statement> {
    let Statement::Statement(inner) = &statement else {
        return Ok(statement);
    };
    let ast::Statement::Call(call) = inner.as_ref() else {
        return Ok(statement);
    };
    let arguments = match &call.args {
        ast::FunctionArguments::List(list) => list.args.clone(),
        ast::FunctionArguments::None => vec![],
        ast::FunctionArguments::Subquery(query) => {
            return plan_err!("CALL: arguments are required, got the query {query}");
        }
    };
    let tokens = Tokenizer::new(dialect, "SELECT * FROM f()").tokenize_with_location();
    let tokens = tokens.map_err(|e| plan_datafusion_err!("session: {e}"))?;
    let mut query = statements(dialect, limit, tokens)?.next();
    let Some(Statement::Statement(model)) = &mut query else {
        return internal_err!("session: a query is a statement");
    };
    if let ast::Statement::Query(model) = model.as_mut()
        && let ast::SetExpr::Select(select) = model.body.as_mut()
        && let [from] = select.from.as_mut_slice()
        && let ast::TableFactor::Table {
            name,
            args: Some(args),
            ..
        } = &mut from.relation
    {
        name.clone_from(&call.name);
        args.args = arguments;
    }
    match query {
        Some(query) => Ok(query),
        None => internal_err!("session: a query is a statement"),
    }
}
