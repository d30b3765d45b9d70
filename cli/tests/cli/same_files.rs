//! Files of one topology that are one file.

use crate::support::{file, folder, run};

const NODES: &str = r#"
[[node]]
provides = ["temperature: f32"]
sensor = {}
[[node]]
sink = "out"
asks = ["temperature"]
[[node]]
sink = "also"
asks = ["temperature"]
"#;

const ROWS: &str = "machine,ts,temperature\nP1,1000,50\nP1,2000,70\n";

/// Bug: a sink whose file was that of the source, of its dead letters or of another sink destroyed it, or mixed lines of both.
/// Fix: such files are refused before anything runs.
#[test]
fn a_file_that_is_read_or_written_is_not_written_from_elsewhere() {
    let folder = folder("same-files");
    let rows = file(&folder, "rows.csv", ROWS);
    let tried = |letters: &str, out: &str, also: &str| {
        let source = format!("kind = \"csv\"\npath = \"rows.csv\"\nkey = \"machine\"\ntime = \"ts\"\n{letters}");
        let sink = |path: &str| format!("kind = \"csv\"\npath = \"{path}\"\n");
        let text = format!(
            "class = \"pump\"\n[source]\n{source}\n[sink.out]\n{}truncate = true\n[sink.also]\n{}{NODES}",
            sink(out),
            sink(also)
        );
        let path = file(&folder, "topology.toml", &text);
        ["run", "validate"].map(|command| run(&[command, &path]))
    };
    let letters = "dead_letters = \"dead.jsonl\"";
    for (letters, out, also, said) in [
        ("", "rows.csv", "b.csv", [":10: [sink.out]: `path` is `", "is the file of `path` of [source] too"]),
        ("", "a.csv", "./a.csv", [":10: [sink.out]: `path` is `", "is the file of `path` of [sink.also] too"]),
        (letters, "a.csv", "dead.jsonl", ["[sink.also]: `path` is `", "is the file of `dead_letters` of [source] too"]),
        ("dead_letters = \"rows.csv\"", "a.csv", "b.csv", [":7: [source]: `dead_letters` is `", "`path` of [source]"]),
    ] {
        for ended in tried(letters, out, also) {
            assert_eq!(ended.code, 3, "{ended:?}");
            assert!(said.iter().all(|said| ended.stderr.contains(said)), "{said:?} is not in {}", ended.stderr);
            assert_eq!(ended.stderr.lines().count(), 1, "{}", ended.stderr);
        }
        assert_eq!(std::fs::read_to_string(&rows).expect("a file"), ROWS);
        assert!(!folder.join("a.csv").exists(), "nothing has run");
    }
    for ended in tried(letters, "/dev/null", "/dev/null") {
        assert_eq!(ended.code, 0, "a device may have several users: {ended:?}");
    }
}
