//! An engine that does ranges of others' questions, and one whose questions others do.

use std::sync::Arc;

use datafusion::common::plan_err;
use datafusion::error::Result;
use datafusion::prelude::SessionConfig;

use super::engine::Engine;
use crate::policy::Policy;
use crate::workers::{PlanCodec, Scatter, Template, Workers};

impl Engine {
    /// What a worker of its store begins its sessions with: they may do nothing but ask.
    pub fn worker(self: &Arc<Self>) -> Result<Template> {
        let session = self.session(Policy::nothing())?;
        Ok(Template {
            state: session.context().state(),
            codec: PlanCodec::new(Arc::clone(self.store()), self.implementations()),
        })
    }

    /// Gives ranges of neurons of the questions of all sessions that are opened from now on to these workers.
    ///
    /// Errors: there are workers already.
    pub fn ask(self: &Arc<Self>, workers: Workers) -> Result<()> {
        let Template { state, codec } = self.worker()?;
        let partitions = Scatter::partitions(&workers);
        let rule = Scatter::new(Arc::new(workers), codec, &state.task_ctx());
        match self.set_last_rule((Arc::new(rule), partitions)) {
            true => Ok(()),
            false => plan_err!("workers are required once, got them twice"),
        }
    }

    /// A session's configuration, whose plans have as many ranges as workers are given.
    pub(super) fn in_ranges(&self, config: SessionConfig) -> SessionConfig {
        match self.partitions() {
            Some(partitions) => config.with_target_partitions(partitions),
            None => config,
        }
    }
}
