//! Ctrl-C, heard on a thread of its own: the workers may all be inside a kernel when it comes.

use std::io;
use std::sync::Arc;
use std::thread;

use tokio::sync::watch;

/// Exit code after Ctrl-C, as shells report it (128 + SIGINT).
pub const EXIT_INTERRUPTED: u8 = 130;

/// Counts the Ctrl-C since the last `clear`. The second one ends the process at once.
#[derive(Debug, Clone)]
pub struct Interrupts(Arc<watch::Sender<u32>>);

impl Interrupts {
    /// Starts to listen; from here on Ctrl-C no longer ends the process by itself.
    pub fn install() -> io::Result<Interrupts> {
        let interrupts = Interrupts(Arc::new(watch::Sender::new(0)));
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let heard = interrupts.clone();
        thread::Builder::new()
            .name("polysema-signals".into())
            .spawn(move || {
                runtime.block_on(async {
                    while tokio::signal::ctrl_c().await.is_ok() {
                        heard.record();
                        if *heard.0.borrow() > 1 {
                            std::process::exit(i32::from(EXIT_INTERRUPTED));
                        }
                    }
                });
            })?;
        Ok(interrupts)
    }

    /// Forgets what came so far: a new line of the prompt begins.
    pub fn clear(&self) {
        self.0.send_replace(0);
    }

    /// Ends when Ctrl-C was pressed since the last `clear`.
    pub async fn pressed(&self) {
        let mut count = self.0.subscribe();
        // The sender lives as long as `self`, so waiting cannot fail.
        let _ = count.wait_for(|count| *count > 0).await;
    }

    fn record(&self) {
        self.0.send_modify(|count| *count += 1);
    }

    #[cfg(test)]
    pub(super) fn pressed_now() -> Interrupts {
        let interrupts = Interrupts::silent();
        interrupts.record();
        interrupts
    }

    #[cfg(test)]
    pub(super) fn silent() -> Interrupts {
        Interrupts(Arc::new(watch::Sender::new(0)))
    }
}
