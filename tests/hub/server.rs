//! A hub on this machine: what a commit has, its files, and another host that large files are redirected to.
#![allow(dead_code, reason = "no test asks for everything")]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, SHA256, digest};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

pub const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// What it does wrong, and what it saw.
#[derive(Default)]
pub struct State {
    /// `models/ORG/NAME` or `datasets/ORG/NAME`, and the files.
    pub repos: BTreeMap<String, BTreeMap<String, Vec<u8>>>,
    /// The token that is required.
    pub token: Option<String>,
    /// Bytes after which each answer of the other host ends.
    pub cut: Option<usize>,
    /// Bytes after which each answer of the other host waits for as long as this is said.
    pub stall: Option<usize>,
    /// Whether the other host gives other bytes.
    pub damaged: bool,
    /// Whether it refuses all.
    pub off: bool,
    /// `HOST METHOD PATH RANGE AUTHORIZATION`
    pub seen: Vec<String>,
}

/// A server that ends with the test.
pub struct Hub {
    pub state: Arc<Mutex<State>>,
    pub endpoint: String,
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The hash that the hub names a large file by.
pub fn sha256(bytes: &[u8]) -> String {
    hex(digest(&SHA256, bytes).as_ref())
}

/// The hash that git names a small one by.
pub fn git_hash(bytes: &[u8]) -> String {
    let blob = [format!("blob {}\0", bytes.len()).as_bytes(), bytes].concat();
    hex(digest(&SHA1_FOR_LEGACY_USE_ONLY, &blob).as_ref())
}

fn is_large(file: &str) -> bool {
    [".safetensors", ".gguf", ".bin"]
        .iter()
        .any(|ending| file.ends_with(ending))
}

/// A connection, with TLS or without.
trait Wire: Read + Write {}

impl<T: Read + Write> Wire for T {}

struct Question {
    method: String,
    path: String,
    range: Option<usize>,
    token: Option<String>,
}

impl Question {
    fn read(wire: &mut dyn Wire) -> Option<Self> {
        let mut lines = BufReader::new(wire).lines();
        let first = lines.next()?.ok()?;
        let mut words = first.split(' ');
        let (method, path) = (words.next()?.to_string(), words.next()?.to_string());
        let (mut range, mut token) = (None, None);
        for line in lines
            .map_while(Result::ok)
            .take_while(|line| !line.is_empty())
        {
            let (name, value) = line.split_once(": ")?;
            match name.to_lowercase().as_str() {
                "range" => {
                    range = value
                        .strip_prefix("bytes=")?
                        .strip_suffix('-')?
                        .parse()
                        .ok()
                }
                "authorization" => token = Some(value.strip_prefix("Bearer ")?.to_string()),
                _ => {}
            }
        }
        Some(Self {
            method,
            path,
            range,
            token,
        })
    }
}

/// What is answered before it is known of which range, or for how long.
struct Answer {
    status: &'static str,
    headers: String,
    body: Vec<u8>,
    cut: Option<usize>,
    stall: Option<usize>,
}

impl Answer {
    fn new(status: &'static str, headers: &str, body: &[u8]) -> Self {
        Self {
            status,
            headers: headers.to_string(),
            body: body.to_vec(),
            cut: None,
            stall: None,
        }
    }

    /// Sends it; the one who asked may be gone.
    fn send(
        &self,
        wire: &mut dyn Wire,
        question: &Question,
        state: &Mutex<State>,
    ) -> std::io::Result<()> {
        let size = self.body.len();
        let start = question.range.unwrap_or(0).min(size);
        let (status, range) = match question.range {
            Some(_) if self.status.starts_with("200") => {
                let range = format!("Content-Range: bytes {start}-{}/{size}\r\n", size - 1);
                ("206 Partial Content", range)
            }
            _ => (self.status, String::new()),
        };
        let body = &self.body[start..];
        let (length, headers) = (body.len(), &self.headers);
        let head = format!(
            "HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n{range}{headers}\r\n"
        );
        wire.write_all(head.as_bytes())?;
        if question.method == "HEAD" {
            return wire.flush();
        }
        let mut rest = &body[..self.cut.unwrap_or(body.len()).min(body.len())];
        if let Some(stall) = self.stall {
            let (sent, behind) = rest.split_at(stall.min(rest.len()));
            wire.write_all(sent)?;
            wire.flush()?;
            while state.lock().unwrap().stall.is_some() {
                std::thread::sleep(Duration::from_millis(10));
            }
            rest = behind;
        }
        wire.write_all(rest)?;
        wire.flush()
    }
}

/// Serves one host: the hub, or the one with the large files.
fn serve(
    state: &Arc<Mutex<State>>,
    host: &'static str,
    large: Option<String>,
    tls: Option<Arc<ServerConfig>>,
) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let scheme = if tls.is_some() { "https" } else { "http" };
    let address = format!("{scheme}://{}", listener.local_addr().unwrap());
    let state = Arc::clone(state);
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let (state, large, tls) = (Arc::clone(&state), large.clone(), tls.clone());
            std::thread::spawn(move || {
                let mut wire: Box<dyn Wire> = match tls {
                    None => Box::new(stream),
                    Some(config) => {
                        let connection = ServerConnection::new(config).unwrap();
                        Box::new(StreamOwned::new(connection, stream))
                    }
                };
                let Some(question) = Question::read(&mut wire) else {
                    return;
                };
                let answer = answer(&mut state.lock().unwrap(), &question, host, large);
                let _ = answer.send(&mut wire, &question, &state);
            });
        }
    });
    address
}

