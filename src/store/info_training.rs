//! The table `info.sae_training`: the curves of all trainings, of which those are read that are asked for.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, RecordBatch, StringArray};
use datafusion::arrow::compute::{and, concat_batches};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::catalog::Session;
use datafusion::error::Result;
use datafusion::logical_expr::Expr;
use polysema_udfs::arrow::value_filter::ValueFilter;

use super::Store;
use super::sae_training::columns;
use super::saes::StoredSae;

/// Its columns.
pub(super) fn sql_columns() -> SchemaRef {
    let names = ["run", "sae"].map(|name| Field::new(name, DataType::Utf8, true));
    let fields = columns();
    let fields = fields.fields().iter().map(|field| field.as_ref().clone());
    let fields = fields.map(|field| field.with_nullable(true));
    Arc::new(Schema::new(
        names.into_iter().chain(fields).collect::<Vec<_>>(),
    ))
}

/// The rows of `info.sae_training`, without those that `filters` on the run or on the autoencoder rule out, whose files
/// are not read.
pub(super) fn rows(store: &Store, state: &dyn Session, filters: &[Expr]) -> Result<RecordBatch> {
    let saes: Vec<_> = store.stored_saes()?.into_values().collect();
    let schema = sql_columns();
    let keeps = |column: usize, of: fn(&StoredSae) -> Option<&str>| {
        let filter = ValueFilter::of(state, filters, schema.field(column).clone())?;
        filter.keeps(Arc::new(StringArray::from_iter(saes.iter().map(of))))
    };
    let of_run = keeps(0, |sae| sae.manifest.run.as_deref())?;
    let named = keeps(1, |sae| Some(&sae.manifest.name))?;
    let wanted = and(&of_run, &named)?;
    let mut batches = vec![];
    for (sae, _) in saes
        .iter()
        .zip(&wanted)
        .filter(|(_, wanted)| *wanted == Some(true))
    {
        let Some(curve) = sae.training_curve()? else {
            continue;
        };
        let facts = &sae.manifest;
        let text = |value: Option<&str>| -> ArrayRef {
            let values = std::iter::repeat_n(value, curve.num_rows());
            Arc::new(StringArray::from_iter(values))
        };
        let mut columns = vec![text(facts.run.as_deref()), text(Some(&facts.name))];
        columns.extend(curve.columns().iter().map(Arc::clone));
        batches.push(RecordBatch::try_new(Arc::clone(&schema), columns)?);
    }
    Ok(concat_batches(&schema, &batches)?)
}
