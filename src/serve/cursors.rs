//! Cursors of a connection: queries whose rows its client fetches piece by piece.

use std::sync::Arc;

use datafusion::common::ParamValues;
use futures::{TryStreamExt, stream};
use pgwire::api::portal::Format;
use pgwire::api::results::{QueryResponse, Response};
use pgwire::error::{PgWireError, PgWireResult};

use super::asked::Given;
use super::connection::{Connection, OpenCursor};
use super::errors::{of_engine, refused, state};
use super::values::Columns;

impl Connection {
    /// Begins a query whose rows are fetched by its name.
    pub(super) async fn declare(&self, name: &str, query: &str, hold: bool) -> PgWireResult<()> {
        let planned = self.planned(query).await?;
        let mut cursors = self.cursors.lock().await;
        if cursors.contains_key(name) {
            return Err(refused(
                state::DUPLICATE_CURSOR,
                format!("DECLARE: the name of a new cursor is required, got '{name}'"),
            ));
        }
        match self.answer(&planned, ParamValues::List(vec![])).await? {
            Given::Rows(rows) => {
                let cursor = OpenCursor {
                    rows,
                    left: None,
                    hold,
                };
                cursors.insert(name.to_string(), cursor);
                Ok(())
            }
            Given::Done(_) => Err(refused(
                state::RULE_VIOLATION,
                "DECLARE: a query is required, got a statement without rows",
            )),
        }
    }

    /// The next rows of a cursor.
    pub(super) async fn fetch(
        &self,
        name: &str,
        count: Option<usize>,
        format: &Format,
    ) -> PgWireResult<Response> {
        let mut cursors = self.cursors.lock().await;
        let cursor = cursors.get_mut(name).ok_or_else(|| no_cursor(name))?;
        let columns = Columns::new(&cursor.rows.schema(), format)?;
        let mut wanted = count.unwrap_or(usize::MAX);
        let mut rows = vec![];
        while wanted > 0 {
            let next = match cursor.left.take() {
                Some(left) => Some(left),
                None => {
                    let next = cursor.rows.try_next().await;
                    next.map_err(|error| of_engine(&error, ""))?
                }
            };
            let Some(batch) = next else { break };
            let taken = wanted.min(batch.num_rows());
            if taken < batch.num_rows() {
                cursor.left = Some(batch.slice(taken, batch.num_rows() - taken));
            }
            wanted -= taken;
            let encoded = columns.rows(batch.slice(0, taken));
            rows.extend(encoded.map_err(|error| of_engine(&error, ""))?);
        }
        let fields = Arc::clone(&columns.fields);
        let mut response = QueryResponse::new(fields, stream::iter(rows));
        response.set_command_tag("FETCH");
        Ok(Response::Query(response))
    }
}

pub(super) fn no_cursor(name: &str) -> PgWireError {
    refused(
        state::UNDEFINED_CURSOR,
        format!("a cursor that was declared is required, got '{name}'"),
    )
}
