//! `grist top`: nodes at work, in the place of the picture before.

use std::collections::BTreeMap;
use std::time::Duration;

use clap::Args;
use gristmill::clock::SystemClock;
use gristmill::traits::Clock;
use serde_json::{Value, json};

use super::client::{Request, ServerOptions};
use super::look::is_counted;
use crate::failure::Failure;
use crate::output::{Output, count, grouped, table};

const EXAMPLE: &str = "\
Rates are of the time between two pictures. Ctrl-C ends it, and so does whoever reads it and wants no more.

Examples:
  grist top
  grist top --once
  grist top --interval 5 --json";

/// How it looks.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLE)]
pub(crate) struct TopArgs {
    /// Seconds between two pictures
    #[arg(long, value_name = "SECONDS", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=3600))]
    interval: u64,
    /// Two looks, one picture, and the end
    #[arg(long)]
    once: bool,
    /// Most nodes in a picture
    #[arg(long, value_name = "N", default_value_t = 18)]
    nodes: usize,
    #[command(flatten)]
    server: ServerOptions,
}

/// A look: what each node had counted, and when.
struct Look {
    at: Duration,
    list: Value,
}

/// Shows it until it is ended.
pub(crate) fn run(args: &TopArgs, output: &mut Output) -> Result<(), Failure> {
    let client = args.server.client()?;
    let clock = SystemClock::default();
    let look = || -> Result<Look, Failure> {
        let list = client.ask(&Request::get(format!("/v1/nodes{}", args.server.query(&[]))))?;
        Ok(Look { at: clock.monotonic(), list })
    };
    let mut before = look()?;
    loop {
        std::thread::sleep(Duration::from_secs(args.interval));
        let now = look()?;
        let lines = lines(&before, &now);
        if output.is_json() {
            let nodes: Vec<Value> = lines.iter().map(Line::json).collect();
            output.text(&format!("{}\n", json!({ "revision": now.list["revision"], "nodes": nodes })));
        } else if output.is_terminal() && !args.once {
            output.draw(&picture(&now, &lines, args.nodes));
        } else {
            output.say(picture(&now, &lines, args.nodes));
        }
        if args.once || !output.is_open() {
            return Ok(());
        }
        before = now;
    }
}

struct Line {
    node: String,
    state: String,
    is_counted: bool,
    rows_per_second: f64,
    failed_per_second: f64,
    computed: u64,
}

impl Line {
    fn json(&self) -> Value {
        json!({
            "id": self.node, "state": self.state, "rows_per_second": self.rows_per_second,
            "failed_per_second": self.failed_per_second, "computed": self.computed,
        })
    }
}

/// The busiest first.
fn lines(before: &Look, now: &Look) -> Vec<Line> {
    let seconds = now.at.saturating_sub(before.at).as_secs_f64().max(1e-3);
    let counted = |list: &Value| -> BTreeMap<(String, u64), (u64, u64)> {
        let nodes = list["nodes"].as_array().into_iter().flatten();
        nodes.map(|node| (identity(node), counts(node))).collect()
    };
    let was = counted(&before.list);
    let nodes = now.list["nodes"].as_array().into_iter().flatten();
    let mut lines: Vec<Line> = nodes
        .map(|node| {
            let (rows, failed) = counts(node);
            let (rows_before, failed_before) = was.get(&identity(node)).copied().unwrap_or_default();
            Line {
                node: node["id"].as_str().unwrap_or_default().to_owned(),
                state: node["state"].as_str().unwrap_or_default().to_owned(),
                is_counted: is_counted(node),
                rows_per_second: rows.saturating_sub(rows_before) as f64 / seconds,
                failed_per_second: failed.saturating_sub(failed_before) as f64 / seconds,
                computed: node["counts"]["computed"].as_u64().unwrap_or(0),
            }
        })
        .collect();
    lines.sort_by(|a, b| b.rows_per_second.total_cmp(&a.rows_per_second).then_with(|| a.node.cmp(&b.node)));
    lines
}

fn identity(node: &Value) -> (String, u64) {
    (node["id"].as_str().unwrap_or_default().to_owned(), node["born"].as_u64().unwrap_or(0))
}

/// Rows, and those that failed.
fn counts(node: &Value) -> (u64, u64) {
    let of = |name: &str| node["counts"][name].as_u64().unwrap_or(0);
    (of("rows"), of("failed") + of("quarantined"))
}

fn picture(now: &Look, lines: &[Line], most: usize) -> String {
    let rows = lines.iter().take(most).map(|line| {
        let numbers = [line.rows_per_second.round() as u64, line.failed_per_second.round() as u64, line.computed];
        let shown = numbers.map(|number| if line.is_counted { grouped(number) } else { "-".to_owned() });
        [vec![line.node.clone(), line.state.clone()], shown.to_vec()].concat()
    });
    let head = format!("revision {}, {}", now.list["revision"], count(lines.len() as u64, "node"));
    let table = table(&["node", "state", "rows/s", "failed/s", "computed"], &[1], rows);
    let left = lines.len().saturating_sub(most);
    let more = if left > 0 { format!("\nand {} more", grouped(left as u64)) } else { String::new() };
    format!("{head}\n\n{table}{more}")
}
