//! Changes: each is shown as it would be, and said in the same words when it is done.

use std::io::{BufRead, IsTerminal, Write};
use std::path::PathBuf;

use clap::Args;
use serde_json::Value;

use super::client::{Client, Request, ServerOptions, escaped, idempotency_key};
use super::form::Form;
use crate::failure::Failure;
use crate::output::Output;

const DEPLOY_EXAMPLE: &str = "\
All of it applies, or nothing. The artifacts that a manifest names are found beside it. A preview says in the same words what a
deployment would do. A request that is lost on the way is sent again, and carried out once.

Examples:
  grist preview failure.toml
  grist deploy failure.toml
  grist deploy failure.toml --remove old --base 7
  grist deploy rolling.toml --reset load";

/// What is deployed.
#[derive(Debug, Args)]
#[command(after_help = DEPLOY_EXAMPLE)]
pub(crate) struct DeployArgs {
    /// Manifests, .toml or .json
    files: Vec<PathBuf>,
    /// Removes a node in the same step
    #[arg(long, value_name = "NODE")]
    remove: Vec<String>,
    /// Lets the state of a node begin anew, which its new version may need
    #[arg(long, value_name = "NODE")]
    reset: Vec<String>,
    /// Only if this revision is in force
    #[arg(long, value_name = "N")]
    base: Option<u64>,
    #[command(flatten)]
    server: ServerOptions,
}

const REMOVE_EXAMPLE: &str = "\
Examples:
  grist remove failure
  grist remove failure anomaly@P101 --yes";

/// What is removed.
#[derive(Debug, Args)]
#[command(after_help = REMOVE_EXAMPLE)]
pub(crate) struct RemoveArgs {
    /// Nodes by their names, as `grist ls` has them
    #[arg(required = true)]
    nodes: Vec<String>,
    /// Does not ask
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    server: ServerOptions,
}

const ROLLBACK_EXAMPLE: &str = "\
What was deployed then is deployed again, under a new number.

Examples:
  grist rollback
  grist rollback 7 --yes";

/// Where it goes back to.
#[derive(Debug, Args)]
#[command(after_help = ROLLBACK_EXAMPLE)]
pub(crate) struct RollbackArgs {
    /// The revision; the one that was in force before the present one unless said
    revision: Option<u64>,
    /// Does not ask
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    server: ServerOptions,
}

const NODE_EXAMPLE: &str = "\
Examples:
  grist pause failure
  grist resume failure
  grist reset load";

/// One node.
#[derive(Debug, Args)]
#[command(after_help = NODE_EXAMPLE)]
pub(crate) struct NodeArgs {
    /// Its name, as `grist ls` has it
    node: String,
    #[command(flatten)]
    server: ServerOptions,
}

/// Says what would change.
pub(crate) fn preview(args: &DeployArgs, output: &mut Output) -> Result<(), Failure> {
    let (client, form) = prepared(args)?;
    let outcome = put(&client, &args.server, args.base, &form, true)?;
    told(&outcome, output)
}

/// Deploys.
pub(crate) fn deploy(args: &DeployArgs, output: &mut Output) -> Result<(), Failure> {
    let (client, form) = prepared(args)?;
    let outcome = put(&client, &args.server, args.base, &form, false)?;
    told(&outcome, output)
}

fn prepared(args: &DeployArgs) -> Result<(Client, Form), Failure> {
    if args.files.is_empty() && args.remove.is_empty() && args.reset.is_empty() {
        return Err(Failure::usage("nothing is asked for; name a manifest, or a node to --remove or --reset"));
    }
    let mut form = Form::default();
    form.add_files(&args.files)?;
    args.remove.iter().for_each(|node| form.add("remove", node.as_bytes()));
    args.reset.iter().for_each(|node| form.add("reset", node.as_bytes()));
    Ok((args.server.client()?, form))
}

