//! An entry of the catalogue: a document with what DataFusion runs.

use std::any::Any;
use std::fmt::Debug;
use std::sync::Arc;

use datafusion::arrow::datatypes::SchemaRef;
use datafusion::catalog::TableProvider;
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::{AggregateUDF, ScalarUDF};

use super::arguments::Arguments;
use super::document::{FunctionDoc, Parameter};

/// A relation made from arguments. A call does no work and reads no setting: what it returns may stand in a view.
pub trait TableFunction: Any + Debug + Send + Sync {
    /// The columns of its rows. Values that are parameters of a prepared statement are missing.
    fn schema(&self, arguments: &Arguments) -> Result<SchemaRef>;

    /// The table of one call.
    ///
    /// Errors (planning): values that no session could make valid.
    fn table(&self, arguments: Arguments) -> Result<Arc<dyn TableProvider>>;

    /// Whether giving this argument is the same as keeping the rows whose column of that name equals it. Such an
    /// argument may then be a column of an outer table or the result of a query.
    fn is_key(&self, _argument: &str) -> bool {
        false
    }

    /// An option that goes with a key given so, and its value, unless the call has the option.
    fn for_open_key(&self, _key: &str) -> Option<(&'static Parameter, ScalarValue)> {
        None
    }
}

/// The engine-facing half of a function.
#[derive(Debug, Clone)]
pub enum Implementation {
    /// One value per row.
    Scalar(Arc<ScalarUDF>),
    /// One value per group.
    Aggregate(Arc<AggregateUDF>),
    /// A relation.
    Table(Arc<dyn TableFunction>),
}

/// An entry of the catalogue.
#[derive(Debug, Clone)]
pub struct Function {
    /// What users read.
    pub doc: &'static FunctionDoc,
    /// What DataFusion runs.
    pub implementation: Implementation,
}

impl Function {
    /// `scalar`, `aggregate` or `table`.
    pub fn kind(&self) -> &'static str {
        match self.implementation {
            Implementation::Scalar(_) => "scalar",
            Implementation::Aggregate(_) => "aggregate",
            Implementation::Table(_) => "table",
        }
    }
}
