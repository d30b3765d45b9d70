//! `grist limits`: every bound of a system, and what happens there.

use std::path::PathBuf;

use clap::Args;
use gristmill::{Limit, Options, limits};
use serde_json::json;

use crate::failure::Failure;
use crate::load::{Purpose, load};
use crate::output::{Output, bytes, grouped, table};

const EXAMPLE: &str = "\
Everything that could grow has a bound. Those set by [limits] are set in that table of the topology file:

  [limits]
  in_flight_bytes = \"64 MiB\"
  keys_max = 100_000

The memory is about how much one of what is counted can take at most: a class for what is in flight, a shard for keys, a key for what
waits or is remembered. Those of operators, sources, sinks and the admin API are what holds unless they are told otherwise, whatever
the file says. What your operators and models hold is theirs; `grist ls --top memory` measures it while it runs.

Examples:
  grist limits
  grist limits plant.toml
  grist limits plant.toml --json | jq '.limits[] | select(.name == \"keys_max\")'";

/// Whose limits.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLE)]
pub(crate) struct LimitsArgs {
    /// A topology file, .toml or .json; the defaults unless given
    file: Option<PathBuf>,
}

pub(crate) fn run(args: &LimitsArgs, output: &mut Output) -> Result<(), Failure> {
    let options = match &args.file {
        Some(file) => load(file, &Purpose::Look)?.options,
        None => Options::default(),
    };
    let mut all = limits(&options);
    all.extend(gristmill_operators::limits());
    #[cfg(feature = "admin")]
    all.extend(gristmill_admin::Limits::default().list());
    #[cfg(feature = "otel")]
    all.push(crate::otel::spans_limit());
    let in_flight = options.in_flight_memory() as u64;
    if output.is_json() {
        return output.answer(&json!({ "limits": all, "in_flight_memory_bytes": in_flight, "shards": options.shards }));
    }
    let row = |limit: &Limit| {
        let is_bytes = limit.name.ends_with("bytes") && !limit.name.ends_with("kbytes");
        let most = if is_bytes { bytes(limit.most) } else { grouped(limit.most) };
        let texts = [limit.of, limit.when_full, limit.set_by.unwrap_or("fixed"), limit.seen_in];
        let memory = limit.bytes.map_or_else(String::new, bytes);
        [vec![limit.name.to_owned(), most, memory], texts.map(str::to_owned).to_vec()].concat()
    };
    let head = ["limit", "most", "memory", "of what", "when it is reached", "set by", "seen in"];
    output.say(table(&head, &[3, 4, 5, 6], all.iter().map(row)));
    output.say(format!(
        "\nWhat is in flight takes at most about {} for each class; then its source pauses.",
        bytes(in_flight)
    ));
    Ok(())
}
