//! Bounds of the admin API that an answer tells of: lists that are cut, bodies and inference requests that are too many at
//! once, a model that takes too long. And a system whose source has ended is not ready.
#![expect(clippy::disallowed_methods, reason = "waits for connections, whose time no Clock of ours can drive")]

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use gristmill::Stream;
use gristmill::in_process::feed;
use gristmill::topology::provide;
use gristmill::traits::source::Axes;
use gristmill::traits::{Digest, Model, Port, ScoreError};
use gristmill::words::{ColumnMut, ColumnRef, ElementType};
use gristmill_admin::Limits;
use gristmill_tests::support::site::{ANOMALY, Answer, MEAN, RMS, Site, anomaly, folder, pump};
use serde_json::json;

/// Asks until the answer has this status.
fn until(status: u16, ask: impl Fn() -> Answer) -> Answer {
    let since = Instant::now();
    loop {
        let answer = ask();
        if answer.status == status {
            return answer;
        }
        assert!(since.elapsed() < Duration::from_secs(20), "not {status}, but {answer:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_are_cut_and_say_how_much_more_there_is() {
    let site = Site::start(&folder("limits_listed"), Limits { listed: 1, ..Limits::default() }).await;
    site.put_nodes("", &[], &[("manifest", ANOMALY.as_bytes()), ("anomaly.onnx", &anomaly())]).done();
    site.deployer.handle().settled().await;
    let handle = site.deployer.handle();
    let nodes = handle.report(None).await.expect("it runs").nodes.len();
    let actors = handle.actors(None).await.expect("it runs").len();
    let artifacts = site.deployer.artifacts().expect("they can be listed").len();
    let lines = site.deployer.audit_lines(usize::MAX).expect("it can be read").0.len();
    assert!(nodes > 1 && actors > nodes && artifacts > 1 && lines > 1, "{nodes}, {actors}, {artifacts}, {lines}");
    for (path, list, more, all) in [
        ("/v1/nodes", "nodes", "more", nodes),
        ("/v1/actors", "actors", "more", actors),
        ("/v1/artifacts", "artifacts", "more", artifacts),
        ("/v1/audit", "lines", "older", lines),
    ] {
        let answer = site.send("GET", path, Some(&site.tokens[2]), &[], b"").done();
        let found = (answer[list].as_array().map(Vec::len), answer[more].as_u64());
        assert_eq!(found, (Some(1), Some(all as u64 - 1)), "{path}: {answer}");
    }
    site.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_too_many_at_once_is_refused_until_one_has_come() {
    let limits = Limits { bodies: 1, requests_per_second: 10_000, ..Limits::default() };
    let site = Site::start(&folder("limits_bodies"), limits).await;
    let put = || site.send("PUT", "/v1/artifacts", Some(&site.tokens[1]), &[], b"another");
    let mut half = TcpStream::connect(site.listening.address()).expect("it listens");
    half.set_read_timeout(Some(Duration::from_secs(20))).expect("a socket takes a time-out");
    let authorization = format!("Authorization: Bearer {}", site.tokens[1]);
    let head = "Host: plant\r\nConnection: close\r\nContent-Length: 8\r\n";
    let begun = format!("PUT /v1/artifacts HTTP/1.1\r\n{authorization}\r\n{head}\r\nhalf");
    half.write_all(begun.as_bytes()).expect("sent");
    assert_eq!(until(503, put).code(), "busy");
    half.write_all(b"half").expect("sent");
    let mut said = String::new();
    half.read_to_string(&mut said).expect("an answer");
    assert!(said.starts_with("HTTP/1.1 200"), "{said}");
    assert_eq!(put().status, 200);
    site.end().await;
}

/// Ends the scoring of what is 7.
static OVER: AtomicBool = AtomicBool::new(false);

/// Gives back what it gets.
#[derive(Debug)]
struct Same([Port; 1]);

impl Model for Same {
    fn inputs(&self) -> &[Port] {
        &self.0
    }

    fn outputs(&self) -> &[Port] {
        &self.0
    }

    fn score(&self, inputs: &[ColumnRef<'_>], outputs: &mut [ColumnMut<'_>]) -> Result<(), ScoreError> {
        let ColumnMut::F32(out) = &mut outputs[0] else { return Err(ScoreError("not f32".to_owned())) };
        for (row, out) in out.iter_mut().enumerate() {
            *out = inputs[0].number(row) as f32;
            while *out == 7.0 && !OVER.load(Ordering::Acquire) {
                std::thread::sleep(Duration::from_millis(5));
            }
        }
        Ok(())
    }

    fn bytes(&self) -> usize {
        4
    }

    fn digest(&self) -> Digest {
        Digest([7; 32])
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scoring_that_takes_too_long_is_given_up_and_keeps_its_turn_until_it_comes_back() {
    let limits =
        Limits { scorings: 1, scoring_time: Duration::from_secs(1), requests_per_second: 10_000, ..Limits::default() };
    let model: Arc<dyn Model> = Arc::new(Same([Port { name: None, element: ElementType::F32 }]));
    let plant = pump().with(provide(Stream::<f32>::new("same")).needs(RMS).by(model));
    let site = Site::start_on(&folder("limits_scorings"), limits, plant, &[RMS, MEAN]).await;
    let infer = |x: u32| {
        let input = json!({ "name": "vibration.rms", "datatype": "FP32", "shape": [1, 1], "data": [x] });
        let body = json!({ "inputs": [input] }).to_string();
        site.send("POST", "/v2/models/same/infer", Some(&site.tokens[0]), &[], body.as_bytes())
    };
    assert_eq!(infer(3).done()["outputs"][0]["data"][0].as_f64(), Some(3.0));
    let late = infer(7);
    assert_eq!((late.status, late.code().as_str()), (422, "not-scored"), "{late:?}");
    assert!(late.text.contains("longer than 1 s, the limit"), "{late:?}");
    let other = infer(3);
    assert_eq!((other.status, other.code().as_str()), (503, "busy"), "{other:?}");
    OVER.store(true, Ordering::Release);
    until(200, || infer(3));
    site.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_system_whose_source_has_ended_lives_and_is_not_ready() {
    let mut site = Site::start(&folder("limits_ready"), Limits::default()).await;
    for path in ["/readyz", "/v2/health/ready", "/livez"] {
        assert_eq!(site.send("GET", path, None, &[], b"").status, 200, "{path}");
    }
    let (other, _source) = feed(Axes::default());
    site.feeder = other;
    site.deployer.handle().finished().await.expect("it ends in order");
    for path in ["/readyz", "/v2/health/ready"] {
        let answer = site.send("GET", path, None, &[], b"");
        assert_eq!((answer.status, answer.code().as_str()), (503, "not-ready"), "{path}: {answer:?}");
    }
    assert_eq!(site.send("GET", "/livez", None, &[], b"").status, 200);
    site.end().await;
}
