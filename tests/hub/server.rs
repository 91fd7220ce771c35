//! A hub on this machine: what a commit has, its files, and another host that large files are redirected to.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, SHA256, digest};

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

struct Question {
    method: String,
    path: String,
    range: Option<usize>,
    token: Option<String>,
}

impl Question {
    fn read(stream: &TcpStream) -> Option<Self> {
        let mut lines = BufReader::new(stream).lines();
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

fn answer(
    mut stream: &TcpStream,
    question: &Question,
    status: &str,
    headers: &str,
    body: &[u8],
    cut: Option<usize>,
) {
    let start = question.range.unwrap_or(0).min(body.len());
    let (status, range) = match question.range {
        Some(_) if status.starts_with("200") => {
            let range = format!(
                "Content-Range: bytes {start}-{}/{}\r\n",
                body.len() - 1,
                body.len()
            );
            ("206 Partial Content", range)
        }
        _ => (status, String::new()),
    };
    let body = &body[start..];
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n{range}{headers}\r\n",
        body.len()
    );
    let sent = match question.method.as_str() {
        "HEAD" => &body[..0],
        _ => &body[..cut.unwrap_or(body.len()).min(body.len())],
    };
    // The one who asked may be gone.
    let _ = stream
        .write_all(head.as_bytes())
        .and_then(|()| stream.write_all(sent));
}

/// Serves one host: the hub, or the one with the large files.
fn serve(state: &Arc<Mutex<State>>, host: &'static str, large: Option<String>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let state = Arc::clone(state);
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let Some(question) = Question::read(&stream) else {
                continue;
            };
            let mut state = state.lock().unwrap();
            let range = question
                .range
                .map_or("-".to_string(), |from| from.to_string());
            let token = question.token.clone().unwrap_or_else(|| "-".to_string());
            let line = format!(
                "{host} {} {} {range} {token}",
                question.method, question.path
            );
            state.seen.push(line);
            match (&large, state.off) {
                (_, true) => answer(&stream, &question, "503 Service Unavailable", "", b"", None),
                (Some(large), _) => of_hub(&stream, &question, &state, large),
                (None, _) => of_large(&stream, &question, &state),
            }
        }
    });
    address
}

fn of_hub(stream: &TcpStream, question: &Question, state: &State, large: &str) {
    let say = |status: &str, headers: &str, body: &[u8]| {
        answer(stream, question, status, headers, body, None)
    };
    if state.token.is_some() && state.token != question.token {
        return say("401 Unauthorized", "", b"");
    }
    let path = question.path.as_str();
    let repo = |name: &str| state.repos.get(name);
    if let Some((name, revision)) = path
        .strip_prefix("/api/")
        .and_then(|path| path.split_once("/revision/"))
    {
        return match repo(name) {
            None => say("404 Not Found", "X-Error-Code: RepoNotFound\r\n", b""),
            Some(_) if !["main", "v1", COMMIT].contains(&revision) => {
                say("404 Not Found", "X-Error-Code: RevisionNotFound\r\n", b"")
            }
            Some(files) => {
                let siblings: Vec<_> = files
                    .keys()
                    .map(|file| serde_json::json!({"rfilename": file}))
                    .collect();
                let text = serde_json::json!({"sha": COMMIT, "siblings": siblings}).to_string();
                say("200 OK", "", text.as_bytes())
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
        None => say("404 Not Found", "X-Error-Code: EntryNotFound\r\n", b""),
        Some(bytes) if is_large(file) => {
            let hash = sha256(bytes);
            let headers = format!(
                "Location: {large}/{hash}\r\nX-Linked-Etag: \"{hash}\"\r\nX-Linked-Size: {}\r\nX-Repo-Commit: {COMMIT}\r\n",
                bytes.len()
            );
            say("302 Found", &headers, b"")
        }
        Some(bytes) => {
            let headers = format!(
                "ETag: \"{}\"\r\nX-Repo-Commit: {COMMIT}\r\n",
                git_hash(bytes)
            );
            say("200 OK", &headers, bytes)
        }
    }
}

fn of_large(stream: &TcpStream, question: &Question, state: &State) {
    let mut files = state.repos.values().flat_map(BTreeMap::values);
    let Some(bytes) = files.find(|bytes| question.path[1..] == sha256(bytes)) else {
        return answer(stream, question, "404 Not Found", "", b"", None);
    };
    let mut bytes = bytes.clone();
    if state.damaged {
        bytes.reverse();
    }
    answer(stream, question, "200 OK", "", &bytes, state.cut);
}

impl Hub {
    pub fn new() -> Self {
        let state = Arc::default();
        let large = serve(&state, "large", None);
        let endpoint = serve(&state, "hub", Some(large));
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
