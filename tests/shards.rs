//! The number of shards decides nothing: the same rows give the same values, key by key, in the same order.

use std::collections::BTreeMap;

use gristmill::in_process::{Collected, Output, feed};
use gristmill::topology::{Topology, optional, previous, provide, sensor, sink};
use gristmill::traits::Axes;
use gristmill::words::{Span, Time};
use gristmill::{BenchOptions, Runtime, Stream};

const VIBRATION: Stream<f64> = Stream::new("vibration");
const TEMPERATURE: Stream<f64> = Stream::new("temperature");
const WEAR: Stream<f64> = Stream::new("wear");
const BOTH: Stream<f64> = Stream::new("both");
const OWN: Stream<f64> = Stream::new("own");

fn pump() -> Topology {
    let both = |wear: f64, temperature: Option<f64>| wear + temperature.unwrap_or(0.5);
    Topology::new("pump")
        .with(sensor(VIBRATION))
        .with(sensor(TEMPERATURE))
        .with(provide(WEAR).needs((VIBRATION, previous(WEAR, 0.0))).by(|v: f64, wear: f64| 0.9 * wear + v))
        .with(provide(BOTH).needs((WEAR, optional(TEMPERATURE))).by(both).on_all(Span::from_secs(3)))
        .with(provide(OWN).needs(BOTH).by(|both: f64| -both).for_key("P7"))
}

/// What comes out of each key, in order, with its cause.
type ByKey = BTreeMap<String, Vec<String>>;

fn by_key(outputs: &[Output]) -> ByKey {
    let mut by_key = ByKey::new();
    for output in outputs {
        let value = format!("{} {} {:?} {:?}", output.time, output.stream, output.value, output.cause);
        by_key.entry(output.key.to_string()).or_default().push(value);
    }
    by_key
}

fn run(shards: u16, devices: i64) -> ByKey {
    let narrow = gristmill::traits::Axes::Open { groups: Vec::new(), wide: false };
    let mut bench = pump().bench_with(BenchOptions { axes: narrow, shards, ..BenchOptions::default() });
    for second in 0..40 {
        for device in 0..devices {
            let key = format!("P{device}");
            let partition = u32::try_from(device % 3).expect("it is small");
            let value = ((second * 7 + device * 3) % 11) as f64;
            bench.row_in(partition, &key, Time::from_secs(second)).set(VIBRATION, value);
            if (second + device) % 3 == 0 {
                bench.row_in(partition, &key, Time::from_secs(second)).set(TEMPERATURE, value / 2.0);
            }
        }
        if second % 10 == 9 {
            bench.advance(Time::from_secs(second));
        }
    }
    by_key(bench.outputs())
}

#[test]
fn one_to_four_shards_give_the_same() {
    let one = run(1, 60);
    assert_eq!(one.len(), 60);
    assert!(one["P7"].iter().any(|value| value.contains(" own ")));
    for shards in 2..=4 {
        assert!(run(shards, 60) == one, "{shards} shards differ from one");
    }
    assert!(run(2, 59) != one, "the comparison sees a key that is missing");
}

/// Threads of shards that may run on one core only, by what the system says.
fn bound() -> usize {
    let tasks = std::fs::read_dir("/proc/self/task").expect("Linux lists threads");
    let told = tasks.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("status")).ok());
    let is_bound = |status: &String| {
        let field = |name| status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
        field("Name:").is_some_and(|name| name.starts_with("actix-rt"))
            && field("Cpus_allowed_list:").is_some_and(|cores| cores.parse::<usize>().is_ok())
    };
    told.filter(is_bound).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn threads_are_bound_to_cores_if_that_is_asked_for() {
    let cores = std::thread::available_parallelism().expect("the system says it").get();
    assert!(cores > 1, "on one core every thread is bound to it");
    for pin in [false, true] {
        let (feeder, source) = feed(Axes::default());
        let pump = Topology::new("pump").with(sensor(VIBRATION)).with(sink("out").needs(VIBRATION));
        let mut builder = Runtime::builder().topology(pump).source(source).sink("out", Collected::default()).shards(2);
        builder.options_mut().pin = pin;
        let handle = builder.start().await.expect("nothing is wrong with it");
        handle.report(None).await.expect("the runtime runs");
        assert_eq!(bound(), if pin { 2 } else { 0 });
        drop(feeder);
        handle.finished().await.expect("it ends in order");
    }
}
