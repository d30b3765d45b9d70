//! Random records and ticks.

use gristmill::traits::RowsRecord;
use gristmill::traits::source::{ABSENT_F32, ABSENT_F64, AxisStreams};
use gristmill::words::{Column, ElementType, Offset, Time, Value};

use super::super::case::{Entry, Happening, Intake};
use super::super::random::Random;
use super::maker::Maker;

/// All times are whole multiples of this, so that axes meet.
const STEP: i64 = 100_000;

struct Log<'a> {
    random: &'a mut Random,
    maker: &'a Maker,
    intake: Intake,
    entries: Vec<Entry>,
    /// The next offset of each partition.
    next: Vec<i64>,
    now: i64,
}

pub(super) fn log(random: &mut Random, maker: &Maker, intake: Intake) -> Vec<Entry> {
    let partitions = maker.partitions;
    let length = random.between(20, 160);
    let gap = *random.pick(&[1, 2, 5]);
    let mut log =
        Log { random, maker, intake, entries: Vec::new(), next: vec![0; partitions as usize], now: 1_000_000_000 };
    for _ in 0..length {
        log.now += log.random.between(0, gap) * STEP;
        if log.random.percent(2) {
            log.now += 12_000_000; // a pause, longer than most ages
        }
        log.entry();
    }
    for key in 0..log.maker.keys.len() {
        log.record(key); // so that every switch finds a record in every partition
    }
    log.entries
}

impl Log<'_> {
    fn entry(&mut self) {
        if self.random.percent(6) {
            let partition = self.random.below(self.next.len()) as u32;
            let ahead = *self.random.pick(&[-500_000, 0, 700_000, 3_000_000]);
            self.entries.push(Entry { partition, what: Happening::Tick(Time(self.now + ahead)) });
        } else {
            let key = self.random.below(self.maker.keys.len());
            self.record(key);
        }
    }

    fn record(&mut self, key: usize) {
        let partition = key as u32 % self.maker.partitions;
        let offset = self.next[partition as usize];
        self.next[partition as usize] += self.random.between(1, 3);
        let pieces = if self.random.percent(8) { 2 } else { 1 };
        for _ in 0..pieces {
            let axis = self.random.below(self.maker.axes.len());
            let record = self.rows(key, axis, Offset(offset));
            self.entries.push(Entry { partition, what: Happening::Record(record) });
        }
    }

    fn rows(&mut self, key: usize, axis: usize, offset: Offset) -> RowsRecord {
        let rows = 1 + self.random.weighted(&[50, 20, 15, 15]);
        let mut time = self.now + self.random.between(-2, 2) * STEP;
        if self.random.percent(12) {
            time -= self.random.between(1, 25) * STEP;
        }
        let mut times = Vec::new();
        for _ in 0..rows {
            times.push(Time(time));
            // Not always forward: a row may be the second of its time, or come before it.
            time += *self.random.pick(&[STEP, STEP, 2 * STEP, 5 * STEP, 0, -STEP]);
        }
        let log_time = (!self.random.percent(15)).then_some(Time(self.now));
        if let (Some(log_time), true) = (log_time, self.random.percent(3)) {
            times[0] = Time(log_time.0 + self.intake.max_ahead.0 + STEP);
        }
        let AxisStreams { streams } = &self.maker.axes[axis];
        let columns = streams.iter().map(|(_, element)| column(self.random, *element, rows)).collect();
        let key = self.maker.keys[key].clone();
        RowsRecord { offset, log_time, key, axis: axis as u16, times, columns }
    }
}

fn column(random: &mut Random, element: ElementType, rows: usize) -> Column {
    let mut column = Column::missing(element, 0);
    for _ in 0..rows {
        let absent = random.percent(8);
        match &mut column {
            Column::F32(values) if absent => values.push(ABSENT_F32),
            Column::F64(values) if absent => values.push(ABSENT_F64),
            Column::F32(values) => values.push(float(random) as f32),
            Column::F64(values) => values.push(float(random)),
            column if absent => column.push(None),
            column => column.push(Some(&value(random, element))),
        }
    }
    column
}

fn float(random: &mut Random) -> f64 {
    match random.below(100) {
        0..5 => f64::NAN,
        5..6 => f64::INFINITY,
        6..8 => -0.0,
        8..13 => 1000.0, // outside every range
        _ => random.between(-400, 400) as f64 / 4.0 + 0.1,
    }
}

fn value(random: &mut Random, element: ElementType) -> Value {
    match element {
        ElementType::I64 => Value::I64(random.between(-100, 1000)),
        ElementType::Bool => Value::Bool(random.percent(60)),
        ElementType::Str => {
            Value::Str((*random.pick(&["worn", "new", "", "a label that is too long to be inline"])).into())
        }
        ElementType::Vector(width) => Value::Vector((0..width).map(|_| random.between(-10, 10) as f32).collect()),
        ElementType::F32 | ElementType::F64 => Value::F64(float(random)),
    }
}
