//! A server of the demo's model, and its clients.

use std::future::Future;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::time::Duration;

use futures::TryStreamExt;
use polysema::policy::Policy;
use polysema::serve::users::Role;
use polysema::serve::{Listening, ServeLimits, ServeOptions};
use polysema::session::{Engine, EngineOptions};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use tokio::sync::oneshot;
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Config, NoTls, SimpleQueryMessage};

/// A statement that would take hours.
pub const ENDLESS: &str = "SELECT count(*) FROM demo.tokens a, demo.tokens b, demo.tokens c WHERE a.token < b.token OR c.token > a.token";

pub static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| polysema::shell::threads(None).unwrap());

/// A store with the run `demo`, made once.
pub static STORE: LazyLock<(tempfile::TempDir, PathBuf)> = LazyLock::new(|| {
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path().join("s");
    let ingest = "CALL ingest('demo', 'tests/data/demo/model', 'tests/data/demo/corpus.jsonl', {max_documents: 32})";
    std::thread::scope(|scope| {
        let made = scope.spawn(|| {
            polysema::shell::threads(None).unwrap().block_on(async {
                let engine = Engine::open(&engine_of(&store)).unwrap();
                let owner = engine.session(Policy::everything()).unwrap();
                let rows = owner.query(ingest).await.unwrap();
                rows.try_for_each(|_| async { Ok(()) }).await.unwrap();
            });
        });
        made.join().unwrap();
    });
    (folder, store)
});

pub fn engine_of(store: &Path) -> EngineOptions {
    EngineOptions {
        store: store.to_path_buf(),
        memory_limit: Some(1 << 30),
        loaded_limit: None,
    }
}

pub fn options() -> ServeOptions {
    ServeOptions {
        engine: engine_of(&STORE.1),
        listen: ([127, 0, 0, 1], 0).into(),
        http: Some(([127, 0, 0, 1], 0).into()),
        users: None,
        role: Role::Analyst,
        tls: None,
        plaintext: false,
        limits: ServeLimits::default(),
    }
}

pub struct Running {
    pub postgres: SocketAddr,
    pub http: SocketAddr,
    end: oneshot::Sender<()>,
    ended: tokio::task::JoinHandle<()>,
}

impl Running {
    pub async fn stop(self) {
        self.end.send(()).unwrap();
        self.ended.await.unwrap();
    }

    pub fn config(&self, user: &str) -> Config {
        let mut config = Config::new();
        config
            .host("127.0.0.1")
            .port(self.postgres.port())
            .user(user)
            .dbname("demo");
        config
    }

    pub async fn connect(&self) -> Client {
        connect(&self.config("ana")).await.unwrap()
    }

    /// The answer to a request: its status, and what follows its head.
    pub async fn http(&self, request: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(self.http).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = vec![];
        stream.read_to_end(&mut answer).await.unwrap();
        let answer = String::from_utf8_lossy(&answer).into_owned();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, body.to_string())
    }

    pub async fn post(&self, heads: &str, body: &str) -> (u16, String) {
        let length = body.len();
        let request = format!(
            "POST /sql HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {length}\r\n{heads}\r\n{body}"
        );
        self.http(&request).await
    }
}

pub async fn connect(config: &Config) -> Result<Client, tokio_postgres::Error> {
    let (client, connection) = config.connect(NoTls).await?;
    tokio::spawn(connection);
    Ok(client)
}

pub async fn run(options: ServeOptions) -> Running {
    let listening = Listening::open(options).await.unwrap();
    let (postgres, http) = (listening.postgres().unwrap(), listening.http());
    let http = http.map_or(postgres, Result::unwrap);
    let (end, asked) = oneshot::channel::<()>();
    let ended = tokio::spawn(async move {
        let asked = async {
            let _ = asked.await;
        };
        listening.serve(asked).await.unwrap();
    });
    Running {
        postgres,
        http,
        end,
        ended,
    }
}

/// A conversation with a server, which must come to its end.
pub fn conversation<F: Future<Output = ()>>(
    options: ServeOptions,
    talk: impl FnOnce(Running) -> F,
) {
    RUNTIME.block_on(async {
        let server = run(options).await;
        let talked = tokio::time::timeout(Duration::from_secs(240), talk(server)).await;
        talked.expect("the conversation hangs");
    });
}

pub fn state_of(error: &tokio_postgres::Error) -> SqlState {
    error.code().cloned().unwrap_or_else(|| panic!("{error:?}"))
}

pub fn refusal<T>(result: Result<T, tokio_postgres::Error>) -> (SqlState, String) {
    match result {
        Ok(_) => panic!("an error is required"),
        Err(error) => {
            let message = error.as_db_error().unwrap().message().to_string();
            (state_of(&error), message)
        }
    }
}

pub fn texts(messages: Vec<SimpleQueryMessage>) -> Vec<Vec<String>> {
    let rows = messages.into_iter().filter_map(|message| match message {
        SimpleQueryMessage::Row(row) => Some(row),
        _ => None,
    });
    rows.map(|row| {
        let value = |at| row.get(at).unwrap_or("NULL").to_string();
        (0..row.len()).map(value).collect()
    })
    .collect()
}
