//! `grist run`: a topology file with its own source and sinks, until the source ends or somebody stops it.

use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use gristmill::clock::SystemClock;
use gristmill::state::{RefusedState, StateFolder};
use gristmill::topology::Registry;
use gristmill::traits::Clock;
use gristmill::{Builder, Handle, RunError};
use gristmill_operators::registry;
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use tokio::time::Instant;

use crate::attributes_topic::{self, Known};
use crate::binding::Traffic;
use crate::failure::{Exit, Failure};
use crate::load::{Purpose, load_by};
use crate::output::{Output, grouped};
use crate::report::RunReport;
use crate::stop::Stop;

const EXAMPLE: &str = "\
The file has a table [source] and a table [sink.NAME] for every sink of its nodes; docs/cli.md has all their fields.
A table [attributes_topic] lets what is known of keys come from a topic of Kafka (docs/manifests.md).
Ctrl-C and SIGTERM stop it in order: the source first, then what is in flight, then the states of keys, then the last
commit. A second one ends it at once. Then a report is printed: to standard error when a console sink prints to standard output.

With --state a stop in order saves what the nodes know of their keys, and how far the source was; the next start goes on
with it. A saved state that is damaged, of another version, or not where the source begins is refused (docs/OPERATIONS.md).

With --registry what was deployed on the topology is kept in a folder and runs again after a restart; --admin switches the
admin API on, over which it is deployed (docs/admin.md). `grist token create` makes the token that it asks for.

Examples:
  grist run examples/topologies/plant.toml
  grist run plant.toml --registry plant.registry --admin 127.0.0.1:8080
  grist run plant.toml --state plant.state
  grist run plant.toml --shards 4 --log info";

/// What is said when somebody asks to stop.
const STOPPING: &str = "stopping: what is in flight is finished first";

/// What runs.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLE)]
pub(crate) struct RunArgs {
    /// A topology file, .toml or .json
    file: PathBuf,
    /// Threads that compute; one for each core unless said
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=1_024))]
    shards: Option<u16>,
    /// Binds each of them to a core of its own
    #[arg(long)]
    pin: bool,
    /// A folder in which the states of keys are kept from a stop to the next start; it is made if need be
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
    /// What happens when a saved state is refused: stop, or begin-anew without what is refused
    #[arg(long, value_name = "WHAT", default_value = "stop", requires = "state")]
    state_refused: OnRefused,
    /// How many seconds a stop may take; then it ends at once, and what was in flight is read again
    #[arg(long, value_name = "SECONDS", default_value_t = 9, value_parser = clap::value_parser!(u32).range(1..))]
    stop_within: u32,
    /// Sends spans by OTLP over HTTP to a collector, such as http://127.0.0.1:4318
    #[cfg(feature = "otel")]
    #[arg(long, value_name = "URL")]
    otel_endpoint: Option<String>,
    /// Which spans are sent
    #[cfg(feature = "otel")]
    #[arg(long, value_name = "FILTER", default_value = "gristmill=debug", requires = "otel_endpoint")]
    otel_spans: String,
    /// A folder in which deployments are kept, and run again after a restart; it is made if need be
    #[cfg(feature = "admin")]
    #[arg(long, value_name = "DIR")]
    registry: Option<PathBuf>,
    /// Switches the admin API on, at an address of this machine
    #[cfg(feature = "admin")]
    #[arg(long, value_name = "ADDRESS", requires = "registry")]
    admin: Option<std::net::SocketAddr>,
}

/// The answer of `grist run --json`.
#[derive(Debug, Serialize)]
struct Ran {
    #[serde(flatten)]
    report: RunReport,
    /// Why it ended, where that is no success.
    error: Option<String>,
}

/// What happens when a saved state is refused.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum OnRefused {
    Stop,
    BeginAnew,
}

#[cfg(feature = "otel")]
impl RunArgs {
    /// Where spans are sent to, and which.
    pub(crate) fn spans(&self) -> Option<(&str, &str)> {
        Some((self.otel_endpoint.as_deref()?, &self.otel_spans))
    }
}

/// Runs it.
pub(crate) async fn run(args: &RunArgs, output: &mut Output) -> Result<(), Failure> {
    let operators = registry::registry();
    let purpose = Purpose::Run { json: output.is_json() };
    let (loaded, known) = load_by(&args.file, &purpose, &operators)?.know().await?;
    // Before anything is opened or started: a signal that ended the process then would lose the saved states.
    let mut stop = Stop::listen();
    let console = loaded.console && !output.is_json();
    let (traffic, columns) = (Arc::new(Traffic::default()), loaded.columns());
    let mut builder = loaded.builder(&traffic)?;
    if let Some(shards) = args.shards {
        builder = builder.shards(shards);
    }
    builder.options_mut().pin = args.pin;
    if let Some(folder) = &args.state {
        let store = StateFolder::open(folder).map_err(|error| Failure::failed(error.to_string()))?;
        let refused = match args.state_refused {
            OnRefused::Stop => RefusedState::Stop,
            OnRefused::BeginAnew => RefusedState::BeginAnew,
        };
        builder = builder.state(store).refused_state(refused);
    }
    let clock = SystemClock::default();
    let (started, asked) = until_started(start(builder, operators, args, output), &mut stop, args, output).await;
    let (mill, beside) = started?;
    let _following = match follow(known, &mill, &beside) {
        Ok(following) => following,
        Err(failure) => {
            // Rows are in flight already. How their end goes is not what went wrong.
            let limit = asked.unwrap_or_else(|| Limit::from_now(args));
            let _ = finish(mill.stop(), &mut stop, limit, output.is_json()).await;
            return Err(failure);
        }
    };
    mill.restored().iter().for_each(|restored| output.note(restored));
    let spinner = if console { ProgressBar::hidden() } else { spinner() };
    let watched = Arc::clone(&traffic);
    let looked = spinner.clone();
    let looking = tokio::spawn(async move {
        let mut before = 0;
        let mut ticks = tokio::time::interval(Duration::from_secs(1));
        loop {
            ticks.tick().await;
            let records = watched.records();
            looked.set_message(format!("{} records, {}/s", grouped(records), grouped(records - before)));
            before = records;
        }
    });
    let ended = match asked {
        None => until_stopped(&mill, &mut stop, args, output).await,
        Some(limit) => finish(mill.stop(), &mut stop, limit, output.is_json()).await,
    };
    let ended = ended.map_err(|error| Failure::failed(error.to_string()));
    looking.abort();
    spinner.finish_and_clear();
    let ran = clock.monotonic();
    let report = mill.report(None).await.map_err(|error| Failure::failed(error.to_string()))?;
    let report = RunReport::of(&report, &traffic, columns, ran).with(mill.restored());
    if output.is_json() {
        let error = ended.as_ref().err().map(|failure| failure.text.clone());
        output.answer(&Ran { report, error })?;
    } else if console {
        output.note(format!("\n{report}"));
    } else {
        output.say(&report);
    }
    ended.map_err(Failure::answered)
}

