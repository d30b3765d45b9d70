//! `grist validate`: whether a topology file would run, and everything that is wrong if not.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use crate::failure::Failure;
use crate::load::{Purpose, load};
use crate::output::{Output, count};

const EXAMPLE: &str = "\
Operators are made, artifacts loaded and tried out, and the source's file is opened; nothing runs and no broker is asked.
All that is wrong is said at once, with line and advice. The exit code is 3 when something is.

Examples:
  grist validate examples/topologies/plant.toml
  grist validate plant.toml --json | jq '.problems[]'";

/// What is validated.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLE)]
pub(crate) struct ValidateArgs {
    /// A topology file, .toml or .json
    file: PathBuf,
}

pub(crate) fn run(args: &ValidateArgs, output: &mut Output) -> Result<(), Failure> {
    let file = args.file.display();
    match load(&args.file, &Purpose::Validate) {
        Ok(loaded) => {
            let (class, plan) = (&loaded.plan.class, &loaded.plan);
            let (nodes, of_keys) = (plan.base.nodes.len(), plan.nodes().count() - plan.base.nodes.len());
            if output.is_json() {
                return output.answer(&json!({
                    "valid": true, "file": args.file, "class": class, "nodes": nodes, "nodes_of_keys": of_keys,
                    "unused": plan.base.unused, "unbound": loaded.unbound, "problems": [],
                }));
            }
            let own = if of_keys == 0 { String::new() } else { format!(" and {of_keys} of single keys") };
            output.say(format!("{file}: fine; class `{class}`, {}{own}", count(nodes as u64, "node")));
            if !loaded.unbound.is_empty() {
                let (are, them) = if loaded.unbound.len() == 1 { ("is", "it") } else { ("are", "them") };
                let unbound = loaded.unbound.join(" and ");
                output.say(format!(
                    "{file}: {unbound} {are} left to a host; `grist run` needs {them}, `grist score` does not"
                ));
            }
            for node in &plan.base.unused {
                output.say(format!("{file}: `{node}` will not run, as no sink asks for what it provides"));
            }
            Ok(())
        }
        Err(refused) if output.is_json() => {
            output.answer(&json!({ "valid": false, "file": args.file, "problems": refused.problems }))?;
            Err(Failure::from(refused).answered())
        }
        Err(refused) => Err(refused.into()),
    }
}
