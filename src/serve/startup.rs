//! How a connection begins: who the client is, which run it asks about, and what it is told of the server.

use std::collections::HashMap;
use std::fmt::Debug;
use std::mem;
use std::sync::PoisonError;

use async_trait::async_trait;
use bytes::BytesMut;
use futures::{FutureExt, Sink, SinkExt};
use pgwire::api::auth::{
    ServerParameterProvider, StartupHandler, finish_authentication, protocol_negotiation,
    save_startup_parameters_to_metadata,
};
use pgwire::api::cancel::CancelHandler;
use pgwire::api::copy::CopyHandler;
use pgwire::api::{
    ClientInfo, METADATA_DATABASE, METADATA_USER, PgWireConnectionState, PidSecretKeyGenerator,
    RandomPidSecretKeyGenerator,
};
use pgwire::error::{PgWireError, PgWireResult};
use pgwire::messages::cancel::CancelRequest;
use pgwire::messages::copy::{CopyData, CopyDone};
use pgwire::messages::startup::{Authentication, PasswordMessageFamily};
use pgwire::messages::{PgWireBackendMessage, PgWireFrontendMessage};

use super::catalogue::SessionClient;
use super::connection::{Connection, OpenedSession, Proof};
use super::errors::{fatal, of_engine, refused, state};
use super::frames::first_proof;
use super::guesses::too_many;
use super::object_names::name;
use super::opaque::Opaque;
use super::queries::Queries;
use super::settings::PostgresSettings;
use super::users::Role;
use crate::session::CATALOG;
use crate::store::PUBLIC;

/// The one way to prove who one is.
const MECHANISM: &str = "SCRAM-SHA-256";

#[async_trait]
impl StartupHandler for Queries {
    async fn on_startup<C>(
        &self,
        client: &mut C,
        message: PgWireFrontendMessage,
    ) -> PgWireResult<()>
    where
        C: ClientInfo + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        let connection = &self.0;
        match message {
            PgWireFrontendMessage::Startup(startup) => {
                protocol_negotiation(client, &startup).await?;
                save_startup_parameters_to_metadata(client, &startup);
                let named = client.metadata().get(METADATA_USER).cloned();
                let user = named.filter(|name| !name.is_empty()).ok_or_else(|| {
                    fatal(state::INVALID_AUTHORIZATION, "a user is required, got none")
                })?;
                connection.require_encryption(client)?;
                match connection.server.role_of_all {
                    Some(role) => connection.admit(client, &user, role).await,
                    None => {
                        let asked = Authentication::SASL(vec![MECHANISM.to_string()]);
                        client
                            .send(PgWireBackendMessage::Authentication(asked))
                            .await?;
                        client.set_state(PgWireConnectionState::AuthenticationInProgress);
                        connection.go_on(Proof::Named(user));
                        Ok(())
                    }
                }
            }
            PgWireFrontendMessage::PasswordMessageFamily(message) => {
                connection.prove(client, message).await
            }
            _ => Err(fatal(
                state::PROTOCOL_VIOLATION,
                "a message of the startup is required, got another",
            )),
        }
    }
}

impl Connection {
    fn go_on(&self, proof: Proof) -> Proof {
        let mut now = self.proof.lock().unwrap_or_else(PoisonError::into_inner);
        mem::replace(&mut now, proof)
    }

    /// Where the server encrypts, only who sits at its machine may do without.
    fn require_encryption(&self, client: &impl ClientInfo) -> PgWireResult<()> {
        match self.server.tls.is_some() && !client.is_secure() && !self.peer.is_loopback() {
            true => Err(fatal(
                state::INVALID_AUTHORIZATION,
                "an encrypted connection is required, got one in the clear (sslmode=require)",
            )),
            false => Ok(()),
        }
    }

