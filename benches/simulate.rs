//! How many rows a second does the simulated plant bring? `cargo bench -p gristmill-benches --bench simulate`
#![expect(clippy::disallowed_methods, clippy::print_stdout, reason = "a bench reads the clock and prints")]

use std::hint::black_box;
use std::time::{Duration, Instant};

use gristmill::traits::source::{PollLimits, Polled};
use gristmill::traits::{Records, Source};
use gristmill_operators::simulate;

fn main() {
    for rows_per_record in [1, 10, 100] {
        let mut plant = simulate::plant(1_000).rate(10.0).partitions(4).rows_per_record(rows_per_record);
        let limits = PollLimits { records: 4_096, bytes: 1 << 22, wait: Duration::ZERO };
        let (start, mut rows) = (Instant::now(), 0);
        while start.elapsed() < Duration::from_secs(1) {
            let Ok(Polled::Batches(batches)) = plant.poll(limits) else { panic!("a plant is endless") };
            for batch in &batches {
                let Records::Rows(records) = &batch.records else { panic!("rows") };
                rows += records.iter().map(|record| record.times.len()).sum::<usize>();
            }
            black_box(batches);
        }
        let rate = rows as f64 / start.elapsed().as_secs_f64() / 1e6;
        println!("simulate, {rows_per_record} rows a record: {rate:.2} M rows/s of 4 values");
    }
}
