//! `COPY query TO STDOUT`: the rows of a query as a file that the client writes.

use std::fmt::Debug;
use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use datafusion::common::ParamValues;
use futures::{Sink, SinkExt, TryStreamExt};
use pgwire::api::portal::Format;
use pgwire::api::query::send_execution_response;
use pgwire::api::results::{CopyCsvOptions, CopyEncoder, CopyTextOptions, Tag};
use pgwire::error::{PgWireError, PgWireResult};
use pgwire::messages::PgWireBackendMessage;
use pgwire::messages::copy::{CopyData, CopyDone, CopyOutResponse};

use super::asked::{Given, Planned};
use super::connection::Connection;
use super::errors::{of_engine, refused, state};
use super::statements::CopyForm;
use super::values::Columns;

/// What a binary file begins with: its signature, no flags, no extension.
const HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
/// What it ends with: a row of -1 fields.
const TRAILER: &[u8] = &[0xff, 0xff];

/// Sends the rows of a query.
pub(super) async fn send_copy<C>(
    connection: &Connection,
    client: &mut C,
    planned: &Planned,
    form: &CopyForm,
) -> PgWireResult<()>
where
    C: Sink<PgWireBackendMessage> + Unpin + Send + Sync,
    C::Error: Debug,
    PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
{
    let answer = connection.answer(planned, ParamValues::List(vec![]));
    let Given::Rows(mut rows) = answer.await? else {
        return Err(refused(
            state::RULE_VIOLATION,
            "COPY: a query is required, got a statement without rows",
        ));
    };
    let (format, code) = match form {
        CopyForm::Binary => (Format::UnifiedBinary, 1_i8),
        CopyForm::Text { .. } | CopyForm::Csv { .. } => (Format::UnifiedText, 0),
    };
    let columns = Columns::new(&rows.schema(), &format)?;
    let count = columns.fields.len();
    let response = CopyOutResponse::new(code, count as i16, vec![i16::from(code); count]);
    client
        .feed(PgWireBackendMessage::CopyOutResponse(response))
        .await?;
    let mut encoder = encoder(form, &columns);
    let mut first = match form {
        CopyForm::Binary => Some(Bytes::from_static(HEADER)),
        _ => header(form, &columns),
    };
    let mut copied = 0;
    while let Some(batch) = rows
        .try_next()
        .await
        .map_err(|error| of_engine(&error, &planned.text))?
    {
        copied += batch.num_rows();
        connection.server.metrics.rows(batch.num_rows());
        let encoded = columns.copied(batch, &mut encoder);
        for data in encoded.map_err(|error| of_engine(&error, ""))?? {
            match (first.take(), form) {
                // The encoder writes that of the first row itself.
                (None, _) | (Some(_), CopyForm::Binary) => {}
                (Some(header), _) => {
                    client
                        .feed(PgWireBackendMessage::CopyData(CopyData::new(header)))
                        .await?;
                }
            }
            client.feed(PgWireBackendMessage::CopyData(data)).await?;
        }
    }
    let last = matches!(form, CopyForm::Binary).then_some(Bytes::from_static(TRAILER));
    for data in first.into_iter().chain(last) {
        client
            .feed(PgWireBackendMessage::CopyData(CopyData::new(data)))
            .await?;
    }
    client
        .feed(PgWireBackendMessage::CopyDone(CopyDone::new()))
        .await?;
    send_execution_response(client, Tag::new("COPY").with_rows(copied)).await
}

fn encoder(form: &CopyForm, columns: &Columns) -> CopyEncoder {
    let fields = Arc::clone(&columns.fields);
    match form {
        CopyForm::Binary => CopyEncoder::new_binary(fields),
        CopyForm::Text { options, .. } => CopyEncoder::new_text(fields, options.clone()),
        CopyForm::Csv { options, .. } => CopyEncoder::new_csv(fields, options.clone()),
    }
}

/// The names of the columns as a line.
fn header(form: &CopyForm, columns: &Columns) -> Option<Bytes> {
    let names = columns.fields.iter().map(|field| field.name());
    let (delimiter, names): (_, Vec<String>) = match form {
        CopyForm::Text {
            header: true,
            options: CopyTextOptions { delimiter, .. },
        } => (
            delimiter,
            names.map(|name| name.replace('\\', "\\\\")).collect(),
        ),
        CopyForm::Csv {
            header: true,
            options:
                CopyCsvOptions {
                    delimiter,
                    quote,
                    escape,
                    ..
                },
        } => {
            let special = |name: &str| {
                name.contains(['\n', '\r'])
                    || name.contains(delimiter.as_str())
                    || name.contains(quote.as_str())
            };
            let quoted = |name: &str| match special(name) {
                true => {
                    let inner = name.replace(quote.as_str(), &format!("{escape}{quote}"));
                    format!("{quote}{inner}{quote}")
                }
                false => name.to_string(),
            };
            (delimiter, names.map(quoted).collect())
        }
        _ => return None,
    };
    let mut line = BytesMut::new();
    line.put_slice(names.join(delimiter).as_bytes());
    line.put_u8(b'\n');
    Some(line.freeze())
}
