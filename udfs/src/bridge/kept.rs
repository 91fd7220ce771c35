//! Relations that follow from a session's tables alone and cost much: the way to one that is kept, for whoever owns
//! the tables. The plugin knows no files; a session without a keeper computes each time.

use std::fmt::Debug;
use std::sync::Arc;

use datafusion::catalog::{Session, TableProvider};
use datafusion::common::Result;
use datafusion::physical_plan::ExecutionPlan;

/// What keeps relations beside the tables they were made from.
pub trait Keeper: Debug + Send + Sync {
    /// Where the relation called `key` of these tables is kept, or will be; `None` if they are not the keeper's.
    fn place(
        &self,
        state: &dyn Session,
        tables: &[&Arc<dyn TableProvider>],
        key: &str,
    ) -> Result<Option<Box<dyn Place>>>;
}

/// Where one relation is kept.
pub trait Place: Send + Sync {
    /// The plan that reads some columns of the relation; `None` if it is not kept yet.
    fn read(
        &self,
        projection: &[usize],
        partitions: usize,
    ) -> Result<Option<Arc<dyn ExecutionPlan>>>;

    /// The plan that gives the rows of `plan`, which makes the relation, and keeps them on the way.
    fn write(&self, plan: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>>;
}

/// A keeper as an extension of a session's configuration.
#[derive(Debug)]
pub struct SessionKeeper(pub Arc<dyn Keeper>);

/// Where the session keeps the relation called `key` of these tables, if it does.
pub fn place(
    state: &dyn Session,
    tables: &[&Arc<dyn TableProvider>],
    key: &str,
) -> Result<Option<Box<dyn Place>>> {
    match state.config().get_extension::<SessionKeeper>() {
        Some(keeper) => keeper.0.place(state, tables, key),
        None => Ok(None),
    }
}