    /// One step of SCRAM. All that is wrong is told in the same words.
    async fn prove<C>(&self, client: &mut C, message: PasswordMessageFamily) -> PgWireResult<()>
    where
        C: ClientInfo + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        match self.go_on(Proof::Over) {
            Proof::Named(user) => {
                let (method, first) = first_proof(&body(message)?)?;
                if method != MECHANISM {
                    return Err(fatal(
                        state::PROTOCOL_VIOLATION,
                        format!("{MECHANISM} is required, got {method}"),
                    ));
                }
                let login = self.server.login(&user).ok_or_else(|| wrong(&user))?;
                let exchange = login.begin(&first);
                let exchange = exchange.map_err(|_| wrong(&user))?;
                let answer = exchange.server_first().to_string().into_bytes();
                let answer = Authentication::SASLContinue(answer.into());
                client
                    .send(PgWireBackendMessage::Authentication(answer))
                    .await?;
                self.go_on(Proof::Proving(user, exchange));
                Ok(())
            }
            Proof::Proving(user, exchange) => {
                let last = body(message)?;
                let guesses = &self.server.guesses;
                let turn = guesses.turn(self.peer, &user).await;
                turn.map_err(|wait| {
                    tracing::warn!(connection = self.id, "refused: too many failed log-ins");
                    fatal(state::INVALID_AUTHORIZATION, too_many(wait))
                })?;
                let proven = exchange.finish(&last);
                guesses.ended(self.peer, &user, proven.is_ok());
                let (answer, role) = proven.map_err(|_| wrong(&user))?;
                let answer = Authentication::SASLFinal(answer.into_bytes().into());
                client
                    .feed(PgWireBackendMessage::Authentication(answer))
                    .await?;
                self.admit(client, &user, role).await
            }
            Proof::Nobody | Proof::Over => Err(fatal(
                state::PROTOCOL_VIOLATION,
                "a user is required before a password, got the password",
            )),
        }
    }

    /// Opens the session of a client who is known.
    async fn admit<C>(&self, client: &mut C, user: &str, role: Role) -> PgWireResult<()>
    where
        C: ClientInfo + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        let server = &self.server;
        let member = server
            .member(user, role)
            .map_err(|message| fatal(state::CONNECTION_LIMIT, message))?;
        let session = server.open_session(&member);
        let session = session.map_err(|error| of_engine(&error, ""))?;
        let database = client.metadata().get(METADATA_DATABASE);
        let asks = SessionClient {
            user,
            role,
            database: database.map_or(user, String::as_str),
            connection: self.id,
        };
        let catalogue = server.catalogue.add_to(&session, &self.settings, asks);
        catalogue.map_err(|error| of_engine(&error, ""))?;
        let opened = OpenedSession { session, member };
        let _ = self.opened.set(Opaque::new(opened));
        let begun = self.begin_with(client.metadata(), user).boxed();
        begun.await.map_err(as_fatal)?;

        let (_, secret) = RandomPidSecretKeyGenerator::default().generate(client);
        client.set_pid_and_secret_key(self.id, secret.clone());
        server.remember(self.id, secret, &self.interrupt);
        let told = Told::of(&self.settings());
        finish_authentication(client, &told).await?;
        tracing::info!(connection = self.id, user, role = role.name(), "connected");
        Ok(())
    }

    /// What the client has said with its name: its database, which is a run, and settings.
    async fn begin_with(&self, said: &HashMap<String, String>, user: &str) -> PgWireResult<()> {
        {
            let mut settings = self.settings();
            settings.state("session_authorization", user.to_string());
            for (name, value) in said {
                match name.as_str() {
                    METADATA_USER | METADATA_DATABASE | "options" => {}
                    "replication" => {
                        return Err(fatal(
                            state::FEATURE_NOT_SUPPORTED,
                            "a connection for statements is required, got one for replication",
                        ));
                    }
                    name if name.starts_with("_pq_.") => {}
                    name => settings.begin_with(name, value.trim_matches('\''))?,
                }
            }
            for (name, value) in said.get("options").map_or(vec![], |text| options(text)) {
                settings.begin_with(&name, &value)?;
            }
        }
        let path = self.settings().get("search_path").map(str::to_string);
        let database = said.get(METADATA_DATABASE).map_or(user, String::as_str);
        let opened = self.opened()?;
        let is_run = opened.session.store().has(database);
        match path {
            Some(path) if !super::settings::schemas(&path).is_empty() => {
                self.select_run(&path).await
            }
            _ if is_run => {
                let path = format!("{}, {PUBLIC}", name(database));
                self.settings().begin_with("search_path", &path)?;
                self.select_run(database).await
            }
            _ if matches!(database, CATALOG | "postgres") || database == user => Ok(()),
            _ => Err(fatal(
                state::UNDEFINED_DATABASE,
                format!("a database is required, {CATALOG} or the name of a run, got '{database}'"),
            )),
        }
    }
}

