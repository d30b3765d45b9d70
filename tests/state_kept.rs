//! The state of a node outlives its artifact: the bytes after a swap at a random row equal those of a run that had the new
//! artifact from that row on. `GRISTMILL_SEED` says where to begin.

use std::path::Path;

use gristmill::deployer::{Artifact, ChangeSet, Terms};
use gristmill::words::Time;
use gristmill_tests::interpreter::random::Random;
use gristmill_tests::support::constants::{self, Scored, key, record, x_of};

const ROWS: i64 = 60;
const CASES: u64 = 25;

/// Two keys of a family, each with a model that reads what it gave before.
fn family(constants: [u32; 2]) -> ChangeSet {
    let manifest = serde_json::json!({
        "topology": "plant", "needs": ["x: f32", "previous(score, 0): f32"], "provides": ["score: f32"],
        "model": { "constant": "{key}.txt" },
    });
    let change = ChangeSet::new().manifest(manifest.to_string());
    (0_u32..).zip(constants).fold(change, |change, (number, constant)| {
        change.artifact(format!("{}.txt", key(number)), Artifact::Bytes(format!("loop {constant}").into_bytes()))
    })
}

/// One model for all keys that reads what it gave before.
fn single(constant: u32) -> ChangeSet {
    let manifest = serde_json::json!({
        "topology": "plant", "needs": ["x: f32", "previous(score, 0): f32"], "provides": ["score: f32"],
        "model": { "constant": "model" },
    });
    let artifact = Artifact::Bytes(format!("loop {constant}").into_bytes());
    ChangeSet::new().manifest(manifest.to_string()).artifact("model", artifact)
}

/// What comes out when, from each of these rows on, the keys have these constants.
fn expected(swaps: &[(i64, [u32; 2])]) -> Vec<(u32, u32)> {
    let mut before = [0.0_f32; 2];
    let rows = (0..ROWS).map(|offset| {
        let number = (offset % 2) as usize;
        let (_, constants) = swaps.iter().rev().find(|(from, _)| *from <= offset).expect("the first is of row 0");
        before[number] = x_of(offset) + before[number] * 0.5 + constants[number] as f32;
        (number as u32, before[number].to_bits())
    });
    rows.collect()
}

async fn run(name: &str, swaps: &[(i64, [u32; 2])], is_family: bool) -> Vec<(u32, u32)> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = std::fs::remove_dir_all(&folder); // what an earlier run left
    let (deployer, feeder, sink) = constants::start(&folder, None).await;
    let mut swaps = swaps.iter().peekable();
    for offset in 0..ROWS {
        if let Some((_, constants)) = swaps.next_if(|(from, _)| *from == offset) {
            let change = if is_family { family(*constants) } else { single(constants[0]) };
            let done = deployer.deploy(change, &Terms::by("test")).await.expect("nothing is wrong with it");
            assert!(offset == 0 || done.changes == "~ score: replaced, its state stays", "{}", done.changes);
        }
        let number = u32::try_from(offset % 2).expect("it is small");
        feeder.send(0, vec![record(number, offset, Time(offset * 1000))]).await.expect("it runs");
        if swaps.peek().is_some_and(|(from, _)| *from == offset + 1) {
            feeder.taken().await.expect("it runs"); // so that the swap is where the case says
        }
    }
    drop(feeder);
    deployer.handle().finished().await.expect("it ends in order");
    let mut scores: Vec<Scored> = sink.take();
    scores.sort_by_key(|score| score.offset);
    scores.iter().map(|score| (score.key, score.value.to_bits())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_after_a_swap_are_those_of_a_run_that_had_it_from_there_on() {
    let first = std::env::var("GRISTMILL_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(1);
    for seed in first..first + CASES {
        let mut random = Random::new(seed);
        let mut rows: Vec<i64> = (0..random.between(1, 4)).map(|_| random.between(1, ROWS - 1)).collect();
        rows.sort_unstable();
        rows.dedup();
        let is_family = random.percent(50);
        let mut constants = [1, if is_family { 2 } else { 1 }];
        let mut swaps = vec![(0, constants)];
        for row in rows {
            let constant = 10 + random.below(1000) as u32;
            constants = match (is_family, random.below(2)) {
                (false, _) => [constant; 2],
                (true, 0) => [constant, constants[1]],
                (true, _) => [constants[0], constant],
            };
            swaps.push((row, constants));
        }
        let got = run("state-kept", &swaps, is_family).await;
        assert_eq!(got, expected(&swaps), "seed {seed}: {swaps:?}");
        // The broken twin: a swap one row later gives other bytes.
        let later: Vec<_> = swaps.iter().map(|(row, constants)| (row + i64::from(*row > 0) * 2, *constants)).collect();
        assert_ne!(got, expected(&later), "seed {seed}: {swaps:?}");
    }
}
