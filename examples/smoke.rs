//! scratch
use gristmill::in_process::{Collected, CollectedLetters, feed};
use gristmill::topology::{all_models, provide, sensor, sink};
use gristmill::traits::source::{Axes, RowsRecord};
use gristmill::words::{Column, ElementType, Offset, Time};
use gristmill::{Deployment, Runtime, Stream, Topology};

const TEMP: Stream<f64> = Stream::new("temp");
const VIB: Stream<f64> = Stream::new("vib");
const SUM: Stream<f64> = Stream::new("sum");
const TWICE: Stream<f64> = Stream::new("twice");

#[tokio::main]
async fn main() {
    let pump = Topology::new("pump")
        .with(sensor(TEMP).range(0.0..=100.0).hold_last())
        .with(sensor(VIB))
        .with(provide(SUM).needs((TEMP, VIB)).by(|t: f64, v: f64| t + v).model())
        .with(provide(TWICE).needs(SUM).by(|s: f64| if s > 1000.0 { panic!("boom") } else { 2.0 * s }).model())
        .with(sink("out").needs(all_models()));
    let (feeder, source) =
        feed(Axes::Declared(vec![vec![("temp".into(), ElementType::F64), ("vib".into(), ElementType::F64)]]));
    let out = Collected::default();
    let dead = CollectedLetters::default();
    let mill = Runtime::builder()
        .topology(pump)
        .source(source)
        .sink("out", out.clone())
        .dead_letters(dead.clone())
        .shards(2)
        .start()
        .await
        .unwrap();
    let record = |offset: i64, key: &str, t: i64, a: f64, b: f64| RowsRecord {
        offset: Offset(offset),
        log_time: None,
        key: key.into(),
        axis: 0,
        times: vec![Time(t)],
        columns: vec![Column::F64(vec![a]), Column::F64(vec![b])],
    };
    feeder
        .send(
            0,
            vec![
                record(0, "a", 1, 1.0, 2.0),
                record(1, "b", 1, 500.0, 3.0),
                record(2, "a", 2, 5.0, 6.0),
                record(3, "a", 3, 5.0, 6000.0),
            ],
        )
        .await
        .unwrap();
    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    let preview = mill
        .preview(
            Deployment::new()
                .put(provide(Stream::<f64>::new("neg")).needs(TWICE).by(|x: f64| -x).model())
                .put(provide(Stream::<f64>::new("own")).needs(SUM).by(|x: f64| x + 0.5).model().for_key("a")),
        )
        .await
        .unwrap();
    println!("{preview}");
    println!("{:?}", preview.apply().await.unwrap());
    feeder.send(0, vec![record(4, "a", 4, 1.0, 2.0), record(5, "b", 5, 1.0, 3.0)]).await.unwrap();
    drop(feeder);
    mill.finished().await.unwrap();
    for o in out.take() {
        println!("{} {} {} {:?} rev {} {:?}", o.key, o.time, o.stream, o.value, o.revision, o.cause);
    }
    for l in dead.take() {
        println!("{l:?}");
    }
    println!("{:#?}", mill.report(None).await.unwrap());
}
