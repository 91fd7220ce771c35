//! The workers that an engine asks: which are free, and which were lost a moment ago.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use datafusion::common::{exec_datafusion_err, exec_err, plan_err};
use datafusion::error::{DataFusionError, Result};
use datafusion_distributed::grpc::{BoxCloneSyncChannel, create_worker_client};
use datafusion_distributed::{GetWorkerInfoRequest, WorkerChannel};
use futures::future::select_all;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::transport::Endpoint;
use url::Url;

use super::address::{TlsFiles, url_of};
use super::loss::cause;
use super::version;

/// Ranges that a worker does at once: one while the rows of another are on their way.
const AT_ONCE: usize = 2;
/// How long a worker that was lost is not asked while there are others. Chosen, not tuned.
const REST: Duration = Duration::from_secs(10);
/// How long a connection may take to be made, and a silent one to answer.
const SILENCE: Duration = Duration::from_secs(5);

/// Workers with the same store.
pub struct Workers {
    all: Vec<OneWorker>,
    /// Where the search for a free one begins.
    next: AtomicUsize,
}

/// A worker.
pub(super) struct OneWorker {
    pub(super) url: Url,
    channel: BoxCloneSyncChannel,
    places: Arc<Semaphore>,
    lost: Mutex<Option<Instant>>,
}

impl Workers {
    /// The workers at these addresses, each written as `host:port`.
    ///
    /// Errors: one does not answer, or is of another release.
    pub async fn connect(addresses: &[String], tls: Option<&TlsFiles>) -> Result<Self> {
        let encryption = tls.map(TlsFiles::read).transpose()?;
        let mut all: Vec<OneWorker> = vec![];
        for address in addresses {
            let url = url_of(address, encryption.is_some())?;
            if all.iter().any(|known| known.url == url) {
                return plan_err!("workers: different ones are required, got '{address}' twice");
            }
            let refused =
                |e: tonic::transport::Error| exec_datafusion_err!("worker {address}: {e}");
            let mut endpoint = Endpoint::from_shared(url.to_string())
                .map_err(refused)?
                .connect_timeout(SILENCE)
                .tcp_nodelay(true)
                .http2_keep_alive_interval(SILENCE)
                .keep_alive_timeout(SILENCE)
                .keep_alive_while_idle(true);
            if let Some(tls) = encryption.clone() {
                endpoint = endpoint.tls_config(tls.of_client()).map_err(refused)?;
            }
            all.push(OneWorker {
                url,
                channel: BoxCloneSyncChannel::new(endpoint.connect_lazy()),
                places: Arc::new(Semaphore::new(AT_ONCE)),
                lost: Mutex::default(),
            });
        }
        if all.is_empty() {
            return plan_err!("workers: at least one is required, got none");
        }
        for worker in &all {
            worker.greet().await?;
        }
        Ok(Self {
            all,
            next: AtomicUsize::new(0),
        })
    }

    /// How many there are.
    #[expect(clippy::len_without_is_empty, reason = "there is always one")]
    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// A worker that is free, with a place on it, but for those that were tried.
    pub(super) async fn free(&self, tried: &[usize]) -> Result<(usize, OwnedSemaphorePermit)> {
        let first = self.next.fetch_add(1, Ordering::Relaxed);
        let order = (0..self.all.len()).map(|i| (first + i) % self.all.len());
        let left: Vec<usize> = order.filter(|i| !tried.contains(i)).collect();
        let rested: Vec<usize> = left
            .iter()
            .copied()
            .filter(|&i| !self.all[i].was_lost())
            .collect();
        // Better one that may be back than none.
        let asked = if rested.is_empty() { left } else { rested };
        if asked.is_empty() {
            return exec_err!("another worker is required, got none");
        }
        let places = asked.iter().map(|&i| {
            let places = Arc::clone(&self.all[i].places);
            Box::pin(places.acquire_owned())
        });
        let (place, at, _) = select_all(places).await;
        let closed = |e| DataFusionError::External(Box::new(e));
        Ok((asked[at], place.map_err(closed)?))
    }

    pub(super) fn worker(&self, worker: usize) -> &OneWorker {
        &self.all[worker]
    }
}

impl OneWorker {
    /// What speaks to it.
    pub(super) fn client(&self) -> Box<dyn WorkerChannel> {
        create_worker_client(self.channel.clone())
    }

    /// Notes that it was lost now.
    pub(super) fn set_lost(&self) {
        *self.lost.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    fn was_lost(&self) -> bool {
        let lost = *self.lost.lock().unwrap_or_else(PoisonError::into_inner);
        lost.is_some_and(|at| at.elapsed() < REST)
    }

    /// Asks for its release, which must be this one.
    async fn greet(&self) -> Result<()> {
        let url = &self.url;
        let mut client = self.client();
        let info = client.get_worker_info(GetWorkerInfoRequest {});
        match tokio::time::timeout(2 * SILENCE, info).await {
            Ok(Ok(info)) if info.version == version() => Ok(()),
            Ok(Ok(info)) => exec_err!(
                "worker {url}: {} is required, got {}",
                version(),
                info.version
            ),
            Ok(Err(error)) => exec_err!(
                "worker {url}: a worker that answers is required, got {}",
                cause(&error)
            ),
            Err(_) => exec_err!(
                "worker {url}: an answer is required, got none in {:?}",
                2 * SILENCE
            ),
        }
    }
}
