//! Metrics add up: over random topologies, deployments and stops, what a host's `/metrics` says of rows is what the
//! reference interpreter counts one row at a time, and each node's rows are the sum of what became of them.
//! `GRISTMILL_CASES` says how many cases (120), `GRISTMILL_SEED` where to begin (1).

use std::collections::BTreeMap;

use gristmill::defect::Defect;
use gristmill::words::NodeId;
use gristmill::{Counts, NodeReport};
use gristmill_tests::interpreter::engine::{self, Ran};
use gristmill_tests::interpreter::{Case, Fate, Happening, Mechanism, Outcome, generate, interpret};
use gristmill_tests::support::setting::number;
use metrics_exporter_prometheus::PrometheusBuilder;

const OUTCOMES: [(Fate, &str); 5] = [
    (Fate::Computed, "computed"),
    (Fate::Skipped, "skipped"),
    (Fate::Failed, "failed"),
    (Fate::Quarantined, "quarantined"),
    (Fate::Paused, "paused"),
];

/// Why a value that there was is not used.
const CAUSES: [Mechanism; 3] = [Mechanism::NotANumber, Mechanism::OutOfRange, Mechanism::Forgotten];

/// Runs a case, and what a scrape after it says: the sum of each series, by its name with all labels but the class.
fn scraped(case: &Case, defect: Option<Defect>) -> (Ran, BTreeMap<String, f64>) {
    let recorder = PrometheusBuilder::new().build_recorder();
    let ran = metrics::with_local_recorder(&recorder, || engine::run_with(case, defect));
    let text = recorder.handle().render();
    let mut sums = BTreeMap::new();
    for line in text.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
        let (series, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("`{line}` is no sample"));
        let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
        let labels = labels.trim_end_matches('}').split(',').filter(|label| !label.starts_with("class="));
        let name = [name].into_iter().chain(labels.filter(|label| !label.is_empty())).collect::<Vec<_>>().join(" ");
        *sums.entry(name).or_default() += value.parse::<f64>().unwrap_or_else(|error| panic!("`{line}`: {error}"));
    }
    (ran, sums)
}

/// What the class's series are to be.
fn expected(case: &Case, outcome: &Outcome) -> BTreeMap<String, f64> {
    let rows = case.log.iter().map(|entry| match &entry.what {
        Happening::Record(record) => record.times.len(),
        Happening::Tick(_) => 0,
    });
    let counted = |mechanism: Mechanism| outcome.counts.get(&mechanism).copied().unwrap_or(0) as f64;
    let mut expected = BTreeMap::from([
        ("gristmill_rows_total".to_owned(), rows.sum::<usize>() as f64),
        ("gristmill_dead_letters_total".to_owned(), outcome.letters.len() as f64),
        ("gristmill_records_in_flight".to_owned(), 0.0),
        ("gristmill_frames_in_flight".to_owned(), 0.0),
    ]);
    let dropped = [(Mechanism::Late, "late"), (Mechanism::Duplicate, "duplicate"), (Mechanism::Ahead, "ahead")];
    for (mechanism, cause) in dropped {
        expected.insert(format!("gristmill_rows_dropped_total cause=\"{cause}\""), counted(mechanism));
    }
    for (mechanism, cause) in [(Mechanism::NotANumber, "nan"), (Mechanism::OutOfRange, "out_of_range")] {
        expected.insert(format!("gristmill_bad_readings_total cause=\"{cause}\""), counted(mechanism));
    }
    expected.insert("gristmill_as_of_forgotten_total".to_owned(), counted(Mechanism::Forgotten));
    for (fate, name) in OUTCOMES {
        let rows: u64 = outcome.fates.iter().filter(|((_, of), _)| *of == fate).map(|(_, rows)| rows).sum();
        expected.insert(format!("gristmill_node_rows_total outcome=\"{name}\""), rows as f64);
    }
    expected
}

/// All that is not as it should be, in words.
fn differences(case: &Case, defect: Option<Defect>) -> Vec<String> {
    let (ran, scraped) = scraped(case, defect);
    let outcome = interpret(case);
    let mut found = Vec::new();
    for (series, expected) in expected(case, &outcome) {
        let got = scraped.get(&series).copied().unwrap_or(f64::NAN);
        if got != expected {
            found.push(format!("seed {}: `{series}` is {got}, not {expected}", case.seed));
        }
    }
    for node in &ran.nodes {
        let Counts { rows, computed, skipped, failed, quarantined, paused, .. } = node.counts;
        if rows != computed + skipped + failed + quarantined + paused {
            found.push(format!("seed {}: the rows of `{}` do not add up: {:?}", case.seed, node.node, node.counts));
        }
    }
    // One plan and no stop: the report has all that each node has ever done.
    if case.plans.len() == 1 && case.engine.stops.is_empty() {
        found.extend(nodes(case, &outcome, &ran));
    }
    found
}

