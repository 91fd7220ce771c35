//! What a session may do. Whoever opens a session says so, once; no statement changes it.

use std::sync::Arc;

use datafusion::catalog::Session;
use datafusion::common::plan_err;
use datafusion::error::Result;

use crate::settings;
use crate::text::{name_alone, without_folders};

/// What a statement does beside reading the store and the session's tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Reads files that lie outside the store.
    ReadFiles,
    /// Writes files outside the store.
    WriteFiles,
    /// Fetches what `hf:` names and the hub's cache does not have.
    Download,
    /// Changes the store; tables that last need it and [`Access::CreateTables`].
    RunJobs,
    /// Makes, changes or drops tables of the session.
    CreateTables,
}

impl Access {
    /// What a session does that has it.
    fn words(self) -> &'static str {
        match self {
            Access::ReadFiles => "read files",
            Access::WriteFiles => "write files",
            Access::Download => "download files",
            Access::RunJobs => "run jobs",
            Access::CreateTables => "create tables",
        }
    }
}

/// What a session may do beside reading the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// Read files outside the store: corpora, models, external tables.
    pub read_files: bool,
    /// Write files outside the store: COPY, exports.
    pub write_files: bool,
    /// Fetch the models, corpora and autoencoders that `hf:` names into the hub's cache; without it, what is there is
    /// read, with `read_files`.
    pub download: bool,
    /// Change the store: ingest, train, import, drop, and keep what follows from a run beside it; with `create_tables`
    /// make, change and drop tables that last.
    pub run_jobs: bool,
    /// Make, change and drop tables and views of its own.
    pub create_tables: bool,
    /// Beginnings of the names of the settings it may change; the empty one allows all.
    pub settings: Vec<String>,
}

impl Policy {
    /// All of it, for who owns the machine: the shell, a test, a program that embeds the engine.
    pub fn everything() -> Self {
        Self {
            read_files: true,
            write_files: true,
            download: true,
            run_jobs: true,
            create_tables: true,
            settings: vec![String::new()],
        }
    }

    /// None of it: questions to the store only.
    pub fn nothing() -> Self {
        Self {
            read_files: false,
            write_files: false,
            download: false,
            run_jobs: false,
            create_tables: false,
            settings: vec![],
        }
    }

    /// The policy of a session; one that no engine opened has everything.
    pub fn of(state: &dyn Session) -> Arc<Self> {
        let given = state.config().get_extension::<Policy>();
        given.unwrap_or_else(|| Arc::new(Self::everything()))
    }

    /// Whether a session may do this.
    pub fn allows(&self, access: Access) -> bool {
        match access {
            Access::ReadFiles => self.read_files,
            Access::WriteFiles => self.write_files,
            Access::Download => self.download,
            Access::RunJobs => self.run_jobs,
            Access::CreateTables => self.create_tables,
        }
    }

    /// A text in which there may be paths: who may not read files is told the names of files, not where they lie.
    pub fn shown(&self, text: String) -> String {
        match self.allows(Access::ReadFiles) {
            true => text,
            false => without_folders(&text),
        }
    }

    /// As [`Policy::shown`], of a path.
    pub fn shown_path(&self, path: &str) -> String {
        match self.allows(Access::ReadFiles) {
            true => path.to_string(),
            false => name_alone(path).to_string(),
        }
    }

    /// Refuses what a session may not do; `asked` is the function or the statement that would do it.
    pub fn require(&self, asked: &str, access: Access) -> Result<()> {
        match self.allows(access) {
            true => Ok(()),
            false => plan_err!(
                "{asked}: a session that may {0} is required, got one that may not: whoever opened it allows it to \
                 {0} or not",
                access.words()
            ),
        }
    }

    /// Refuses a program of the system, which does what it likes, unless a session may do all of it.
    pub fn require_everything(&self, asked: &str) -> Result<()> {
        let all = [
            Access::ReadFiles,
            Access::WriteFiles,
            Access::Download,
            Access::RunJobs,
            Access::CreateTables,
        ];
        all.into_iter()
            .try_for_each(|access| self.require(asked, access))
    }

    /// Refuses a setting that a session may not change.
    pub fn require_setting(&self, name: &str) -> Result<()> {
        match self
            .settings
            .iter()
            .any(|allowed| name.starts_with(allowed))
        {
            true => Ok(()),
            false => plan_err!(
                "SET: a setting that this session may change is required ({}), got '{name}'",
                match self.settings.as_slice() {
                    [] => "it may change none".to_string(),
                    allowed => format!("those that begin with {}", allowed.join(", ")),
                }
            ),
        }
    }
}

/// Refuses work that the session's policy forbids, or that its user has forbidden itself with `polysema.allow_jobs`.
pub fn require(state: &dyn Session, function: &str, needs: &[Access]) -> Result<()> {
    let policy = Policy::of(state);
    for access in needs {
        policy.require(function, *access)?;
    }
    if needs.contains(&Access::RunJobs) && !settings::allow_jobs(state.config_options())? {
        return plan_err!("{function}: polysema.allow_jobs must be true, got false");
    }
    Ok(())
}
