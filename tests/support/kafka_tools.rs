//! Kafka's own command-line tools, run on the jars in `target/kafka`, and the reading of what they print.
#![expect(clippy::disallowed_methods, reason = "waits for another process, whose time no Clock of ours can drive")]

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// No tool takes as long, whatever else the machine does.
const TOOL_TIMEOUT: Duration = Duration::from_secs(300);
const POLL_INTERVAL: Duration = Duration::from_millis(10);

pub(super) const STORAGE: &str = "kafka.tools.StorageTool";
pub(super) const TOPICS: &str = "org.apache.kafka.tools.TopicCommand";
pub(super) const GROUPS: &str = "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand";
pub(super) const PRODUCER: &str = "org.apache.kafka.tools.ConsoleProducer";
pub(super) const CONSUMER: &str = "org.apache.kafka.tools.consumer.ConsoleConsumer";
const BROKER: &str = "kafka.Kafka";

/// A consumer group's place in one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionLag {
    /// The topic's name.
    pub topic: String,
    /// The partition's number.
    pub partition: u32,
    /// The offset that the group would read next; `None` before its first commit.
    pub committed: Option<u64>,
    /// The offset that the next record will get; markers of transactions count.
    pub end: u64,
}

impl PartitionLag {
    /// Offsets between the group and the end; all of them before the group's first commit.
    #[must_use]
    pub fn lag(&self) -> u64 {
        self.end.saturating_sub(self.committed.unwrap_or(0))
    }
}

/// The sum over all partitions.
#[must_use]
pub fn total_lag(partitions: &[PartitionLag]) -> u64 {
    partitions.iter().map(PartitionLag::lag).sum()
}

/// What a tool printed.
#[derive(Debug)]
pub(super) struct Output {
    pub(super) stdout: String,
    pub(super) stderr: String,
}

/// Java with Kafka's jars.
pub(super) struct Jvm {
    jars: PathBuf,
}

impl Jvm {
    pub(super) fn new() -> Self {
        let jars = target_folder().join("kafka");
        assert!(has_jars(&jars), "no Kafka in {}: run `bash scripts/test kafka`", jars.display());
        Self { jars }
    }

    pub(super) fn broker(&self, properties: &Path) -> Command {
        let mut command = self.java(&["-Xms128m", "-Xmx512m", "-XX:+UseSerialGC"]);
        command.arg("-Dorg.slf4j.simpleLogger.showDateTime=true");
        command.arg(BROKER).arg(properties);
        command
    }

