//! What a statement writes to the local disk, redirected to a hidden folder beside, where files wait for its end. What is
//! being written when a query ends runs to its end, and the last of it removes the folder.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use async_trait::async_trait;
use datafusion::common::exec_err;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::object_store::ObjectStoreRegistry;
use datafusion::object_store::path::Path as Location;
use datafusion::object_store::{
    self, CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, UploadPart,
};
use futures::FutureExt;
use futures::stream::BoxStream;
use tokio::sync::mpsc;
use url::Url;

use super::blocking::blocking;
use crate::files::whole::NewFolder;
use crate::files::{disk, file_error, regular};
use crate::policy::{Access, Policy};

pub(super) fn lock<T>(held: &Mutex<T>) -> MutexGuard<'_, T> {
    held.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Files that wait for the end of the statement. It and what is being written hold them, writers that wait do not.
#[derive(Debug)]
pub(super) struct Pending {
    policy: Option<Arc<Policy>>,
    /// Why there was no place for one: writers wrap that in errors of their own.
    pub(super) refused: Mutex<Option<DataFusionError>>,
    state: Mutex<Option<Staged>>,
    /// Tells that it is gone; the last, so that the files are gone before.
    _alive: mpsc::Sender<()>,
}

#[derive(Debug)]
struct Staged {
    folder: NewFolder,
    /// Where each file belongs; it lies in the folder under its number.
    places: Vec<PathBuf>,
}

impl Pending {
    /// None yet; `alive` is dropped when they are gone.
    pub(super) fn new(policy: Option<Arc<Policy>>, alive: mpsc::Sender<()>) -> Arc<Self> {
        Arc::new(Self {
            policy,
            refused: Mutex::default(),
            state: Mutex::default(),
            _alive: alive,
        })
    }

    /// Where the file that belongs to a place is written until then.
    fn stage(&self, location: &Location) -> Result<Location> {
        let policy = self.policy.as_ref();
        policy.map_or(Ok(()), |policy| policy.require("files", Access::WriteFiles))?;
        let place = file_of(location);
        if let Some(got) = regular::device(&place) {
            return exec_err!(
                "COPY: a file or a new name is required, got {got}, {}",
                place.display()
            );
        }
        let mut state = lock(&self.state);
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
    pub(super) fn commit(&self) -> Result<()> {
        let mut state = lock(&self.state);
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
pub(super) fn file_of(location: &Location) -> PathBuf {
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
pub(super) struct Redirecting {
    pub(super) inner: Arc<dyn ObjectStoreRegistry>,
    pub(super) pending: Weak<Pending>,
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
                pending: Weak::clone(&self.pending),
            }),
            false => inner,
        })
    }
}

#[derive(Debug)]
struct Redirected {
    inner: Arc<dyn ObjectStore>,
    pending: Weak<Pending>,
}

fn failed(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> object_store::Error {
    object_store::Error::Generic {
        store: "files of a statement",
        source: source.into(),
    }
}

/// The files of a statement that has not ended.
fn held(pending: &Weak<Pending>) -> object_store::Result<Arc<Pending>> {
    let ended = || failed("a statement that goes on is required, got one that has ended");
    pending.upgrade().ok_or_else(ended)
}

/// Writes to the end, also when nobody waits for it any more, and holds the files for so long.
async fn write_holding<T: Send + 'static>(
    pending: Arc<Pending>,
    work: impl Future<Output = object_store::Result<T>> + Send + 'static,
) -> object_store::Result<T> {
    let work = async move {
        let written = work.await;
        drop(pending);
        written
    };
    tokio::spawn(work).await.map_err(failed)?
}

async fn stage(pending: &Arc<Pending>, location: Location) -> object_store::Result<Location> {
    let staging = Arc::clone(pending);
    let staged = blocking(move || staging.stage(&location)).await;
    staged.and_then(|staged| staged).map_err(|error| {
        let message = error.strip_backtrace();
        lock(&pending.refused).get_or_insert(error);
        failed(message)
    })
}

/// A file that is written in parts.
#[derive(Debug)]
struct Upload {
    /// None after its end.
    inner: Option<Box<dyn MultipartUpload>>,
    pending: Weak<Pending>,
}

impl Upload {
    fn end(&mut self) -> object_store::Result<(Arc<Pending>, Box<dyn MultipartUpload>)> {
        let pending = held(&self.pending)?;
        let inner = self.inner.take();
        Ok((
            pending,
            inner.ok_or_else(|| failed("one end of a file is required, got a second"))?,
        ))
    }
}

#[async_trait]
impl MultipartUpload for Upload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        match (held(&self.pending), &mut self.inner) {
            (Ok(pending), Some(inner)) => write_holding(pending, inner.put_part(data)).boxed(),
            (Err(error), _) => async { Err(error) }.boxed(),
            (_, None) => {
                async { Err(failed("parts before the end of a file are required")) }.boxed()
            }
        }
    }

    async fn complete(&mut self) -> object_store::Result<PutResult> {
        let (pending, mut inner) = self.end()?;
        write_holding(pending, async move { inner.complete().await }).await
    }

    async fn abort(&mut self) -> object_store::Result<()> {
        let (pending, mut inner) = self.end()?;
        write_holding(pending, async move { inner.abort().await }).await
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
        let pending = held(&self.pending)?;
        let (inner, location) = (Arc::clone(&self.inner), location.clone());
        write_holding(Arc::clone(&pending), async move {
            let staged = stage(&pending, location).await?;
            inner.put_opts(&staged, payload, options).await
        })
        .await
    }

    async fn put_multipart_opts(
        &self,
        location: &Location,
        options: PutMultipartOptions,
    ) -> object_store::Result<Box<dyn MultipartUpload>> {
        let pending = held(&self.pending)?;
        let (inner, location) = (Arc::clone(&self.inner), location.clone());
        let upload = write_holding(Arc::clone(&pending), async move {
            let staged = stage(&pending, location).await?;
            inner.put_multipart_opts(&staged, options).await
        });
        Ok(Box::new(Upload {
            inner: Some(upload.await?),
            pending: Weak::clone(&self.pending),
        }))
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
