//! The table `info.sae_training`: the curves of all trainings, of which those are read that are asked for.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, RecordBatch, StringArray};
use datafusion::arrow::compute::concat_batches;
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::error::Result;
use datafusion::logical_expr::{Expr, Operator};

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

/// The rows of `info.sae_training` of which `filters` say that they are wanted, as far as they name a run or an
/// autoencoder: the others' files are not read.
pub(super) fn rows(store: &Store, filters: &[Expr]) -> Result<RecordBatch> {
    let saes = store.stored_saes()?.into_values();
    let wanted = |sae: &StoredSae| {
        let facts = &sae.manifest;
        is_wanted(filters, "sae", &facts.name)
            && is_wanted(filters, "run", facts.run.as_deref().unwrap_or_default())
    };
    let schema = sql_columns();
    let mut batches = vec![];
    for sae in saes.filter(wanted) {
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

/// Whether no filter `name = 'another'` rules this value out.
fn is_wanted(filters: &[Expr], name: &str, value: &str) -> bool {
    filters.iter().all(|filter| {
        let Expr::BinaryExpr(equal) = filter else {
            return true;
        };
        if equal.op != Operator::Eq {
            return true;
        }
        match (&*equal.left, &*equal.right) {
            (Expr::Column(column), Expr::Literal(literal, _))
            | (Expr::Literal(literal, _), Expr::Column(column))
                if column.name == name =>
            {
                literal
                    .try_as_str()
                    .flatten()
                    .is_none_or(|text| text == value)
            }
            _ => true,
        }
    })
}
