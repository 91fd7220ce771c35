//! A store's files in a bucket of S3, Google or Azure, by the crate `object_store`: read in parts, and written so that of two
//! who write one file after the same look at it one is told.
//!
//! Keys and endpoints are those of the environment (`AWS_...`, `GOOGLE_...`, `AZURE_...`), or of the machine's role.

use std::fmt;
use std::future::Future;
use std::io::Read;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use datafusion::common::{exec_datafusion_err, exec_err, plan_err};
use datafusion::error::{DataFusionError, Result};
use futures::{StreamExt, TryStreamExt};
use object_store::aws::AmazonS3Builder;
use object_store::azure::MicrosoftAzureBuilder;
use object_store::buffered::BufWriter;
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::path::Path as Key;
use object_store::{
    Error, ObjectMeta, ObjectStore, ObjectStoreExt, PutMode, PutPayload, RetryConfig, UpdateVersion,
};
use tokio::io::AsyncWriteExt;
use tokio::runtime::{Builder, Runtime};
use url::Url;

use super::address::address;
use super::server::FileServer;
use crate::files::{disk, file_error};

/// Questions are asked again so often, and for so long.
const RETRIES: usize = 3;
const RETRY_TIMEOUT: Duration = Duration::from_secs(30);
/// Bytes of a part of a file that is written in parts. Chosen: memory, against requests.
const PART: usize = 8 << 20;
/// Most parts of a file; S3 takes 10,000.
const PARTS: u64 = 9_000;
/// Files written at once.
const AT_ONCE: usize = 4;
/// Bytes that are read of a file at a time.
const READ: usize = 1 << 16;
/// Parts of a file that are on their way at once.
const PARTS_AT_ONCE: usize = 2;
/// Where machines of all three are told their role.
const ROLES: &str = "169.254.169.254";
/// How often whoever waits for a long write is asked whether it goes on.
const LOOK: Duration = Duration::from_millis(100);

/// A folder of a bucket.
#[derive(Debug, Clone)]
pub struct BucketFolder {
    objects: Arc<dyn ObjectStore>,
    folder: Key,
    address: Url,
}

/// What a file was when it was looked at.
#[derive(Debug, Clone)]
pub struct BucketVersion(UpdateVersion);

/// The threads that talk to buckets. Who asks may be a thread of another runtime, which could not wait for its own.
static RUNTIME: LazyLock<std::io::Result<Runtime>> = LazyLock::new(|| {
    let mut builder = Builder::new_multi_thread();
    builder.worker_threads(2).enable_all();
    builder.thread_name("bucket").build()
});

fn runtime() -> Result<&'static Runtime> {
    let runtime = RUNTIME.as_ref();
    runtime.map_err(|e| exec_datafusion_err!("threads that talk to a bucket are required ({e})"))
}

/// Waits for a question.
fn wait<T: Send + 'static>(question: impl Future<Output = T> + Send + 'static) -> Result<T> {
    let (answer, answered) = sync_channel(1);
    runtime()?.spawn(async move {
        // Who asked waits below.
        let _ = answer.send(question.await);
    });
    let ended = |_| exec_datafusion_err!("an answer of a bucket is required, got none");
    answered.recv().map_err(ended)
}

impl BucketFolder {
    /// The folder of a bucket that a path names.
    ///
    /// Errors (planning): it names another place.
    pub fn at(path: &Path) -> Result<Self> {
        match address(path)? {
            Some(url) if url.scheme() != "http" && url.scheme() != "https" => Self::open(url),
            _ => plan_err!(
                "the address s3://BUCKET/PATH, gs://BUCKET/PATH or az://CONTAINER/PATH of a store is required, got {}",
                path.display()
            ),
        }
    }

    /// Where it is.
    pub fn address(&self) -> &Url {
        &self.address
    }

    /// The folder of an address `s3://BUCKET/PATH`, `gs://BUCKET/PATH` or `az://CONTAINER/PATH`. Asks nothing.
    ///
    /// Errors: what the environment says of its service cannot be read.
    pub fn open(address: Url) -> Result<Self> {
        let retry = RetryConfig {
            max_retries: RETRIES,
            retry_timeout: RETRY_TIMEOUT,
            ..RetryConfig::default()
        };
        let opened: object_store::Result<Arc<dyn ObjectStore>> = match address.scheme() {
            "s3" => {
                let builder = AmazonS3Builder::from_env().with_url(address.as_str());
                let built = builder.with_retry(retry).build();
                built.map(|built| Arc::new(built) as _)
            }
            "gs" => {
                let builder = GoogleCloudStorageBuilder::from_env().with_url(address.as_str());
                let built = builder.with_retry(retry).build();
                built.map(|built| Arc::new(built) as _)
            }
            _ => {
                let builder = MicrosoftAzureBuilder::from_env().with_url(address.as_str());
                let built = builder.with_retry(retry).build();
                built.map(|built| Arc::new(built) as _)
            }
        };
        let refused =
            |e| exec_datafusion_err!("a bucket that can be asked is required, got {address} ({e})");
        let objects = opened.map_err(refused)?;
        Self::of(objects, address)
    }

