//! Relations that follow from a run alone, made at first use and kept in its generation folder: they go with the run.
//!
//! A file's name is the hash of what it holds, its schema names it in full. One writer at a time, which renames the
//! whole file into place; who cannot write (another writer, a full or read-only disk) computes and keeps nothing.
//! Over 400 lines with its tests, which need its insides.

use std::fmt;
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::{Schema, SchemaRef};
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::metrics::{ExecutionPlanMetricsSet, MetricBuilder, MetricsSet};
use datafusion::physical_plan::stream::{RecordBatchReceiverStream, RecordBatchStreamAdapter};
use datafusion::physical_plan::streaming::{PartitionStream, StreamingTableExec};
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, Distribution, ExecutionPlan, InputDistributionRequirements,
    Partitioning, PlanProperties,
};
use futures::{StreamExt, stream};
use polysema_udfs::arrow::cache::{CacheEntry, RelationCache};
use polysema_udfs::arrow::inputs::only_input;
use polysema_udfs::arrow::layers::{LayerDirectory, LayerEntry};

use crate::policy::{self, Access};

use super::arrow_writer::ArrowWriter;
use super::file::{self, TableFile};
use super::provider::RunTable;
use super::run::{LayerRow, Run};
use super::turns::InTurns;
use crate::files::disk::{self, Held, hold};
use crate::files::file_error;
use crate::files::whole::NewFile;

/// Where a cached file's schema says what the file holds.
const KEY: &str = "polysema.cached";
/// Locked while a relation of the run is written.
const LOCK: &str = "cached.lock";

/// Hash of the sources that compute the relations, made when this was built.
const COMPUTED_BY: &str = env!("POLYSEMA_COMPUTED_BY");

/// What a relation is and what computes it: other sources give other rows.
fn full_key(relation: &str, computed_by: &str) -> String {
    format!("{relation}, computed by {computed_by}")
}

/// The same of what passes of a run's model computed.
const PASSED_BY: &str = env!("POLYSEMA_PASSED_BY");

/// Caches relations beside the runs they were made from.
#[derive(Debug)]
pub struct RunCache;

impl RelationCache for RunCache {
    fn entry(
        &self,
        state: &dyn Session,
        tables: &[&Arc<dyn TableProvider>],
        key: &str,
    ) -> Result<Option<Box<dyn CacheEntry>>> {
        let runs: Option<Vec<_>> = tables
            .iter()
            .map(|table| table.downcast_ref::<RunTable>().map(RunTable::run))
            .collect();
        let Some([run, others @ ..]) = runs.as_deref() else {
            return Ok(None);
        };
        if others.iter().any(|other| !Arc::ptr_eq(run, other)) {
            return Ok(None);
        }
        Ok(Some(Box::new(CachedRelation {
            run: Arc::clone(run),
            key: full_key(key, COMPUTED_BY),
            may_write: policy::require(state, "cached rows", &[Access::RunJobs]).is_ok(),
        })))
    }
}

/// A few rows that passes of a run's model gave, beside the run; by whoever computes them.
#[derive(Debug)]
pub struct PassedRows(CachedRelation);

impl PassedRows {
    /// Those that a call in a session asks for; `relation` says in full what they are.
    pub fn of(run: &Arc<Run>, state: &dyn Session, relation: &str) -> Self {
        Self(CachedRelation {
            run: Arc::clone(run),
            key: full_key(&format!("{relation}, passed by {PASSED_BY}"), COMPUTED_BY),
            may_write: policy::require(state, "cached rows", &[Access::RunJobs]).is_ok(),
        })
    }

    /// The rows, if they are there and whole.
    pub fn read(&self) -> Option<Vec<RecordBatch>> {
        let file = self.0.file()?;
        let columns: Vec<usize> = (0..file.schema().fields().len()).collect();
        let batches = 0..file.rows().len();
        batches
            .map(|batch| file.read(batch, &columns).ok())
            .collect()
    }

    /// Writes the rows down where that is allowed and possible. Who computes them at the same time writes the same.
    pub fn write(&self, rows: &[RecordBatch]) {
        let [first, ..] = rows else {
            return;
        };
        if self.0.may_write {
            // What cannot be kept is computed again.
            let _ = CacheWriter::begin(&self.0, &first.schema(), None).and_then(|writer| {
                let mut rows = rows.iter();
                rows.try_fold(writer, CacheWriter::write)?.finish()
            });
        }
    }
}

