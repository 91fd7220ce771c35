//! The statements of one connection: by PostgreSQL's simple protocol, and by its extended one of prepared statements.

use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::common::ParamValues;
use futures::{Sink, SinkExt, StreamExt};
use pgwire::api::portal::{Format, Portal, PortalExecutionState};
use pgwire::api::query::{
    ExtendedQueryHandler, SimpleQueryHandler, send_execution_response, send_query_response,
    send_ready_for_query,
};
use pgwire::api::results::{FieldInfo, Response, Tag};
use pgwire::api::stmt::{QueryParser, StoredStatement};
use pgwire::api::store::{Entry, PortalStore};
use pgwire::api::{ClientInfo, ClientPortalStore, DEFAULT_NAME, PgWireConnectionState, Type};
use pgwire::error::{PgWireError, PgWireResult};
use pgwire::messages::PgWireBackendMessage;
use pgwire::messages::extendedquery::{Execute, Parse, ParseComplete, PortalSuspended};
use pgwire::messages::response::{EmptyQueryResponse, TransactionStatus};
use pgwire::messages::simplequery::Query;

use super::asked::Statement;
use super::connection::Connection;
use super::copy::send_copy;
use super::errors::{refused, state};
use super::parameters;
use super::statements::ClientCommand;
use crate::text::statements;

/// The handlers of one connection.
pub(super) struct Queries(pub(super) Arc<Connection>);

/// Tells a client that a statement without rows has ended, and what that makes of its transaction.
async fn send_end<C>(client: &mut C, response: Response) -> PgWireResult<()>
where
    C: ClientInfo + Sink<PgWireBackendMessage> + Unpin + Send,
    C::Error: Debug,
    PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
{
    let (tag, status) = match response {
        Response::Execution(tag) => (tag, None),
        Response::TransactionStart(tag) => (tag, Some(TransactionStatus::Transaction)),
        Response::TransactionEnd(tag) => (tag, Some(TransactionStatus::Idle)),
        _ => return Ok(()),
    };
    if let Some(status) = status {
        client.set_transaction_status(status);
    }
    send_execution_response(client, tag).await
}

/// Sends the next rows of a portal, all of them where `most` is 0.
async fn send_next<C>(client: &mut C, portal: &Portal<Statement>, most: usize) -> PgWireResult<()>
where
    C: Sink<PgWireBackendMessage> + Unpin + Send,
    C::Error: Debug,
    PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
{
    let state = portal.state();
    let mut state = state.lock().await;
    let PortalExecutionState::Suspended(response) = &mut *state else {
        return send_execution_response(client, Tag::new("SELECT").with_rows(0)).await;
    };
    let mut sent = 0;
    while most == 0 || sent < most {
        match response.data_rows().next().await {
            Some(Ok(row)) => client.feed(PgWireBackendMessage::DataRow(row)).await?,
            Some(Err(error)) => {
                *state = PortalExecutionState::Finished;
                return Err(error);
            }
            None => {
                let tag = Tag::new(response.command_tag()).with_rows(sent);
                *state = PortalExecutionState::Finished;
                return send_execution_response(client, tag).await;
            }
        }
        sent += 1;
    }
    client
        .feed(PgWireBackendMessage::PortalSuspended(PortalSuspended::new()))
        .await?;
    Ok(())
}

#[async_trait]
impl SimpleQueryHandler for Queries {
    /// The statements of a text one after the other: what one changes, the next one sees, and the first error ends them.
    async fn on_query<C>(&self, client: &mut C, query: Query) -> PgWireResult<()>
    where
        C: ClientInfo + ClientPortalStore + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::PortalStore: PortalStore,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        client.set_state(PgWireConnectionState::QueryInProgress);
        let statements = statements(&query.query);
        if statements.is_empty() {
            client
                .feed(PgWireBackendMessage::EmptyQueryResponse(
                    EmptyQueryResponse::new(),
                ))
                .await?;
        }
        for statement in statements {
            for response in SimpleQueryHandler::do_query(self, client, statement).await? {
                match response {
                    Response::Query(rows) => send_query_response(client, rows, true).await?,
                    other => send_end(client, other).await?,
                }
            }
        }
        client.set_state(PgWireConnectionState::ReadyForQuery);
        let status = client.transaction_status();
        send_ready_for_query(client, status).await
    }

    async fn do_query<C>(&self, client: &mut C, query: &str) -> PgWireResult<Vec<Response>>
    where
        C: ClientInfo + ClientPortalStore + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::PortalStore: PortalStore,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        let statement = self.0.understand(query).await?;
        if let Statement::Command(ClientCommand::CopyOut { query, form }) = &statement {
            let planned = self.0.planned(query).await?;
            send_copy(&self.0, client, &planned, form).await?;
            return Ok(vec![]);
        }
        let none = ParamValues::List(vec![]);
        let response = self
            .0
            .run(client, &statement, none, &Format::UnifiedText)
            .await?;
        Ok(vec![response])
    }
}

