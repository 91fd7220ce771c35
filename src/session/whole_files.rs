//! What COPY and INSERT write appears when all of it is written. DataFusion's writers finish their files also when the
//! query fails under them, so that a good file would be replaced by part of a result: here they write into a hidden
//! folder beside, and the files take their places at the end.

use std::any::Any;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion};
use datafusion::common::{exec_err, internal_err};
use datafusion::datasource::sink::DataSinkExec;
use datafusion::error::Result;
use datafusion::execution::object_store::ObjectStoreRegistry;
use datafusion::execution::runtime_env::RuntimeEnv;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::object_store::path::Path as Location;
use datafusion::object_store::{
    self, CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult,
};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties, common,
};
use futures::stream::BoxStream;
use futures::{TryStreamExt, stream};
use url::Url;

use super::blocking::blocking;
use crate::files::whole::NewFolder;
use crate::files::{disk, file_error};
use crate::policy::{Access, Policy};

/// Puts [`WholeFilesExec`] over every operator that writes.
#[derive(Debug)]
pub(super) struct WholeFiles;

impl PhysicalOptimizerRule for WholeFiles {
    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        _: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        plan.transform_down(|node| {
            let is =
                |node: &Arc<dyn ExecutionPlan>| (node.as_ref() as &dyn Any).is::<DataSinkExec>();
            if (node.as_ref() as &dyn Any).is::<WholeFilesExec>() {
                return Ok(Transformed::new(node, false, TreeNodeRecursion::Jump));
            }
            Ok(match is(&node) {
                true => Transformed::new(
                    Arc::new(WholeFilesExec { input: node }) as _,
                    true,
                    TreeNodeRecursion::Jump,
                ),
                false => Transformed::no(node),
            })
        })
        .data()
    }

    fn name(&self) -> &str {
        "WholeFiles"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

/// Runs a plan that writes files, and puts them into their places when it has ended well.
#[derive(Debug)]
struct WholeFilesExec {
    input: Arc<dyn ExecutionPlan>,
}

impl DisplayAs for WholeFilesExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("WholeFilesExec")
    }
}

impl ExecutionPlan for WholeFilesExec {
    fn name(&self) -> &str {
        "WholeFilesExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.input.properties()
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

    fn with_new_children(
        self: Arc<Self>,
        mut children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        match (children.pop(), children.pop()) {
            (Some(input), None) => Ok(Arc::new(Self { input })),
            _ => internal_err!("WholeFilesExec has one child"),
        }
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let pending = Arc::new(Pending {
            policy: context.session_config().get_extension::<Policy>(),
            state: Mutex::default(),
            refused: AtomicBool::new(false),
        });
        let runtime = context.runtime_env();
        let runtime = RuntimeEnv {
            object_store_registry: Arc::new(Redirecting {
                inner: Arc::clone(&runtime.object_store_registry),
                pending: Arc::clone(&pending),
            }),
            ..runtime.as_ref().clone()
        };
        let context = TaskContext::new(
            context.task_id(),
            context.session_id(),
            context.session_config().clone(),
            context.scalar_functions().clone(),
            context.higher_order_functions().clone(),
            context.aggregate_functions().clone(),
            context.window_functions().clone(),
            Arc::new(runtime),
        );
        let rows = self.input.execute(partition, Arc::new(context))?;
        let schema = rows.schema();
        let written = async move {
            let counts = match common::collect(rows).await {
                // Writers wrap an error of the files in one of their own.
                Err(error) if pending.refused.load(Ordering::Relaxed) => {
                    return pending.require().and(Err(error));
                }
                counts => counts?,
            };
            blocking(move || pending.commit()).await??;
            Ok::<_, datafusion::error::DataFusionError>(stream::iter(counts.into_iter().map(Ok)))
        };
        let written = stream::once(written).try_flatten();
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, written)))
    }
}

/// Files that wait for the end of the statement.
#[derive(Debug)]
struct Pending {
    policy: Option<Arc<Policy>>,
    state: Mutex<Option<Staged>>,
    /// Whether the policy has refused one.
    refused: AtomicBool,
}

#[derive(Debug)]
struct Staged {
    folder: NewFolder,
    /// Where each file belongs; it lies in the folder under its number.
    places: Vec<PathBuf>,
}

impl Pending {
    fn require(&self) -> Result<()> {
        let policy = self.policy.as_ref();
        policy.map_or(Ok(()), |policy| policy.require("files", Access::WriteFiles))
    }