/// As [`differences`], node by node.
fn nodes(case: &Case, outcome: &Outcome, ran: &Ran) -> Vec<String> {
    let mut got: BTreeMap<(NodeId, Fate), u64> = BTreeMap::new();
    for node in &ran.nodes {
        let Counts { computed, skipped, failed, quarantined, paused, .. } = node.counts;
        let counts = OUTCOMES.map(|(fate, _)| fate).into_iter().zip([computed, skipped, failed, quarantined, paused]);
        for (fate, rows) in counts.chain([(Fate::Waiting, node.waiting_rows)]).filter(|(_, rows)| *rows > 0) {
            *got.entry((node.node.clone(), fate)).or_default() += rows;
        }
    }
    let all = got.keys().chain(outcome.fates.keys());
    let differs = all.filter(|of| got.get(*of) != outcome.fates.get(*of));
    let differs = differs
        .map(|of| format!("seed {}: {of:?}: {:?} rows, not {:?}", case.seed, got.get(of), outcome.fates.get(of)));
    differs.chain(causes(case, outcome, ran)).collect()
}

/// The nodes' own counts of what they could not use are those of the class.
fn causes(case: &Case, outcome: &Outcome, ran: &Ran) -> Vec<String> {
    let of = |of: fn(&NodeReport) -> u64| ran.nodes.iter().map(of).sum::<u64>();
    let got = [
        (Mechanism::NotANumber, of(|node| node.nan)),
        (Mechanism::OutOfRange, of(|node| node.out_of_range)),
        (Mechanism::Forgotten, of(|node| node.forgotten)),
    ];
    let expected = |mechanism| outcome.counts.get(&mechanism).copied().unwrap_or(0);
    let differs = got.into_iter().filter(|(mechanism, got)| *got != expected(*mechanism));
    differs
        .map(|(mechanism, got)| format!("seed {}: {mechanism:?}: {got}, not {}", case.seed, expected(mechanism)))
        .collect()
}

#[test]
fn rows_are_counted_as_the_interpreter_counts_them() {
    let (cases, first) = (number("GRISTMILL_CASES", 120), number("GRISTMILL_SEED", 1));
    let (mut seen, mut by_cause) = (BTreeMap::<Fate, u64>::new(), BTreeMap::<Mechanism, u64>::new());
    for seed in first..first + cases {
        let case = generate::case(seed);
        let found = differences(&case, None);
        assert!(found.is_empty(), "{}\n{case:?}", found.join("\n"));
        let outcome = interpret(&case);
        outcome.fates.iter().for_each(|((_, fate), rows)| *seen.entry(*fate).or_default() += rows);
        for cause in CAUSES {
            *by_cause.entry(cause).or_default() += outcome.counts.get(&cause).copied().unwrap_or(0);
        }
        // The same without what makes a node's counts begin anew.
        if case.plans.len() > 1 || !case.engine.stops.is_empty() {
            let mut alone = case.clone();
            alone.plans.truncate(1);
            alone.deploy_before.clear();
            alone.engine.stops.clear();
            let found = differences(&alone, None);
            assert!(found.is_empty(), "{}\n{alone:?}", found.join("\n"));
        }
    }
    eprintln!("{cases} cases from seed {first}: {seen:?}, {by_cause:?}");
    assert!(by_cause.values().all(|count| *count > 0), "some never happens: {by_cause:?}");
    let all = OUTCOMES.iter().map(|(fate, _)| *fate).chain([Fate::Waiting]);
    assert!(all.into_iter().all(|fate| seen.contains_key(&fate)), "some never happens: {seen:?}");
}

/// A count that is wrong would be found.
#[test]
fn a_mechanism_that_is_broken_shows_in_the_counts() {
    for defect in [Defect::Pause, Defect::Resume] {
        let found = (1..400).find(|seed| !differences(&generate::case(*seed), Some(defect)).is_empty());
        eprintln!("{defect:?} shows in case {found:?}");
        assert!(found.is_some(), "{defect:?} changes no count");
    }
}
