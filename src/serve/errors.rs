//! Errors as PostgreSQL's clients read them: a state of five letters, the engine's message, and where in the statement it is.

use datafusion::common::{DataFusionError, SchemaError};
use pgwire::error::{ErrorInfo, PgWireError};

use crate::text::describe;

/// The states that are given, by PostgreSQL's names.
pub(super) mod state {
    pub const CONNECTION_LIMIT: &str = "53300";
    pub const CRASH_SHUTDOWN: &str = "57P02";
    pub const ADMIN_SHUTDOWN: &str = "57P01";
    pub const QUERY_CANCELED: &str = "57014";
    pub const UNDEFINED_DATABASE: &str = "3D000";
    pub const INVALID_PASSWORD: &str = "28P01";
    pub const INVALID_AUTHORIZATION: &str = "28000";
    pub const PROTOCOL_VIOLATION: &str = "08P01";
    pub const FEATURE_NOT_SUPPORTED: &str = "0A000";
    pub const IN_FAILED_TRANSACTION: &str = "25P02";
    pub const NO_ACTIVE_TRANSACTION: &str = "25P01";
    pub const READ_ONLY_TRANSACTION: &str = "25006";
    pub const SYNTAX_ERROR: &str = "42601";
    pub const UNDEFINED_TABLE: &str = "42P01";
    pub const UNDEFINED_COLUMN: &str = "42703";
    pub const AMBIGUOUS_COLUMN: &str = "42702";
    pub const UNDEFINED_FUNCTION: &str = "42883";
    pub const UNDEFINED_OBJECT: &str = "42704";
    pub const UNDEFINED_CURSOR: &str = "34000";
    pub const UNDEFINED_STATEMENT: &str = "26000";
    pub const DUPLICATE_CURSOR: &str = "42P03";
    pub const INSUFFICIENT_PRIVILEGE: &str = "42501";
    pub const RULE_VIOLATION: &str = "42000";
    pub const INVALID_PARAMETER: &str = "22023";
    pub const DATA_EXCEPTION: &str = "22000";
    pub const OUT_OF_MEMORY: &str = "53200";
    pub const PROGRAM_LIMIT: &str = "54000";
    pub const INTERNAL: &str = "XX000";
}

/// What a statement is refused with.
pub(super) fn refused(state: &str, message: impl Into<String>) -> PgWireError {
    with_severity("ERROR", state, message)
}

/// What ends a connection.
pub(super) fn fatal(state: &str, message: impl Into<String>) -> PgWireError {
    with_severity("FATAL", state, message)
}

fn with_severity(severity: &str, state: &str, message: impl Into<String>) -> PgWireError {
    PgWireError::UserError(Box::new(ErrorInfo::new(
        severity.to_string(),
        state.to_string(),
        message.into(),
    )))
}

/// The engine's error of a statement.
pub(super) fn of_engine(error: &DataFusionError, statement: &str) -> PgWireError {
    let mut info = ErrorInfo::new(
        "ERROR".to_string(),
        sql_state(error).to_string(),
        describe(error),
    );
    info.position = position(error, statement).map(|at| at.to_string());
    PgWireError::UserError(Box::new(info))
}

/// The state of an error of the engine.
pub(super) fn sql_state(error: &DataFusionError) -> &'static str {
    match error.find_root() {
        DataFusionError::SQL(..) => state::SYNTAX_ERROR,
        DataFusionError::ResourcesExhausted(_) => state::OUT_OF_MEMORY,
        DataFusionError::NotImplemented(_) => state::FEATURE_NOT_SUPPORTED,
        DataFusionError::Internal(_) => state::INTERNAL,
        DataFusionError::SchemaError(error, _) => match error.as_ref() {
            SchemaError::AmbiguousReference { .. } => state::AMBIGUOUS_COLUMN,
            SchemaError::FieldNotFound { .. } => state::UNDEFINED_COLUMN,
            _ => state::RULE_VIOLATION,
        },
        DataFusionError::Plan(message) => of_plan(message),
        DataFusionError::Execution(_) | DataFusionError::ArrowError(..) => state::DATA_EXCEPTION,
        DataFusionError::Configuration(_) => state::INVALID_PARAMETER,
        _ => state::INTERNAL,
    }
}

/// The state that a message of the planner has by its words.
fn of_plan(message: &str) -> &'static str {
    let is = |words: &str| message.contains(words);
    if is("a session that may") || is("a setting that this session may change") {
        state::INSUFFICIENT_PRIVILEGE
    } else if is("a statement is required") {
        state::SYNTAX_ERROR
    } else if is("function") && (is("is required, got") || is("Invalid function")) {
        state::UNDEFINED_FUNCTION
    } else if is("table") && (is("not found") || is("is required, got")) {
        state::UNDEFINED_TABLE
    } else {
        state::RULE_VIOLATION
    }
}

/// Where in the statement it is, in characters from one.
fn position(error: &DataFusionError, statement: &str) -> Option<usize> {
    let start = error.diagnostic()?.span?.start;
    let line = usize::try_from(start.line.checked_sub(1)?).ok()?;
    let before: usize = statement
        .split('\n')
        .take(line)
        .map(|line| line.chars().count() + 1)
        .sum();
    Some(before + usize::try_from(start.column).ok()?)
}
