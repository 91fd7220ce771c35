//! `polysema serve`: where it listens, whom it lets in, and what they may take.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::runtime::Runtime;

use super::failure::Failure;
use super::interpreter::note;
use super::interrupt::Interrupts;
use super::users::{UsersFile, role, with_article};
use crate::serve::users::Role;
use crate::serve::{Listening, ServeLimits, ServeOptions};
use crate::session::EngineOptions;
use crate::text::parse_size;

/// Answers SQL over PostgreSQL's protocol and HTTP.
#[derive(Debug, clap::Args)]
pub struct ServeCommand {
    /// Address of PostgreSQL's protocol; another than this machine's needs users and a certificate
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:5433")]
    listen: SocketAddr,
    /// Address of HTTP (POST /sql, /healthz, /metrics), or off
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8433", value_parser = parse_http)]
    http: Http,
    #[command(flatten)]
    users: UsersFile,
    /// What everybody may do while there is no file of users
    #[arg(long, default_value = "analyst", value_parser = role())]
    role: Role,
    /// Chain of certificates, as PEM
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// Its private key, as PEM
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// Listen beyond this machine without a certificate, behind a proxy that encrypts
    #[arg(long, conflicts_with = "tls_cert")]
    plaintext: bool,
    /// Most connections at once
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = parse_count)]
    max_connections: usize,
    /// Of them, most of one user
    #[arg(long, value_name = "N", value_parser = parse_count)]
    max_user_connections: Option<usize>,
    /// Most rows of a statement; COPY has no such limit
    #[arg(long, value_name = "N", value_parser = parse_count)]
    max_rows: Option<usize>,
    /// Most seconds a statement may take, its rows among it
    #[arg(long, value_name = "SECONDS", value_parser = parse_seconds)]
    statement_timeout: Option<Duration>,
    /// Most memory the statements of one user may hold, as 512MiB
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    user_memory: Option<usize>,
    /// Form of the log, which goes to stderr
    #[arg(long, value_enum, default_value = "text")]
    log: Log,
}

#[derive(Debug, Clone, Copy)]
struct Http(Option<SocketAddr>);

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Log {
    /// A line of words an event
    Text,
    /// A JSON object an event
    Json,
    /// None
    Off,
}

fn parse_http(text: &str) -> Result<Http, String> {
    match text {
        "off" => Ok(Http(None)),
        text => text
            .parse()
            .map(|address| Http(Some(address)))
            .map_err(|_| format!("an address as 127.0.0.1:8433, or off, is required, got {text}")),
    }
}

fn parse_count(text: &str) -> Result<usize, String> {
    // A semaphore counts connections, and can count no more.
    let most = tokio::sync::Semaphore::MAX_PERMITS.min(u32::MAX as usize);
    let count = text.parse().ok().filter(|count| (1..=most).contains(count));
    count.ok_or_else(|| format!("a number from 1 to {most} is required, got {text}"))
}

fn parse_seconds(text: &str) -> Result<Duration, String> {
    let seconds = text
        .parse()
        .ok()
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    let seconds = seconds.filter(|seconds| !seconds.is_zero());
    seconds.ok_or_else(|| format!("seconds above zero are required, got {text}"))
}

/// Serves until Ctrl-C or a signal to terminate.
pub fn run(
    runtime: &Runtime,
    command: &ServeCommand,
    store: &Path,
    memory_limit: Option<usize>,
    interrupts: &Interrupts,
) -> Result<(), Failure> {
    match command.log {
        Log::Text => tracing_subscriber::fmt()
            .with_writer(std::io::stderr)
            .with_target(false)
            .init(),
        Log::Json => tracing_subscriber::fmt()
            .json()
            .with_writer(std::io::stderr)
            .with_target(false)
            .init(),
        Log::Off => {}
    }
    log_panics();
    let users = command.users.of_server(store)?;
    let tls = command.tls_cert.clone().zip(command.tls_key.clone());
    let options = ServeOptions {
        engine: EngineOptions {
            store: store.to_path_buf(),
            memory_limit,
            loaded_limit: None,
        },
        listen: command.listen,
        http: command.http.0,
        users,
        role: command.role,
        tls,
        plaintext: command.plaintext,
        limits: ServeLimits {
            connections: command.max_connections,
            user_connections: command.max_user_connections,
            max_rows: command.max_rows,
            statement_timeout: command.statement_timeout,
            user_memory: command.user_memory,
        },
    };
    runtime.block_on(async {
        let listening = Listening::open(options).await?;
        announce(&listening, store)?;
        listening.serve(interrupts.pressed()).await?;
        interrupts.clear();
        Ok(())
    })
}

/// Writes down where a thread has panicked, and not what it says of itself, which may be a value of somebody's.
fn log_panics() {
    let kept = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if let Some(place) = panic.location() {
            tracing::error!(%place, "a panic");
        }
        kept(panic);
    }));
}

/// Says where it listens, and who may come in.
fn announce(listening: &Listening, store: &Path) -> Result<(), Failure> {
    let postgres = listening.postgres()?;
    note(&format!(
        "polysema serves {} at {postgres}: psql -h {} -p {} polysema",
        store.display(),
        postgres.ip(),
        postgres.port()
    ));
    if let Some(http) = listening.http() {
        note(&format!("HTTP at http://{}/sql", http?));
    }
    if let Some(role) = listening.role_of_all() {
        note(&format!(
            "nobody has to say who they are: everyone on this machine is {} (polysema user add NAME)",
            with_article(role)
        ));
    }
    Ok(())
}
