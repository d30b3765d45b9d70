//! Spans tell how long things take: a deployment with its phases, a micro-batch with its frames; a quarantine is one
//! warning.
#![expect(clippy::disallowed_methods, reason = "waits for other threads, whose time no Clock of ours can drive")]

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use gristmill::topology::{Topology, provide, sensor};
use gristmill::words::Time;
use gristmill::{Deployment, Stream};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, SubscriberExt};
use tracing_subscriber::{Layer, Registry};

const VALUE: Stream<f64> = Stream::new("value");
const ROOT: Stream<f64> = Stream::new("root");

type Fields = BTreeMap<String, String>;

/// Keeps spans, in the order of their ids, and warnings.
#[derive(Clone, Default)]
struct Kept(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    spans: Vec<Span>,
    warnings: Vec<Fields>,
}

#[derive(Clone, Debug)]
struct Span {
    id: Id,
    parent: Option<Id>,
    name: &'static str,
    level: Level,
    fields: Fields,
    closed: bool,
}

struct Into<'f>(&'f mut Fields);

impl Visit for Into<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.0.insert(field.name().to_owned(), format!("{value:?}"));
    }
    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name().to_owned(), value.to_owned());
    }
}

impl Kept {
    fn with<T>(&self, look: impl FnOnce(&mut State) -> T) -> T {
        look(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn spans(&self, name: &str) -> Vec<Span> {
        self.with(|state| state.spans.iter().filter(|span| span.name == name).cloned().collect())
    }
}

impl<S: Subscriber> Layer<S> for Kept {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, _: Context<'_, S>) {
        let metadata = attributes.metadata();
        if !metadata.target().starts_with("gristmill") {
            return;
        }
        let mut fields = Fields::new();
        attributes.record(&mut Into(&mut fields));
        let (name, level, parent) = (metadata.name(), *metadata.level(), attributes.parent().cloned());
        self.with(|state| state.spans.push(Span { id: id.clone(), parent, name, level, fields, closed: false }));
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, _: Context<'_, S>) {
        self.with(|state| {
            let open = state.spans.iter_mut().rev().find(|span| span.id == *id && !span.closed);
            open.into_iter().for_each(|span| values.record(&mut Into(&mut span.fields)));
        });
    }

    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        if *event.metadata().level() == Level::WARN && event.metadata().target().starts_with("gristmill") {
            let mut fields = Fields::new();
            event.record(&mut Into(&mut fields));
            self.with(|state| state.warnings.push(fields));
        }
    }

    fn on_close(&self, id: Id, _: Context<'_, S>) {
        self.with(|state| {
            let open = state.spans.iter_mut().rev().find(|span| span.id == id && !span.closed);
            open.into_iter().for_each(|span| span.closed = true);
        });
    }
}

/// Spans are made on the threads of the runtime, so that the subscriber is that of the process: one test.
#[test]
fn spans_and_warnings_say_what_happened() {
    let kept = Kept::default();
    tracing::subscriber::set_global_default(Registry::default().with(kept.clone())).expect("nobody else sets it");
    let root = provide(ROOT).needs(VALUE).by(|value: f64| {
        assert!(value >= 0.0, "{value} is negative");
        value.sqrt()
    });
    let mut bench = Topology::new("machine").with(sensor(VALUE)).with(root).bench();
    (0..9).for_each(|second| _ = bench.row("P1", Time::from_secs(second)).set(VALUE, -1.0));
    bench.settle();

    // To print what panicked may take longer than a node's budget, which is warned of too.
    let mut warnings = kept.with(|state| state.warnings.clone());
    warnings.retain(|warning| !warning["message"].contains("longer than its budget"));
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert_eq!(warnings[0]["node"], "root");
    assert_eq!(warnings[0]["key"], "P1");
    assert_eq!(warnings[0]["reason"], "panicked: -1 is negative");

    bench.deploy(provide(Stream::<f64>::new("more")).needs(ROOT).by(|root: f64| root)).expect("nothing is wrong");
    bench.deploy(Deployment::new().remove("nobody")).expect_err("there is no such node");
    // What departed drains behind the answer.
    let drained = || kept.spans("deployment").iter().any(|span| span.fields.contains_key("drain_us"));
    let since = Instant::now();
    while !drained() {
        assert!(since.elapsed() < Duration::from_secs(60), "it is not drained");
        std::thread::yield_now();
    }
    drop(bench);

    let batches = kept.spans("batch");
    assert_eq!(batches.len(), 1, "{batches:?}");
    assert_eq!((batches[0].level, batches[0].fields["records"].as_str()), (Level::DEBUG, "9"));
    assert!(batches[0].closed && batches[0].parent.is_none());
    let frames = kept.spans("frame");
    assert_eq!(frames.len(), 1, "all rows are of one key: {frames:?}");
    assert!(frames.iter().all(|frame| frame.level == Level::TRACE && frame.closed));
    assert!(frames.iter().all(|frame| frame.parent.as_ref() == Some(&batches[0].id)));

    let deployments = kept.spans("deployment");
    assert_eq!(deployments.len(), 2, "{deployments:?}");
    let fields = &deployments[0].fields;
    assert_eq!(deployments[0].level, Level::INFO);
    assert_eq!((fields["class"].as_str(), fields["revision"].as_str()), ("machine", "2"));
    assert_eq!((fields["result"].as_str(), fields["changes"].as_str()), ("applied", "2"), "the sink takes it too");
    for phase in ["prepare_us", "trial_us", "stage_us", "switch_us", "drain_us"] {
        let took: u64 = fields.get(phase).unwrap_or_else(|| panic!("no {phase} in {fields:?}")).parse().expect(phase);
        assert!(took < 60_000_000, "{phase}: {took}");
    }
    let fields = &deployments[1].fields;
    assert_eq!(fields["result"], "refused");
    assert!(fields.contains_key("prepare_us") && !fields.contains_key("stage_us"), "{fields:?}");
}