/// The layers of runs, which their tables of neurons know without a query.
#[derive(Debug)]
pub struct RunLayers;

impl LayerDirectory for RunLayers {
    fn layers(&self, neurons: &Arc<dyn TableProvider>) -> Result<Option<Vec<LayerEntry>>> {
        let Some(table) = neurons.downcast_ref::<RunTable>() else {
            return Ok(None);
        };
        // TransformerLens has no name for a layer of neurons, but for their activations.
        let activations = |row: &LayerRow| format!("{}.hook_post", row.name);
        let entry = |row: LayerRow| LayerEntry {
            layer: row.layer,
            other_name: row.name.ends_with(".mlp").then(|| activations(&row)),
            name: row.name,
            kind: row.kind,
        };
        Ok(Some(table.run().layers()?.into_iter().map(entry).collect()))
    }
}

/// One relation of one generation of a run.
#[derive(Debug, Clone)]
struct CachedRelation {
    run: Arc<Run>,
    key: String,
    may_write: bool,
}

impl CachedRelation {
    fn path(&self) -> PathBuf {
        let hash = blake3::hash(self.key.as_bytes()).to_hex();
        self.run
            .folder()
            .join(format!("cached-{}.arrow", &hash[..16]))
    }

    /// Its file, if there is one that is not damaged and holds it.
    fn file(&self) -> Option<TableFile> {
        let file = TableFile::open_cached(&self.path()).ok()?;
        let schema = file.schema();
        (schema.metadata().get(KEY) == Some(&self.key)).then_some(file)
    }
}

impl CacheEntry for CachedRelation {
    fn read(
        &self,
        projection: &[usize],
        partitions: usize,
    ) -> Result<Option<Arc<dyn ExecutionPlan>>> {
        // A file that is missing or damaged is made anew.
        let Some(file) = self.file() else {
            return Ok(None);
        };
        let schema = file.schema();
        let n_columns = schema.fields().len();
        if projection.iter().any(|column| *column >= n_columns) {
            return Ok(None);
        }
        // Before its rows are sent: then it would be too late.
        let mut batches = 0..file.rows().len();
        if batches.any(|batch| file.read(batch, projection).is_err()) {
            return Ok(None);
        }
        let fields = Schema::new(schema.fields().clone());
        let schema = Arc::new(fields.project(projection)?);
        let n_batches = file.rows().len();
        let file = Arc::new(file);
        let size = n_batches.div_ceil(partitions.max(1)).max(1);
        let mut parts: Vec<Arc<dyn PartitionStream>> = vec![];
        for start in (0..n_batches.max(1)).step_by(size) {
            parts.push(Arc::new(CachedPart {
                file: Arc::clone(&file),
                batches: start..n_batches.min(start + size),
                projection: projection.to_vec(),
                schema: Arc::clone(&schema),
            }));
        }
        let scan = StreamingTableExec::try_new(schema, parts, None, [], false, None)?;
        Ok(Some(Arc::new(scan)))
    }

    fn write(&self, plan: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
        match self.may_write {
            true => Ok(Arc::new(CacheExec::new(self.clone(), plan))),
            false => Ok(plan),
        }
    }
}

/// Some record batches of a cached file.
#[derive(Debug)]
struct CachedPart {
    file: Arc<TableFile>,
    batches: std::ops::Range<usize>,
    projection: Vec<usize>,
    schema: SchemaRef,
}

impl PartitionStream for CachedPart {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _: Arc<TaskContext>) -> SendableRecordBatchStream {
        let (file, schema) = (Arc::clone(&self.file), Arc::clone(&self.schema));
        let projection = self.projection.clone();
        let batches = self.batches.clone().map(move |batch| {
            let batch = file.read(batch, &projection)?;
            Ok(RecordBatch::try_new(
                Arc::clone(&schema),
                batch.columns().to_vec(),
            )?)
        });
        let schema = Arc::clone(&self.schema);
        let batches = InTurns::new(stream::iter(batches));
        Box::pin(RecordBatchStreamAdapter::new(schema, batches))
    }
}

