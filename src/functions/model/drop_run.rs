//! `drop_run(name)`: removes a run from the store; DROP SCHEMA name CASCADE does so too.

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
    name: "drop_run",
    chapter: "model",
    summary: "Removes a run, or what an interrupted ingest of its name has left, from the store; DROP SCHEMA name CASCADE does so too.",
    arguments: &[Parameter {
        name: "name",
        kind: "text",
        summary: "name of the run",
    }],
    required: 1,
    options: &[Parameter {
        name: "cascade",
        kind: "true or false",
        summary: "whether the run's autoencoders are removed with it, which are refused otherwise; default false",
    }],
    returns: REMOVED_COLUMNS,
    example: "EXPLAIN SELECT * FROM drop_run('sample')",
    replaces: None,
};

/// The catalogue entry.
pub(super) fn function(store: &Arc<Store>) -> Function {
    let store = Arc::clone(store);
    Function {
        doc: &DOC,
        implementation: Implementation::Table(Arc::new(DropRun { store })),
    }
}

#[derive(Debug)]
struct DropRun {
    store: Arc<Store>,
}

impl TableFunction for DropRun {
    fn schema(&self, _: &Arguments) -> Result<SchemaRef> {
        Ok(removed_schema())
    }

    fn table(&self, arguments: Arguments) -> Result<Arc<dyn TableProvider>> {
        let name = required(&arguments, "name")?;
        let cascade = arguments.boolean("cascade")?.unwrap_or(false);
        let (store, run) = (Arc::clone(&self.store), name.clone());
        Ok(removal(&DOC, "DropRunExec", &name, move |_| {
            let saes = store.saes_of(&run);
            let size_bytes = store.drop_run(&run, cascade)?;
            Ok(Removed {
                what: format!("run {run}"),
                saes,
                size_bytes,
            })
        }))
    }
}
