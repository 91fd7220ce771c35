//! What a client asks, once it is understood, and what it is given.

use std::sync::Arc;

use datafusion::execution::SendableRecordBatchStream;
use datafusion::logical_expr::LogicalPlan;
use pgwire::api::Type;
use pgwire::api::results::Tag;

use super::opaque::Opaque;
use super::statements::ClientCommand;

/// What a statement means.
#[derive(Debug, Clone)]
pub(super) enum Statement {
    /// One about the connection.
    Command(ClientCommand),
    /// A question for the session.
    Planned(Arc<Opaque<Planned>>),
}

/// A question for the session: the text that was planned, and the plan.
#[derive(Debug)]
pub(super) struct Planned {
    pub(super) text: String,
    pub(super) plan: LogicalPlan,
    /// The types of its parameters, where they are not those of the plan.
    pub(super) types: Option<Vec<Type>>,
}

/// What a statement gives.
pub(super) enum Given {
    Rows(SendableRecordBatchStream),
    Done(Tag),
}
