//! The run that a session's unqualified names mean: the one of `polysema.run`, else the only run of the store. That one
//! is settled by the first statement, so that a run which someone else makes meanwhile changes nothing; after work of
//! its own that changes the store the session looks again.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use datafusion::error::Result;
use datafusion::prelude::SessionContext;
use polysema_udfs::calls::settings::PolysemaOptions;

use crate::settings;
use crate::store::{PUBLIC, Selected, Store};

/// What gives a session's setting `polysema.run` now.
type Asked = dyn Fn() -> String + Send + Sync;

/// What is selected in a session.
pub(super) struct SelectedRun {
    store: Arc<Store>,
    asked: Mutex<Option<Box<Asked>>>,
    only: Mutex<Option<String>>,
}

impl std::fmt::Debug for SelectedRun {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("SelectedRun").field(&self.only).finish()
    }
}

impl SelectedRun {
    /// Of a session without settings yet.
    pub(super) fn new(store: Arc<Store>) -> Self {
        Self {
            store,
            asked: Mutex::default(),
            only: Mutex::default(),
        }
    }

    /// From now on by the settings of this context.
    pub(super) fn follow(&self, context: &SessionContext) {
        // The context owns the catalog, which owns this.
        let state = Weak::clone(&context.state_weak_ref());
        let asked = move || match state.upgrade() {
            // The catalog may be asked while the state is being read, where another reader must not wait for a writer.
            Some(state) => PolysemaOptions::of(state.read_recursive().config_options())
                .map(|settings| settings::run(&settings).to_string())
                .unwrap_or_default(),
            None => String::new(),
        };
        *self.asked.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(asked));
    }

    /// Looks again which run is the only one, when the next statement comes.
    pub(super) fn look_again(&self) {
        *self.only.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// The schema that unqualified names mean: the run selected, or `public`.
    pub(super) fn schema(&self) -> Result<String> {
        let asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        let asked = asked.as_ref().map_or(String::new(), |asked| asked());
        let mut only = self.only.lock().unwrap_or_else(PoisonError::into_inner);
        if !asked.is_empty() {
            // Once it is empty again, the only run is the only one of then.
            *only = None;
            return Ok(asked);
        }
        if let Some(run) = only.as_ref().filter(|run| self.store.has(run)) {
            return Ok(run.clone());
        }
        *only = match self.store.runs()?.as_slice() {
            [run] => Some(run.clone()),
            _ => None,
        };
        Ok(only.clone().unwrap_or_else(|| PUBLIC.to_string()))
    }
}

impl Selected for SelectedRun {
    fn run(&self) -> Option<String> {
        self.schema().ok().filter(|schema| schema != PUBLIC)
    }
}
