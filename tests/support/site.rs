//! A running topology with its admin API, and an HTTP client.

use std::path::{Path, PathBuf};

use gristmill::deployer::Deployer;
use gristmill::in_process::{Collected, Feeder, feed};
use gristmill::registry::RegistryFolder;
use gristmill::topology::{Topology, all_models, sensor, sink};
use gristmill::traits::source::{Axes, RowsRecord};
use gristmill::words::{Column, ElementType, Offset, Time};
use gristmill::{Runtime, Stream};
use gristmill_admin::{Admin, Limits, Listening, Scope, TokenFile};
use gristmill_operators::registry::registry;
use serde_json::Value;

/// The streams that the source brings.
pub const RMS: Stream<f32> = Stream::new("vibration.rms");
/// See [`RMS`].
pub const MEAN: Stream<f32> = Stream::new("temperature.mean");

/// A model on both streams; [`anomaly`] is its artifact.
pub const ANOMALY: &str = r#"{ "topology": "pump", "needs": ["vibration.rms: f32", "temperature.mean: f32"],
    "provides": ["anomaly: f32"], "model": { "onnx": "anomaly.onnx" } }"#;

/// The artifact of [`ANOMALY`].
pub fn anomaly() -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/topologies/models/anomaly.onnx");
    std::fs::read(path).expect("the example's model is there")
}

/// A running system with its API.
pub struct Site {
    /// It and what it deploys on.
    pub deployer: Deployer,
    /// Brings rows.
    pub feeder: Feeder,
    /// What came out.
    pub values: Collected,
    /// Its API.
    pub listening: Listening,
    /// Its folder of revisions.
    pub folder: PathBuf,
    /// By scope: `read`, `deploy`, `admin`, and one that has ended.
    pub tokens: [String; 4],
    /// The next offset.
    pub next: i64,
}

/// An answer.
#[derive(Debug)]
pub struct Answer {
    /// Its status.
    pub status: u16,
    /// Its Content-Type.
    pub kind: String,
    /// Its body.
    pub text: String,
}

impl Answer {
    /// As JSON.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{}: {error}", self.text))
    }

    /// The code of the problem.
    pub fn code(&self) -> String {
        assert_eq!(self.kind, "application/problem+json", "{self:?}");
        self.json()["code"].as_str().unwrap_or_default().to_owned()
    }

    /// What was done, when it was.
    pub fn done(&self) -> Value {
        assert_eq!(self.status, 200, "{self:?}");
        self.json()
    }
}

/// An empty folder.
pub fn folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/tmp/sites").join(name);
    let _ = std::fs::remove_dir_all(&folder); // what an earlier run left
    folder
}

/// The topology that sites start with.
pub fn pump() -> Topology {
    Topology::new("pump").with(sensor(RMS)).with(sensor(MEAN)).with(sink("out").needs(all_models()).and(RMS))
}

impl Site {
    /// A system on a folder of revisions, with its API on a free port.
    pub async fn start(folder: &Path, limits: Limits) -> Self {
        Self::start_on(folder, limits, pump(), &[RMS, MEAN]).await
    }

    /// The same with a topology of one's own, whose source brings these columns.
    pub async fn start_on(folder: &Path, limits: Limits, topology: Topology, columns: &[Stream<f32>]) -> Self {
        let columns = columns.iter().map(|stream| (stream.name().into(), ElementType::F32)).collect();
        let (feeder, source) = feed(Axes::Declared(vec![columns]));
        let values = Collected::default();
        let builder = Runtime::builder().topology(topology).source(source).sink("out", values.clone()).shards(2);
        let revisions = RegistryFolder::open(folder, Time::from_secs(1_700_000_000)).expect("the folder opens");
        let deployer = Deployer::start(builder, revisions, registry()).await.expect("it starts");
        let path = folder.join("tokens.json");
        let _ = std::fs::remove_file(&path); // those of an earlier start
        let make = |name: &str, scope, ends| TokenFile::create(&path, name, scope, ends).expect("a token is made");
        let tokens = [
            make("reader", Scope::Read, None),
            make("deployer", Scope::Deploy, None),
            make("chief", Scope::Admin, None),
            make("old", Scope::Admin, Some(Time::from_secs(1))),
        ];
        let admin =
            Admin::new(deployer.clone(), path).limits(limits).metrics(std::sync::Arc::new(|| "a 1\n".to_owned()));
        let listening = admin.listen(([127, 0, 0, 1], 0).into()).await.expect("a port is free");
        Self { deployer, feeder, values, listening, folder: folder.to_owned(), tokens, next: 0 }
    }

    /// Sends a request.
    pub fn send(&self, method: &str, path: &str, token: Option<&str>, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
        let mut request =
            ureq::http::Request::builder().method(method).uri(format!("http://{}{path}", self.listening.address()));
        if let Some(token) = token {
            request = request.header("Authorization", format!("Bearer {token}"));
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let answered = if ["POST", "PUT"].contains(&method) {
            agent.run(request.body(body).expect("a request"))
        } else {
            agent.run(request.body(()).expect("a request"))
        };
        let mut answered = answered.unwrap_or_else(|error| panic!("{method} {path}: {error}"));
        let kind = answered.headers().get("content-type").and_then(|value| value.to_str().ok());
        let (status, kind) = (answered.status().as_u16(), kind.unwrap_or_default().to_owned());
        let text = answered.body_mut().read_to_vec().expect("a body");
        Answer { status, kind, text: String::from_utf8_lossy(&text).into_owned() }
    }

    /// Looks, as one who may.
    pub fn get(&self, path: &str) -> Answer {
        self.send("GET", path, Some(&self.tokens[0]), &[], b"")
    }

    /// Deploys a form of parts.
    pub fn put_nodes(&self, query: &str, headers: &[(&str, &str)], parts: &[(&str, &[u8])]) -> Answer {
        let mut body = Vec::new();
        for (name, content) in parts {
            body.extend(format!("--limit\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n").bytes());
            body.extend_from_slice(content);
            body.extend(b"\r\n");
        }
        body.extend(b"--limit--\r\n");
        let kind = ("Content-Type", "multipart/form-data; boundary=limit");
        let headers: Vec<_> = headers.iter().copied().chain([kind]).collect();
        self.send("PUT", &format!("/v1/nodes{query}"), Some(&self.tokens[1]), &headers, &body)
    }

    /// A row of the key P1, with all its effects.
    pub async fn row(&mut self) {
        let columns = vec![Column::F32(vec![1.0]), Column::F32(vec![40.0])];
        let (offset, times) = (Offset(self.next), vec![Time::from_secs(self.next)]);
        let row = RowsRecord { offset, log_time: None, key: "P1".into(), axis: 0, times, columns };
        self.next += 1;
        self.feeder.send(0, vec![row]).await.expect("it runs");
        self.feeder.taken().await.expect("it runs");
        self.deployer.handle().settled().await;
    }

    /// Ends it, so that another can use the folder.
    pub async fn end(self) {
        let Self { deployer, feeder, listening, .. } = self;
        drop(feeder);
        listening.stop().await;
        deployer.handle().finished().await.expect("it ends in order");
        drop(deployer);
    }
}
