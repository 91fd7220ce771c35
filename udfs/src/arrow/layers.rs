//! The layers of a session's tables, from whoever owns the tables and knows them without a query.

use std::fmt::Debug;
use std::sync::Arc;

use datafusion::catalog::{Session, TableProvider};
use datafusion::common::Result;

/// A layer: a row of table `layers`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerEntry {
    /// Its number.
    pub layer: i32,
    /// Its name.
    pub name: String,
    /// Another name it goes by.
    pub other_name: Option<String>,
    /// `mlp`, `sae` or what else the owner has.
    pub kind: String,
}

/// The owner of tables that knows their layers.
pub trait LayerDirectory: Debug + Send + Sync {
    /// The layers of this table of neurons; `None` if it is another owner's.
    fn layers(&self, neurons: &Arc<dyn TableProvider>) -> Result<Option<Vec<LayerEntry>>>;
}

/// A directory as an extension of a session's configuration.
#[derive(Debug)]
pub struct SessionLayers(pub Arc<dyn LayerDirectory>);

/// The layers of this table of neurons, if the session has an owner that knows them.
pub fn known_layers(
    state: &dyn Session,
    neurons: &Arc<dyn TableProvider>,
) -> Result<Option<Vec<LayerEntry>>> {
    match state.config().get_extension::<SessionLayers>() {
        Some(directory) => directory.0.layers(neurons),
        None => Ok(None),
    }
}
