//! The command line.

use clap::{Parser, Subcommand};

const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  failed: it was begun and did not work; the text says why
  2  usage: the command line makes no sense
  3  refused: a file is wrong, or the server says no; nothing has run or changed
  4  denied: the token does not allow it, or there is none
  5  unreachable: nobody answers there

Start here:
  grist demo
  grist validate examples/topologies/plant.toml
  grist run examples/topologies/plant.toml";

const COMPLETION_EXAMPLE: &str = "\
Examples:
  grist completion bash > ~/.local/share/bash-completion/completions/grist
  grist completion zsh > ~/.zfunc/_grist";

/// Serves thousands of models over sensor streams: run, look at and measure topologies.
#[derive(Debug, Parser)]
#[command(name = "grist", version, after_help = EXIT_CODES, propagate_version = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,

    /// Answers as one JSON value on standard output
    #[arg(long, global = true)]
    pub(crate) json: bool,

    /// What the engine logs to standard error: error, warn, info, debug, trace, or target=level,… (warn unless said)
    #[arg(long, global = true, value_name = "FILTER")]
    pub(crate) log: Option<String>,
}

/// What can be asked of `grist`.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Runs 2,000 models over 500 simulated machines and adds 100 more half-way
    Demo(crate::demo::DemoArgs),
    /// Runs a topology file until its source ends or Ctrl-C
    Run(crate::run::RunArgs),
    /// Says everything that is wrong with a topology file
    Validate(crate::validate::ValidateArgs),
    /// Shows what a topology file would run
    Plan(crate::plan::PlanArgs),
    /// Shows every bound of a system, and what happens there
    Limits(crate::limits::LimitsArgs),
    /// Scores a file of rows
    Score(crate::score::ScoreArgs),
    /// Measures the engine against a plain loop over the same models
    Bench(crate::bench::BenchArgs),
    /// Looks at the saved states of keys
    State(crate::state::StateArgs),
    /// Makes, lists and ends tokens of the admin API
    #[cfg(feature = "admin")]
    Token(crate::token::TokenArgs),
    #[cfg(feature = "remote")]
    #[command(flatten)]
    Remote(crate::remote::RemoteCommand),
    /// Prints what a shell needs to complete command lines
    #[command(after_help = COMPLETION_EXAMPLE)]
    Completion {
        /// The shell
        shell: clap_complete::Shell,
    },
}