/// Passes rows on and writes them down on the way.
#[derive(Debug)]
struct CacheExec {
    place: CachedRelation,
    input: Arc<dyn ExecutionPlan>,
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
}

impl CacheExec {
    fn new(place: CachedRelation, input: Arc<dyn ExecutionPlan>) -> Self {
        let properties = Arc::new(PlanProperties::new(
            EquivalenceProperties::new(input.schema()),
            Partitioning::UnknownPartitioning(1),
            EmissionType::Incremental,
            Boundedness::Bounded,
        ));
        Self {
            place,
            input,
            properties,
            metrics: ExecutionPlanMetricsSet::new(),
        }
    }
}

impl DisplayAs for CacheExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter) -> fmt::Result {
        write!(
            f,
            "CacheExec: run={}, {}",
            self.place.run.name(),
            self.place.key
        )
    }
}

impl ExecutionPlan for CacheExec {
    fn name(&self) -> &str {
        "CacheExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn input_distribution_requirements(&self) -> InputDistributionRequirements {
        InputDistributionRequirements::new(vec![Distribution::SinglePartition])
    }

    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let input = only_input(self.name(), children)?;
        Ok(Arc::new(Self::new(self.place.clone(), input)))
    }

    fn execute(&self, _: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let schema = self.input.schema();
        let mut input = self.input.execute(0, context)?;
        let mut builder = RecordBatchReceiverStream::builder(Arc::clone(&schema), 2);
        let size_bytes = MetricBuilder::new(&self.metrics).counter("cached_bytes", 0);
        let (place, tx) = (self.place.clone(), builder.tx());
        builder.spawn(async move {
            let mut writer =
                blocking(move || CacheWriter::start(&place, &schema).ok().flatten()).await?;
            while let Some(batch) = input.next().await {
                let batch = batch?;
                let written = batch.clone();
                writer = match writer {
                    Some(writer) => blocking(move || writer.write(&written).ok()).await?,
                    None => None,
                };
                if tx.send(Ok(batch)).await.is_err() {
                    return Ok(());
                }
            }
            if let Some(writer) = writer {
                let size = blocking(move || writer.finish().ok()).await?;
                size_bytes.add(size.unwrap_or(0));
            }
            Ok(())
        });
        Ok(builder.build())
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|e| DataFusionError::ExecutionJoin(Box::new(e)))
}

/// A file being written; gone when dropped without [`CacheWriter::finish`].
struct CacheWriter {
    path: PathBuf,
    schema: SchemaRef,
    writer: ArrowWriter<NewFile>,
    _lock: Option<Held>,
}

impl CacheWriter {
    /// Nothing if another one is being written.
    fn start(place: &CachedRelation, schema: &Schema) -> Result<Option<Self>> {
        let lock = place.run.folder().join(LOCK);
        disk::open_lock(&lock).map_err(|e| file_error("open", &lock, e))?;
        let Some(held) = hold(&lock, true).map_err(|e| file_error("lock", &lock, e))? else {
            return Ok(None);
        };
        Self::begin(place, schema, Some(held)).map(Some)
    }

    fn begin(place: &CachedRelation, schema: &Schema, lock: Option<Held>) -> Result<Self> {
        let path = place.path();
        let file = NewFile::create(&path)?;
        let metadata = [(KEY.to_string(), place.key.clone())].into();
        let schema = Arc::new(Schema::new_with_metadata(schema.fields().clone(), metadata));
        Ok(Self {
            path,
            writer: ArrowWriter::new(file, &schema)?,
            schema,
            _lock: lock,
        })
    }

    fn write(mut self, batch: &RecordBatch) -> Result<Self> {
        let batch = RecordBatch::try_new(Arc::clone(&self.schema), batch.columns().to_vec())?;
        self.writer.write(&batch)?;
        Ok(self)
    }

    /// Puts the whole file into its place; its size.
    fn finish(self) -> Result<usize> {
        let (mut file, tail) = self.writer.finish()?;
        let written = file.write_all(&file::behind(tail));
        written.map_err(|e| file_error("write", &self.path, e))?;
        Ok(file.commit()? as usize)
    }
}

