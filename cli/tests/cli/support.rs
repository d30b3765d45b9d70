//! Runs the binary that was built with these tests.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::Value;

/// What became of a command.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ended {
    /// Standard output as JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// The binary with arguments, at the root of the repository.
pub(crate) fn grist(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_grist"));
    command.args(arguments).current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/..")).env_remove("RUST_LOG");
    command
}

/// Runs it to its end.
pub(crate) fn run(arguments: &[&str]) -> Ended {
    let output = grist(arguments).output().expect("the binary starts");
    Ended {
        code: output.status.code().expect("it ends by itself"),
        stdout: String::from_utf8(output.stdout).expect("text"),
        stderr: String::from_utf8(output.stderr).expect("text"),
    }
}

/// An empty folder of a test's own.
pub(crate) fn folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).expect("a folder");
    folder
}

/// Writes a file and gives its path as text.
pub(crate) fn file(folder: &Path, name: &str, content: &str) -> String {
    let path = folder.join(name);
    std::fs::write(&path, content).expect("a file");
    path.to_str().expect("the path is text").to_owned()
}

/// A simulated plant of two machines that runs longer than any test.
pub(crate) const TOPOLOGY: &str = r#"
class = "pump"
[source]
kind = "simulate"
machines = 2
rate = 20
for = "120s"
[sink.out]
kind = "console"

[[node]]
provides = ["temperature: f32"]
sensor = {}

[[node]]
sink = "out"
asks = ["temperature", { all = "models" }]
"#;

/// A running system with an admin API; it ends with the test, however that ends.
pub(crate) struct Running {
    child: Child,
    /// Where its API listens.
    pub(crate) address: String,
}

impl Drop for Running {
    fn drop(&mut self) {
        // One that has ended already cannot be killed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Running {
    /// `grist run --admin`, once it says where it listens.
    pub(crate) fn start(topology: &str, registry: &str) -> Self {
        let arguments = ["run", topology, "--registry", registry, "--admin", "127.0.0.1:0"];
        let mut child = grist(&arguments).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("it starts");
        let said = BufReader::new(child.stderr.take().expect("as said above"));
        let mut running = Self { child, address: String::new() };
        let mut lines = said.lines().map(|line| line.expect("text"));
        let address = lines.find_map(|line| Some(line.split_once("admin API on http://")?.1.to_owned()));
        running.address = address.expect("it says where it listens");
        std::thread::spawn(move || lines.for_each(drop)); // so that it can go on writing
        running
    }
}