fn put(client: &Client, server: &ServerOptions, base: Option<u64>, form: &Form, dry: bool) -> Result<Value, Failure> {
    let (kind, body) = form.encoded();
    let path = format!("/v1/nodes{}", server.query(&[("dry_run", dry.then_some("true"))]));
    let mut request = Request { method: "PUT", path, body: Some(&body), ..Request::default() };
    request = request.with("Content-Type", kind);
    if !dry {
        request = request.with("Idempotency-Key", idempotency_key());
    }
    if let Some(base) = base {
        request = request.with("If-Match", base.to_string());
    }
    client.ask(&request).map_err(|failure| Failure { text: form.with_files(&failure.text), ..failure })
}

/// Removes nodes.
pub(crate) fn remove(args: &RemoveArgs, output: &mut Output) -> Result<(), Failure> {
    let client = args.server.client()?;
    let mut form = Form::default();
    args.nodes.iter().for_each(|node| form.add("remove", node.as_bytes()));
    if !args.yes {
        confirmed(&put(&client, &args.server, None, &form, true)?)?;
    }
    let outcome = put(&client, &args.server, None, &form, false)?;
    // No sink asked for them, or they waited for a provider: no row was computed by them.
    if outcome["changes"] == "nothing changes" && !output.is_json() {
        output.note(format!("removed in revision {}; what runs is as before", outcome["revision"]));
        return Ok(());
    }
    told(&outcome, output)
}

/// Goes back.
pub(crate) fn rollback(args: &RollbackArgs, output: &mut Output) -> Result<(), Failure> {
    let client = args.server.client()?;
    let to = match args.revision {
        Some(revision) => revision,
        None => before_the_present(&client.ask(&Request::get("/v1/revisions"))?)?,
    };
    let path =
        |dry: bool| format!("/v1/revisions/{to}/rollback{}", args.server.query(&[("dry_run", dry.then_some("true"))]));
    if !args.yes {
        confirmed(&client.ask(&Request::post(path(true)))?)?;
    }
    let request = Request::post(path(false)).with("Idempotency-Key", idempotency_key());
    told(&client.ask(&request)?, output)
}

/// The revision that was in force before the one that is.
fn before_the_present(list: &Value) -> Result<u64, Failure> {
    let in_force = list["in_force"].as_u64();
    let revisions = list["revisions"].as_array().into_iter().flatten();
    let now = revisions.filter(|revision| revision["revision"].as_u64() == in_force);
    let base = now.filter_map(|revision| revision["base"].as_u64()).find(|base| *base > 0);
    base.ok_or_else(|| Failure::refused("nothing was in force before the present revision; name one to go back to"))
}

/// Pauses, resumes or resets.
pub(crate) fn of_node(args: &NodeArgs, what: &str, output: &mut Output) -> Result<(), Failure> {
    let client = args.server.client()?;
    let path = format!("/v1/nodes/{}/{what}{}", escaped(&args.node), args.server.query(&[]));
    let request = Request::post(path).with("Idempotency-Key", idempotency_key());
    told(&client.ask(&request)?, output)
}

/// Asks whoever sits there whether that is what is wanted; scripts are not asked.
fn confirmed(outcome: &Value) -> Result<(), Failure> {
    if !std::io::stdin().is_terminal() {
        return Ok(());
    }
    let mut stderr = std::io::stderr().lock();
    let _ = write!(stderr, "{}\nDo it? [y/N] ", outcome["changes"].as_str().unwrap_or_default());
    let _ = stderr.flush();
    let mut answer = String::new();
    let read = std::io::stdin().lock().read_line(&mut answer);
    match read {
        Ok(_) if matches!(answer.trim(), "y" | "Y" | "yes") => Ok(()),
        _ => Err(Failure::failed("nothing was done")),
    }
}

/// What changes, in the words of the server, then what became of it.
fn told(outcome: &Value, output: &mut Output) -> Result<(), Failure> {
    if output.is_json() {
        return output.answer(outcome);
    }
    output.say(outcome["changes"].as_str().unwrap_or_default());
    let revision = &outcome["revision"];
    let said = match outcome["verdict"].as_str() {
        Some("dry_run") => format!("it would be revision {revision}; nothing was done"),
        Some("unchanged") => "it is what runs already".to_owned(),
        _ => format!("revision {revision} is in force"),
    };
    output.note(said);
    Ok(())
}
