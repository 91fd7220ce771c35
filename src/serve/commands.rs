//! The statements of a connection, by either protocol: what they mean, and their rows. Above 400 lines, since they share
//! the connection.

use std::fmt::Debug;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use datafusion::common::{ParamValues, ScalarValue};
use datafusion::execution::SendableRecordBatchStream;
use datafusion::logical_expr::{DdlStatement, LogicalPlan, Statement as PlanStatement};
use futures::future::BoxFuture;
use futures::{FutureExt, Sink, SinkExt, StreamExt, TryStreamExt, stream};
use pgwire::api::portal::{Format, Portal};
use pgwire::api::results::{DataRowEncoder, FieldInfo, QueryResponse, Response, Tag};
use pgwire::api::stmt::StoredStatement;
use pgwire::api::store::{MemPortalStore, PortalStore};
use pgwire::api::{ClientInfo, ClientPortalStore, Type};
use pgwire::error::{ErrorInfo, PgWireError, PgWireResult};
use pgwire::messages::PgWireBackendMessage;
use pgwire::messages::data::DataRow;
use pgwire::messages::response::{NoticeResponse, TransactionStatus};
use pgwire::messages::startup::ParameterStatus;

use super::asked::{Given, Planned, Statement};
use super::connection::{Connection, OpenedSession};
use super::cursors::no_cursor;
use super::errors::{of_engine, refused, state};
use super::opaque::Opaque;
use super::rewritten::{asks_the_catalogue, rewritten};
use super::settings::{is_told, schemas, written};
use super::statements::{ClientCommand, command};
use super::values::{Columns, require_formats};
use crate::session::is_command;
use crate::text::quoted;

/// What a client is told who would take something back.
const STAYS: &str = "what the transaction has changed stays: each statement stands for itself here";

impl Connection {
    /// What a text means. One that asks PostgreSQL's catalogue is rewritten as DataFusion reads it; others are only where
    /// they mean nothing as they stand.
    pub(super) async fn understand(&self, text: &str) -> PgWireResult<Statement> {
        match command(text)? {
            Some(command) => Ok(Statement::Command(command)),
            None => self.planned(text).await.map(Statement::Planned),
        }
    }

