//! What ends a command before its end: Ctrl-C, SIGTERM, or that nobody reads what it prints.

use tokio::sync::Notify;

/// Standard output was closed.
static CLOSED: Notify = Notify::const_new();

/// Says that nobody reads standard output any more; to be said once.
pub(crate) fn nobody_reads() {
    CLOSED.notify_one();
}

/// Ready when the process is asked to stop.
pub(crate) async fn asked() {
    tokio::select! {
        () = signalled() => {}
        () = CLOSED.notified() => {}
    }
}

async fn signalled() {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        if let Ok(mut terminate) = signal(SignalKind::terminate()) {
            tokio::select! {
                _ = tokio::signal::ctrl_c() => {}
                _ = terminate.recv() => {}
            }
            return;
        }
    }
    if tokio::signal::ctrl_c().await.is_err() {
        // Nobody can ask: it runs to its end.
        std::future::pending::<()>().await;
    }
}