    /// The folder of an address among these objects.
    pub(crate) fn of(objects: Arc<dyn ObjectStore>, address: Url) -> Result<Self> {
        let folder = Key::from_url_path(address.path());
        let folder = folder.map_err(|e| {
            exec_datafusion_err!("a path of a bucket is required, got {address} ({e})")
        })?;
        Ok(Self {
            objects,
            folder,
            address,
        })
    }

    fn key(&self, path: &str) -> Key {
        path.split('/')
            .fold(self.folder.clone(), |key, part| key.join(part))
    }

    fn failed(&self, path: &str, error: impl fmt::Display) -> DataFusionError {
        let error = error.to_string();
        let hint = match (error.contains(ROLES), self.address.scheme()) {
            (false, _) => String::new(),
            (true, scheme) => format!(
                " (no key in the environment, so the machine's role was asked for; without keys {}_SKIP_SIGNATURE=true)",
                match scheme {
                    "s3" => "AWS",
                    "gs" => "GOOGLE",
                    _ => "AZURE",
                }
            ),
        };
        exec_datafusion_err!("{path} of {} is required, got {error}{hint}", self.address)
    }

    /// A small file as it is now; none if there is none.
    pub fn look(&self, path: &str) -> Result<Option<(Vec<u8>, BucketVersion)>> {
        let (objects, key) = (Arc::clone(&self.objects), self.key(path));
        let asked = wait(async move {
            let found = objects.get(&key).await?;
            let version = UpdateVersion {
                e_tag: found.meta.e_tag.clone(),
                version: found.meta.version.clone(),
            };
            object_store::Result::Ok((found.bytes().await?.to_vec(), BucketVersion(version)))
        });
        self.found(path, asked?)
    }

