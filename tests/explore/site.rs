//! An explorer of a store of the demo's model, and what reads its pages.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use futures::TryStreamExt;
use polysema::explore::{ExploreOptions, Exploring};
use polysema::policy::Policy;
use polysema::session::{Engine, EngineOptions};
use tokio::runtime::Runtime;
use tokio::sync::oneshot;

/// The threads of the explorers.
pub static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| polysema::shell::threads(None).unwrap());

/// A store with the run `demo`, made once.
pub static STORE: LazyLock<(tempfile::TempDir, PathBuf)> = LazyLock::new(|| {
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path().join("s");
    let ingest = "CALL ingest('demo', 'tests/data/demo/model', 'tests/data/demo/corpus.jsonl', {max_documents: 64})";
    run(&store, ingest);
    (folder, store)
});

/// A store with the run `demo`, which has two autoencoders, and the run `half` of fewer documents, made once.
pub static PAIR: LazyLock<(tempfile::TempDir, PathBuf)> = LazyLock::new(|| {
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path().join("s");
    for (name, n) in [("demo", 64), ("half", 32)] {
        run(
            &store,
            &format!(
                "CALL ingest('{name}', 'tests/data/demo/model', 'tests/data/demo/corpus.jsonl', {{max_documents: {n}}})"
            ),
        );
    }
    for (name, loss) in [("first", "0"), ("second", "0.01")] {
        run(
            &store,
            &format!(
                "CALL train_sae('{name}', 2, {{d_sae: 48, epochs: 2, warmup: 10, ne_loss: {loss}}})"
            ),
        );
    }
    (folder, store)
});

pub fn engine_of(store: &Path) -> EngineOptions {
    EngineOptions {
        store: store.to_path_buf(),
        memory_limit: Some(1 << 30),
        loaded_limit: None,
    }
}

/// Runs statements as the store's owner; the rows of the last as JSON.
pub fn run(store: &Path, statement: &str) -> Vec<serde_json::Value> {
    let batches = RUNTIME.block_on(async {
        let engine = Engine::open(&engine_of(store)).unwrap();
        let owner = engine.session(Policy::everything()).unwrap();
        if engine.store().has("demo") {
            owner.select_run("demo").await.unwrap();
        }
        let rows = owner.query(statement).await.unwrap();
        rows.try_collect::<Vec<_>>().await.unwrap()
    });
    let mut writer =
        datafusion::arrow::json::writer::WriterBuilder::new().with_explicit_nulls(true);
    let mut writer: datafusion::arrow::json::Writer<_, datafusion::arrow::json::writer::JsonArray> =
        std::mem::take(&mut writer).build(vec![]);
    for batch in &batches {
        writer.write(batch).unwrap();
    }
    writer.finish().unwrap();
    let bytes = writer.into_inner();
    match bytes.is_empty() {
        true => vec![],
        false => serde_json::from_slice(&bytes).unwrap(),
    }
}

/// An answer.
#[derive(Debug)]
pub struct Got {
    pub status: u16,
    pub heads: HashMap<String, String>,
    pub body: Vec<u8>,
}

impl Got {
    pub fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

/// An explorer that listens until this is dropped.
pub struct Site {
    pub address: SocketAddr,
    end: Option<oneshot::Sender<()>>,
}

impl Site {
    /// One of a store.
    pub fn of(store: &Path) -> Self {
        Self::opened(store, false)
    }

    /// One of a store whose readers may write labels, or may not.
    pub fn opened(store: &Path, write_labels: bool) -> Self {
        let options = ExploreOptions {
            engine: engine_of(store),
            listen: [127, 0, 0, 1].into(),
            port: 0,
            proxy: None,
            run: None,
            write_labels,
        };
        let exploring = RUNTIME.block_on(Exploring::open(options)).unwrap();
        let address = exploring.address();
        let (end, asked) = oneshot::channel::<()>();
        RUNTIME.spawn(exploring.serve(async {
            let _ = asked.await;
        }));
        Self {
            address,
            end: Some(end),
        }
    }

    /// The answer to GET as a reader's browser sends it.
    pub fn get(&self, path: &str) -> Got {
        self.get_with(path, "")
    }

    /// With heads more, each ended by a line's end.
    pub fn get_with(&self, path: &str, heads: &str) -> Got {
        let host = format!("localhost:{}", self.address.port());
        self.send(&format!(
            "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{heads}\r\n"
        ))
    }

    /// The answer to a form that one of its own pages sends.
    pub fn post(&self, path: &str, fields: &str) -> Got {
        let origin = format!("Origin: http://localhost:{}\r\n", self.address.port());
        self.post_with(path, fields, &origin)
    }

    /// With these heads in place of the page's.
    pub fn post_with(&self, path: &str, fields: &str, heads: &str) -> Got {
        let host = format!("localhost:{}", self.address.port());
        self.send(&format!(
            "POST {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\
             Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n{heads}\r\n{fields}",
            fields.len()
        ))
    }

    /// The answer to these bytes.
    pub fn send(&self, request: &str) -> Got {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = vec![];
        stream.read_to_end(&mut answer).unwrap();
        let end = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n");
        let end = end.unwrap_or_else(|| panic!("{}", String::from_utf8_lossy(&answer)));
        let head = String::from_utf8(answer[..end].to_vec()).unwrap();
        let mut lines = head.split("\r\n");
        let status = lines.next().unwrap().split(' ').nth(1).unwrap();
        let heads = lines.map(|line| {
            let (name, value) = line.split_once(": ").unwrap();
            (name.to_lowercase(), value.to_string())
        });
        Got {
            status: status.parse().unwrap(),
            heads: heads.collect(),
            body: answer[end + 4..].to_vec(),
        }
    }

    /// The page, once nothing of it is computed any more; until then its data say that they are not there.
    pub fn whole(&self, path: &str) -> String {
        for _ in 0..200 {
            let got = self.get(path);
            assert_eq!(got.status, 200, "{path}: {}", got.text());
            let text = got.text();
            if !text.contains("http-equiv=\"refresh\"") {
                return text;
            }
            std::thread::sleep(std::time::Duration::from_millis(100));
        }
        panic!("{path} is never finished");
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        if let Some(end) = self.end.take() {
            let _ = end.send(());
        }
    }
}
