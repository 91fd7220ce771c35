//! polysema: SQL for polysemantic neurons. The engine over `polysema-udfs`:
//!
//! ```text
//! files | text < hub | settings < policy | options < store | models | jobs < corpus < classifiers | runs < saes < functions < workers < session < web < serve | explore < shell      imports go down only
//! ```
//!
//! An [`Engine`](session::Engine) is an open store; its sessions share the memory limit and what was read, and each has
//! its own settings, run and tables. What a session may do is said once, by who opens it:
//!
//! ```
//! use datafusion::common::ScalarValue;
//! use futures::TryStreamExt;
//! use polysema::policy::Policy;
//! use polysema::session::{Engine, EngineOptions};
//!
//! # #[tokio::main]
//! # async fn main() -> datafusion::error::Result<()> {
//! # let folder = tempfile::tempdir()?;
//! let engine = Engine::open(&EngineOptions {
//!     store: folder.path().join("polysema.store"),
//!     memory_limit: Some(1 << 30),
//!     loaded_limit: None,
//! })?;
//! let owner = engine.session(Policy::everything())?;
//! let ingest = "CALL ingest('mine', 'tests/data/demo/model', 'tests/data/demo/corpus.jsonl', {max_documents: 32})";
//! let progress: Vec<_> = owner.query(ingest).await?.try_collect().await?;
//! assert!(!progress.is_empty());
//!
//! // A guest asks questions of the store and does nothing else.
//! let guest = engine.session(Policy::nothing())?;
//! let plan = guest.plan("SELECT * FROM feature_clusters(3, $1)").await?;
//! let neuron = vec![ScalarValue::Int64(Some(417))];
//! let clusters: Vec<_> = guest.execute(plan, neuron).await?.try_collect().await?;
//! assert!(clusters.iter().any(|batch| batch.num_rows() > 0));
//! assert!(guest.query(ingest).await.is_err());
//! # Ok(())
//! # }
//! ```

// A panic must not reach a user, and only front ends print.
#![warn(clippy::print_stderr, clippy::print_stdout, clippy::unwrap_used)]

pub mod classifiers;
pub mod corpus;
#[cfg(feature = "explore")]
pub mod explore;
pub(crate) mod files;
pub mod functions;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
pub mod hub;
pub mod jobs;
pub mod models;
pub mod options;
pub mod policy;
mod remote;
pub mod runs;
pub mod saes;
#[cfg(feature = "serve")]
pub mod serve;
pub mod session;
pub mod settings;
#[cfg(feature = "shell")]
pub mod shell;
pub mod store;
pub mod text;
#[cfg(any(feature = "explore", feature = "serve"))]
mod web;
#[cfg(feature = "distributed")]
pub mod workers;
