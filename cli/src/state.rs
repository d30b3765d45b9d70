//! `grist state`: looks at the saved states of keys, beside the process that uses them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use gristmill::state::envelope::hex;
use gristmill::state::{Checked, KeyRecord, NodeRecord, Snapshot, StateError, StateFolder, check, read};
use gristmill::topology::plan::ClassPlan;
use gristmill::words::{KeyIndex, Offset};
use serde_json::{Value, json};

use crate::failure::Failure;
use crate::load::{Purpose, load};
use crate::output::{Output, count, grouped, table};

const EXAMPLE: &str = "\
These are the states that the next start would take: those of a system that runs are in its memory.

Examples:
  grist state ls plant.state
  grist state dump plant.state --key machine-7
  grist state dump plant.state --key machine-7 --topology plant.toml
  grist state verify plant.state";

/// Bytes of a state that are shown where it cannot be read.
const BYTES_SHOWN: usize = 64;

/// What is looked at.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLE)]
pub(crate) struct StateArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Lists what is saved of each class
    Ls {
        /// The folder of saved states
        folder: PathBuf,
    },
    /// Shows what is saved of a key, node by node
    Dump {
        /// The folder of saved states
        folder: PathBuf,
        /// The key
        #[arg(long)]
        key: String,
        /// A topology file whose operators can read their states
        #[arg(long, value_name = "FILE")]
        topology: Option<PathBuf>,
    },
    /// Checks every record: exit code 0 when all are whole and of this version, else 3
    Verify {
        /// The folder of saved states
        folder: PathBuf,
    },
}

/// A file of saved states.
struct Saved {
    path: PathBuf,
    /// Whether the source knows how far it goes.
    told: bool,
    bytes: Vec<u8>,
}

/// Looks.
pub(crate) fn run(args: &StateArgs, output: &mut Output) -> Result<(), Failure> {
    match &args.what {
        What::Ls { folder } => list(&files(folder)?, output),
        What::Dump { folder, key, topology } => dump(&files(folder)?, key, topology.as_deref(), output),
        What::Verify { folder } => verify(&files(folder)?, output),
    }
}

fn files(folder: &Path) -> Result<Vec<Saved>, Failure> {
    let failed = |error: StateError| match error {
        StateError::Layout { .. } => Failure::refused(error.to_string()),
        error => Failure::failed(error.to_string()),
    };
    if !folder.is_dir() {
        let advice = "name the folder of `grist run --state`";
        return Err(Failure::refused(format!("`{}`: there is no such folder; {advice}", folder.display())));
    }
    let files = StateFolder::look(folder).and_then(|folder| folder.files()).map_err(failed)?;
    let file = |(path, told): (PathBuf, bool)| {
        let unreadable = |error| Failure::failed(format!("`{}` cannot be read: {error}", path.display()));
        let bytes = std::fs::read(&path).map_err(unreadable)?;
        Ok(Saved { path, told, bytes })
    };
    files.into_iter().map(file).collect()
}

fn list(files: &[Saved], output: &mut Output) -> Result<(), Failure> {
    let (mut rows, mut values, mut damaged) = (Vec::new(), Vec::new(), Vec::new());
    for file in files {
        let snapshot = match read(&file.bytes) {
            Ok(snapshot) => snapshot,
            Err(damage) => {
                damaged.push(format!("`{}`, {damage}", file.path.display()));
                continue;
            }
        };
        let head = &snapshot.head;
        let nodes: BTreeSet<_> = snapshot.keys.iter().flat_map(|(key, _)| &key.nodes).map(|node| &node.name).collect();
        let positions: BTreeMap<_, _> = head.partitions.iter().copied().collect();
        let next = |next: Offset| u64::try_from(next.0).map_or_else(|_| next.to_string(), grouped);
        let said = head.partitions.iter().map(|(partition, of)| format!("{partition}: {}", next(*of)));
        rows.push(vec![
            head.class.to_string(),
            grouped(snapshot.keys.len() as u64),
            grouped(nodes.len() as u64),
            grouped(file.bytes.len() as u64),
            head.saved.to_string(),
            head.revision.to_string(),
            said.collect::<Vec<_>>().join(", "),
            if file.told { "yes" } else { "no" }.to_owned(),
        ]);
        values.push(json!({
            "class": head.class, "keys": snapshot.keys.len(), "nodes": nodes.len(), "bytes": file.bytes.len(),
            "saved": head.saved, "by": head.by, "revision": head.revision, "positions": positions, "told": file.told,
        }));
    }
    if output.is_json() {
        output.answer(&json!({ "states": values, "damaged": damaged }))?;
    } else if rows.is_empty() && damaged.is_empty() {
        output.say("nothing is saved");
    } else {
        let heads = ["class", "keys", "nodes", "bytes", "saved", "revision", "position", "told"];
        output.say(table(&heads, &[6, 7], rows));
    }
    if damaged.is_empty() { Ok(()) } else { Err(Failure::refused(damaged.join("\n")).answered()) }
}

