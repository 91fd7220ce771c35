//! The runs of a store as one statement sees them. A statement names several tables of a run, and each would else be
//! looked up anew: a run replaced in between would be answered half old and half new.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use datafusion::error::Result;

use super::kept::{KeptName, KeptTable};
use super::{Run, Store};

#[derive(Debug, Default)]
struct Seen {
    names: Option<Vec<String>>,
    runs: HashMap<String, Arc<Run>>,
    kept: HashMap<KeptName, Arc<KeptTable>>,
}

/// The runs and the lasting tables of a store: as they are at every call, or as they were when first asked for.
#[derive(Debug)]
pub struct Snapshot {
    store: Arc<Store>,
    seen: Option<Mutex<Seen>>,
}

impl Snapshot {
    /// What is on disk at every call.
    pub fn live(store: Arc<Store>) -> Self {
        Self { store, seen: None }
    }

    /// One state of every run, that of `runs` for those.
    pub fn of_statement(store: Arc<Store>, runs: Vec<Arc<Run>>) -> Self {
        let runs = runs.into_iter().map(|run| (run.name().to_string(), run));
        let seen = Seen {
            names: None,
            runs: runs.collect(),
            kept: HashMap::new(),
        };
        Self {
            store,
            seen: Some(Mutex::new(seen)),
        }
    }

    /// The store they are of.
    pub fn store(&self) -> &Arc<Store> {
        &self.store
    }

    /// Names of the runs, sorted.
    pub fn names(&self) -> Result<Vec<String>> {
        let Some(seen) = &self.seen else {
            return self.store.runs();
        };
        if let Some(names) = &lock(seen).names {
            return Ok(names.clone());
        }
        let names = self.store.runs()?;
        Ok(lock(seen).names.get_or_insert(names).clone())
    }

    /// Whether there is such a run, readable or not.
    pub fn has(&self, name: &str) -> bool {
        let seen = self.seen.as_ref().map(lock);
        seen.is_some_and(|seen| seen.runs.contains_key(name)) || self.store.has(name)
    }

    /// The run of this name.
    ///
    /// Errors: there is none, or it is damaged.
    pub fn run(&self, name: &str) -> Result<Arc<Run>> {
        let Some(seen) = &self.seen else {
            return self.store.run(name);
        };
        if let Some(run) = lock(seen).runs.get(name) {
            return Ok(Arc::clone(run));
        }
        let run = self.store.run(name)?;
        let mut seen = lock(seen);
        Ok(Arc::clone(seen.runs.entry(name.to_string()).or_insert(run)))
    }

    /// The lasting table of this name; none if there is no such table.
    ///
    /// Errors: it is damaged.
    pub fn kept(&self, name: &KeptName) -> Result<Option<Arc<KeptTable>>> {
        let Some(seen) = &self.seen else {
            return self.store.kept(name);
        };
        if let Some(table) = lock(seen).kept.get(name) {
            return Ok(Some(Arc::clone(table)));
        }
        let Some(table) = self.store.kept(name)? else {
            return Ok(None);
        };
        let mut seen = lock(seen);
        let table = seen.kept.entry(name.clone()).or_insert(table);
        Ok(Some(Arc::clone(table)))
    }
}

fn lock(seen: &Mutex<Seen>) -> MutexGuard<'_, Seen> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}
