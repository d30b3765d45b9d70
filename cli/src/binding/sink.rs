//! The tables `[sink.NAME]`.

use std::path::Path;
use std::sync::Arc;

use gristmill::traits::Sink;
use gristmill_operators::codec::row::TimeStyle;
use gristmill_operators::{console, file};
use serde_json::Value;

use crate::failure::cannot_go_on;
use crate::output::Printed;

use super::fields::{Fields, Problem};

/// What can be a sink.
const KINDS: [&str; 4] = ["console", "json", "csv", "kafka"];
const TIMES: [(&str, TimeStyle); 2] = [("rfc3339", TimeStyle::Rfc3339), ("micros", TimeStyle::Micros)];

/// A bound sink.
pub(crate) struct Made {
    pub(crate) sink: Arc<dyn Sink>,
    /// Whether it prints.
    pub(crate) console: bool,
}

/// Makes a sink; `None` when something is wrong, which is added to `problems`. When `json`, standard output is for the
/// one answer of the command: a console prints to standard error.
pub(crate) fn sink(name: &str, table: &Value, folder: &Path, json: bool, problems: &mut Vec<Problem>) -> Option<Made> {
    let before = problems.len();
    let place = format!("sink.{name}");
    let mut fields = Fields::of(table, &place, folder, problems);
    let kind = fields.kind(&KINDS)?;
    let made: Option<Arc<dyn Sink>> = match kind.as_str() {
        "console" if json => Some(Arc::new(console::Console::to(std::io::stderr()))),
        "console" => Some(Arc::new(console::Console::to(Printed::default()))),
        "kafka" => kafka(&mut fields, json),
        kind => to_file(&mut fields, kind == "csv", json),
    };
    fields.finish();
    let sink = made.filter(|_| problems.len() == before)?;
    Some(Made { sink, console: kind == "console" })
}

fn to_file(fields: &mut Fields<'_>, csv: bool, json: bool) -> Option<Arc<dyn Sink>> {
    let path = fields.path("path", if csv { "\"predictions.csv\"" } else { "\"predictions.jsonl\"" });
    let times = fields.one_of("times", &TIMES).unwrap_or_default();
    let truncate = fields.flag("truncate").unwrap_or(false);
    let path = path?;
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty() && !folder.is_dir()) {
        fields.wrong(format!("`path` is in the folder `{}`, which does not exist", folder.display()), "make it first");
    }
    let mut sink = file::sink(path).times(times).on_failure(cannot_go_on(json));
    if csv {
        sink = sink.csv();
    }
    if truncate {
        sink = sink.truncate();
    }
    Some(Arc::new(sink))
}

#[cfg(feature = "kafka")]
fn kafka(fields: &mut Fields<'_>, json: bool) -> Option<Arc<dyn Sink>> {
    let brokers = fields.needed("brokers", "\"localhost:9092\"");
    let topic = fields.needed("topic", "\"predictions\"");
    let times = fields.one_of("times", &TIMES).unwrap_or_default();
    let properties = fields.table("properties");
    let mut sink =
        gristmill_operators::kafka::sink(&topic?).brokers(&brokers?).times(times).on_failure(cannot_go_on(json));
    for (name, value) in properties {
        sink = sink.set(&name, &value);
    }
    match sink.check() {
        Ok(()) => Some(Arc::new(sink)),
        Err(error) => {
            fields.wrong(error.reason, "");
            None
        }
    }
}

#[cfg(not(feature = "kafka"))]
fn kafka(fields: &mut Fields<'_>, _json: bool) -> Option<Arc<dyn Sink>> {
    fields.wrong("this grist was built without Kafka", "build it with --features kafka");
    None
}
