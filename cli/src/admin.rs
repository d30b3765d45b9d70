//! `grist run --registry --admin`: deployments that last, and the API over which they come.

use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use gristmill::clock::SystemClock;
use gristmill::deployer::{Deployer, DeployerStartError};
use gristmill::registry::RegistryFolder;
use gristmill::topology::Registry;
use gristmill::traits::Clock;
use gristmill::{Builder, Handle, SECONDS_BUCKETS};
use gristmill_admin::{Admin, Listening, TokenFile};
use metrics_exporter_prometheus::PrometheusBuilder;

use crate::failure::Failure;
use crate::output::Output;

/// The file of tokens in a registry's folder.
pub(crate) const TOKENS: &str = "tokens.json";

/// How often histograms are summed up, whether somebody asks for them or not.
const UPKEEP: Duration = Duration::from_secs(5);

/// A system with a registry, and its API where one was asked for.
pub(crate) struct Started {
    deployer: Deployer,
    _listening: Option<Listening>,
}

impl Started {
    pub(crate) fn deployer(&self) -> &Deployer {
        &self.deployer
    }

    pub(crate) fn handle(&self) -> &Handle {
        self.deployer.handle()
    }
}

/// Starts what was deployed last, and the API.
pub(crate) async fn start(
    builder: Builder,
    operators: Registry,
    folder: &Path,
    address: Option<SocketAddr>,
    output: &Output,
) -> Result<Started, Failure> {
    let failed = |error: &dyn std::fmt::Display| Failure::failed(error.to_string());
    // Whatever keeps the API from listening is found out before anything runs: outputs are as they were then.
    let listener = address.map(|address| bound(address, folder)).transpose()?;
    let render = address.map(|_| record_metrics()).transpose()?;
    let revisions = RegistryFolder::open(folder, SystemClock::default().wall()).map_err(|error| failed(&error))?;
    let deployer = Deployer::start(builder, revisions, operators).await.map_err(|error| match &error {
        DeployerStartError::Start(start) => Failure::not_started(start, error.to_string()),
        _ => failed(&error),
    })?;
    let listening = match (listener, render) {
        (Some(listener), Some(render)) => {
            let admin = Admin::new(deployer.clone(), folder.join(TOKENS)).metrics(render);
            let listening = match admin.listen_on(listener).await {
                Ok(listening) => listening,
                Err(error) => {
                    // Rows are in flight already. How their end goes is not what went wrong.
                    let _ = deployer.handle().stop().await;
                    return Err(failed(&error));
                }
            };
            output.note(format!("admin API on http://{}", listening.address()));
            Some(listening)
        }
        _ => None,
    };
    Ok(Started { deployer, _listening: listening })
}

/// Where the API will listen, with its tokens read once.
fn bound(address: SocketAddr, folder: &Path) -> Result<TcpListener, Failure> {
    if !address.ip().is_loopback() {
        return Err(Failure::usage(format!(
            "--admin {address}: others could reach the admin API there, and it speaks no TLS; listen on 127.0.0.1, and reach \
             it through a tunnel (`ssh -L`) or a proxy with TLS"
        )));
    }
    TokenFile::read(&folder.join(TOKENS)).map_err(|error| Failure::failed(error.to_string()))?;
    TcpListener::bind(address).map_err(|error| {
        Failure::failed(format!("--admin {address}: the admin API cannot listen there: {error}; choose another port"))
    })
}

/// Makes the recorder of this process one that `/metrics` can render.
fn record_metrics() -> Result<gristmill_admin::RenderMetrics, Failure> {
    let builder = PrometheusBuilder::new().set_buckets(&SECONDS_BUCKETS);
    let builder = builder.map_err(|error| Failure::failed(format!("metrics cannot be recorded: {error}")))?;
    let recorder = builder.build_recorder();
    let handle = recorder.handle();
    metrics::set_global_recorder(recorder)
        .map_err(|error| Failure::failed(format!("metrics cannot be recorded: {error}")))?;
    let kept = handle.clone();
    tokio::spawn(async move {
        let mut ticks = tokio::time::interval(UPKEEP);
        loop {
            ticks.tick().await;
            kept.run_upkeep();
        }
    });
    Ok(Arc::new(move || handle.render()))
}