    pub(super) fn planned<'a>(
        &'a self,
        text: &'a str,
    ) -> BoxFuture<'a, PgWireResult<Arc<Opaque<Planned>>>> {
        self.plan_of(text).boxed()
    }

    async fn plan_of(&self, text: &str) -> PgWireResult<Arc<Opaque<Planned>>> {
        let session = &self.opened()?.session;
        let asks = asks_the_catalogue(text);
        let mut refusal = None;
        for rewrites in [asks, !asks] {
            let (text, types) = match rewrites {
                false => (text.to_string(), None),
                true => match rewritten(text) {
                    Some(rewritten) => (rewritten.text, rewritten.types),
                    None => continue,
                },
            };
            match session.plan(&text).await {
                Ok(plan) => {
                    let planned = Planned { text, plan, types };
                    return Ok(Arc::new(Opaque::new(planned)));
                }
                Err(error) => {
                    refusal.get_or_insert_with(|| of_engine(&error, &text));
                }
            }
        }
        Err(refusal.unwrap_or_else(|| refused(state::SYNTAX_ERROR, "a statement is required")))
    }

    /// The rows of a question, and what stands for it when it has ended; no rows of a statement that changes something.
    pub(super) fn answer<'a>(
        &'a self,
        planned: &'a Planned,
        parameters: ParamValues,
    ) -> BoxFuture<'a, PgWireResult<Given>> {
        self.answer_of(planned, parameters).boxed()
    }

    async fn answer_of(&self, planned: &Planned, parameters: ParamValues) -> PgWireResult<Given> {
        let Planned { text, plan, .. } = planned;
        let session = &self.opened()?.session;
        let executed = session.executed(plan);
        let does = executed.as_deref().unwrap_or(plan);
        let changes = matches!(
            does,
            LogicalPlan::Ddl(_) | LogicalPlan::Dml(_) | LogicalPlan::Copy(_)
        );
        if changes && self.settings().is_read_only() {
            return Err(refused(
                state::READ_ONLY_TRANSACTION,
                "cannot execute a statement that changes something in a read-only transaction",
            ));
        }
        let reply = session.answer(plan.clone(), parameters).await;
        let reply = reply.map_err(|error| of_engine(&error, text))?;
        if reply.changes {
            self.changed.store(true, Ordering::Relaxed);
        }
        let tag = match does {
            LogicalPlan::Ddl(ddl) => tag_of(ddl),
            LogicalPlan::Dml(_) => "INSERT 0",
            LogicalPlan::Copy(_) => "COPY",
            LogicalPlan::Statement(PlanStatement::Prepare(_)) => "PREPARE",
            LogicalPlan::Statement(_) => "SET",
            _ => return Ok(Given::Rows(reply.rows)),
        };
        let batches: Vec<_> = reply
            .rows
            .try_collect()
            .await
            .map_err(|error| of_engine(&error, text))?;
        let counts = batches
            .iter()
            .filter_map(|batch| batch.column_by_name("count"));
        let counted = counts.filter_map(|column| ScalarValue::try_from_array(column, 0).ok());
        let counted = counted.filter_map(|value| value.to_string().parse::<usize>().ok());
        let tag = Tag::new(tag);
        Ok(Given::Done(match does {
            LogicalPlan::Dml(_) | LogicalPlan::Copy(_) => tag.with_rows(counted.sum()),
            _ => tag,
        }))
    }

    /// The rows of a stream as they are sent, at most as many as the server lets a statement have.
    fn sent(
        &self,
        columns: Columns,
        rows: SendableRecordBatchStream,
    ) -> impl futures::Stream<Item = PgWireResult<DataRow>> + Send + 'static {
        let server = Arc::clone(&self.server);
        let mut sent = 0;
        let encoded = rows.map(move |batch| {
            let batch = batch.map_err(|error| of_engine(&error, ""))?;
            sent += batch.num_rows();
            if let Some(message) = server.limits.too_many_rows(sent) {
                return Err(refused(state::PROGRAM_LIMIT, message));
            }
            server.metrics.rows(batch.num_rows());
            let rows = columns.rows(batch);
            rows.map_err(|error| of_engine(&error, ""))
                .map(stream::iter)
        });
        encoded.try_flatten()
    }

    fn response(&self, rows: SendableRecordBatchStream, format: &Format) -> PgWireResult<Response> {
        let columns = Columns::new(&rows.schema(), format)?;
        let fields = Arc::clone(&columns.fields);
        Ok(Response::Query(QueryResponse::new(
            fields,
            self.sent(columns, rows),
        )))
    }

    /// Runs a statement by either protocol.
    pub(super) async fn run<C>(
        &self,
        client: &mut C,
        statement: &Statement,
        parameters: ParamValues,
        format: &Format,
    ) -> PgWireResult<Response>
    where
        C: ClientInfo + ClientPortalStore + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
        C::PortalStore: PortalStore,
    {
        let ends = matches!(
            statement,
            Statement::Command(
                ClientCommand::Commit | ClientCommand::Rollback | ClientCommand::RollbackTo
            )
        );
        if client.transaction_status() == TransactionStatus::Error && !ends {
            return Err(refused(
                state::IN_FAILED_TRANSACTION,
                "current transaction is aborted, commands ignored until end of transaction block",
            ));
        }
        match statement {
            Statement::Command(command) => self.command(client, command, format).await,
            Statement::Planned(planned) => match self.answer(planned, parameters).await? {
                Given::Rows(rows) => self.response(rows, format),
                Given::Done(tag) => Ok(Response::Execution(tag)),
            },
        }
    }

    async fn command<C>(
        &self,
        client: &mut C,
        command: &ClientCommand,
        format: &Format,
    ) -> PgWireResult<Response>
    where
        C: ClientInfo + ClientPortalStore + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
        C::PortalStore: PortalStore,
    {
        let done = |tag: &str| Ok(Response::Execution(Tag::new(tag)));
        match command {
            ClientCommand::Set { name, value } => {
                self.set(client, name, value.as_deref()).await?;
                done(if value.is_some() { "SET" } else { "RESET" })
            }
            ClientCommand::ResetAll => {
                self.reset().await?;
                done("RESET")
            }
            ClientCommand::Show(name) => {
                let value = self.settings().get(name).unwrap_or_default().to_string();
                texts(&[written(name)], vec![vec![value]], format)
            }
            ClientCommand::ShowAll => {
                let all = self.settings();
                let rows = all
                    .all()
                    .map(|(name, value)| vec![name.to_string(), value.to_string()]);
                texts(
                    &["name", "setting"].map(str::to_string),
                    rows.collect(),
                    format,
                )
            }
            ClientCommand::Begin { read_only }
                if client.transaction_status() == TransactionStatus::Idle =>
            {
                if let Some(only) = read_only {
                    let value = if *only { "on" } else { "off" };
                    self.settings().set("transaction_read_only", Some(value))?;
                }
                self.changed.store(false, Ordering::Relaxed);
                Ok(Response::TransactionStart(Tag::new("BEGIN")))
            }
            ClientCommand::Begin { .. } => {
                notice(
                    client,
                    "25001",
                    "there is already a transaction in progress",
                )
                .await?;
                done("BEGIN")
            }
            ClientCommand::Commit | ClientCommand::Rollback => {
                let failed = client.transaction_status() == TransactionStatus::Error;
                let back = failed || *command == ClientCommand::Rollback;
                if back && self.changed.swap(false, Ordering::Relaxed) {
                    notice(client, "0A000", STAYS).await?;
                }
                self.settings().set("transaction_read_only", None)?;
                self.cursors.lock().await.retain(|_, cursor| cursor.hold);
                let tag = if back { "ROLLBACK" } else { "COMMIT" };
                Ok(Response::TransactionEnd(Tag::new(tag)))
            }
            ClientCommand::RollbackTo => match client.transaction_status() {
                TransactionStatus::Idle => Err(refused(
                    state::NO_ACTIVE_TRANSACTION,
                    "ROLLBACK TO SAVEPOINT: a transaction is required, got none",
                )),
                _ => {
                    if self.changed.load(Ordering::Relaxed) {
                        notice(client, "0A000", STAYS).await?;
                    }
                    Ok(Response::TransactionStart(Tag::new("ROLLBACK")))
                }
            },
            ClientCommand::DiscardAll => {
                self.reset().await?;
                self.cursors.lock().await.clear();
                client.portal_store().clear_portals();
                self.forget_prepared(client.portal_store()).await?;
                done("DISCARD ALL")
            }
            ClientCommand::Deallocate(None) => {
                self.forget_prepared(client.portal_store()).await?;
                done("DEALLOCATE ALL")
            }
            ClientCommand::Deallocate(Some(name)) => {
                let of_protocol = self.prepared().remove(name);
                client.portal_store().rm_statement(name);
                if !self
                    .deallocate(|known| known.eq_ignore_ascii_case(name))
                    .await?
                    && !of_protocol
                {
                    return Err(refused(
                        state::UNDEFINED_STATEMENT,
                        format!(
                            "DEALLOCATE: a statement that was prepared is required, got '{name}'"
                        ),
                    ));
                }
                done("DEALLOCATE")
            }
            ClientCommand::Nothing(tag) => done(tag),
            ClientCommand::Declare {
                cursor,
                query,
                hold,
            } => {
                self.declare(cursor, query, *hold).await?;
                if let Some(store) = portals(client) {
                    // Clients ask what the columns of a cursor are as of any portal.
                    let count = Some(1);
                    let next = ClientCommand::Fetch {
                        cursor: cursor.clone(),
                        count,
                    };
                    let next =
                        StoredStatement::new(cursor.clone(), Statement::Command(next), vec![]);
                    store.put_portal(Arc::new(Portal::new_cursor(cursor.clone(), Arc::new(next))));
                }
                done("DECLARE CURSOR")
            }
            ClientCommand::Fetch { cursor, count } => self.fetch(cursor, *count, format).await,
            ClientCommand::Move { cursor, count } => {
                let mut rows = 0;
                if let Response::Query(mut passed) = self.fetch(cursor, *count, format).await? {
                    while let Some(row) = passed.data_rows().next().await {
                        row?;
                        rows += 1;
                    }
                }
                Ok(Response::Execution(Tag::new("MOVE").with_rows(rows)))
            }
            ClientCommand::Close(cursor) => {
                let mut cursors = self.cursors.lock().await;
                match cursor {
                    None => cursors.clear(),
                    Some(cursor) => {
                        cursors.remove(cursor).ok_or_else(|| no_cursor(cursor))?;
                        client.portal_store().rm_portal(cursor);
                    }
                }
                done("CLOSE CURSOR")
            }
            ClientCommand::CopyOut { .. } => Err(refused(
                state::FEATURE_NOT_SUPPORTED,
                "COPY: a statement of its own is required, got one among others",
            )),
        }
    }

    /// Forgets all that was prepared, as statements and by the extended protocol.
    async fn forget_prepared(&self, portals: &impl PortalStore) -> PgWireResult<()> {
        for name in std::mem::take(&mut *self.prepared()) {
            portals.rm_statement(&name);
        }
        self.deallocate(|_| true).await.map(drop)
    }

    /// Forgets what PREPARE has prepared of these names; whether there was any.
    fn deallocate(&self, of: impl Fn(&str) -> bool) -> BoxFuture<'_, PgWireResult<bool>> {
        let found = self.opened().map(|OpenedSession { session, .. }| {
            let mut names = session.prepared();
            names.retain(|name| of(name));
            (session, names)
        });
        let deallocated = async move {
            let (session, names) = found?;
            for name in &names {
                let statement = format!("DEALLOCATE {}", quoted(name, '"'));
                let done = session.query(&statement).await;
                done.map_err(|error| of_engine(&error, &statement))?;
            }
            Ok(!names.is_empty())
        };
        deallocated.boxed()
    }

    /// Changes a setting, and what follows from it.
    async fn set<C>(&self, client: &mut C, name: &str, value: Option<&str>) -> PgWireResult<()>
    where
        C: ClientInfo + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        if name.eq_ignore_ascii_case("search_path") {
            match value {
                Some(path) => self.select_run(path).await?,
                None => self.select_first_run().await?,
            }
        }
        let name = self.settings().set(name, value)?;
        if is_told(name) {
            let now = self.settings().get(name).unwrap_or_default().to_string();
            let status = ParameterStatus::new(name.to_string(), now);
            client
                .feed(PgWireBackendMessage::ParameterStatus(status))
                .await?;
        }
        Ok(())
    }

    /// All settings of PostgreSQL's as the connection began with, and the run of its search path with them.
    async fn reset(&self) -> PgWireResult<()> {
        let moved = {
            let mut settings = self.settings();
            let now = settings.get("search_path").map(str::to_string);
            settings.reset();
            now.as_deref() != settings.get("search_path")
        };
        match moved {
            true => self.select_first_run().await,
            false => Ok(()),
        }
    }

    async fn select_first_run(&self) -> PgWireResult<()> {
        let first = self.settings().at_first("search_path").map(str::to_string);
        self.select_run(&first.unwrap_or_default()).await
    }

    /// What a search path means: the first schema that it names is the run of unqualified names.
    pub(super) fn select_run<'a>(&'a self, path: &'a str) -> BoxFuture<'a, PgWireResult<()>> {
        let selected = async move {
            let session = &self.opened()?.session;
            let selected = match schemas(path).first() {
                Some(run) => session.select_run(run).await,
                None => session.query("RESET polysema.run").await.map(drop),
            };
            selected.map_err(|error| of_engine(&error, ""))?;
            self.changed.store(true, Ordering::Relaxed);
            Ok(())
        };
        selected.boxed()
    }

    /// The columns of a statement's rows; none where it has none.
    pub(super) fn columns(
        &self,
        statement: &Statement,
        format: &Format,
    ) -> PgWireResult<Vec<FieldInfo>> {
        match statement {
            Statement::Planned(planned) => {
                let executed = self.opened()?.session.executed(&planned.plan);
                let plan = executed.as_deref().unwrap_or(&planned.plan);
                if is_command(plan) {
                    return Ok(vec![]);
                }
                let columns = Columns::new(plan.schema().as_arrow(), format)?;
                Ok(columns.fields.as_ref().clone())
            }
            Statement::Command(ClientCommand::Show(name)) => text_fields(&[written(name)], format),
            Statement::Command(ClientCommand::ShowAll) => {
                text_fields(&["name", "setting"].map(str::to_string), format)
            }
            Statement::Command(ClientCommand::Fetch { cursor, .. }) => {
                // A connection is at one statement at a time.
                let cursors = self.cursors.try_lock();
                let cursors = cursors.map_err(|_| no_cursor(cursor))?;
                let cursor = cursors.get(cursor).ok_or_else(|| no_cursor(cursor))?;
                let columns = Columns::new(&cursor.rows.schema(), format)?;
                Ok(columns.fields.as_ref().clone())
            }
            Statement::Command(_) => Ok(vec![]),
        }
    }
}

