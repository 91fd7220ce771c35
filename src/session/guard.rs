//! Files as a session's statements see them: every path by which SQL reads or writes one (COPY, external tables, INSERT
//! into them, whoever plans the statement) goes through here, and the session's policy decides. Pipes and devices are not
//! read: they would be waited for, or have no end.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::common::{exec_err, plan_datafusion_err};
use datafusion::error::Result;
use datafusion::execution::object_store::ObjectStoreRegistry;
use datafusion::object_store::path::Path;
use datafusion::object_store::{
    self, CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult,
};
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use url::Url;

use super::blocking::blocking;
use super::redirected::file_of;
use crate::files::regular;
use crate::policy::{Access, Policy};

/// Hands out stores that refuse what the policy forbids.
#[derive(Debug)]
pub(super) struct GuardedRegistry {
    inner: Arc<dyn ObjectStoreRegistry>,
    policy: Arc<Policy>,
}

impl GuardedRegistry {
    pub(super) fn new(inner: Arc<dyn ObjectStoreRegistry>, policy: Arc<Policy>) -> Self {
        Self { inner, policy }
    }
}

impl ObjectStoreRegistry for GuardedRegistry {
    fn register_store(
        &self,
        url: &Url,
        store: Arc<dyn ObjectStore>,
    ) -> Option<Arc<dyn ObjectStore>> {
        self.inner.register_store(url, store)
    }

    fn deregister_store(&self, url: &Url) -> Result<Arc<dyn ObjectStore>> {
        self.inner.deregister_store(url)
    }

    fn get_store(&self, url: &Url) -> Result<Arc<dyn ObjectStore>> {
        let inner = self.inner.get_store(url);
        let inner = inner.map_err(|_| {
            let scheme = url.scheme();
            plan_datafusion_err!(
                "files: a file of this machine, by its path, is required, got '{url}': nothing here reads or writes \
                 {scheme}: addresses"
            )
        })?;
        Ok(Arc::new(Guarded {
            inner,
            policy: Arc::clone(&self.policy),
            local: url.scheme() == "file",
        }))
    }
}

/// A store that asks the policy first.
#[derive(Debug)]
struct Guarded {
    inner: Arc<dyn ObjectStore>,
    policy: Arc<Policy>,
    /// Whether it is the local disk.
    local: bool,
}

impl Guarded {
    async fn require_readable(&self, location: &Path) -> object_store::Result<()> {
        self.require(location, Access::ReadFiles)?;
        let file = match self.local {
            true => file_of(location),
            false => return Ok(()),
        };
        let refused = blocking(move || match regular::device(&file) {
            Some(got) => exec_err!("{}: a file is required, got {got}", file.display()),
            None => Ok(()),
        });
        let refused = refused.await.and_then(|refused| refused);
        refused.map_err(|error| object_store::Error::Generic {
            store: "files",
            source: error.into(),
        })
    }

    fn require(&self, path: &Path, access: Access) -> object_store::Result<()> {
        let refused = self.policy.require("files", access);
        refused.map_err(|error| object_store::Error::PermissionDenied {
            path: path.to_string(),
            source: error.into(),
        })
    }
}

impl fmt::Display for Guarded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

#[async_trait]
impl ObjectStore for Guarded {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> object_store::Result<PutResult> {
        self.require(location, Access::WriteFiles)?;
        self.inner.put_opts(location, payload, options).await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> object_store::Result<Box<dyn MultipartUpload>> {
        self.require(location, Access::WriteFiles)?;
        self.inner.put_multipart_opts(location, options).await
    }

    async fn get_opts(
        &self,
        location: &Path,
        options: GetOptions,
    ) -> object_store::Result<GetResult> {
        self.require_readable(location).await?;
        self.inner.get_opts(location, options).await
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, object_store::Result<Path>>,
    ) -> BoxStream<'static, object_store::Result<Path>> {
        match self.require(&Path::default(), Access::WriteFiles) {
            Ok(()) => self.inner.delete_stream(locations),
            Err(error) => stream::once(async { Err(error) }).boxed(),
        }
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, object_store::Result<ObjectMeta>> {
        match self.require(prefix.unwrap_or(&Path::default()), Access::ReadFiles) {
            Ok(()) => self.inner.list(prefix),
            Err(error) => stream::once(async { Err(error) }).boxed(),
        }
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> object_store::Result<ListResult> {
        self.require(prefix.unwrap_or(&Path::default()), Access::ReadFiles)?;
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(
        &self,
        from: &Path,
        to: &Path,
        options: CopyOptions,
    ) -> object_store::Result<()> {
        self.require(from, Access::ReadFiles)?;
        self.require(to, Access::WriteFiles)?;
        self.inner.copy_opts(from, to, options).await
    }
}