#[async_trait]
impl ExtendedQueryHandler for Queries {
    type Statement = Statement;
    type QueryParser = Self;

    fn query_parser(&self) -> Arc<Self> {
        Arc::new(Self(Arc::clone(&self.0)))
    }

    /// As pgwire's own, which does not say what is prepared: who asks for its end ends what stands here.
    async fn on_parse<C>(&self, client: &mut C, message: Parse) -> PgWireResult<()>
    where
        C: ClientInfo + ClientPortalStore + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::PortalStore: PortalStore<Statement = Self::Statement>,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        let name = message.name.as_deref().unwrap_or(DEFAULT_NAME);
        match StoredStatement::parse(client, &message, self.query_parser()).await? {
            Some(statement) => client.portal_store().put_statement(Arc::new(statement)),
            None => client.portal_store().put_empty_statement(name),
        }
        self.0.prepared().insert(name.to_string());
        let complete = PgWireBackendMessage::ParseComplete(ParseComplete::new());
        Ok(client.send(complete).await?)
    }

    /// Begins a statement or goes on with it. Its rows are sent as they come: pgwire's own would first collect them all, and
    /// sends an error of COPY as only a client may.
    async fn on_execute<C>(&self, client: &mut C, message: Execute) -> PgWireResult<()>
    where
        C: ClientInfo + ClientPortalStore + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::PortalStore: PortalStore<Statement = Self::Statement>,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        let name = message.name.as_deref().unwrap_or(DEFAULT_NAME);
        let portal = match client.portal_store().get_portal(name) {
            Some(Entry::Value(portal)) => portal,
            Some(Entry::Empty) => {
                let empty = EmptyQueryResponse::new();
                let empty = PgWireBackendMessage::EmptyQueryResponse(empty);
                return Ok(client.feed(empty).await?);
            }
            None => return Err(PgWireError::PortalNotFound(name.to_string())),
        };
        if let Statement::Command(ClientCommand::CopyOut { query, form }) =
            &portal.statement.statement
        {
            let planned = self.0.planned(query).await?;
            return send_copy(&self.0, client, &planned, form).await;
        }
        let max_rows = usize::try_from(message.max_rows).unwrap_or(0);
        let begins = matches!(*portal.state().lock().await, PortalExecutionState::Initial);
        if begins {
            match ExtendedQueryHandler::do_query(self, client, &portal, max_rows).await? {
                Response::Query(rows) => portal.start(rows).await,
                other => {
                    if let Response::TransactionEnd(_) = &other {
                        client.portal_store().rm_portal(DEFAULT_NAME);
                    }
                    return send_end(client, other).await;
                }
            }
        }
        send_next(client, &portal, max_rows).await
    }

    async fn do_query<C>(
        &self,
        client: &mut C,
        portal: &Portal<Self::Statement>,
        _: usize,
    ) -> PgWireResult<Response>
    where
        C: ClientInfo + ClientPortalStore + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::PortalStore: PortalStore<Statement = Self::Statement>,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        let statement = &portal.statement.statement;
        let parameters = match statement {
            Statement::Planned(planned) => parameters::values(portal, &planned.plan)?,
            Statement::Command(_) => ParamValues::List(vec![]),
        };
        let format = &portal.result_column_format;
        self.0.run(client, statement, parameters, format).await
    }
}

#[async_trait]
impl QueryParser for Queries {
    type Statement = Statement;

    async fn parse_sql<C>(
        &self,
        _: &C,
        sql: &str,
        _: &[Option<Type>],
    ) -> PgWireResult<Option<Self::Statement>>
    where
        C: ClientInfo + Unpin + Send + Sync,
    {
        match statements(sql).as_slice() {
            [] => Ok(None),
            [statement] => self.0.understand(statement).await.map(Some),
            statements => Err(refused(
                state::SYNTAX_ERROR,
                format!(
                    "one statement is required to be prepared, got {}",
                    statements.len()
                ),
            )),
        }
    }

    fn get_parameter_types(&self, statement: &Self::Statement) -> PgWireResult<Vec<Type>> {
        match statement {
            Statement::Planned(planned) => match &planned.types {
                Some(types) => Ok(types.clone()),
                None => parameters::types(&planned.plan),
            },
            Statement::Command(_) => Ok(vec![]),
        }
    }

    fn get_result_schema(
        &self,
        statement: &Self::Statement,
        format: Option<&Format>,
    ) -> PgWireResult<Vec<FieldInfo>> {
        let format = format.unwrap_or(&Format::UnifiedText);
        self.0.columns(statement, format)
    }
}