#[cfg(test)]
#[allow(dead_code, reason = "its main is for the build")]
#[path = "../../build.rs"]
mod build;

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use datafusion::arrow::array::Int32Array;
    use datafusion::arrow::datatypes::{DataType, Field};
    use datafusion::common::internal_err;

    use super::*;
    use crate::files::faults::each;
    use crate::store::{RunManifest, Store};

    #[test]
    fn other_sources_do_not_serve_old_rows() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let store = Store::open(folder.path())?;
        let facts = RunManifest {
            run: "r".to_string(),
            ..RunManifest::default()
        };
        store.begin("r", false)?.commit(facts)?;
        let run = store.run("r")?;
        let of = |computed_by| CachedRelation {
            run: Arc::clone(&run),
            key: full_key("relation", computed_by),
            may_write: true,
        };
        let schema = Arc::new(Schema::new(vec![Field::new("n", DataType::Int32, false)]));
        let rows = RecordBatch::try_new(
            Arc::clone(&schema),
            vec![Arc::new(Int32Array::from(vec![1]))],
        )?;
        let written = of("old");
        let writer = CacheWriter::start(&written, &schema)?.expect("nobody else writes");
        assert!(
            CacheWriter::start(&of("new"), &schema)?.is_none(),
            "one writer"
        );
        writer.write(&rows)?.finish()?;
        assert!(of("old").read(&[0], 1)?.is_some());
        assert!(of("new").read(&[0], 1)?.is_none());
        // Nor under the other's name.
        fs::rename(of("old").path(), of("new").path())?;
        assert!(of("new").read(&[0], 1)?.is_none());
        Ok(())
    }

    #[test]
    fn a_full_disk_keeps_nothing_or_all() {
        let schema = Arc::new(Schema::new(vec![Field::new("n", DataType::Int32, false)]));
        let rows = Arc::new(Int32Array::from(vec![1]));
        let rows = RecordBatch::try_new(Arc::clone(&schema), vec![rows]).expect("rows");
        let begin = || {
            let folder = tempfile::tempdir().expect("a folder");
            let store = Store::open(folder.path()).expect("a store");
            let facts = RunManifest {
                run: "r".to_string(),
                ..RunManifest::default()
            };
            let writer = store.begin("r", false).expect("begun");
            writer.commit(facts).expect("committed");
            let cached = CachedRelation {
                run: store.run("r").expect("a run"),
                key: full_key("relation", "now"),
                may_write: true,
            };
            (folder, cached)
        };
        let write = |(_, cached): &(_, CachedRelation)| match CacheWriter::start(cached, &schema)? {
            Some(writer) => writer.write(&rows)?.finish(),
            None => internal_err!("nobody else writes"),
        };
        let steps = each(begin, write, |(_, cached), done, fault| {
            let found = cached.read(&[0], 1).expect(fault);
            assert!(done.is_err() || found.is_some(), "{fault}");
            let again = CacheWriter::start(cached, &schema).expect(fault);
            let again = again.expect("a free lock").write(&rows).expect(fault);
            again.finish().expect(fault);
            let left = disk::entries(cached.run.folder()).expect(fault);
            assert_eq!(
                left.len(),
                2,
                "{fault}: the relation and its lock, got {left:?}"
            );
        });
        assert!(steps > 4, "{steps} changes");
    }

    #[test]
    fn what_computes_is_the_sources() -> std::io::Result<()> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        assert_eq!(build::computed_by(root)?, COMPUTED_BY);
        assert_eq!(build::hash_of(root, &build::PASSES)?, PASSED_BY);
        for source in build::PASSES {
            assert!(root.join(source).exists(), "{source}");
        }
        let folder = tempfile::tempdir()?;
        let mut seen = vec![];
        for path in [
            "kernels/src/a.rs",
            "kernels/src/b/c.rs",
            "udfs/src/a.rs",
            "Cargo.lock",
        ] {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().unwrap_or(folder.path()))?;
            for text in ["one", "two"] {
                fs::write(&path, text)?;
                let hash = build::computed_by(folder.path())?;
                assert!(!seen.contains(&hash), "{}", path.display());
                seen.push(hash);
            }
        }
        Ok(())
    }
}
