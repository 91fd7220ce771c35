//! Relations that follow from a session's tables alone and cost much: the way to a cached one, for whoever owns the
//! tables. The plugin knows no files; a session without a cache computes each time.

use std::fmt::Debug;
use std::sync::Arc;

use datafusion::catalog::{Session, TableProvider};
use datafusion::common::Result;
use datafusion::physical_plan::ExecutionPlan;

/// A cache of relations beside the tables they were made from.
pub trait RelationCache: Debug + Send + Sync {
    /// The entry of the relation called `key` of these tables, filled or not; `None` for tables of another owner.
    fn entry(
        &self,
        state: &dyn Session,
        tables: &[&Arc<dyn TableProvider>],
        key: &str,
    ) -> Result<Option<Box<dyn CacheEntry>>>;
}

/// One relation of a cache.
pub trait CacheEntry: Send + Sync {
    /// The plan that reads some columns of the relation; `None` while there is none.
    fn read(
        &self,
        projection: &[usize],
        partitions: usize,
    ) -> Result<Option<Arc<dyn ExecutionPlan>>>;

    /// The plan that gives the rows of `plan`, which makes the relation, and caches them on the way.
    fn write(&self, plan: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>>;
}

/// A cache as an extension of a session's configuration.
#[derive(Debug)]
pub struct SessionCache(pub Arc<dyn RelationCache>);

/// The session's entry of the relation called `key` of these tables, if it caches them.
pub fn entry(
    state: &dyn Session,
    tables: &[&Arc<dyn TableProvider>],
    key: &str,
) -> Result<Option<Box<dyn CacheEntry>>> {
    match state.config().get_extension::<SessionCache>() {
        Some(cache) => cache.0.entry(state, tables, key),
        None => Ok(None),
    }
}
