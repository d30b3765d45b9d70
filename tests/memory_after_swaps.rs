//! Deploying again and again takes no more memory: after many swaps the process is as large as after some hundreds, when
//! as many revisions are kept as ever will be. `GRISTMILL_SWAPS` says how many (600).

use std::path::Path;

use gristmill::deployer::Terms;
use gristmill::words::Time;
use gristmill_tests::support::constants::{self, put, record, resident_bytes};
use gristmill_tests::support::setting::number;

const MODELS: u32 = 100;
/// By then 100 revisions are kept, as many as ever, and the allocator has what it needs.
const WARM: u32 = 1_200;
/// How much larger it may be in the end by what grows all the time.
const MORE_MAX: f64 = 0.02;
/// The same by all there is: each thread's allocator takes something once, some of them late.
const ALL_MAX: f64 = 0.5;

#[tokio::test(flavor = "multi_thread")]
async fn a_process_grows_by_no_swaps() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("memory-after-swaps");
    let _ = std::fs::remove_dir_all(&folder); // what an earlier run left
    let swaps = u32::try_from(number("GRISTMILL_SWAPS", 600)).expect("it is not so many");
    let (deployer, feeder, sink) = constants::start(&folder, None).await;
    let all = put((0..MODELS).map(|number| (number, "0".to_owned())));
    deployer.deploy(all, &Terms::by("test")).await.expect("nothing is wrong with it");
    let (mut offset, mut scored, mut sizes) = (0, 0, Vec::new());
    for swap in 1..=WARM + swaps {
        let change = put([(swap % MODELS, swap.to_string())]);
        deployer.deploy(change, &Terms::by("test")).await.expect("nothing is wrong with it");
        let rows = (0..20).map(|row| {
            offset += 1;
            record(row % MODELS, offset, Time(offset * 1000))
        });
        feeder.send(0, rows.collect()).await.expect("it runs");
        feeder.taken().await.expect("it runs");
        scored += sink.take().len();
        if swap >= WARM && (swap - WARM).is_multiple_of(swaps / 10) {
            sizes.push(resident_bytes());
        }
    }
    drop(feeder);
    deployer.handle().finished().await.expect("it ends in order");
    scored += sink.take().len();
    assert_eq!(scored as i64, offset, "every row was scored");
    let (steady, all) = growth(&sizes);
    eprintln!("{}", serde_json::json!({ "swaps": swaps, "bytes": sizes, "growth": all, "steady": steady }));
    assert!(steady <= MORE_MAX && all <= ALL_MAX, "{steady} and {all} over {swaps} swaps: {sizes:?}");
}

/// By how much of the first size the last is larger: by what came in every tenth of the swaps (that in which the third
/// least came stands for all), and altogether.
fn growth(sizes: &[u64]) -> (f64, f64) {
    let mut tenths: Vec<f64> = sizes.windows(2).map(|two| two[1] as f64 - two[0] as f64).collect();
    tenths.sort_by(f64::total_cmp);
    let (first, last) = (sizes[0] as f64, sizes[sizes.len() - 1] as f64);
    (10.0 * tenths[2] / first, last / first - 1.0)
}

/// A leak is told from what a thread takes once, as it was measured.
#[test]
fn a_leak_grows_in_every_tenth() {
    let (steady, all) = growth(&[7_208, 7_208, 7_876, 8_515, 8_728, 8_781, 8_806, 8_826, 8_867, 8_867, 8_867]);
    assert!(steady <= MORE_MAX && all > MORE_MAX && all <= ALL_MAX, "{steady} and {all}");
    let leak: Vec<u64> = (0..=10).map(|tenth| 7_000 + 20 * tenth + 7 * (tenth % 2)).collect();
    let (steady, _) = growth(&leak);
    assert!(steady > 0.015, "{steady}");
    let leak: Vec<u64> = (0..=10).map(|tenth| 7_000 + 30 * tenth).collect();
    assert!(growth(&leak).0 > MORE_MAX);
}
