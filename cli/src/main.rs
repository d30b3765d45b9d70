//! `grist`: run, look at and measure gristmill topologies.

#[cfg(feature = "admin")]
mod admin;
mod args;
mod attributes_topic;
mod bench;
mod binding;
mod demo;
mod failure;
mod limits;
mod load;
mod logging;
#[cfg(feature = "otel")]
mod otel;
mod output;
mod plan;
#[cfg(feature = "remote")]
mod remote;
mod report;
mod run;
mod score;
mod state;
mod stop;
#[cfg(feature = "admin")]
mod token;
mod validate;

use std::process::ExitCode;

use clap::{CommandFactory, Parser};

use args::{Args, Command};
use failure::Failure;
use output::Output;

/// Frames and rows are many small allocations on several threads, which is what this allocator is good at.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let args = Args::parse();
    let mut output = Output::new(args.json);
    let started = logging::start(args.log.as_deref(), &args.command);
    let done = started.and_then(|_sending| carry_out(args.command, &mut output));
    let done = done.and_then(|()| output.whole());
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            output.failed(&failure);
            failure.exit.into()
        }
    }
}

fn carry_out(command: Command, output: &mut Output) -> Result<(), Failure> {
    let threads = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let threads = threads.map_err(|error| Failure::failed(format!("no threads could be started: {error}")))?;
    match command {
        Command::Demo(args) => threads.block_on(demo::run(&args, output)),
        Command::Run(args) => threads.block_on(run::run(&args, output)),
        Command::Validate(args) => validate::run(&args, output),
        Command::Plan(args) => plan::run(&args, output),
        Command::Limits(args) => limits::run(&args, output),
        Command::Score(args) => threads.block_on(score::run(&args, output)),
        Command::Bench(args) => bench::run(&args, output),
        Command::State(args) => state::run(&args, output),
        #[cfg(feature = "admin")]
        Command::Token(args) => token::run(&args, output),
        #[cfg(feature = "remote")]
        Command::Remote(command) => remote::run(&command, output),
        Command::Completion { shell } => {
            let mut text = Vec::new();
            clap_complete::generate(shell, &mut Args::command(), "grist", &mut text);
            output.text(&String::from_utf8_lossy(&text));
            Ok(())
        }
    }
}