    /// Where the file that belongs to a place is written until then.
    fn stage(&self, location: &Location) -> Result<Location> {
        self.require()
            .inspect_err(|_| self.refused.store(true, Ordering::Relaxed))?;
        let place = file_of(location);
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let staged = match &mut *state {
            Some(staged) => staged,
            None => state.insert(Staged {
                folder: NewFolder::create(&first_missing(&place))?,
                places: vec![],
            }),
        };
        let file = staged.folder.path().join(staged.places.len().to_string());
        staged.places.push(place);
        Ok(Location::from_absolute_path(file).map_err(object_store::Error::from)?)
    }

    /// Puts every file into its place.
    fn commit(&self) -> Result<()> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(staged) = state.take() else {
            return Ok(());
        };
        if let Some(folder) = staged.places.iter().find(|place| place.is_dir()) {
            return exec_err!(
                "COPY: a file or a new name is required (with '/' at its end for files in a folder), got the folder {}",
                folder.display()
            );
        }
        for (number, place) in staged.places.iter().enumerate() {
            let file = staged.folder.path().join(number.to_string());
            disk::sync(&file).map_err(|e| file_error("write", &file, e))?;
            if let Some(folder) = place.parent() {
                disk::create_folders(folder).map_err(|e| file_error("create", folder, e))?;
            }
            disk::rename(&file, place).map_err(|e| file_error("write", place, e))?;
        }
        let folders = staged.places.iter().filter_map(|place| place.parent());
        let mut folders: Vec<_> = folders.collect();
        folders.dedup();
        for folder in folders {
            disk::sync(folder).map_err(|e| file_error("write", folder, e))?;
        }
        Ok(())
    }
}

/// The file of a location of the local disk.
fn file_of(location: &Location) -> PathBuf {
    let root = Url::parse("file:///").ok();
    let file = root.and_then(|mut url| {
        let names = location.as_ref().split('/');
        url.path_segments_mut().ok()?.pop_if_empty().extend(names);
        url.to_file_path().ok()
    });
    file.unwrap_or_else(|| Path::new("/").join(location.as_ref()))
}

/// The topmost folder on the way to a place that is not there yet, or the place: what can be written beside.
fn first_missing(place: &Path) -> PathBuf {
    let mut first = place;
    while let Some(parent) = first.parent()
        && !parent.is_dir()
    {
        first = parent;
    }
    first.to_path_buf()
}

/// Hands out the local disk with what is written to it redirected.
#[derive(Debug)]
struct Redirecting {
    inner: Arc<dyn ObjectStoreRegistry>,
    pending: Arc<Pending>,
}

impl ObjectStoreRegistry for Redirecting {
    fn register_store(
        &self,
        url: &Url,
        store: Arc<dyn ObjectStore>,
    ) -> Option<Arc<dyn ObjectStore>> {
        self.inner.register_store(url, store)
    }

    fn get_store(&self, url: &Url) -> Result<Arc<dyn ObjectStore>> {
        let inner = self.inner.get_store(url)?;
        Ok(match url.scheme() == "file" {
            true => Arc::new(Redirected {
                inner,
                pending: Arc::clone(&self.pending),
            }),
            false => inner,
        })
    }
}

#[derive(Debug)]
struct Redirected {
    inner: Arc<dyn ObjectStore>,
    pending: Arc<Pending>,
}

impl Redirected {
    async fn stage(&self, location: &Location) -> object_store::Result<Location> {
        let (pending, location) = (Arc::clone(&self.pending), location.clone());
        let staged = blocking(move || pending.stage(&location)).await;
        staged
            .and_then(|staged| staged)
            .map_err(|error| object_store::Error::Generic {
                store: "files of a statement",
                source: error.into(),
            })
    }
}

impl fmt::Display for Redirected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

#[async_trait]
impl ObjectStore for Redirected {
    async fn put_opts(
        &self,
        location: &Location,
        payload: PutPayload,
        options: PutOptions,
    ) -> object_store::Result<PutResult> {
        let staged = self.stage(location).await?;
        self.inner.put_opts(&staged, payload, options).await
    }

    async fn put_multipart_opts(
        &self,
        location: &Location,
        options: PutMultipartOptions,
    ) -> object_store::Result<Box<dyn MultipartUpload>> {
        let staged = self.stage(location).await?;
        self.inner.put_multipart_opts(&staged, options).await
    }

    async fn get_opts(
        &self,
        location: &Location,
        options: GetOptions,
    ) -> object_store::Result<GetResult> {
        self.inner.get_opts(location, options).await
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, object_store::Result<Location>>,
    ) -> BoxStream<'static, object_store::Result<Location>> {
        self.inner.delete_stream(locations)
    }

    fn list(
        &self,
        prefix: Option<&Location>,
    ) -> BoxStream<'static, object_store::Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(
        &self,
        prefix: Option<&Location>,
    ) -> object_store::Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(
        &self,
        from: &Location,
        to: &Location,
        options: CopyOptions,
    ) -> object_store::Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}
