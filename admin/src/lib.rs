//! The admin API: deploy, look in and go back over HTTP, while the system runs.
//!
//! It is off until a host starts it, listens on the loopback interface, and denies what no token allows. It is over
//! [`Deployer`] and [`Handle`](gristmill::Handle) only. docs/admin.md has every route; `/v1/openapi.json` too.

mod call;
mod inference;
mod limits;
mod multipart;
mod openapi;
mod problem;
mod resources;
mod routes;
mod serve;
mod tokens;

use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;

use gristmill::deployer::Deployer;
use tokio::sync::oneshot;

/// The server that [`Mount`] is for.
pub use actix_web;
pub use limits::Limits;
pub use problem::{CODES, Code};
pub use routes::{Body, ROUTES, Route};
pub use tokens::{Scope, TokenError, TokenFile, TokenInfo};

/// Renders the metrics of the host, in the text format of Prometheus.
pub type RenderMetrics = Arc<dyn Fn() -> String + Send + Sync>;

/// An admin API, before it is started.
pub struct Admin {
    deployer: Deployer,
    tokens: PathBuf,
    limits: Limits,
    metrics: Option<RenderMetrics>,
    beyond_loopback: bool,
}

/// The admin API could not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AdminError {
    /// The address is not of this machine alone.
    #[error(
        "the admin API would listen on {address}, which others can reach, and it speaks no TLS; listen on 127.0.0.1, or \
         allow it with `Admin::beyond_loopback` and put a proxy with TLS before it"
    )]
    NotLoopback {
        /// The address.
        address: SocketAddr,
    },
    /// The address cannot be listened on.
    #[error("the admin API cannot listen on {address}: {error}; choose another port")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// Why.
        error: std::io::Error,
    },
    /// The socket that was given is none that listens.
    #[error("the admin API cannot use the socket that it was given: {0}")]
    Socket(std::io::Error),
    /// The machine refused a thread.
    #[error("the admin API could not start its thread: {0}")]
    Thread(std::io::Error),
    /// What stands before the routes is no path.
    #[error("`{prefix}` cannot stand before the routes; write a path such as /mill, without a / at its end")]
    Prefix {
        /// What was given.
        prefix: String,
    },
    /// The file of tokens cannot be used.
    #[error(transparent)]
    Tokens(#[from] TokenError),
}

/// The routes of an admin API, for a server of the host's own; clones are cheap and all the same.
#[derive(Clone)]
pub struct Mount(Arc<serve::Site>);

impl Mount {
    /// The routes, for one [`App`](actix_web::App) of the host's server: `App::new().service(mount.scope())`.
    pub fn scope(&self) -> actix_web::Scope {
        serve::scope(&self.0)
    }
}

/// An admin API that listens; dropping it ends it.
#[derive(Debug)]
pub struct Listening {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    ended: Option<oneshot::Receiver<()>>,
}

impl Listening {
    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Ends it, and waits until requests that are going on were answered and it has let go of the system.
    pub async fn stop(mut self) {
        self.stop.take().map(|stop| stop.send(()));
        if let Some(ended) = self.ended.take() {
            // An error says the same: its thread is gone.
            let _ = ended.await;
        }
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        // One that has ended by itself needs not be told.
        self.stop.take().map(|stop| stop.send(()));
    }
}

/// How long the end of the API waits for the threads of its workers.
const WORKERS_END_MILLIS_MAX: u32 = 5_000;

impl Admin {
    /// An admin API over a system, with the tokens of a file.
    pub fn new(deployer: Deployer, tokens: impl Into<PathBuf>) -> Self {
        Self { deployer, tokens: tokens.into(), limits: Limits::default(), metrics: None, beyond_loopback: false }
    }

    /// Other limits.
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// What `/metrics` answers; without, it answers that there are none.
    #[must_use]
    pub fn metrics(mut self, render: RenderMetrics) -> Self {
        self.metrics = Some(render);
        self
    }

    /// Allows addresses that other machines can reach. Put a proxy with TLS before it: tokens are sent as they are.
    #[must_use]
    pub fn beyond_loopback(mut self) -> Self {
        self.beyond_loopback = true;
        self
    }

    /// Gives the routes to a server of the host's own, under a path such as `/mill`. Where that listens, TLS, and the
    /// limits on connections and on the time of a request's head are the host's then.
    ///
    /// # Errors
    /// [`AdminError::Prefix`], and when the tokens cannot be read.
    pub fn mount(self, prefix: &str) -> Result<Mount, AdminError> {
        let plain = |sign: char| sign.is_ascii_alphanumeric() || "/-_.".contains(sign);
        if !prefix.starts_with('/') || prefix.ends_with('/') || !prefix.chars().all(plain) {
            return Err(AdminError::Prefix { prefix: prefix.to_owned() });
        }
        let tokens = tokens::Tokens::open(self.tokens)?;
        let site = serve::Site::new(self.deployer, tokens, self.limits, self.metrics, prefix.to_owned());
        Ok(Mount(Arc::new(site)))
    }