/// The portals of a client, which this server's have statements of this kind.
fn portals<C>(client: &C) -> Option<&MemPortalStore<Statement>>
where
    C: ClientPortalStore,
    C::PortalStore: PortalStore,
{
    client.portal_store().as_any().downcast_ref()
}

/// What PostgreSQL calls a statement of definition.
fn tag_of(ddl: &DdlStatement) -> &'static str {
    match ddl {
        DdlStatement::CreateMemoryTable(_) | DdlStatement::CreateExternalTable(_) => "CREATE TABLE",
        DdlStatement::CreateView(_) => "CREATE VIEW",
        DdlStatement::CreateCatalogSchema(_) => "CREATE SCHEMA",
        DdlStatement::DropTable(_) => "DROP TABLE",
        DdlStatement::DropView(_) => "DROP VIEW",
        DdlStatement::DropCatalogSchema(_) => "DROP SCHEMA",
        DdlStatement::CreateFunction(_) => "CREATE FUNCTION",
        DdlStatement::DropFunction(_) => "DROP FUNCTION",
        _ => "CREATE",
    }
}

fn text_fields(names: &[String], format: &Format) -> PgWireResult<Vec<FieldInfo>> {
    require_formats(format, names.len(), "columns")?;
    let field = |(at, name): (usize, &String)| {
        FieldInfo::new(name.clone(), None, None, Type::TEXT, format.format_for(at))
    };
    Ok(names.iter().enumerate().map(field).collect())
}

/// Rows of text.
fn texts(names: &[String], rows: Vec<Vec<String>>, format: &Format) -> PgWireResult<Response> {
    let fields = Arc::new(text_fields(names, format)?);
    let mut encoder = DataRowEncoder::new(Arc::clone(&fields));
    let rows = rows.into_iter().map(|row| {
        for value in row {
            encoder.encode_field(&Some(value))?;
        }
        Ok(encoder.take_row())
    });
    let rows: Vec<PgWireResult<DataRow>> = rows.collect();
    let mut response = QueryResponse::new(fields, stream::iter(rows));
    response.set_command_tag("SHOW");
    Ok(Response::Query(response))
}

/// Tells a client something that is no error.
async fn notice<C>(client: &mut C, state: &str, message: &str) -> PgWireResult<()>
where
    C: Sink<PgWireBackendMessage> + Unpin + Send,
    PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
{
    let info = ErrorInfo::new(
        "WARNING".to_string(),
        state.to_string(),
        message.to_string(),
    );
    let notice = PgWireBackendMessage::NoticeResponse(NoticeResponse::from(info));
    client.feed(notice).await?;
    Ok(())
}