    /// Runs a tool to its end with `input` on its standard input.
    pub(super) fn tool(&self, class: &str, arguments: &[&str], input: &str) -> Result<Output, String> {
        // A tool lives for a second: the optimising compiler would only cost.
        let mut command = self.java(&["-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]);
        command.arg("-Dorg.slf4j.simpleLogger.defaultLogLevel=warn").arg(class).args(arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(|error| format!("cannot start java: {error}"))?;
        let (pipe, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let (status, stdout, stderr) = thread::scope(|scope| {
            // On threads of their own: a tool may print before it has read everything. A tool that ends without reading
            // breaks the pipe, which its exit status then explains.
            scope.spawn(move || pipe.map(|mut pipe| pipe.write_all(input.as_bytes())));
            let (stdout, stderr) = (scope.spawn(|| text(stdout)), scope.spawn(|| text(stderr)));
            let status = wait(&mut child);
            (status, stdout.join().unwrap_or_default(), stderr.join().unwrap_or_default())
        });
        match status {
            Ok(status) if status.success() => Ok(Output { stdout, stderr }),
            Ok(status) => Err(format!("{class} {}: {status}\n{stdout}\n{stderr}", arguments.join(" "))),
            Err(problem) => Err(format!("{class} {}: {problem}\n{stdout}\n{stderr}", arguments.join(" "))),
        }
    }

    fn java(&self, options: &[&str]) -> Command {
        let mut command = Command::new("java");
        command.args(options).arg("-cp").arg(self.jars.join("*"));
        command
    }
}

/// Waits for a tool to end; one that takes too long is ended.
fn wait(child: &mut Child) -> Result<ExitStatus, String> {
    let since = Instant::now();
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return Ok(status),
            Ok(None) if since.elapsed() < TOOL_TIMEOUT => thread::sleep(POLL_INTERVAL),
            Ok(None) => {
                let _ = child.kill();
                let _ = child.wait();
                return Err(format!("it did not end within {TOOL_TIMEOUT:?}"));
            }
            Err(error) => return Err(format!("cannot wait for it: {error}")),
        }
    }
}

/// All that comes out of a pipe.
fn text(pipe: Option<impl Read>) -> String {
    let mut bytes = Vec::new();
    // What came before an error is shown all the same.
    let _ = pipe.map(|mut pipe| pipe.read_to_end(&mut bytes));
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The `target` folder at the root of the repository, where `scripts/test` installs.
pub(super) fn target_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the tests lie in the repository").join("target")
}

fn has_jars(folder: &Path) -> bool {
    let names = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.file_name());
    names.into_iter().any(|name| name.to_string_lossy().starts_with("kafka-server"))
}

/// Reads the table of `ConsumerGroupCommand --describe --offsets`.
///
/// The tool ends well even when it failed, so that its words decide: a group that nobody knows is an empty table.
pub(super) fn parse_lag(printed: &str) -> Result<Vec<PartitionLag>, String> {
    if let Some(problem) = printed.lines().find(|line| line.starts_with("Error:")) {
        let unknown = problem.contains("GroupIdNotFoundException");
        return if unknown { Ok(Vec::new()) } else { Err(problem.to_owned()) };
    }
    let mut lines = printed.lines().filter(|line| !line.trim().is_empty());
    let Some(header) = lines.find(|line| line.starts_with("GROUP")) else { return Ok(Vec::new()) };
    let column = |name: &str| {
        let place = header.split_whitespace().position(|word| word == name);
        place.ok_or_else(|| format!("no column {name} in `{header}`"))
    };
    let columns = [column("TOPIC")?, column("PARTITION")?, column("CURRENT-OFFSET")?, column("LOG-END-OFFSET")?];
    lines.map(|line| parse_row(line, columns).ok_or_else(|| format!("cannot read `{line}`"))).collect()
}

fn parse_row(line: &str, [topic, partition, committed, end]: [usize; 4]) -> Option<PartitionLag> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let committed = match *words.get(committed)? {
        "-" => None,
        number => Some(number.parse().ok()?),
    };
    Some(PartitionLag {
        topic: (*words.get(topic)?).to_owned(),
        partition: words.get(partition)?.parse().ok()?,
        committed,
        end: words.get(end)?.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "
GROUP  TOPIC  PARTITION  CURRENT-OFFSET  LOG-END-OFFSET  LAG  CONSUMER-ID  HOST  CLIENT-ID
g      wear   1          4               9               5    -            -     -
g      wear   0          -               3               -    -            -     -
";

    #[test]
    fn a_table_is_read_by_the_names_of_its_columns() {
        let rows = parse_lag(TABLE).expect("a good table");
        assert_eq!(rows[0], PartitionLag { topic: "wear".to_owned(), partition: 1, committed: Some(4), end: 9 });
        assert_eq!(rows[1].committed, None);
        assert_eq!(total_lag(&rows), 5 + 3);
    }

    #[test]
    fn an_unknown_group_has_no_rows() {
        let printed =
            "\nError: Executing consumer group command failed due to GroupIdNotFoundException: Group g not found.";
        assert_eq!(parse_lag(printed), Ok(Vec::new()));
    }

    #[test]
    fn any_other_error_and_any_strange_row_is_reported() {
        assert!(parse_lag("Error: Executing consumer group command failed due to TimeoutException").is_err());
        assert!(parse_lag(&TABLE.replace("LOG-END-OFFSET", "END")).is_err());
        assert!(parse_lag(&TABLE.replace(" 9 ", " nine ")).is_err());
    }

    #[test]
    fn a_folder_without_the_server_counts_as_missing() {
        assert!(!has_jars(Path::new("/nowhere")));
        assert!(!has_jars(Path::new(env!("CARGO_MANIFEST_DIR"))));
    }
}
