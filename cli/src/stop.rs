//! What ends a command before its end: Ctrl-C, SIGTERM, or that nobody reads what it prints.

use tokio::sync::Notify;

#[cfg(unix)]
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Standard output was closed.
static CLOSED: Notify = Notify::const_new();

/// Says that nobody reads standard output any more; to be said once.
pub(crate) fn nobody_reads() {
    CLOSED.notify_one();
}

/// Who may ask the process to stop. From when it is made no signal ends the process by itself, and one that comes before
/// it is waited for is not lost. So it is made before anything begins that has to end in order.
#[derive(Debug)]
pub(crate) struct Stop {
    /// `None` where the system refuses: then that signal ends the process, as if nobody listened.
    #[cfg(unix)]
    interrupt: Option<Signal>,
    #[cfg(unix)]
    terminate: Option<Signal>,
}

impl Stop {
    /// Listens from now on; to be called where tokio runs.
    pub(crate) fn listen() -> Self {
        Self {
            #[cfg(unix)]
            interrupt: signal(SignalKind::interrupt()).ok(),
            #[cfg(unix)]
            terminate: signal(SignalKind::terminate()).ok(),
        }
    }

    /// Ready when the process is asked to stop, once for each time.
    pub(crate) async fn asked(&mut self) {
        tokio::select! {
            () = self.signalled() => {}
            () = CLOSED.notified() => {}
        }
    }

    #[cfg(unix)]
    async fn signalled(&mut self) {
        tokio::select! {
            () = came(self.interrupt.as_mut()) => {}
            () = came(self.terminate.as_mut()) => {}
        }
    }

    #[cfg(not(unix))]
    async fn signalled(&mut self) {
        if tokio::signal::ctrl_c().await.is_err() {
            // Nobody can ask: it runs to its end.
            std::future::pending::<()>().await;
        }
    }
}

/// Ready when the signal comes; never where it cannot.
#[cfg(unix)]
async fn came(signal: Option<&mut Signal>) {
    let heard = match signal {
        Some(signal) => signal.recv().await,
        None => None,
    };
    if heard.is_none() {
        std::future::pending::<()>().await;
    }
}

/// Ready when the process is asked to stop, for commands that have nothing to end in order before they wait for it.
pub(crate) async fn asked() {
    Stop::listen().asked().await;
}
