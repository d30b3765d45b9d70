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
/// How much larger it may be in the end.
const MORE_MAX: f64 = 0.02;

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
    let (first, last) = (sizes[0] as f64, sizes[sizes.len() - 1] as f64);
    eprintln!("{}", serde_json::json!({ "swaps": swaps, "bytes": sizes, "growth": last / first - 1.0 }));
    assert!(last <= first * (1.0 + MORE_MAX), "from {first} to {last} bytes over {swaps} swaps: {sizes:?}");
}