/// What is kept as long as it runs, besides the system itself.
#[cfg(feature = "admin")]
type Beside = Option<crate::admin::Started>;
#[cfg(not(feature = "admin"))]
type Beside = ();

#[cfg(feature = "admin")]
async fn start(
    builder: Builder,
    operators: Registry,
    args: &RunArgs,
    output: &Output,
) -> Result<(Handle, Beside), Failure> {
    let Some(registry) = &args.registry else { return Ok((plainly(builder, args).await?, None)) };
    let started = crate::admin::start(builder, operators, registry, args.admin, output).await?;
    Ok((started.handle().clone(), Some(started)))
}

#[cfg(not(feature = "admin"))]
async fn start(
    builder: Builder,
    _operators: Registry,
    args: &RunArgs,
    _output: &Output,
) -> Result<(Handle, Beside), Failure> {
    Ok((plainly(builder, args).await?, ()))
}

/// What a topic says of keys goes by the registry, where there is one.
#[cfg(feature = "admin")]
fn follow(known: Option<Known>, mill: &Handle, beside: &Beside) -> Result<impl Sized + use<>, Failure> {
    match beside {
        Some(started) => attributes_topic::follow(known, started.deployer().clone()),
        None => attributes_topic::follow(known, mill.clone()),
    }
}

#[cfg(not(feature = "admin"))]
fn follow(known: Option<Known>, mill: &Handle, _beside: &Beside) -> Result<impl Sized + use<>, Failure> {
    attributes_topic::follow(known, mill.clone())
}

async fn plainly(builder: Builder, args: &RunArgs) -> Result<Handle, Failure> {
    let failed = |error| Failure::not_started(&error, format!("{}: {error}", args.file.display()));
    builder.start().await.map_err(failed)
}

/// How long a stop may take.
#[derive(Clone, Copy)]
struct Limit {
    seconds: u32,
    until: Instant,
}

impl Limit {
    /// Of a stop that is asked for now.
    fn from_now(args: &RunArgs) -> Self {
        let seconds = args.stop_within;
        Self { seconds, until: Instant::now() + Duration::from_secs(seconds.into()) }
    }
}

/// Starts it. Who asks to stop meanwhile waits until it has started: what is half started cannot be stopped in order.
async fn until_started<T>(
    starts: impl Future<Output = T>,
    stop: &mut Stop,
    args: &RunArgs,
    output: &Output,
) -> (T, Option<Limit>) {
    let mut starts = pin!(starts);
    tokio::select! {
        started = &mut starts => return (started, None),
        () = stop.asked() => {}
    }
    output.note(STOPPING);
    let limit = Limit::from_now(args);
    (finish(starts, stop, limit, output.is_json()).await, Some(limit))
}

/// Until the source ends, or somebody asks to stop.
async fn until_stopped(mill: &Handle, stop: &mut Stop, args: &RunArgs, output: &Output) -> Result<(), RunError> {
    tokio::select! {
        ended = mill.finished() => return ended,
        () = stop.asked() => {}
    }
    output.note(STOPPING);
    finish(mill.stop(), stop, Limit::from_now(args), output.is_json()).await
}

/// Waits for what has to end in order. When that takes too long, or somebody asks again, the process ends at once.
async fn finish<T>(ends: impl Future<Output = T>, stop: &mut Stop, limit: Limit, json: bool) -> T {
    let at_once = tokio::select! {
        ended = ends => return ended,
        () = stop.asked() => "stopped at once".to_owned(),
        () = tokio::time::sleep_until(limit.until) => {
            let seconds = limit.seconds;
            format!("not stopped within {seconds} s: a sink or the source does not answer (--stop-within)")
        }
    };
    // What is in flight is left as it is: taken down, it would be one failure more.
    let what = "what was in flight is not committed and is read again; states are not saved unless they were already";
    Output::new(json).failed(&Failure::failed(format!("{at_once}; {what}")));
    std::process::exit(i32::from(Exit::Failed as u8));
}

fn spinner() -> ProgressBar {
    let spinner = ProgressBar::new_spinner();
    if let Ok(style) = ProgressStyle::with_template("{spinner} {elapsed} {msg}") {
        spinner.set_style(style);
    }
    spinner.enable_steady_tick(Duration::from_millis(200));
    spinner
}
