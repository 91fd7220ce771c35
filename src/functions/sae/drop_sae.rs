//! `drop_sae(name)`: removes a sparse autoencoder from the store, its layer of its run, and what is left of an interrupted training.

use std::sync::Arc;

use datafusion::arrow::datatypes::SchemaRef;
use datafusion::catalog::TableProvider;
use datafusion::common::Result;
use polysema_udfs::calls::{
    Arguments, Function, FunctionDoc, Implementation, Parameter, TableFunction,
};

use crate::functions::arguments::required;
use crate::functions::removal::{REMOVED_COLUMNS, Removed, removal, removed_schema};
use crate::runs::drop_sae;
use crate::store::Store;

static DOC: FunctionDoc = FunctionDoc {
    name: "drop_sae",
    chapter: "sae",
    summary: "Removes a sparse autoencoder from the store, its layer of its run, and what is left of an interrupted training.",
    arguments: &[Parameter {
        name: "name",
        kind: "text",
        summary: "name of the autoencoder",
    }],
    required: 1,
    options: &[],
    returns: REMOVED_COLUMNS,
    example: "EXPLAIN SELECT * FROM drop_sae('letters')",
    replaces: None,
};

/// The catalogue entry.
pub(super) fn function(store: &Arc<Store>) -> Function {
    let store = Arc::clone(store);
    Function {
        doc: &DOC,
        implementation: Implementation::Table(Arc::new(DropSae { store })),
    }
}

#[derive(Debug)]
struct DropSae {
    store: Arc<Store>,
}

impl TableFunction for DropSae {
    fn schema(&self, _: &Arguments) -> Result<SchemaRef> {
        Ok(removed_schema())
    }

    fn table(&self, arguments: Arguments) -> Result<Arc<dyn TableProvider>> {
        let name = required(&arguments, "name")?;
        let (store, sae) = (Arc::clone(&self.store), name.clone());
        Ok(removal(&DOC, "DropSaeExec", &name, move |context| {
            Ok(Removed {
                what: format!("autoencoder {sae}"),
                saes: vec![sae.clone()],
                size_bytes: drop_sae(&store, &sae, context)?,
            })
        }))
    }
}
