//! Ctrl-C and SIGTERM, heard on a thread of their own: the workers may all be inside a kernel when one comes.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use tokio::sync::watch;

/// Exit code after Ctrl-C, as shells report it (128 + SIGINT).
pub const EXIT_INTERRUPTED: u8 = 130;
/// The same after SIGTERM.
const EXIT_TERMINATED: u8 = 143;
/// Time that SIGTERM leaves the shell to end by itself, which it cannot while it waits at its prompt.
const GRACE: Duration = Duration::from_secs(5);

/// Counts the Ctrl-C since the last `clear`. The second one ends the process at once; SIGTERM is one that nothing clears.
#[derive(Debug, Clone)]
pub struct Interrupts {
    count: Arc<watch::Sender<u32>>,
    terminated: Arc<AtomicBool>,
}

impl Interrupts {
    /// Starts to listen; from here on neither ends the process by itself.
    pub fn install() -> io::Result<Interrupts> {
        let interrupts = Interrupts::silent();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let mut terminate = {
            let _inside = runtime.enter();
            Terminate::listen()?
        };
        let heard = interrupts.clone();
        thread::Builder::new()
            .name("polysema-signals".into())
            .spawn(move || {
                runtime.block_on(async {
                    loop {
                        tokio::select! {
                            pressed = tokio::signal::ctrl_c() => match pressed {
                                Ok(()) => heard.record(),
                                Err(_) => return,
                            },
                            () = terminate.heard() => {
                                heard.terminated.store(true, Ordering::Relaxed);
                                heard.record();
                                tokio::time::sleep(GRACE).await;
                                std::process::exit(i32::from(EXIT_TERMINATED));
                            }
                        }
                        if *heard.count.borrow() > 1 {
                            std::process::exit(i32::from(EXIT_INTERRUPTED));
                        }
                    }
                });
            })?;
        Ok(interrupts)
    }

    fn silent() -> Interrupts {
        Interrupts {
            count: Arc::new(watch::Sender::new(0)),
            terminated: Arc::default(),
        }
    }

    /// Whether SIGTERM came, after which nothing more is begun.
    pub fn terminated(&self) -> bool {
        self.terminated.load(Ordering::Relaxed)
    }

    /// What the process tells its parent after an interrupt.
    pub fn exit_code(&self) -> u8 {
        match self.terminated() {
            true => EXIT_TERMINATED,
            false => EXIT_INTERRUPTED,
        }
    }

    /// Forgets what came so far: a new line of the prompt begins.
    pub fn clear(&self) {
        if !self.terminated() {
            self.count.send_replace(0);
        }
    }

    /// Ends when Ctrl-C was pressed since the last `clear`.
    pub async fn pressed(&self) {
        let mut count = self.count.subscribe();
        // The sender lives as long as `self`, so waiting cannot fail.
        let _ = count.wait_for(|count| *count > 0).await;
    }

    fn record(&self) {
        self.count.send_modify(|count| *count += 1);
    }

    #[cfg(test)]
    pub(super) fn pressed_now() -> Interrupts {
        let interrupts = Interrupts::silent();
        interrupts.record();
        interrupts
    }

    #[cfg(test)]
    pub(super) fn none() -> Interrupts {
        Interrupts::silent()
    }
}

/// SIGTERM, where there is one.
struct Terminate {
    #[cfg(unix)]
    signal: tokio::signal::unix::Signal,
}

impl Terminate {
    fn listen() -> io::Result<Self> {
        Ok(Self {
            #[cfg(unix)]
            signal: tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?,
        })
    }

    async fn heard(&mut self) {
        #[cfg(unix)]
        if self.signal.recv().await.is_some() {
            return;
        }
        std::future::pending::<()>().await;
    }
}
