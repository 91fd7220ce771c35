//! A store, files beside it that nobody but an owner may see, a server of both, and its clients by each way there is.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use polysema::policy::Policy;
use polysema::serve::ServeOptions;
use polysema::serve::users::{self, Role};
use polysema::session::{Engine, Session};
use tokio_postgres::{Client, SimpleQueryMessage};

use super::server::{Running, STORE, connect, engine_of, options};

/// What stands in every file that is to be kept from clients.
pub const CANARY: &str = "canary5f1d";
const PASSWORD: &str = "päss word";

pub struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    pub fn new() -> Self {
        let place = Self {
            folder: tempfile::tempdir().expect("a folder"),
        };
        let json = format!("{{\"text\": \"{CANARY}\"}}\n");
        for (name, text) in [
            ("canary.csv", format!("x\n{CANARY}\n")),
            ("canary.tsv", format!("x\n{CANARY}\n")),
            ("canary.txt", format!("{CANARY}\n")),
            ("canary.json", json.clone()),
            ("canary.jsonl", json),
        ] {
            fs::write(place.path(name), text).expect("writable");
        }
        fs::create_dir(place.path("table")).expect("writable");
        fs::copy(place.path("canary.csv"), place.path("table/canary.csv")).expect("a copy");
        copy_folder(&STORE.1, &place.path("store"));
        for role in Role::ALL {
            users::add(&place.path("users"), role.name(), role, PASSWORD).expect("a user");
        }
        place
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A statement with the folder's path in the place of `{}`.
    pub fn fill(&self, statement: &str) -> String {
        statement.replace("{}", &self.folder.path().display().to_string())
    }

    pub fn options(&self) -> ServeOptions {
        ServeOptions {
            engine: engine_of(&self.path("store")),
            users: Some(self.path("users")),
            ..options()
        }
    }

    pub fn session(&self, policy: Policy) -> Session {
        let engine = Engine::open(&engine_of(&self.path("store"))).expect("a store");
        engine.session(policy).expect("a session")
    }

    /// Every file of it, with its bytes and the time of its last change.
    pub fn files(&self) -> BTreeMap<PathBuf, (Vec<u8>, SystemTime)> {
        let mut found = BTreeMap::new();
        let mut folders = vec![self.folder.path().to_path_buf()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(&folder).expect("a folder") {
                let path = entry.expect("an entry").path();
                let data = fs::metadata(&path).expect("a file");
                let bytes = match data.is_dir() {
                    true => vec![],
                    false => fs::read(&path).expect("a file"),
                };
                if data.is_dir() {
                    folders.push(path.clone());
                }
                found.insert(path, (bytes, data.modified().expect("a time")));
            }
        }
        found
    }

    /// Whether a text tells what a client without the right to read files may not know.
    pub fn tells(&self, text: &str) -> bool {
        text.contains(CANARY) || text.contains(&self.folder.path().display().to_string())
    }
}

/// Copies a folder that nobody changes meanwhile.
pub fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("writable");
    for entry in fs::read_dir(from).expect("a folder") {
        let path = entry.expect("an entry").path();
        let target = to.join(path.file_name().expect("a name"));
        match path.is_dir() {
            true => copy_folder(&path, &target),
            false => drop(fs::copy(&path, &target).expect("a copy")),
        }
    }
}

/// How a client of a server asks.
pub enum Way {
    Simple(Client),
    Extended(Client),
    Http(String),
}

impl Way {
    pub async fn all(server: &Running, role: Role) -> [Self; 3] {
        let mut config = server.config(role.name());
        config.password(PASSWORD);
        let client = async || connect(&config).await.expect("a connection");
        let user = format!("{}:{PASSWORD}", role.name());
        let basic = format!("Authorization: Basic {}\r\n", base64(user.as_bytes()));
        [
            Self::Simple(client().await),
            Self::Extended(client().await),
            Self::Http(format!("{basic}Accept: text/csv\r\n")),
        ]
    }

    pub fn name(&self) -> &'static str {
        match self {
            Self::Simple(_) => "simple",
            Self::Extended(_) => "extended",
            Self::Http(_) => "http",
        }
    }

    /// The texts of an answer, or those of its refusal.
    pub async fn ask(&self, server: &Running, statement: &str) -> Result<String, String> {
        match self {
            Self::Simple(client) => {
                let messages = client.simple_query(statement).await;
                let mut text = String::new();
                for message in messages.map_err(|error| told(&error))? {
                    if let SimpleQueryMessage::Row(row) = message {
                        for at in 0..row.len() {
                            text += row.get(at).unwrap_or_default();
                            text.push('\t');
                        }
                    }
                }
                Ok(text)
            }
            Self::Extended(client) => {
                let rows = client.query(statement, &[]).await;
                let rows = rows.map_err(|error| told(&error))?;
                let texts = rows.iter().flat_map(|row| {
                    (0..row.len()).map(|at| row.try_get::<_, &str>(at).unwrap_or_default())
                });
                Ok(texts.collect::<Vec<_>>().join("\t"))
            }
            Self::Http(heads) => {
                let (status, body) = server.post(heads, statement).await;
                match status == 200 && body.ends_with("0\r\n\r\n") {
                    true => Ok(body),
                    false => Err(body),
                }
            }
        }
    }
}

fn told(error: &tokio_postgres::Error) -> String {
    match error.as_db_error() {
        Some(error) => format!("{error:?}"),
        None => error.to_string(),
    }
}

pub fn base64(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}
