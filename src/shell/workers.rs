//! `polysema worker`, and the words by which a program asks workers.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::runtime::Runtime;

use super::failure::Failure;
use super::interpreter::note;
use super::interrupt::Interrupts;
use crate::policy::Policy;
use crate::session::{Engine, EngineOptions, Session};
use crate::workers::{Listener, TlsFiles, Workers};

/// Does ranges of neurons of what is asked elsewhere, over this store.
#[derive(Debug, clap::Args)]
pub struct WorkerCommand {
    /// Address; another than this machine's needs certificates
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:7433")]
    listen: SocketAddr,
}

/// Which workers are asked, and the certificates of either side.
#[derive(Debug, Clone, clap::Args)]
pub struct AskedWorkers {
    /// Workers, with the same store, that do ranges of neurons of what is asked
    #[arg(
        long,
        value_name = "HOST:PORT,..",
        value_delimiter = ',',
        global = true
    )]
    workers: Vec<String>,
    /// Certificate of the authority that workers and who asks them trust, as PEM
    #[arg(long, value_name = "FILE", global = true)]
    worker_ca: Option<PathBuf>,
    /// Own chain of certificates that the other side is shown, as PEM
    #[arg(long, value_name = "FILE", global = true)]
    worker_cert: Option<PathBuf>,
    /// Its private key, as PEM
    #[arg(long, value_name = "FILE", global = true)]
    worker_key: Option<PathBuf>,
}

impl AskedWorkers {
    /// Refuses what has no effect on a command, or not all that it needs.
    pub fn consistent(&self, asks: bool, is_worker: bool) -> Result<(), String> {
        if !self.workers.is_empty() && !asks {
            return Err(
                "--workers is for statements and report and cannot be given with this sub-command"
                    .to_string(),
            );
        }
        let files = [&self.worker_ca, &self.worker_cert, &self.worker_key];
        let given = files.iter().filter(|file| file.is_some()).count();
        match given {
            0 => Ok(()),
            _ if self.workers.is_empty() && !is_worker => Err(
                "--worker-ca, --worker-cert and --worker-key are for the sub-command worker and with --workers".to_string(),
            ),
            3 => Ok(()),
            n => Err(format!(
                "--worker-ca, --worker-cert and --worker-key are required together, got {n} of them"
            )),
        }
    }

    fn tls(&self) -> Option<TlsFiles> {
        Some(TlsFiles {
            ca: self.worker_ca.clone()?,
            cert: self.worker_cert.clone()?,
            key: self.worker_key.clone()?,
        })
    }

    /// A session of an engine of its own, which asks these workers.
    pub async fn session(self, options: EngineOptions) -> datafusion::error::Result<Session> {
        let engine: Arc<Engine> = Engine::open(&options)?;
        if !self.workers.is_empty() {
            let workers = Workers::connect(&self.workers, self.tls().as_ref()).await?;
            engine.ask(workers)?;
        }
        engine.session(Policy::everything())
    }
}

/// Works until Ctrl-C or a signal to terminate.
pub fn run(
    runtime: &Runtime,
    command: &WorkerCommand,
    asked: &AskedWorkers,
    options: &EngineOptions,
    interrupts: &Interrupts,
) -> Result<(), Failure> {
    runtime.block_on(async {
        let engine = Engine::open(options)?;
        let template = engine.worker()?;
        let listener = Listener::open(command.listen, asked.tls().as_ref(), template).await?;
        note(&format!(
            "a worker of {} listens at {}",
            options.store.display(),
            listener.address()?
        ));
        listener.serve(interrupts.pressed()).await?;
        interrupts.clear();
        Ok(())
    })
}
