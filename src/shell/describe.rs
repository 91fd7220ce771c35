//! What `\d` and `\df` show, as results like any other.

use std::path::Path;
use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, RecordBatch, StringArray};
use datafusion::arrow::datatypes::{DataType, Field};
use datafusion::error::Result;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use polysema_udfs::calls::did_you_mean;

use super::commands::matches;
use super::demo_data::data_folder;
use super::failure::Failure;
use super::screen;
use crate::session::{FunctionEntry, Session};

/// What stands before the example of a document.
const EXAMPLE: &str = "\nexample\n";

/// Rows to print.
pub type RowStream = SendableRecordBatchStream;

/// The tables, those of the current run first.
pub async fn tables(session: &Session) -> Result<RowStream> {
    let tables = session.tables().await?;
    rows(vec![
        (
            "schema",
            tables.iter().map(|table| table.schema.clone()).collect(),
        ),
        (
            "table",
            tables.iter().map(|table| table.name.clone()).collect(),
        ),
        (
            "kind",
            tables.iter().map(|table| table.kind.clone()).collect(),
        ),
        (
            "kept in",
            tables.iter().map(|table| place(table.lasts)).collect(),
        ),
    ])
}

/// Where a table is kept.
fn place(lasts: bool) -> String {
    if lasts { "store" } else { "session" }.to_string()
}

/// The columns of a table; none when there is no such table.
pub async fn columns(session: &Session, table: &str) -> Option<Result<RowStream>> {
    let (schema, meanings) = session.columns(table).await.ok()?;
    let column = |text: fn(&Field) -> String| schema.fields().iter().map(|f| text(f)).collect();
    let meanings = meanings.into_iter();
    let mut columns = vec![
        ("column", column(|field| field.name().clone())),
        ("type", column(|field| type_name(field.data_type()))),
        (
            "null",
            column(|field| if field.is_nullable() { "yes" } else { "no" }.to_string()),
        ),
    ];
    if meanings.clone().any(|meaning| meaning.is_some()) {
        let meanings = meanings.map(|meaning| meaning.unwrap_or_default().to_string());
        columns.push(("meaning", meanings.collect()));
    }
    Some(rows(columns))
}

/// The functions whose name matches.
pub fn functions(session: &Session, pattern: Option<&str>) -> Result<RowStream> {
    let mut functions = session.functions();
    functions.retain(|function| pattern.is_none_or(|pattern| matches(pattern, &function.name)));
    let column = |text: fn(&FunctionEntry) -> String| functions.iter().map(text).collect();
    rows(vec![
        ("chapter", column(|function| function.chapter.clone())),
        ("kind", column(|function| function.kind.to_string())),
        ("signature", column(|function| function.signature.clone())),
        ("summary", column(|function| function.summary.clone())),
    ])
}

/// The documentation of a function.
pub async fn documentation(session: &Session, name: &str) -> Result<String, Failure> {
    let functions = session.functions();
    let Some(function) = functions
        .iter()
        .find(|function| function.name.eq_ignore_ascii_case(name))
    else {
        let names = functions.iter().map(|function| function.name.clone());
        let tables = session.tables().await.unwrap_or_default();
        let tables = tables.into_iter().map(|table| table.name);
        let names: Vec<String> = names.chain(tables).collect();
        let meant = did_you_mean(names.iter().map(String::as_str), name);
        let message = format!(
            "\\d: a table or function is required, got {name}{meant} (\\d lists the tables, \\df the functions)"
        );
        return Err(Failure::Error(message));
    };
    // An example stays in its line, from which it is copied.
    let text = &function.documentation;
    let end = text.find(EXAMPLE).unwrap_or(text.len());
    let columns = screen::size().map(|(columns, _)| columns);
    let prose = screen::prose(&text[..end], columns);
    let example = with_own_paths(&text[end..], session.store().root());
    Ok(prose + &example)
}

/// An example with the files of the demo's store in place of the project's, where there are some.
fn with_own_paths(example: &str, store: &Path) -> String {
    let demo = data_folder(store);
    let own = match demo.is_dir() {
        true => demo.display().to_string(),
        false => "path/to".to_string(),
    };
    let example = example.replace("tests/data/demo", &own);
    example.replace("tests/data", "path/to")
}

/// A type as SQL users read it: `List<Float32>` and not the fields inside.
fn type_name(data_type: &DataType) -> String {
    match data_type {
        DataType::List(item) => format!("List<{}>", type_name(item.data_type())),
        DataType::LargeList(item) => format!("LargeList<{}>", type_name(item.data_type())),
        DataType::FixedSizeList(item, length) => {
            format!("FixedSizeList<{}>[{length}]", type_name(item.data_type()))
        }
        DataType::Dictionary(_, value) => type_name(value),
        DataType::Struct(fields) => {
            let fields: Vec<String> = fields
                .iter()
                .map(|field| format!("{}: {}", field.name(), type_name(field.data_type())))
                .collect();
            format!("Struct<{}>", fields.join(", "))
        }
        other => other.to_string(),
    }
}

/// Texts as a table.
pub fn rows(columns: Vec<(&str, Vec<String>)>) -> Result<RowStream> {
    let columns = columns.into_iter();
    let columns =
        columns.map(|(name, texts)| (name, Arc::new(StringArray::from(texts)) as ArrayRef));
    let batch = RecordBatch::try_from_iter(columns)?;
    let batches = futures::stream::iter([Ok(batch.clone())]);
    Ok(Box::pin(RecordBatchStreamAdapter::new(
        batch.schema(),
        batches,
    )))
}