fn answer(state: &mut State, question: &Question, host: &str, large: Option<String>) -> Answer {
    let range = question.range;
    let range = range.map_or("-".to_string(), |from| from.to_string());
    let token = question.token.clone().unwrap_or_else(|| "-".to_string());
    let (method, path) = (&question.method, &question.path);
    state
        .seen
        .push(format!("{host} {method} {path} {range} {token}"));
    match (large, state.off) {
        (_, true) => Answer::new("503 Service Unavailable", "", b""),
        (Some(large), _) => of_hub(question, state, &large),
        (None, _) => of_large(question, state),
    }
}

fn of_hub(question: &Question, state: &State, large: &str) -> Answer {
    if state.token.is_some() && state.token != question.token {
        return Answer::new("401 Unauthorized", "", b"");
    }
    let not_found = |code: &str| {
        let header = format!("X-Error-Code: {code}\r\n");
        Answer::new("404 Not Found", &header, b"")
    };
    let path = question.path.as_str();
    let repo = |name: &str| state.repos.get(name);
    if let Some((name, revision)) = path
        .strip_prefix("/api/")
        .and_then(|path| path.split_once("/revision/"))
    {
        return match repo(name) {
            None => not_found("RepoNotFound"),
            Some(_) if !["main", "v1", COMMIT].contains(&revision) => not_found("RevisionNotFound"),
            Some(files) => {
                let siblings: Vec<_> = files
                    .keys()
                    .map(|file| serde_json::json!({"rfilename": file}))
                    .collect();
                let text = serde_json::json!({"sha": COMMIT, "siblings": siblings}).to_string();
                Answer::new("200 OK", "", text.as_bytes())
            }
        };
    }
    let (name, file) = path
        .split_once(&format!("/resolve/{COMMIT}/"))
        .unwrap_or((path, ""));
    let name = match name.starts_with("/datasets/") {
        true => name[1..].to_string(),
        false => format!("models{name}"),
    };
    match repo(&name).and_then(|files| files.get(file)) {
        None => not_found("EntryNotFound"),
        Some(bytes) if is_large(file) => {
            let hash = sha256(bytes);
            let headers = format!(
                "Location: {large}/{hash}\r\nX-Linked-Etag: \"{hash}\"\r\nX-Linked-Size: {}\r\nX-Repo-Commit: {COMMIT}\r\n",
                bytes.len()
            );
            Answer::new("302 Found", &headers, b"")
        }
        Some(bytes) => {
            let headers = format!(
                "ETag: \"{}\"\r\nX-Repo-Commit: {COMMIT}\r\n",
                git_hash(bytes)
            );
            Answer::new("200 OK", &headers, bytes)
        }
    }
}

fn of_large(question: &Question, state: &State) -> Answer {
    let mut files = state.repos.values().flat_map(BTreeMap::values);
    let Some(bytes) = files.find(|bytes| question.path[1..] == sha256(bytes)) else {
        return Answer::new("404 Not Found", "", b"");
    };
    let mut bytes = bytes.clone();
    if state.damaged {
        bytes.reverse();
    }
    Answer {
        cut: state.cut,
        stall: state.stall,
        ..Answer::new("200 OK", "", &bytes)
    }
}

impl Hub {
    pub fn new() -> Self {
        Self::serving(None)
    }

    /// One that speaks TLS, with the certificate in `folder` (tests/reference/tls.py).
    pub fn secure(folder: &std::path::Path) -> Self {
        let certificate = CertificateDer::from_pem_file(folder.join("server.pem")).unwrap();
        let key = PrivateKeyDer::from_pem_file(folder.join("server.key")).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key);
        Self::serving(Some(Arc::new(config.unwrap())))
    }

    fn serving(tls: Option<Arc<ServerConfig>>) -> Self {
        let state = Arc::default();
        let large = serve(&state, "large", None, tls.clone());
        let endpoint = serve(&state, "hub", Some(large), tls);
        Self { state, endpoint }
    }

    /// Puts a file into a repository.
    pub fn add(&self, repo: &str, file: &str, bytes: Vec<u8>) {
        let mut state = self.state.lock().unwrap();
        state
            .repos
            .entry(repo.to_string())
            .or_default()
            .insert(file.to_string(), bytes);
    }

    pub fn set(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state.lock().unwrap());
    }

    /// What it was asked since it was asked for this.
    pub fn seen(&self) -> Vec<String> {
        std::mem::take(&mut self.state.lock().unwrap().seen)
    }
}
