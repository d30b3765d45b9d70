//! `grist plan`: what would run, as a table, a figure or JSON.

use std::path::PathBuf;

use clap::Args;

use crate::failure::Failure;
use crate::load::{Purpose, load};
use crate::output::Output;

const EXAMPLE: &str = "\
Examples:
  grist plan examples/topologies/plant.toml
  grist plan plant.toml --dot | dot -Tsvg > plant.svg
  grist plan plant.toml --json | jq '.nodes[].node'";

/// What is planned.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLE)]
pub(crate) struct PlanArgs {
    /// A topology file, .toml or .json
    file: PathBuf,
    /// As a figure for Graphviz
    #[arg(long, conflicts_with = "json")]
    dot: bool,
}

pub(crate) fn run(args: &PlanArgs, output: &mut Output) -> Result<(), Failure> {
    let plan = load(&args.file, &Purpose::Look)?.plan;
    if args.dot {
        output.text(&plan.to_dot());
    } else if output.is_json() {
        output.answer(&plan.to_json())?;
    } else {
        output.say(&plan);
    }
    Ok(())
}
