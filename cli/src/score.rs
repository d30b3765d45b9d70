//! `grist score`: a file of rows through a topology, into a file of predictions.

use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use gristmill::clock::SystemClock;
use gristmill::traits::{Clock, Sink};
use gristmill_operators::file;
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use crate::binding::{Counted, FileKind, Input, Traffic};
use crate::failure::{Failure, cannot_go_on};
use crate::load::{Purpose, load};
use crate::output::{Output, count};
use crate::report::RunReport;
use crate::stop::Stop;

const EXAMPLE: &str = "\
The [source] and [sink.NAME] tables of the topology file are replaced: rows come from --input, and everything that its
sinks ask for goes to --output, which is written anew. Where --key and --time are left out, the [source] of the file says
which columns they are, if it is of the same kind. Predictions are those of a live run, bit for bit.

Examples:
  grist score examples/topologies/plant.toml --input examples/topologies/readings.csv --output scores.csv \\
    --key machine --time time
  grist score plant.toml --input rows.jsonl --output scores.jsonl --key device --time ts";

/// What is scored.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLE)]
pub(crate) struct ScoreArgs {
    /// A topology file, .toml or .json
    file: PathBuf,
    /// Rows: .csv with a header, .jsonl with an object on each line, or .parquet
    #[arg(long, value_name = "ROWS")]
    input: PathBuf,
    /// Predictions: .csv, .jsonl or .parquet; what is there is overwritten
    #[arg(long, value_name = "PREDICTIONS")]
    output: PathBuf,
    /// The column or field with the key
    #[arg(long)]
    key: Option<String>,
    /// The column or field with the event time: RFC 3339, or milliseconds since 1970
    #[arg(long)]
    time: Option<String>,
    /// Threads that compute; one for each core unless said
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=1_024))]
    shards: Option<u16>,
}

/// The answer of `grist score --json`.
#[derive(Debug, Serialize)]
struct Scored {
    #[serde(flatten)]
    report: RunReport,
    /// Values in the output.
    values: u64,
    output: String,
    /// Why there are none, where that is no success.
    error: Option<String>,
}

/// What a file is, by its name.
fn kind(option: &str, path: &Path) -> Result<FileKind, Failure> {
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("csv") => Ok(FileKind::Csv),
        Some("jsonl" | "ndjson" | "json") => Ok(FileKind::Json),
        Some("parquet") if cfg!(feature = "parquet") => Ok(FileKind::Parquet),
        Some("parquet") => {
            let text = "this grist was built without Parquet; build it with --features parquet";
            Err(Failure::usage(format!("{option} {}: {text}", path.display())))
        }
        _ => Err(Failure::usage(format!(
            "{option} {}: name a file that ends in .csv, .jsonl or .parquet",
            path.display()
        ))),
    }
}

/// What takes the predictions.
enum Written {
    Lines(Arc<file::FileSink>),
    #[cfg(feature = "parquet")]
    Parquet(Arc<file::ParquetSink>),
}

impl Written {
    fn to(path: &Path, kind: FileKind, json: bool) -> Self {
        let lines = || file::sink(path).truncate().on_failure(cannot_go_on(json));
        match kind {
            FileKind::Csv => Self::Lines(Arc::new(lines().csv())),
            #[cfg(feature = "parquet")]
            FileKind::Parquet => Self::Parquet(Arc::new(file::parquet_sink(path).on_failure(cannot_go_on(json)))),
            _ => Self::Lines(Arc::new(lines())),
        }
    }

    fn sink(&self) -> Arc<dyn Sink> {
        match self {
            Self::Lines(sink) => Arc::clone(sink) as Arc<dyn Sink>,
            #[cfg(feature = "parquet")]
            Self::Parquet(sink) => Arc::clone(sink) as Arc<dyn Sink>,
        }
    }

    /// Nothing more comes.
    fn finish(&self) -> Result<(), Failure> {
        match self {
            Self::Lines(_) => Ok(()),
            #[cfg(feature = "parquet")]
            Self::Parquet(sink) => sink.finish().map_err(|error| Failure::failed(error.to_string())),
        }
    }
}

