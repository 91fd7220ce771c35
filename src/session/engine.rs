//! What all sessions of a program share: the store, one memory pool, what was loaded from files, the functions.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use datafusion::arrow::array::{ArrayRef, RecordBatch, StringArray};
use datafusion::catalog::MemTable;
use datafusion::error::Result;
use datafusion::execution::memory_pool::{
    GreedyMemoryPool, MemoryPool, TrackConsumersPool, UnboundedMemoryPool,
};
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use polysema_udfs::calls::Function;

use super::memory::SharedPool;
use crate::files::loaded::{DEFAULT_BOUND, Loaded};
use crate::functions;
use crate::jobs::Jobs;
use crate::store::Store;

/// Consumers that a refusal for want of memory names.
const NAMED_CONSUMERS: std::num::NonZeroUsize = std::num::NonZeroUsize::MIN.saturating_add(4);

/// What an engine is opened with.
#[derive(Debug, Clone)]
pub struct EngineOptions {
    /// Folder of the store, or the http(s) address of one to read.
    pub store: PathBuf,
    /// Most bytes that the operators of all sessions and what was loaded from files may hold together; unlimited when
    /// absent.
    pub memory_limit: Option<usize>,
    /// Most bytes of models and autoencoders that stay in memory while nobody uses them; when absent 1 GiB, or a
    /// quarter of the memory limit if that is less.
    pub loaded_limit: Option<usize>,
}

/// A function as `SHOW FUNCTIONS`, `\df` and completion show it.
#[derive(Debug, Clone)]
pub struct FunctionEntry {
    /// SQL name.
    pub name: String,
    /// Chapter of the catalogue.
    pub chapter: String,
    /// `scalar`, `aggregate` or `table`.
    pub kind: &'static str,
    /// Call syntax.
    pub signature: String,
    /// One line.
    pub summary: String,
    /// The whole documentation.
    pub documentation: String,
    /// Names of its options.
    pub options: Vec<&'static str>,
}

impl From<&Function> for FunctionEntry {
    fn from(function: &Function) -> Self {
        let doc = function.doc;
        Self {
            name: doc.name.to_string(),
            chapter: doc.chapter.to_string(),
            kind: function.kind(),
            signature: doc.signature(),
            summary: doc.summary.to_string(),
            documentation: doc.text(),
            options: doc.options.iter().map(|option| option.name).collect(),
        }
    }
}

/// One open store and what its sessions share.
pub struct Engine {
    store: Arc<Store>,
    runtime: RuntimeEnv,
    functions: Vec<Function>,
    function_table: Arc<MemTable>,
    jobs: Arc<Jobs>,
    /// Gives parts of its sessions' plans to others, and into how many partitions plans are made for that.
    last_rule: OnceLock<LastRule>,
}

/// A rule that comes after all others, and the partitions that it needs.
type LastRule = (Arc<dyn PhysicalOptimizerRule + Send + Sync>, usize);

impl Engine {
    /// Opens the store.
    ///
    /// Errors: it was written by an incompatible version.
    pub fn open(options: &EngineOptions) -> Result<Arc<Self>> {
        let inner: Arc<dyn MemoryPool> = match options.memory_limit {
            Some(bytes) => Arc::new(TrackConsumersPool::new(
                GreedyMemoryPool::new(bytes),
                NAMED_CONSUMERS,
            )),
            None => Arc::new(UnboundedMemoryPool::default()),
        };
        let quarter = options.memory_limit.map_or(usize::MAX, |bytes| bytes / 4);
        let bound = options.loaded_limit.unwrap_or(DEFAULT_BOUND.min(quarter));
        let loaded = Arc::new(Loaded::new(bound, Arc::clone(&inner)));
        let pool = SharedPool::new(inner, Arc::clone(&loaded));
        let runtime = RuntimeEnvBuilder::new()
            .with_memory_pool(Arc::new(pool))
            // A listing that is kept is kept for ever: a folder's new files would never be seen.
            .with_object_list_cache_limit(0)
            .build()?;
        let store = Arc::new(Store::open(&options.store)?.with_loaded(loaded));
        let jobs = Arc::new(Jobs::new(store.root()));
        let mut functions = polysema_udfs::catalog::functions();
        functions.extend(functions::functions(&store));
        let function_table = Arc::new(function_table(&functions)?);
        Ok(Arc::new(Self {
            store,
            runtime,
            functions,
            function_table,
            jobs,
            last_rule: OnceLock::new(),
        }))
    }

    /// The store.
    pub fn store(&self) -> &Arc<Store> {
        &self.store
    }

    /// The jobs of the store, those of other processes too.
    pub fn jobs(&self) -> &Arc<Jobs> {
        &self.jobs
    }

    /// Every function of the catalogue in reading order.
    pub fn functions(&self) -> Vec<FunctionEntry> {
        self.functions.iter().map(FunctionEntry::from).collect()
    }

    /// Bytes that the operators of all sessions and what was loaded have reserved.
    pub fn reserved(&self) -> usize {
        self.runtime.memory_pool.reserved()
    }

    /// Sets the last rule of the sessions that are opened from now on; false where there is one.
    #[cfg(feature = "distributed")]
    pub(super) fn set_last_rule(&self, rule: LastRule) -> bool {
        self.last_rule.set(rule).is_ok()
    }

    /// The partitions that the last rule needs.
    #[cfg(feature = "distributed")]
    pub(super) fn partitions(&self) -> Option<usize> {
        self.last_rule.get().map(|(_, partitions)| *partitions)
    }

    pub(super) fn last_rule(&self) -> Option<Arc<dyn PhysicalOptimizerRule + Send + Sync>> {
        self.last_rule.get().map(|(rule, _)| Arc::clone(rule))
    }

    pub(super) fn implementations(&self) -> &[Function] {
        &self.functions
    }

    pub(super) fn runtime(&self) -> &RuntimeEnv {
        &self.runtime
    }

    /// The table `polysema.info.functions`.
    pub(super) fn function_table(&self) -> &Arc<MemTable> {
        &self.function_table
    }
}

fn function_table(functions: &[Function]) -> Result<MemTable> {
    let entries: Vec<FunctionEntry> = functions.iter().map(FunctionEntry::from).collect();
    let column = |value: fn(&FunctionEntry) -> &str| -> ArrayRef {
        Arc::new(StringArray::from_iter_values(entries.iter().map(value)))
    };
    let batch = RecordBatch::try_from_iter([
        ("name", column(|entry| &entry.name)),
        ("chapter", column(|entry| &entry.chapter)),
        ("kind", column(|entry| entry.kind)),
        ("signature", column(|entry| &entry.signature)),
        ("summary", column(|entry| &entry.summary)),
    ])?;
    MemTable::try_new(batch.schema(), vec![vec![batch]])
}
