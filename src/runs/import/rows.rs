//! Which rows are which document's, and the tables `documents` and `tokens` made of them.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, Int32Array, Int64Array, RecordBatch, StringArray};
use datafusion::arrow::datatypes::{DataType, Field, Schema, ToByteSlice};
use datafusion::common::exec_datafusion_err;
use datafusion::error::Result;

use super::folder::Folder;
use crate::corpus::Documents;
use crate::files::file_error;
use crate::runs::progress::Reporter;
use crate::store::{RunWriter, Table, schema};

/// Rows of a record batch of `tokens`.
const TOKEN_ROWS: usize = 16_384;

/// Writes `documents` and `tokens`; what the folder's rows hash to goes into `hasher`.
pub(super) fn write_rows(
    folder: &mut Folder,
    run: &mut RunWriter,
    hasher: &mut blake3::Hasher,
    report: &mut Reporter<'_>,
) -> Result<Documents> {
    let given = match &mut folder.doc_id {
        Some(array) => Some(array.integers()?),
        None => None,
    };
    let too_many = |_| exec_datafusion_err!("fewer than 2^31 rows are required");
    i32::try_from(folder.rows).map_err(too_many)?;
    let starts = starts(folder, given.as_deref())?;
    check_positions(folder, &starts)?;
    let token_ids = match &mut folder.token_id {
        Some(array) => Some(array.integers()?),
        None => None,
    };
    for ids in [&given, &token_ids].into_iter().flatten() {
        hasher.update(ids.to_byte_slice());
    }
    let tokens = match &folder.tokens {
        Some(path) => Some(read_tokens(path, folder.rows)?),
        None => None,
    };
    for token in tokens.iter().flatten() {
        hasher.update(token.as_bytes()).update(&[0]);
    }
    write_tokens(
        &starts,
        token_ids.as_deref(),
        tokens.as_deref(),
        run,
        report,
    )?;
    write_documents(&starts, given.as_deref(), tokens.as_deref(), run)?;
    Ok(Documents { starts })
}

/// The first row of every document, and the number of rows. Without `doc_id` every row is a document.
fn starts(folder: &Folder, given: Option<&[i64]>) -> Result<Vec<u32>> {
    let mut starts = vec![];
    let mut seen = std::collections::HashSet::new();
    for row in 0..folder.rows {
        let begins = match given {
            None => true,
            Some(ids) => row == 0 || ids[row] != ids[row - 1],
        };
        if begins {
            if let (Some(ids), Some(array)) = (given, &folder.doc_id)
                && !seen.insert(ids[row])
            {
                return Err(array.invalid(format!(
                    "the rows of a document are required one after the other, got {} again in row {row}",
                    ids[row]
                )));
            }
            starts.push(row as u32);
        }
    }
    starts.push(folder.rows as u32);
    Ok(starts)
}

fn check_positions(folder: &mut Folder, starts: &[u32]) -> Result<()> {
    let Some(array) = &mut folder.pos else {
        return Ok(());
    };
    let positions = array.integers()?;
    for document in starts.windows(2) {
        for row in document[0]..document[1] {
            let (pos, expected) = (positions[row as usize], i64::from(row - document[0]));
            if pos != expected {
                return Err(array.invalid(format!(
                    "positions that count from 0 within a document are required, got {pos} in row {row} in place of \
                     {expected}"
                )));
            }
        }
    }
    Ok(())
}

/// A token a line: as it is in `.txt`, a JSON string in `.jsonl`.
fn read_tokens(path: &Path, rows: usize) -> Result<Vec<String>> {
    let json = path.extension().is_some_and(|e| e == "jsonl");
    let file = File::open(path).map_err(|e| file_error("open", path, e))?;
    let mut tokens = Vec::new();
    for (line, token) in BufReader::new(file).lines().enumerate() {
        let token = token.map_err(|e| file_error("read", path, e))?;
        tokens.push(match json {
            false => token,
            true => serde_json::from_str(&token).map_err(|e| {
                file_error(
                    "read",
                    path,
                    format!("line {}: a JSON string is required, got {e}", line + 1),
                )
            })?,
        });
    }
    match tokens.len() == rows {
        true => Ok(tokens),
        false => Err(file_error(
            "read",
            path,
            format!(
                "a token for each of the {rows} rows is required, got {}",
                tokens.len()
            ),
        )),
    }
}

fn write_tokens(
    starts: &[u32],
    token_ids: Option<&[i64]>,
    tokens: Option<&[String]>,
    run: &mut RunWriter,
    report: &mut Reporter<'_>,
) -> Result<()> {
    let mut table = run.table(Table::Tokens, None, schema::tokens())?;
    let n_rows = starts[starts.len() - 1] as usize;
    let mut document = 0;
    for first in (0..n_rows).step_by(TOKEN_ROWS) {
        let rows = first..n_rows.min(first + TOKEN_ROWS);
        let (mut doc_ids, mut positions) = (vec![], vec![]);
        for row in rows.clone() {
            if starts[document + 1] as usize <= row {
                document += 1;
            }
            doc_ids.push(document as i32);
            positions.push(row as i32 - starts[document] as i32);
        }
        let ids = rows.clone().map(|row| token_ids.map(|ids| ids[row] as i32));
        let texts = rows
            .clone()
            .map(|row| tokens.map(|tokens| tokens[row].as_str()));
        let columns: Vec<ArrayRef> = vec![
            Arc::new(Int32Array::from(doc_ids)),
            Arc::new(Int32Array::from(positions)),
            Arc::new(Int32Array::from_iter(ids)),
            Arc::new(StringArray::from_iter(texts)),
        ];
        table.write(&RecordBatch::try_new(schema::tokens(), columns)?)?;
        report.tick()?;
    }
    table.finish()
}

fn write_documents(
    starts: &[u32],
    given: Option<&[i64]>,
    tokens: Option<&[String]>,
    run: &mut RunWriter,
) -> Result<()> {
    let n = starts.len() - 1;
    let rows = |document: usize| starts[document] as usize..starts[document + 1] as usize;
    let texts = (0..n).map(|document| Some(tokens?[rows(document)].concat()));
    let mut fields: Vec<Field> = (schema::documents().fields().iter())
        .map(|field| field.as_ref().clone())
        .collect();
    let mut columns: Vec<ArrayRef> = vec![
        Arc::new(Int32Array::from_iter_values(0..n as i32)),
        Arc::new(StringArray::from_iter(texts)),
        Arc::new(Int32Array::from_iter_values(
            (0..n).map(|d| rows(d).len() as i32),
        )),
    ];
    if let Some(given) = given {
        // As a corpus's own column of a name that `documents` has.
        fields.push(Field::new("corpus_doc_id", DataType::Int64, true));
        let ids = starts[..n].iter().map(|start| given[*start as usize]);
        columns.push(Arc::new(Int64Array::from_iter_values(ids)));
    }
    let schema = Arc::new(Schema::new(fields));
    let mut table = run.table(Table::Documents, None, Arc::clone(&schema))?;
    table.write(&RecordBatch::try_new(schema, columns)?)?;
    table.finish()
}