/// Scores it.
pub(crate) async fn run(args: &ScoreArgs, output: &mut Output) -> Result<(), Failure> {
    let kind_in = kind("--input", &args.input)?;
    let input = Input { path: args.input.clone(), kind: kind_in, key: args.key.clone(), time: args.time.clone() };
    let written = Written::to(&args.output, kind("--output", &args.output)?, output.is_json());
    if is_same_file(&args.input, &args.output) {
        return Err(Failure::usage(format!("--output {}: it is the input; name another file", args.output.display())));
    }
    let bytes = std::fs::metadata(&args.input).map_or(0, |metadata| metadata.len());
    let traffic = Arc::new(Traffic::default());
    let counted = Arc::new(Counted { sink: written.sink(), traffic: Arc::clone(&traffic) });
    // What a topic says of keys is what it says now.
    let (loaded, _) =
        load(&args.file, &Purpose::Score { input: &input, output: counted, path: &args.output })?.know().await?;
    if loaded.sink_nodes() == 0 {
        let advice = "add a node such as sink = \"predictions\" with asks = [{ all = \"models\" }]";
        return Err(Failure::refused(format!(
            "{}: no node is a sink, so nothing would come out; {advice}",
            args.file.display()
        )));
    }
    if let Err(error) = OpenOptions::new().append(true).create(true).open(&args.output) {
        let output = args.output.display();
        return Err(Failure::refused(format!(
            "--output {output}: cannot be written: {error}; check that its folder is there and its rights"
        )));
    }
    let columns = loaded.columns();
    let mut builder = loaded.builder(&traffic)?;
    if let Some(shards) = args.shards {
        builder = builder.shards(shards);
    }
    let clock = SystemClock::default();
    let not_started = |error| Failure::not_started(&error, format!("{}: {error}", args.file.display()));
    // Before the first value is written: whoever ends it from then on is told that the output is not whole.
    let mut stop = Stop::listen();
    let mill = builder.start().await.map_err(not_started)?;
    let bar = bar(bytes);
    let looked = (bar.clone(), Arc::clone(&traffic));
    let looking = tokio::spawn(async move {
        let mut ticks = tokio::time::interval(Duration::from_millis(100));
        loop {
            ticks.tick().await;
            looked.0.set_position(looked.1.bytes());
        }
    });
    let ended = tokio::select! {
        ended = mill.finished() => ended.map_err(|error| error.to_string()),
        () = stop.asked() => Err("stopped before the end of the input".to_owned()),
    };
    looking.abort();
    bar.finish_and_clear();
    ended.map_err(|why| Failure::failed(format!("{why}; {} is not whole", args.output.display())))?;
    written.finish()?;
    let report = mill.report(None).await.map_err(|error| Failure::failed(error.to_string()))?;
    let report = RunReport::of(&report, &traffic, columns, clock.monotonic());
    let nothing = report.nothing().map(|nothing| format!("{}: {nothing}", args.input.display()));
    let file = args.output.display().to_string();
    if output.is_json() {
        output.answer(&Scored { report, values: traffic.values(), output: file, error: nothing.clone() })?;
    } else if nothing.is_none() {
        let values = count(traffic.values(), "value");
        output.say(format!("{report}\n{values} written to {file}"));
        if traffic.records() == 0 {
            output.note(format!("grist: {} has no rows", args.input.display()));
        }
    }
    nothing.map_or(Ok(()), |nothing| Err(Failure::failed(nothing).answered()))
}

/// Whether both are one file already.
fn is_same_file(one: &Path, other: &Path) -> bool {
    matches!((one.canonicalize(), other.canonicalize()), (Ok(one), Ok(other)) if one == other)
}

fn bar(bytes: u64) -> ProgressBar {
    let bar = ProgressBar::new(bytes);
    let template = "{elapsed} [{bar:40}] {bytes} of {total_bytes}, {bytes_per_sec}";
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style.progress_chars("=> "));
    }
    bar
}