/// What a message of a proof says.
fn body(message: PasswordMessageFamily) -> PgWireResult<BytesMut> {
    match message {
        PasswordMessageFamily::Raw(body) => Ok(body),
        _ => Err(PgWireError::FailedToCoercePasswordMessage),
    }
}

/// The same words for an unknown name and a wrong password.
fn wrong(user: &str) -> PgWireError {
    fatal(
        state::INVALID_PASSWORD,
        format!("password authentication failed for user \"{user}\""),
    )
}

/// An error of the beginning ends the connection.
fn as_fatal(error: PgWireError) -> PgWireError {
    match error {
        PgWireError::UserError(mut info) => {
            info.severity = "FATAL".to_string();
            PgWireError::UserError(info)
        }
        other => other,
    }
}

/// `-c name=value` and `--name=value`, as PGOPTIONS has them.
fn options(text: &str) -> Vec<(String, String)> {
    let mut found = vec![];
    let mut words = text.split_whitespace();
    while let Some(word) = words.next() {
        let setting = match word.strip_prefix("--").or_else(|| word.strip_prefix("-c")) {
            Some("") => words.next().unwrap_or_default(),
            Some(setting) => setting,
            None => word,
        };
        if let Some((name, value)) = setting.split_once('=') {
            found.push((name.replace('-', "_"), value.to_string()));
        }
    }
    found
}

/// What a client is told of its settings at the start.
struct Told(HashMap<String, String>);

impl Told {
    fn of(settings: &PostgresSettings) -> Self {
        let told = settings.told();
        Self(
            told.map(|(name, value)| (name.to_string(), value.to_string()))
                .collect(),
        )
    }
}

impl ServerParameterProvider for Told {
    fn server_parameters<C: ClientInfo>(&self, _: &C) -> Option<HashMap<String, String>> {
        Some(self.0.clone())
    }
}

#[async_trait]
impl CancelHandler for Queries {
    async fn on_cancel_request(&self, request: CancelRequest) {
        self.0.server.cancel(request.pid, &request.secret_key);
    }
}

#[async_trait]
impl CopyHandler for Queries {
    async fn on_copy_data<C>(&self, _: &mut C, _: CopyData) -> PgWireResult<()>
    where
        C: ClientInfo + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        Err(nothing_copied())
    }

    async fn on_copy_done<C>(&self, _: &mut C, _: CopyDone) -> PgWireResult<()>
    where
        C: ClientInfo + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        Err(nothing_copied())
    }
}

fn nothing_copied() -> PgWireError {
    refused(
        state::PROTOCOL_VIOLATION,
        "a statement is required, got rows to copy that no COPY has asked for",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_of_a_connection_are_settings() {
        let given = "-c statement_timeout=5s --search-path=demo -cjit=off";
        let expected = [
            ("statement_timeout", "5s"),
            ("search_path", "demo"),
            ("jit", "off"),
        ];
        let expected = expected.map(|(name, value)| (name.to_string(), value.to_string()));
        assert_eq!(options(given), expected);
    }
}
