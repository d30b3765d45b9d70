//! A real Kafka broker that belongs to one test: its own ports, its own data, its own end.
//!
//! The jars come from `bash scripts/test kafka`. A broker takes about four seconds to start and 300 MB of memory.
//! All functions block and panic with a text that says what to do: they are for tests.
#![expect(clippy::disallowed_methods, reason = "waits for another process, whose time no Clock of ours can drive")]

use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{self, Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::kafka_proxy::Proxy;
use super::kafka_secured;
pub use super::kafka_secured::Listener;
use super::kafka_tools::{self, Jvm};
pub use super::kafka_tools::{PartitionLag, total_lag};

const READY: &str = "Kafka Server started";
const PORT_TAKEN: &str = "Address already in use";
const START_TIMEOUT: Duration = Duration::from_secs(90);
const STOP_TIMEOUT: Duration = Duration::from_secs(30);
const POLL_INTERVAL: Duration = Duration::from_millis(50);
const START_ATTEMPTS_MAX: u32 = 3;
const LOG_LINES_SHOWN: usize = 20;
/// Any 22 letters of base64 are an id; clusters of tests never meet.
const CLUSTER_ID: &str = "gristmill-test-cluster";

/// A running (or stopped) broker with its data below `target/kafka-runs`.
///
/// Dropping it kills the process. The folder is removed, unless the test panics: then data and logs stay and the end of
/// the log is printed.
#[derive(Debug)]
pub struct Broker {
    ports: Ports,
    folder: PathBuf,
    starts: u32,
    process: Option<Child>,
}

#[derive(Clone, Copy, Debug)]
struct Ports {
    clients: u16,
    controller: u16,
    /// Those of further listeners: with TLS, or behind a proxy.
    others: [u16; 3],
}

/// What a broker has beside its plain listener.
#[derive(Clone, Copy)]
enum Kind<'a> {
    Plain,
    /// Listeners with TLS, and these users with their passwords.
    Secured(&'a [(&'a str, &'a str)]),
    /// A listener that is reached through this port.
    Behind(u16),
}

enum StartError {
    PortTaken,
    Other(String),
}

impl Broker {
    /// Starts an empty broker and returns once it serves clients.
    #[must_use]
    pub fn start() -> Self {
        Self::start_as(Kind::Plain)
    }

    /// As `start`, with another listener whose clients are told that the broker is where the proxy is. The tools of this
    /// type go past it.
    #[must_use]
    pub fn start_behind(proxy: &Proxy) -> Self {
        let broker = Self::start_as(Kind::Behind(proxy.port()));
        proxy.stand_before((Ipv4Addr::LOCALHOST, broker.ports.others[0]).into());
        broker
    }

    /// As `start`, with three listeners beside the plain one that speak TLS and know these users by SCRAM-SHA-256, and
    /// an authorizer: without a rule only whoever comes by the plain listener may do anything.
    #[must_use]
    pub fn start_secured(users: &[(&str, &str)]) -> Self {
        Self::start_as(Kind::Secured(users))
    }

    fn start_as(kind: Kind<'_>) -> Self {
        for _ in 0..START_ATTEMPTS_MAX {
            let mut broker = Self { ports: Ports::free(), folder: new_folder(), starts: 0, process: None };
            broker.format(kind);
            match broker.launch() {
                Ok(()) => return broker,
                Err(StartError::PortTaken) => {}
                Err(StartError::Other(problem)) => panic!("{problem}"),
            }
        }
        panic!("{START_ATTEMPTS_MAX} times another process took the broker's ports between choosing and using them");
    }

    /// The address for clients, as in `bootstrap.servers`.
    #[must_use]
    pub fn bootstrap(&self) -> String {
        format!("127.0.0.1:{}", self.ports.clients)
    }

    /// The address of a listener with TLS.
    #[must_use]
    pub fn secured(&self, listener: Listener) -> String {
        format!("localhost:{}", self.ports.others[listener as usize])
    }

    /// Where the broker's files are: its data, and its certificates.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The broker's process id while it runs: for signals that a test sends itself.
    #[must_use]
    pub fn process_id(&self) -> Option<u32> {
        self.process.as_ref().map(Child::id)
    }

    /// The log of the latest start.
    #[must_use]
    pub fn log_file(&self) -> PathBuf {
        self.folder.join(format!("broker-{}.log", self.starts))
    }

    /// Creates a topic whose records never expire.
    pub fn create_topic(&self, name: &str, partitions: u32) {
        self.create_topic_with(name, partitions, &[]);
    }

    /// As `create_topic`, with settings such as `message.timestamp.type=LogAppendTime`.
    pub fn create_topic_with(&self, name: &str, partitions: u32, settings: &[&str]) {
        let count = partitions.to_string();
        let mut arguments = vec!["--create", "--topic", name, "--partitions", &count];
        settings.iter().for_each(|setting| arguments.extend(["--config", setting]));
        self.tool(kafka_tools::TOPICS, &arguments, "");
    }

    /// The names of all topics, internal ones too, sorted.
    #[must_use]
    pub fn topics(&self) -> Vec<String> {
        let output = self.tool(kafka_tools::TOPICS, &["--list"], "");
        let mut names: Vec<String> = output.stdout.lines().map(str::to_owned).collect();
        names.sort();
        names
    }

    /// How far `group` is behind, by partition; empty if the broker does not know the group.
    #[must_use]
    pub fn consumer_group_lag(&self, group: &str) -> Vec<PartitionLag> {
        let output = self.tool(kafka_tools::GROUPS, &["--describe", "--offsets", "--group", group], "");
        kafka_tools::parse_lag(&output.stdout)
            .unwrap_or_else(|problem| panic!("group `{group}`: {problem}\n{}", output.stderr))
    }

    /// Deletes a topic, and with it what groups have committed in it.
    pub fn delete_topic(&self, name: &str) {
        self.tool(kafka_tools::TOPICS, &["--delete", "--topic", name], "");
    }

    /// Gives a topic more partitions: so many in all.
    pub fn add_partitions(&self, name: &str, partitions: u32) {
        self.tool(kafka_tools::TOPICS, &["--alter", "--topic", name, "--partitions", &partitions.to_string()], "");
    }

    /// Deletes what a group that nobody is in has committed; `of` is a topic, or `topic:partition`.
    pub fn delete_offsets(&self, group: &str, of: &str) {
        let output = self.tool(kafka_tools::GROUPS, &["--delete-offsets", "--group", group, "--topic", of], "");
        assert!(!output.stdout.contains("Error"), "deleting offsets of `{group}`: {} {}", output.stdout, output.stderr);
    }

    /// Runs one of Kafka's tools by the name of its class, against this broker, and returns what it printed.
    pub fn admin(&self, class: &str, arguments: &[&str]) -> String {
        self.tool(class, arguments, "").stdout
    }

    /// Moves a group that nobody is in back to the beginning of a topic.
    pub fn reset_group(&self, topic: &str, group: &str) {
        let arguments = ["--reset-offsets", "--group", group, "--topic", topic, "--to-earliest", "--execute"];
        let output = self.tool(kafka_tools::GROUPS, &arguments, "");
        assert!(!output.stdout.contains("Error"), "resetting `{group}`: {} {}", output.stdout, output.stderr);
    }

    /// Appends `(key, value)` records; neither may hold a tab or a line break.
    pub fn console_produce(&self, topic: &str, records: &[(&str, &str)]) {
        let lines: String = records.iter().map(|(key, value)| format!("{key}\t{value}\n")).collect();
        let properties = ["--property", "parse.key=true", "--property", "key.separator=\t"];
        let output = self.tool(kafka_tools::PRODUCER, &[&["--topic", topic], &properties[..]].concat(), &lines);
        assert!(!output.stderr.contains("ERROR"), "producing to `{topic}`: {}", output.stderr);
    }

    /// Reads what is committed and `group` has not read yet, as `key<tab>value` in no particular order of partitions,
    /// until nothing has come for three seconds; then commits the group's offsets.
    #[must_use]
    pub fn console_consume(&self, topic: &str, group: &str) -> Vec<String> {
        let options = ["--from-beginning", "--isolation-level", "read_committed", "--timeout-ms", "3000"];
        let arguments = [&["--topic", topic, "--group", group, "--property", "print.key=true"], &options[..]].concat();
        let output = self.tool(kafka_tools::CONSUMER, &arguments, "");
        let lines: Vec<String> = output.stdout.lines().map(str::to_owned).collect();
        let total = format!("Processed a total of {} messages", lines.len());
        assert!(output.stderr.contains(&total), "reading `{topic}` ended early: {}", output.stderr);
        lines
    }

    /// Asks the broker to shut down in order and waits until it has.
    pub fn stop(&mut self) {
        let Some(mut child) = self.process.take() else { return };
        // `kill` of the shell: a slim machine need not have the program.
        let _ = Command::new("sh").args(["-c", &format!("kill -TERM {}", child.id())]).status();
        let deadline = Instant::now() + STOP_TIMEOUT;
        while matches!(child.try_wait(), Ok(None)) {
            if Instant::now() >= deadline {
                end(child);
                panic!("the broker did not stop within {STOP_TIMEOUT:?}; see {}", self.log_file().display());
            }
            thread::sleep(POLL_INTERVAL);
        }
    }

    /// Ends the broker at once, as `kill -9` does.
    pub fn kill(&mut self) {
        if let Some(child) = self.process.take() {
            end(child);
        }
    }

    /// Starts a stopped or killed broker again, with its data and at its address.
    pub fn start_again(&mut self) {
        assert!(self.process.is_none(), "the broker is running; stop or kill it first");
        match self.launch() {
            Ok(()) => {}
            Err(StartError::PortTaken) => panic!("another process has taken port {}", self.ports.clients),
            Err(StartError::Other(problem)) => panic!("{problem}"),
        }
    }

    fn format(&self, kind: Kind<'_>) {
        let properties = include_str!("../kafka/server.properties.template")
            .replace("@PORT@", &self.ports.clients.to_string())
            .replace("@CONTROLLER_PORT@", &self.ports.controller.to_string())
            .replace("@DATA@", &self.folder.join("data").to_string_lossy());
        let users = if let Kind::Secured(users) = kind { users } else { &[] };
        let users: Vec<String> =
            users.iter().map(|(name, password)| format!("SCRAM-SHA-256=[name={name},password={password}]")).collect();
        let properties = match kind {
            Kind::Plain => properties,
            Kind::Secured(_) => kafka_secured::properties(&properties, self.ports.others, &self.folder),
            Kind::Behind(port) => with_listener(&properties, self.ports.others[0], port),
        };
        fs::write(self.properties_file(), properties).expect("the run's folder can be written");
        let file = self.properties_file();
        let file = file.to_string_lossy();
        let mut arguments = vec!["format", "-t", CLUSTER_ID, "-c", &file];
        users.iter().for_each(|user| arguments.extend(["--add-scram", user.as_str()]));
        Jvm::new().tool(kafka_tools::STORAGE, &arguments, "").unwrap_or_else(|problem| panic!("{problem}"));
    }

    fn launch(&mut self) -> Result<(), StartError> {
        self.starts += 1;
        let log = fs::File::create(self.log_file()).expect("the run's folder can be written");
        let log_copy = log.try_clone().expect("a file handle can be cloned");
        let mut command = Jvm::new().broker(&self.properties_file());
        command.stdin(Stdio::null()).stdout(log).stderr(log_copy);
        self.process = Some(command.spawn().expect("java starts"));
        self.wait_until_ready()
    }

    fn wait_until_ready(&mut self) -> Result<(), StartError> {
        let deadline = Instant::now() + START_TIMEOUT;
        loop {
            // Whether it has ended is asked before the log is read: the last lines are then in it.
            let ended = self.process.as_mut().is_none_or(|child| !matches!(child.try_wait(), Ok(None)));
            let log = fs::read_to_string(self.log_file()).unwrap_or_default();
            if ended && log.contains(PORT_TAKEN) {
                return Err(StartError::PortTaken);
            } else if ended {
                return Err(StartError::Other("the broker ended while it started".to_owned()));
            } else if log.contains(READY) {
                return Ok(());
            } else if Instant::now() >= deadline {
                return Err(StartError::Other(format!("the broker was not ready after {START_TIMEOUT:?}")));
            }
            thread::sleep(POLL_INTERVAL);
        }
    }

    fn tool(&self, class: &str, arguments: &[&str], input: &str) -> kafka_tools::Output {
        let address = self.bootstrap();
        let arguments = [&["--bootstrap-server", &address], arguments].concat();
        Jvm::new().tool(class, &arguments, input).unwrap_or_else(|problem| panic!("{problem}"))
    }

    fn properties_file(&self) -> PathBuf {
        self.folder.join("server.properties")
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.kill();
        if thread::panicking() {
            let log = fs::read_to_string(self.log_file()).unwrap_or_default();
            let lines: Vec<&str> = log.lines().collect();
            let end = lines[lines.len().saturating_sub(LOG_LINES_SHOWN)..].join("\n");
            eprintln!("the broker's data and logs are kept in {}; the log ends:\n{end}", self.folder.display());
        } else {
            let _ = fs::remove_dir_all(&self.folder);
        }
    }
}

impl Ports {
    /// Free ports, searched from a place that differs by process and call.
    ///
    /// They lie below the ports that the system gives to clients. A client that tries to reach a dead broker at a port
    /// among those can be connected to itself, and then holds the port against the broker's return.
    fn free() -> Self {
        const FIRST: u32 = 20_000;
        const COUNT: u32 = 12_000;
        static CALLS: AtomicU32 = AtomicU32::new(0);
        let start = process::id().wrapping_mul(64).wrapping_add(CALLS.fetch_add(1, Ordering::Relaxed) * 5);
        let candidates = (0..COUNT).map(|step| FIRST + start.wrapping_add(step) % COUNT);
        let mut free = candidates.filter_map(|port| u16::try_from(port).ok()).filter(|port| is_free(*port));
        let mut next = || free.next().unwrap_or_else(|| panic!("no free port between {FIRST} and {}", FIRST + COUNT));
        Self { clients: next(), controller: next(), others: [next(), next(), next()] }
    }
}

/// The properties with a listener at a port that clients are told is at another.
fn with_listener(properties: &str, port: u16, told: u16) -> String {
    let lines = properties.lines().map(|line| match line.split_once('=').map(|(name, _)| name) {
        Some("listeners") => format!("{line},PROXIED://127.0.0.1:{port}\n"),
        Some("advertised.listeners") => format!("{line},PROXIED://127.0.0.1:{told}\n"),
        Some("listener.security.protocol.map") => format!("{line},PROXIED:PLAINTEXT\n"),
        _ => format!("{line}\n"),
    });
    lines.collect()
}

fn is_free(port: u16) -> bool {
    std::net::TcpListener::bind(("127.0.0.1", port)).is_ok()
}

/// A folder that no other run has: `target/kafka-runs/<process>-<number>`.
fn new_folder() -> PathBuf {
    static RUNS: AtomicU32 = AtomicU32::new(0);
    let name = format!("{}-{}", process::id(), RUNS.fetch_add(1, Ordering::Relaxed));
    let folder = kafka_tools::target_folder().join("kafka-runs").join(name);
    // A left-over of an earlier process with the same id.
    let _ = fs::remove_dir_all(&folder);
    create(&folder);
    folder
}

fn create(folder: &Path) {
    fs::create_dir_all(folder).unwrap_or_else(|error| panic!("cannot create {}: {error}", folder.display()));
}

fn end(mut child: Child) {
    let _ = child.kill();
    let _ = child.wait();
}