    /// Listens on an address; port 0 is a free one.
    ///
    /// # Errors
    /// [`AdminError`].
    pub async fn listen(self, address: SocketAddr) -> Result<Listening, AdminError> {
        self.allowed(address)?;
        let listener = TcpListener::bind(address).map_err(|error| AdminError::Bind { address, error })?;
        self.listen_on(listener).await
    }

    /// Listens on a socket that is bound already. So a host finds out whether an address is free before it starts what must
    /// not run without its API; whoever asks meanwhile waits for the answer.
    ///
    /// # Errors
    /// [`AdminError`].
    pub async fn listen_on(self, listener: TcpListener) -> Result<Listening, AdminError> {
        let address = listener.local_addr().map_err(AdminError::Socket)?;
        self.allowed(address)?;
        let tokens = tokens::Tokens::open(self.tokens)?;
        let site = Arc::new(serve::Site::new(self.deployer, tokens, self.limits, self.metrics, String::new()));
        let (tell, told) = oneshot::channel();
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::Builder::new().name("gristmill-admin".to_owned());
        let (tell_end, ended) = oneshot::channel::<()>();
        let held = Arc::downgrade(&site);
        let serving = move || {
            serve::run(site, listener, tell, stopped);
            // The workers' threads end a little later, and hold the deployer with its folder until then.
            for _ in 0..WORKERS_END_MILLIS_MAX {
                if held.strong_count() == 0 {
                    break;
                }
                std::thread::sleep(std::time::Duration::from_millis(1));
            }
            drop(tell_end);
        };
        thread.spawn(serving).map_err(AdminError::Thread)?;
        match told.await {
            Ok(Ok(())) => Ok(Listening { address, stop: Some(stop), ended: Some(ended) }),
            Ok(Err(error)) => Err(AdminError::Bind { address, error }),
            Err(_) => Err(AdminError::Bind { address, error: std::io::Error::other("its thread ended") }),
        }
    }

    /// Only what other machines cannot reach, unless the host has said more.
    fn allowed(&self, address: SocketAddr) -> Result<(), AdminError> {
        let allowed = address.ip().is_loopback() || self.beyond_loopback;
        if allowed { Ok(()) } else { Err(AdminError::NotLoopback { address }) }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpStream;

    use gristmill::Runtime;
    use gristmill::in_process::{Collected, feed};
    use gristmill::registry::RegistryFolder;
    use gristmill::topology::{Registry, Topology, sensor, sink};
    use gristmill::traits::source::Axes;
    use gristmill::words::{ElementType, Stream, Time};

    use super::*;

    const WEAR: Stream<f32> = Stream::new("wear");

    /// What was asked before it serves is answered when it does, and a socket that others can reach is refused.
    #[tokio::test]
    async fn a_socket_that_was_bound_before_is_served() {
        let folder = std::env::temp_dir().join(format!("gristmill-listen-on-{}", std::process::id()));
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let address = listener.local_addr().expect("it is bound");
        let mut client = TcpStream::connect(address).expect("it waits for who comes");
        client.write_all(b"GET /livez HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").expect("it takes bytes");

        let (feeder, source) = feed(Axes::Declared(vec![vec![("wear".into(), ElementType::F32)]]));
        let pump = Topology::new("pump").with(sensor(WEAR)).with(sink("out").needs(WEAR));
        let builder = Runtime::builder().topology(pump).source(source).sink("out", Collected::default());
        let registry = RegistryFolder::open(&folder, Time(0)).expect("a folder");
        let deployer = Deployer::start(builder, registry, Registry::new()).await.expect("it starts");
        let admin = |tokens: &str| Admin::new(deployer.clone(), folder.join(tokens));
        let listening = admin("tokens.json").listen_on(listener).await.expect("it serves");
        assert_eq!(listening.address(), address);
        let answer = tokio::task::spawn_blocking(move || {
            let mut answer = String::new();
            client.read_to_string(&mut answer).map(|_| answer)
        });
        let answer = answer.await.expect("it does not panic").expect("text");
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");

        let open = TcpListener::bind("0.0.0.0:0").expect("a port is free");
        let refused = admin("tokens.json").listen_on(open).await.map(drop);
        assert!(matches!(refused, Err(AdminError::NotLoopback { .. })), "{refused:?}");
        listening.stop().await;
        drop(feeder);
        deployer.handle().finished().await.expect("it ends in order");
        std::fs::remove_dir_all(folder).expect("it is ours");
    }
}