fn dump(files: &[Saved], key: &str, topology: Option<&Path>, output: &mut Output) -> Result<(), Failure> {
    let plan = topology.map(|path| load(path, &Purpose::Look).map(|loaded| loaded.plan)).transpose()?;
    let mut values = Vec::new();
    for file in files {
        let damaged = |damage| Failure::refused(format!("`{}`, {damage}", file.path.display()));
        let snapshot = read(&file.bytes).map_err(damaged)?;
        let Some(record) = snapshot.key(key) else { continue };
        let plan = plan.as_ref().filter(|plan| plan.class == snapshot.head.class);
        let nodes: Vec<Value> = record.nodes.iter().map(|node| of_node(node, record, plan)).collect();
        if !output.is_json() {
            output.say(text(&snapshot, record, &nodes));
        }
        values.push(json!({
            "class": snapshot.head.class, "key": record.key, "partition": record.partition, "next": record.next,
            "revision": record.revision, "intake": record.intake, "nodes": nodes,
        }));
    }
    if values.is_empty() {
        return Err(Failure::failed(format!("there is no key `{key}` in what is saved")));
    }
    if output.is_json() { output.answer(&values) } else { Ok(()) }
}

/// What is kept of a node: the engine's part is plain, the operator's is read by the operator, if it is there.
fn of_node(node: &NodeRecord, key: &KeyRecord, plan: Option<&ClassPlan>) -> Value {
    let whole = serde_json::to_value(node).unwrap_or_default();
    let state = node.operator.as_ref().map(|state| {
        let own = plan.and_then(|plan| plan.keys.get(&key.key)).into_iter().flat_map(|own| &own.nodes);
        let all = plan.into_iter().flat_map(|plan| &plan.base.nodes).chain(own);
        let operator = all.filter(|of| of.name == node.name).find_map(|of| of.operator.clone());
        let read = operator.filter(|operator| operator.state_version() == state.version).and_then(|operator| {
            let mut table = operator.table(false);
            table.decode(KeyIndex(0), &state.bytes).ok()?;
            table.show(KeyIndex(0))
        });
        let shown: String = state.bytes.iter().take(BYTES_SHOWN).map(|byte| format!("{byte:02x}")).collect();
        json!({ "version": state.version, "bytes": state.bytes.len(), "begins": shown, "value": read })
    });
    json!({
        "node": node.name, "identity": hex(&node.identity), "born": node.born, "artifact": node.artifact,
        "state": state, "align": whole["align"], "last": whole["last"], "health": whole["health"],
    })
}

fn text(snapshot: &Snapshot, record: &KeyRecord, nodes: &[Value]) -> String {
    let mut lines = vec![format!(
        "`{}` of `{}`: partition {} up to offset {}, at revision {}",
        record.key, snapshot.head.class, record.partition, record.next, record.revision
    )];
    let newest = record.intake.newest().map_or_else(|| "none".to_owned(), |time| time.to_string());
    lines.push(format!("intake: newest time {newest}, {} waiting", count(record.intake.waiting() as u64, "row")));
    for (value, node) in nodes.iter().zip(&record.nodes) {
        lines.push(format!("{}: identity {}, born at revision {}", node.name, hex(&node.identity), node.born));
        if let Some(state) = &node.operator {
            let state_of = &value["state"];
            let shown = if state_of["value"].is_null() { &state_of["begins"] } else { &state_of["value"] };
            let size = count(state.bytes.len() as u64, "byte");
            lines.push(format!("  state of version {}, {size}: {shown}", state.version));
        }
        for part in ["align", "last", "health"] {
            let is_nothing = value[part].is_null() || value[part].as_array().is_some_and(Vec::is_empty);
            if !is_nothing {
                lines.push(format!("  {part}: {}", value[part]));
            }
        }
    }
    lines.join("\n")
}

fn verify(files: &[Saved], output: &mut Output) -> Result<(), Failure> {
    let (mut wrong, mut values) = (Vec::new(), Vec::new());
    for file in files {
        let (Checked { head, keys, damage, .. }, path) = (check(&file.bytes), file.path.display());
        let said: Vec<String> = damage.iter().map(|damage| format!("`{path}`, {damage}")).collect();
        values.push(
            json!({ "file": path.to_string(), "class": head.map(|head| head.class), "keys": keys, "damage": said }),
        );
        if !output.is_json() && said.is_empty() {
            output.say(format!("`{path}`: fine; {}", count(keys as u64, "key")));
        }
        wrong.extend(said);
    }
    if output.is_json() {
        output.answer(&values)?;
    } else if files.is_empty() {
        output.say("nothing is saved");
    }
    if wrong.is_empty() { Ok(()) } else { Err(Failure::refused(wrong.join("\n")).answered()) }
}
