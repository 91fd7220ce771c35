//! What every form of a result is written through.

use std::io::{self, Write};

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::error::ArrowError;
use datafusion::error::DataFusionError;

/// Writes one result: any number of batches, then its end.
pub trait ResultWriter {
    /// Writes the rows of a batch, or keeps them where the format has to see more first.
    fn write(&mut self, batch: &RecordBatch, out: &mut dyn Write) -> Result<(), WriteError>;
    /// Writes what is left.
    fn finish(self: Box<Self>, out: &mut dyn Write) -> Result<(), WriteError>;
}

/// Why a result could not be written.
#[derive(Debug)]
pub enum WriteError {
    /// The output is closed or full.
    Io(io::Error),
    /// A value has no text form.
    Value(ArrowError),
    /// The form has no such columns.
    Columns(DataFusionError),
}

impl From<io::Error> for WriteError {
    fn from(error: io::Error) -> Self {
        WriteError::Io(error)
    }
}

impl From<ArrowError> for WriteError {
    fn from(error: ArrowError) -> Self {
        WriteError::Value(error)
    }
}

impl From<DataFusionError> for WriteError {
    fn from(error: DataFusionError) -> Self {
        WriteError::Columns(error)
    }
}
