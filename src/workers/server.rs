//! A worker: it reads plans in its own store and does them. It does nodes that read the store and compute, and no others.

use std::net::SocketAddr;
use std::sync::Arc;

use datafusion::common::{exec_datafusion_err, plan_err};
use datafusion::error::Result;
use datafusion::execution::{SessionState, SessionStateBuilder};
use datafusion_distributed::{
    DistributedExt, Worker, WorkerPlanRewriteEvent, WorkerPlanRewriteEventResponse,
    WorkerQueryContext,
};
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::Server;

use super::address::TlsFiles;
use super::codec::PlanCodec;
use super::payload::MOST_PLAN;
use super::{headers, nodes, version};

/// Most bytes of what a message says beside its plan: names, numbers, a worker's address.
const MOST_BESIDE: usize = 1 << 16;

/// What the sessions of a worker begin with: functions, memory, and what reads plans.
#[derive(Clone)]
pub struct Template {
    /// A session that may do nothing but ask.
    pub state: SessionState,
    /// What reads plans.
    pub codec: PlanCodec,
}

impl Template {
    /// The session of one range.
    fn session(&self, mut request: WorkerQueryContext) -> Result<SessionState> {
        let config = request.builder.config().take().unwrap_or_default();
        let config = headers::read(config, &request.headers)?
            .with_distributed_user_codec(self.codec.clone())
            .with_distributed_worker_plan_rewrite_handler(only_known);
        Ok(SessionStateBuilder::new_from_existing(self.state.clone())
            .with_config(config)
            .build())
    }

    fn worker(self) -> Worker {
        let runtime = Arc::clone(self.state.runtime_env());
        Worker::from_session_builder(move |request| {
            let session = self.session(request);
            async { session }
        })
        .with_runtime_env(runtime)
        .with_version(version())
    }
}

/// Refuses a plan with a node that no polysema sends.
fn only_known(event: WorkerPlanRewriteEvent) -> Result<WorkerPlanRewriteEventResponse> {
    match nodes::require_known(&event.plan) {
        Ok(()) => Ok(WorkerPlanRewriteEventResponse::new(event.plan)),
        Err(why) => plan_err!("{why}"),
    }
}

/// A worker that listens.
pub struct Listener {
    listener: TcpListener,
    server: Server,
    worker: Worker,
}

impl Listener {
    /// Listens at an address, with certificates if it is not of this machine alone.
    pub async fn open(
        address: SocketAddr,
        tls: Option<&TlsFiles>,
        template: Template,
    ) -> Result<Self> {
        if !address.ip().is_loopback() && tls.is_none() {
            return plan_err!(
                "worker: certificates are required beyond this machine (--worker-ca, --worker-cert, --worker-key), got none \
                 for {address}"
            );
        }
        let refused = |e: String| exec_datafusion_err!("listen at {address}: {e}");
        let mut server = Server::builder().tcp_nodelay(true);
        if let Some(tls) = tls {
            let tls = tls.read()?.of_server();
            server = server.tls_config(tls).map_err(|e| refused(e.to_string()))?;
        }
        let listener = TcpListener::bind(address).await;
        Ok(Self {
            listener: listener.map_err(|e| refused(e.to_string()))?,
            server,
            worker: template.worker(),
        })
    }

    /// Where it listens.
    pub fn address(&self) -> Result<SocketAddr> {
        Ok(self.listener.local_addr()?)
    }

    /// Does what it is sent until `stop` is done.
    pub async fn serve(mut self, stop: impl Future<Output = ()>) -> Result<()> {
        let service = self.worker.into_worker_server();
        let service = service.max_decoding_message_size(MOST_PLAN + MOST_BESIDE);
        let connections = TcpListenerStream::new(self.listener);
        let serving = self.server.add_service(service);
        // Who asks keeps a connection, and would be waited for.
        tokio::select! {
            () = stop => Ok(()),
            served = serving.serve_with_incoming(connections) => {
                served.map_err(|e| exec_datafusion_err!("worker: {e}"))
            }
        }
    }
}