    fn found<T>(&self, path: &str, answer: object_store::Result<T>) -> Result<Option<T>> {
        match answer {
            Ok(found) => Ok(Some(found)),
            Err(Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(self.failed(path, error)),
        }
    }

    /// Writes a small file in place of what was seen, or of none. False if it is another by now: then it stays.
    pub fn replace(&self, path: &str, bytes: &[u8], seen: Option<&BucketVersion>) -> Result<bool> {
        let mode = match seen {
            Some(BucketVersion(version)) => PutMode::Update(version.clone()),
            None => PutMode::Create,
        };
        let (objects, key) = (Arc::clone(&self.objects), self.key(path));
        let payload = PutPayload::from(bytes.to_vec());
        let written = wait(async move { objects.put_opts(&key, payload, mode.into()).await })?;
        let Err(error) = written else {
            return Ok(true);
        };
        // An attempt whose answer was lost may have written it.
        match (self.look(path)?, error) {
            (Some((text, _)), _) if text == bytes => Ok(true),
            (
                _,
                Error::AlreadyExists { .. } | Error::Precondition { .. } | Error::NotFound { .. },
            ) => Ok(false),
            (_, error) => exec_err!("write {path} of {}: {error}", self.address),
        }
    }

    /// Writes files of this machine, several at once. `go_on` is told of bytes that were written; its error ends it.
    ///
    /// Files that are there are overwritten, and what an error leaves is the caller's to remove: no write is on its way then.
    pub fn upload(
        &self,
        files: Vec<(PathBuf, String)>,
        go_on: &dyn Fn(u64) -> Result<()>,
    ) -> Result<()> {
        let (told, written) = sync_channel(AT_ONCE);
        let ended = Arc::new(AtomicBool::new(false));
        let writes = files.into_iter().map(|(from, path)| {
            let (objects, key, told) = (Arc::clone(&self.objects), self.key(&path), told.clone());
            let (place, ended) = (format!("{path} of {}", self.address), Arc::clone(&ended));
            async move {
                let go_on = |bytes| !ended.load(Ordering::Relaxed) && told.send(bytes).is_ok();
                let written = write(objects, key, &from, &go_on).await;
                if written.is_err() {
                    ended.store(true, Ordering::Relaxed);
                }
                written.map_err(|e| exec_datafusion_err!("write {place}: {e}"))
            }
        });
        let writes: Vec<_> = writes.collect();
        drop(told);
        // None is dropped before its end: what is on its way could arrive after it was removed.
        let all = runtime()?.spawn(async move {
            let writes = futures::stream::iter(writes).buffer_unordered(AT_ONCE);
            writes.collect::<Vec<_>>().await
        });
        let going = loop {
            let going = match written.recv_timeout(LOOK) {
                Ok(bytes) => go_on(bytes),
                Err(RecvTimeoutError::Timeout) => go_on(0),
                Err(RecvTimeoutError::Disconnected) => break Ok(()),
            };
            if going.is_err() {
                break going;
            }
        };
        drop(written);
        let all = wait(all)?;
        going?;
        let lost = |e| exec_datafusion_err!("writes to {} are required to end ({e})", self.address);
        all.map_err(lost)?.into_iter().collect()
    }

    /// Names of the folders in one.
    pub fn folders(&self, path: &str) -> Result<Vec<String>> {
        let (objects, key) = (Arc::clone(&self.objects), self.key(path));
        let listed = wait(async move { objects.list_with_delimiter(Some(&key)).await })?;
        let listed = listed.map_err(|e| self.failed(path, e))?.common_prefixes;
        let names = listed.iter().filter_map(|key| key.filename());
        Ok(names.map(str::to_string).collect())
    }

    /// When the youngest file below a folder was written, in seconds since 1970 by the bucket's clock; none if there is none.
    pub fn youngest(&self, path: &str) -> Result<Option<i64>> {
        let found = self.below(path)?;
        Ok(found
            .iter()
            .map(|file| file.last_modified.timestamp())
            .max())
    }

    /// Whether there is a file.
    pub fn exists(&self, path: &str) -> Result<bool> {
        Ok(self.size(path)?.is_some())
    }

    /// Removes the files below a folder.
    pub fn remove(&self, path: &str) -> Result<()> {
        let keys = self.below(path)?.into_iter().map(|file| Ok(file.location));
        let keys = futures::stream::iter(keys.collect::<Vec<_>>()).boxed();
        let removed = self.objects.delete_stream(keys);
        let removed = wait(async move { removed.try_collect::<Vec<_>>().await })?;
        match removed {
            // Someone else did.
            Ok(_) | Err(Error::NotFound { .. }) => Ok(()),
            Err(error) => exec_err!("remove {path} of {}: {error}", self.address),
        }
    }

    fn below(&self, path: &str) -> Result<Vec<ObjectMeta>> {
        let listed = self.objects.list(Some(&self.key(path)));
        let listed = wait(async move { listed.try_collect::<Vec<_>>().await })?;
        listed.map_err(|e| self.failed(path, e))
    }
}

/// Writes a file of this machine in one request or in parts, while it may go on.
async fn write(
    objects: Arc<dyn ObjectStore>,
    key: Key,
    from: &Path,
    go_on: &(dyn Fn(u64) -> bool + Sync),
) -> Result<()> {
    let mut file = disk::open(from).map_err(|e| file_error("open", from, e))?;
    let size = file.metadata().map_err(|e| file_error("open", from, e))?;
    let part = usize::try_from(size.len() / PARTS).unwrap_or(PART);
    let to = BufWriter::with_capacity(objects, key, part.max(PART));
    let mut to = to.with_max_concurrency(PARTS_AT_ONCE);
    let mut bytes = vec![0; READ];
    loop {
        let n = file.read(&mut bytes);
        let n = n.map_err(|e| file_error("read", from, e))?;
        if n == 0 {
            return Ok(to.shutdown().await?);
        }
        let written = match go_on(n as u64) {
            true => to.write_all(&bytes[..n]).await.map_err(Into::into),
            false => exec_err!("cancelled"),
        };
        if written.is_err() {
            // What it began is left in parts that count for nothing.
            let _ = to.abort().await;
            return written;
        }
    }
}

impl FileServer for BucketFolder {
    fn address(&self) -> &Url {
        &self.address
    }

    fn whole(&self, path: &str) -> Result<Option<Vec<u8>>> {
        Ok(self.look(path)?.map(|(bytes, _)| bytes))
    }

    fn part(&self, path: &str, part: &Range<usize>, _size: usize) -> Result<Option<Vec<u8>>> {
        let (objects, key) = (Arc::clone(&self.objects), self.key(path));
        let range = part.start as u64..part.end as u64;
        let asked = wait(async move { objects.get_range(&key, range).await })?;
        match self.found(path, asked)? {
            Some(bytes) if bytes.len() != part.len() => {
                Err(self.failed(path, format!("{} bytes in place of {part:?}", bytes.len())))
            }
            bytes => Ok(bytes.map(|bytes| bytes.to_vec())),
        }
    }

    fn size(&self, path: &str) -> Result<Option<u64>> {
        let (objects, key) = (Arc::clone(&self.objects), self.key(path));
        let asked = wait(async move { objects.head(&key).await })?;
        Ok(self.found(path, asked)?.map(|found| found.size))
    }
}
