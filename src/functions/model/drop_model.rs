//! `drop_model(name)`: removes a model of train_mlp from the store; runs that were made with it stay.

use std::sync::Arc;

use datafusion::arrow::datatypes::SchemaRef;
use datafusion::catalog::TableProvider;
use datafusion::common::Result;
use polysema_udfs::calls::{
    Arguments, Function, FunctionDoc, Implementation, Parameter, TableFunction,
};

use crate::functions::arguments::required;
use crate::functions::removal::{REMOVED_COLUMNS, Removed, removal, removed_schema};
use crate::store::Store;

static DOC: FunctionDoc = FunctionDoc {
    name: "drop_model",
    chapter: "model",
    summary: "Removes a model of train_mlp from the store; runs that were made with it stay.",
    arguments: &[Parameter {
        name: "name",
        kind: "text",
        summary: "name of the model",
    }],
    required: 1,
    options: &[],
    returns: REMOVED_COLUMNS,
    example: "EXPLAIN SELECT * FROM drop_model('digits')",
    replaces: None,
};

/// The catalogue entry.
pub(super) fn function(store: &Arc<Store>) -> Function {
    let store = Arc::clone(store);
    Function {
        doc: &DOC,
        implementation: Implementation::Table(Arc::new(DropModel { store })),
    }
}

#[derive(Debug)]
struct DropModel {
    store: Arc<Store>,
}

impl TableFunction for DropModel {
    fn schema(&self, _: &Arguments) -> Result<SchemaRef> {
        Ok(removed_schema())
    }

    fn table(&self, arguments: Arguments) -> Result<Arc<dyn TableProvider>> {
        let name = required(&arguments, "name")?;
        let (store, model) = (Arc::clone(&self.store), name.clone());
        Ok(removal(&DOC, "DropModelExec", &name, move |_| {
            Ok(Removed {
                what: format!("model {model}"),
                saes: vec![],
                size_bytes: store.drop_model(&model)?,
            })
        }))
    }
}
