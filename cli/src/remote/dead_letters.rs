//! What could not be used, and once more after a fix.

use clap::{Args, Subcommand};
use gristmill_operators::console::printable;
use serde_json::{Value, json};

use super::client::{Request, ServerOptions};
use crate::failure::Failure;
use crate::output::{Output, count, table};

const EXAMPLE: &str = "\
A row that a node failed on is computed by that node, as it is now, and by those behind it that keep no state; a record that could
not be decoded is read again. Each letter is replayed once.

Examples:
  grist dead-letters ls --node wear
  grist dead-letters show 17
  grist dead-letters replay 17 18
  grist dead-letters replay --node wear";

/// What is done with them.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLE)]
pub(crate) struct DeadLettersArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Lists them, the newest first, 100 at a time
    Ls {
        #[command(flatten)]
        of: Of,
        /// Goes on before this one
        #[arg(long, value_name = "ID")]
        before: Option<u64>,
        /// Also those that were replayed
        #[arg(long)]
        replayed: bool,
        #[command(flatten)]
        server: ServerOptions,
    },
    /// Shows one with all that is known of its row
    Show {
        /// Its number
        id: u64,
        #[command(flatten)]
        server: ServerOptions,
    },
    /// Takes them once more
    Replay {
        /// Their numbers
        #[arg(required_unless_present_any = ["node", "key"])]
        ids: Vec<u64>,
        #[command(flatten)]
        of: Of,
        /// Goes on after this one, where there are more than one request takes
        #[arg(long, value_name = "ID")]
        after: Option<u64>,
        #[command(flatten)]
        server: ServerOptions,
    },
}

#[derive(Debug, Args)]
struct Of {
    /// Only those of a node
    #[arg(long)]
    node: Option<String>,
    /// Only those of a key
    #[arg(long)]
    key: Option<String>,
}

/// Does it.
pub(crate) fn run(args: &DeadLettersArgs, output: &mut Output) -> Result<(), Failure> {
    match &args.what {
        What::Ls { of, before, replayed, server } => ls(of, *before, *replayed, server, output),
        What::Show { id, server } => show(*id, server, output),
        What::Replay { ids, of, after, server } => replay(ids, of, *after, server, output),
    }
}

fn ls(
    of: &Of,
    before: Option<u64>,
    replayed: bool,
    server: &ServerOptions,
    output: &mut Output,
) -> Result<(), Failure> {
    let before = before.map(|before| before.to_string());
    let query = server.query(&[
        ("node", of.node.as_deref()),
        ("key", of.key.as_deref()),
        ("before", before.as_deref()),
        ("replayed", replayed.then_some("true")),
    ]);
    let listed = server.client()?.ask(&Request::get(format!("/v1/dead-letters{query}")))?;
    if output.is_json() {
        return output.answer(&listed);
    }
    let letters = listed["letters"].as_array().map_or(&[][..], |letters| letters);
    let rows = letters.iter().map(|letter| {
        let text = |name: &str| letter[name].as_str().unwrap_or_default().to_owned();
        let place = format!("{}:{}.{}", letter["partition"], letter["offset"], letter["row"]);
        let again = letter["replayed"]["revision"].as_u64().map_or_else(String::new, |at| format!("under {at}"));
        vec![letter["id"].to_string(), text("node"), text("key"), place, again, text("reason")]
    });
    output.say(table(&["letter", "node", "key", "partition:offset.row", "replayed", "reason"], &[1, 2, 4, 5], rows));
    if listed["more"] == true
        && let Some(last) = letters.last()
    {
        output.note(format!("there are more: --before {}", last["id"]));
    }
    Ok(())
}

fn show(id: u64, server: &ServerOptions, output: &mut Output) -> Result<(), Failure> {
    let before = (id + 1).to_string();
    let query = server.query(&[("before", Some(&before)), ("replayed", Some("true"))]);
    let listed = server.client()?.ask(&Request::get(format!("/v1/dead-letters{query}")))?;
    let letter = listed["letters"].as_array().into_iter().flatten().find(|letter| letter["id"] == id);
    let letter = letter.ok_or_else(|| Failure::refused(format!("no dead letter {id} is kept")))?;
    if output.is_json() {
        return output.answer(letter);
    }
    for (name, value) in letter.as_object().into_iter().flatten().filter(|(_, value)| !value.is_null()) {
        match value {
            Value::String(text) => output.say(format!("{name}: {}", printable(text))),
            Value::Object(fields) => {
                output.say(format!("{name}:"));
                fields.iter().for_each(|(field, value)| output.say(format!("  {field}: {value}")));
            }
            value => output.say(format!("{name}: {value}")),
        }
    }
    Ok(())
}

fn replay(
    ids: &[u64],
    of: &Of,
    after: Option<u64>,
    server: &ServerOptions,
    output: &mut Output,
) -> Result<(), Failure> {
    let mut asked = json!({});
    after.iter().for_each(|after| asked["after"] = json!(after));
    if !ids.is_empty() {
        asked["ids"] = json!(ids);
    }
    for (name, value) in [("node", &of.node), ("key", &of.key)] {
        value.iter().for_each(|value| asked[name] = json!(value));
    }
    let (path, body) = (format!("/v1/dead-letters/replay{}", server.query(&[])), asked.to_string());
    let request = Request { body: Some(body.as_bytes()), ..Request::post(path) };
    let done = server.client()?.ask(&request.with("Content-Type", "application/json"))?;
    if output.is_json() {
        output.answer(&done)?;
    } else {
        told(&done, output);
    }
    match done["refused"].as_array().map_or(0, Vec::len) {
        0 => Ok(()),
        count => Err(Failure::failed(format!("{count} were not replayed")).answered()),
    }
}

/// What became of each letter.
fn told(done: &Value, output: &mut Output) {
    let list = |name: &str| done[name].as_array().into_iter().flatten();
    for letter in list("replayed") {
        let values = count(letter["values"].as_u64().unwrap_or(0), "value");
        output.say(format!("{}: replayed, {values} under revision {}", letter["id"], letter["revision"]));
        let names = letter["left_out"].as_array().into_iter().flatten().filter_map(Value::as_str);
        let names: Vec<&str> = names.collect();
        if !names.is_empty() {
            output.say(format!("  left out: {}", names.join(", ")));
        }
        for failed in letter["failed"].as_array().into_iter().flatten() {
            let text = |name: &str| failed[name].as_str().unwrap_or_default().to_owned();
            output.say(format!("  `{}` failed: {}", text("node"), printable(&text("reason"))));
        }
    }
    for letter in list("refused") {
        let reason = printable(letter["reason"].as_str().unwrap_or_default());
        output.say(format!("{}: not replayed: {reason}", letter["id"]));
    }
    if let Some(last) = done["next"].as_u64() {
        output.note(format!("there are more: --after {last}"));
    }
}
