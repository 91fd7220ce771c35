//! The workers that an engine asks: which are free, and which were lost a moment ago.
//!
//! A range goes to the same worker whenever it is asked for, which has read its part of the store before; a worker that has
//! nothing of its own to do takes another's.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use datafusion::common::{exec_datafusion_err, exec_err, plan_err};
use datafusion::error::Result;
use datafusion_distributed::grpc::{BoxCloneSyncChannel, create_worker_client};
use datafusion_distributed::{GetWorkerInfoRequest, WorkerChannel};
use tokio::sync::Notify;
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
    queues: Mutex<Vec<Queue>>,
    /// Told of every change of the queues.
    changed: Notify,
}

/// What a worker does, and what waits for it.
#[derive(Debug, Clone, Default)]
struct Queue {
    /// Ranges that it does.
    taken: usize,
    /// Ranges that are its own and wait.
    waiting: usize,
}

/// A worker.
pub(super) struct OneWorker {
    pub(super) url: Url,
    channel: BoxCloneSyncChannel,
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
            all.push(OneWorker::new(url, &endpoint));
        }
        if all.is_empty() {
            return plan_err!("workers: at least one is required, got none");
        }
        for worker in &all {
            worker.greet().await?;
        }
        Ok(Self::of(all))
    }

    fn of(all: Vec<OneWorker>) -> Self {
        Self {
            queues: Mutex::new(vec![Queue::default(); all.len()]),
            changed: Notify::new(),
            all,
        }
    }

    /// How many there are.
    #[expect(clippy::len_without_is_empty, reason = "there is always one")]
    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// A place on the worker of a range, on one that has nothing of its own to do, or, where some were tried, on any but those.
    pub(super) async fn place(
        self: &Arc<Self>,
        range: usize,
        tried: &[usize],
    ) -> Result<WorkerPlace> {
        if tried.len() == self.all.len() {
            return exec_err!("another worker is required, got none");
        }
        let own = range % self.all.len();
        let _waits = tried.is_empty().then(|| Waits::of(self, own));
        loop {
            let changed = self.changed.notified();
            if let Some(worker) = self.take(own, tried) {
                let workers = Arc::clone(self);
                return Ok(WorkerPlace { workers, worker });
            }
            changed.await;
        }
    }

    fn take(&self, own: usize, tried: &[usize]) -> Option<usize> {
        let order = (0..self.all.len()).map(|i| (own + i) % self.all.len());
        let left: Vec<usize> = order.filter(|i| !tried.contains(i)).collect();
        let rested = left.iter().copied().filter(|&i| !self.all[i].was_lost());
        let rested: Vec<usize> = rested.collect();
        // Better one that may be back than none.
        let asked = if rested.is_empty() { left } else { rested };
        let mut queues = self.queues();
        let is_free = |i: &usize| {
            let queue = &queues[*i];
            queue.taken < AT_ONCE && (*i == own || queue.waiting == 0 || !tried.is_empty())
        };
        let found = asked.into_iter().find(is_free)?;
        queues[found].taken += 1;
        Some(found)
    }

    fn queues(&self) -> MutexGuard<'_, Vec<Queue>> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn worker(&self, worker: usize) -> &OneWorker {
        &self.all[worker]
    }
}

/// A range's place on a worker.
pub(super) struct WorkerPlace {
    workers: Arc<Workers>,
    pub(super) worker: usize,
}

impl Drop for WorkerPlace {
    fn drop(&mut self) {
        self.workers.queues()[self.worker].taken -= 1;
        self.workers.changed.notify_waiters();
    }
}

/// That a range waits for its own worker.
struct Waits<'a> {
    workers: &'a Workers,
    own: usize,
}

impl<'a> Waits<'a> {
    fn of(workers: &'a Workers, own: usize) -> Self {
        workers.queues()[own].waiting += 1;
        Self { workers, own }
    }
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.workers.queues()[self.own].waiting -= 1;
        self.workers.changed.notify_waiters();
    }
}

impl OneWorker {
    fn new(url: Url, endpoint: &Endpoint) -> Self {
        Self {
            url,
            channel: BoxCloneSyncChannel::new(endpoint.connect_lazy()),
            lost: Mutex::default(),
        }
    }

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

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    fn workers(n: usize) -> Arc<Workers> {
        let new = |i: usize| {
            let url: Url = format!("http://127.0.0.1:{}", i + 1).parse().unwrap();
            let endpoint = Endpoint::from_shared(url.to_string()).unwrap();
            OneWorker::new(url, &endpoint)
        };
        Arc::new(Workers::of((0..n).map(new).collect()))
    }

    fn now(workers: &Arc<Workers>, range: usize, tried: &[usize]) -> Option<WorkerPlace> {
        let place = workers.place(range, tried).now_or_never()?;
        Some(place.unwrap())
    }

    #[tokio::test]
    async fn a_range_goes_to_its_worker_and_who_is_done_takes_anothers() {
        let workers = workers(3);
        let mut places: Vec<_> = (0..6)
            .map(|range| now(&workers, range, &[]).unwrap())
            .collect();
        let own: Vec<_> = places.iter().map(|place| place.worker).collect();
        assert_eq!(own, [0, 1, 2, 0, 1, 2]);
        assert!(now(&workers, 6, &[]).is_none());
        // Another's waits, its own comes later and is first.
        let mut other = Box::pin(workers.place(7, &[]));
        assert!(other.as_mut().now_or_never().is_none());
        let mut its = Box::pin(workers.place(8, &[]));
        assert!(its.as_mut().now_or_never().is_none());
        drop(places.remove(2));
        assert!(other.as_mut().now_or_never().is_none());
        let its = its.now_or_never().unwrap().unwrap();
        assert_eq!(its.worker, 2);
        // When nothing of its own waits, it takes the other.
        drop(its);
        assert_eq!(other.now_or_never().unwrap().unwrap().worker, 2);
    }

    #[tokio::test]
    async fn a_lost_worker_rests_and_what_it_had_goes_to_any() {
        let workers = workers(2);
        workers.worker(0).set_lost();
        assert_eq!(now(&workers, 0, &[]).unwrap().worker, 1);
        assert_eq!(now(&workers, 0, &[0]).unwrap().worker, 1);
        // Better one that was lost than none.
        assert_eq!(now(&workers, 0, &[1]).unwrap().worker, 0);
        assert!(workers.place(0, &[0, 1]).await.is_err());
        // What was tried elsewhere does not wait behind what is a worker's own.
        let both = [
            now(&workers, 1, &[]).unwrap(),
            now(&workers, 1, &[]).unwrap(),
        ];
        let mut its = Box::pin(workers.place(1, &[]));
        assert!(its.as_mut().now_or_never().is_none());
        drop(both);
        assert_eq!(now(&workers, 0, &[0]).unwrap().worker, 1);
    }
}
