//! A small store with a run, an autoencoder, a classifier and a table, made anew by each process.

use std::path::Path;
use std::sync::Arc;

use futures::TryStreamExt;
use polysema::policy::Policy;
use polysema::session::{Engine, EngineOptions, Session};

use crate::{RUNTIME, test_data};

/// Memory of an engine.
const MEMORY: usize = 256 << 20;

/// What the store of a folder is opened with.
pub fn options(store: &Path) -> EngineOptions {
    EngineOptions {
        store: store.to_path_buf(),
        memory_limit: Some(MEMORY),
        loaded_limit: None,
    }
}

/// The store of a folder.
pub fn open(store: &Path) -> Result<Arc<Engine>, String> {
    Engine::open(&options(store)).map_err(|e| e.to_string())
}

/// Asks in a new session and reads all rows.
///
/// Panics: a thread of the engine did, of which the error tells.
pub fn ask(engine: &Arc<Engine>, policy: Policy, sql: &str) -> Result<usize, String> {
    let session = engine.session(policy).map_err(|e| e.to_string())?;
    ask_in(&session, sql)
}

/// The same in a session.
pub fn ask_in(session: &Session, sql: &str) -> Result<usize, String> {
    fn told(error: impl ToString) -> String {
        let error = error.to_string();
        assert!(!error.contains("panicked"), "{error}");
        error
    }
    RUNTIME.block_on(async {
        let rows = session.query(sql).await.map_err(told)?;
        let batches: Vec<_> = rows.try_collect().await.map_err(told)?;
        Ok(batches.iter().map(|batch| batch.num_rows()).sum())
    })
}

/// Fills a folder with a store.
pub fn fill(store: &Path) {
    let engine = open(store).expect("an empty folder");
    let (arrays, images) = (test_data("import"), test_data("mnist-tiny"));
    for sql in [
        format!(
            "CALL import_run('demo', '{}', {{activation_function: 'relu'}})",
            arrays.display()
        ),
        "CALL train_sae('s', (SELECT pre_mlp FROM demo.examples WHERE layer = 0), {d_sae: 8, epochs: 1, batch_size: 4})"
            .to_string(),
        format!(
            "CALL train_mlp('digits', '{}', {{hidden: [4], epochs: 1, batch_size: 8}})",
            images.display()
        ),
        "CREATE TABLE notes.t AS SELECT v AS n, 'label ' || v AS label FROM generate_series(1, 500) t(v)".to_string(),
        "SELECT * FROM demo.similar_features(0, 0, 0)".to_string(),
    ] {
        ask(&engine, Policy::everything(), &sql).unwrap_or_else(|e| panic!("{sql}: {e}"));
    }
}
