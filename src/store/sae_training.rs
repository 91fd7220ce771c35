//! The curve of a training as a file beside its autoencoder's weights.

use std::path::Path;
use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::common::exec_datafusion_err;
use datafusion::error::Result;

use super::arrow_writer::ArrowWriter;
use super::file::TableFile;
use super::sae_manifest::CurveEntry;
use crate::files::checksums::damaged;
use crate::files::{disk, file_error};
use crate::remote::Elsewhere;

/// The columns of the file.
pub fn columns() -> SchemaRef {
    let count = |name: &str| Field::new(name, DataType::Int64, false);
    let number = |name: &str| Field::new(name, DataType::Float64, true);
    Arc::new(Schema::new(vec![
        count("step"),
        count("n_steps"),
        count("rows_seen"),
        number("loss"),
        number("mse"),
        number("l1"),
        number("sparsity"),
        number("ne_loss"),
        number("auxiliary"),
        number("l0"),
        number("dead_percent"),
        number("explained_variance"),
        number("learning_rate"),
    ]))
}

pub(super) fn file_name(sae: &str) -> String {
    format!("sae-{sae}.arrow")
}

/// Writes a curve into a generation that is being written.
pub(super) fn write(path: &Path, rows: &RecordBatch) -> Result<CurveEntry> {
    let file = disk::create_new(path).map_err(|e| file_error("create", path, e))?;
    let written = ArrowWriter::new(file, &rows.schema()).and_then(|mut writer| {
        writer.write(rows)?;
        writer.finish()
    });
    let (file, tail) =
        written.map_err(|e| exec_datafusion_err!("write {}: {e}", path.display()))?;
    let size_bytes = file.sync().map_err(|e| file_error("write", path, e))?;
    let rows = u32::try_from(rows.num_rows());
    let rows =
        rows.map_err(|_| exec_datafusion_err!("fewer than 2^32 rows of a curve are required"))?;
    Ok(CurveEntry {
        size_bytes,
        tail,
        rows,
    })
}

/// Reads a curve.
///
/// Errors: it is not what was written.
pub(super) fn read(
    path: &Path,
    entry: &CurveEntry,
    elsewhere: Option<Elsewhere>,
) -> Result<RecordBatch> {
    let (rows, tail) = (vec![entry.rows], Some(entry.tail));
    let file = TableFile::open_whole(path, entry.size_bytes, rows, tail, elsewhere)?;
    let columns = columns();
    if *file.schema() != columns {
        return Err(damaged(path, "it has other columns"));
    }
    let all: Vec<usize> = (0..columns.fields().len()).collect();
    file.read(0, &all)
}
