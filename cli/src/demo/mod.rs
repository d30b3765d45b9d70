//! `grist demo`: a plant, thousands of models, and a hundred more while they run. It measures itself and ends.

mod addition;
mod base_line;
mod live;
mod models;
mod probe;
mod summary;

use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use gristmill::words::Span;
use gristmill::{Handle, Runtime};
use gristmill_operators::simulate::{self, Plant};
use tokio::sync::watch;

use crate::failure::Failure;
use crate::output::Output;
use crate::stop;
use addition::Addition;
use live::Live;
use models::{KINDS, Layout};
use probe::{Counter, Phase, Probe, Stamped};

const PARTITIONS: u32 = 4;
/// Machines unless said.
const MACHINES: u32 = 500;
/// So many machines of a hundred wear out.
const FAILING: f64 = 20.0;
/// How long a bearing lasts, in event time, so that some break while one looks.
const LIFE: Span = Span::from_secs(60);
/// How often a terminal is redrawn, and a line is printed elsewhere.
const REDRAW: Duration = Duration::from_millis(500);
const LINE: Duration = Duration::from_secs(1);

const EXAMPLE: &str = "\
Every machine has four sensors, five features and models of its own: `anomaly` (a forest), `load` (a net), `efficiency`
(linear), and `wear` (a net), which reads what the other three predict; an alarm reads the wear. Half-way a model of its
own, `failure`, is deployed for each of 100 machines while rows flow; it reads the anomaly and the wear. At the end every
row must have been scored by every model of its machine, else the command fails.

Examples:
  grist demo
  grist demo --models 100 --seconds 5
  grist demo --models 8000 --machines 2000 --seconds 30
  grist demo --seconds 5 --json | jq .latency";

/// What the demo is asked for.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLE)]
pub(crate) struct DemoArgs {
    /// Models in all, at least four for each machine
    #[arg(long, default_value_t = 2_000, value_parser = clap::value_parser!(u32).range(4..=10_000_000))]
    models: u32,
    /// How long it runs, in seconds
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=86_400))]
    seconds: u32,
    /// Machines; 500 unless said, or fewer where there are too few models
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    machines: Option<u32>,
    /// Rows of each machine in a second
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    rate: u32,
    /// Models that are added half-way, at most one for each machine
    #[arg(long, default_value_t = 100)]
    add: u32,
    /// Threads that compute; one for each core unless said
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=1_024))]
    shards: Option<u16>,
    /// Seed of the machines and of their models
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

impl DemoArgs {
    fn layout(&self) -> Result<Layout, Failure> {
        let kinds = KINDS.len() as u32;
        let machines = self.machines.unwrap_or(MACHINES.min(self.models / kinds));
        if self.models / kinds < machines {
            return Err(Failure::usage(format!(
                "--models {}: each of {machines} machines has at least {kinds} models; say --models {} or more, or \
                 --machines {} or fewer",
                self.models,
                machines.saturating_mul(kinds),
                self.models / kinds,
            )));
        }
        Ok(Layout { machines, models: self.models, seed: self.seed })
    }

    fn plant(&self, layout: Layout) -> Plant {
        simulate::plant(layout.machines)
            .seed(self.seed)
            .rate(f64::from(self.rate))
            .rows(u64::from(self.rate) * u64::from(self.seconds))
            .realtime(1.0)
            .partitions(PARTITIONS)
            .failing(FAILING, LIFE)
    }

    /// Models that are added: no machine gets two.
    fn added(&self, layout: Layout) -> u32 {
        self.add.min(layout.machines)
    }
}

/// Runs it.
pub(crate) async fn run(args: &DemoArgs, output: &mut Output) -> Result<(), Failure> {
    let layout = args.layout()?;
    if !output.is_json() {
        output.say(live::introduction(layout, args.rate));
    }
    let probe = Probe::new(PARTITIONS);
    let plant = args.plant(layout);
    let topology = models::topology(layout, &plant)
        .map_err(|error| Failure::failed(format!("an artifact of the demo was refused: {error}")))?;
    let prepared = probe.now();
    let source = Stamped { plant, probe: Arc::clone(&probe) };
    let mut builder =
        Runtime::builder().topology(topology).source(source).sink("predictions", Counter(Arc::clone(&probe)));
    if let Some(shards) = args.shards {
        builder = builder.shards(shards);
    }
    let shards = builder.options_mut().shards;
    let mill = builder.start().await.map_err(|error| Failure::failed(format!("the demo did not start: {error}")))?;
    let started = probe.now();
    let mut live = Live::new(Arc::clone(&probe), layout, shards, started, Duration::from_secs(args.seconds.into()));
    let (end, ends) = watch::channel(false);
    let deployment = (args.plant(layout), args.added(layout), args.seed);
    let half = tokio::spawn(half_way(mill.clone(), Arc::clone(&probe), deployment, live.half(), ends));
    let looked = look_on(&mill, &mut live, output).await;
    let ended = probe.now();
    end.send_replace(true);
    let addition = half.await;
    // Why the run failed is said before why nothing could be added to it.
    let stopped = looked?;
    let addition = match addition.map_err(|_| Failure::failed("adding models panicked"))? {
        // Nothing can be added to what is being stopped.
        Err(_) if stopped => None,
        addition => addition?,
    };
    live.finish(&mill, output).await;
    let report = mill.report(None).await.map_err(|error| Failure::failed(error.to_string()))?;
    let summary = summary::Summary::of(&summary::Measured {
        args,
        layout,
        shards,
        prepared,
        ran: ended - started,
        stopped,
        probe: &probe,
        addition: addition.as_ref(),
        report: &report,
    });
    if output.is_json() {
        output.answer(&summary)?;
    } else {
        output.say(format!("\n{summary}"));
    }
    match summary.wrong() {
        Some(wrong) => Err(Failure::failed(wrong).answered()),
        None => Ok(()),
    }
}

/// Shows how it goes until the plant ends; whether somebody stopped it before, or wants to see no more.
async fn look_on(mill: &Handle, live: &mut Live, output: &mut Output) -> Result<bool, Failure> {
    let finished = mill.finished();
    let stop = stop::asked();
    tokio::pin!(finished, stop);
    let every = if output.is_terminal() { REDRAW } else { LINE };
    let mut ticks = tokio::time::interval(every);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    ticks.tick().await;
    let failed = |error: gristmill::RunError| Failure::failed(format!("the demo stopped: {error}"));
    loop {
        tokio::select! {
            ended = &mut finished => return ended.map(|()| false).map_err(failed),
            () = &mut stop => return mill.stop().await.map(|()| true).map_err(failed),
            _ = ticks.tick() => {
                live.show(mill, output).await;
                if !output.is_open() {
                    return mill.stop().await.map(|()| true).map_err(failed);
                }
            }
        }
    }
}

/// Waits for the middle of the run, then adds models.
async fn half_way(
    mill: Handle,
    probe: Arc<Probe>,
    (plant, models, seed): (Plant, u32, u64),
    half: Duration,
    mut ends: watch::Receiver<bool>,
) -> Result<Option<Addition>, Failure> {
    // The last second before the deployment, or what there is of it, is what the deployment is compared with.
    let warm = half.saturating_sub(Duration::from_secs(2));
    let waited = async {
        tokio::time::sleep(warm).await;
        probe.enter(Phase::Before);
        tokio::time::sleep(half - warm).await;
    };
    tokio::select! {
        () = waited => {}
        _ = ends.wait_for(|ended| *ended) => return Ok(None),
    }
    if models == 0 {
        return Ok(None);
    }
    addition::add(&mill, &probe, (&plant, models, seed), ends).await.map(Some)
}
