//! Help that teaches, and command lines that make no sense.

use crate::support::run;

const COMMANDS: [&str; 23] = [
    "demo",
    "run",
    "validate",
    "plan",
    "limits",
    "score",
    "bench",
    "token",
    "ls",
    "show",
    "explain",
    "keys",
    "revisions",
    "top",
    "preview",
    "deploy",
    "remove",
    "rollback",
    "pause",
    "resume",
    "reset",
    "server",
    "completion",
];

#[test]
fn every_command_shows_an_example() {
    let all = run(&["--help"]);
    for code in ["0  done", "1  failed", "2  usage", "3  refused", "4  denied", "5  unreachable"] {
        assert!(all.stdout.contains(code), "{code}: {}", all.stdout);
    }
    for command in COMMANDS {
        assert!(all.stdout.contains(&format!("\n  {command}")), "{command}");
        let help = run(&[command, "--help"]);
        assert_eq!(help.code, 0);
        assert!(help.stdout.contains(&format!("\n  grist {command}")), "no example for {command}: {}", help.stdout);
    }
    let fleet = run(&["bench", "fleet", "--help"]);
    assert!(fleet.stdout.contains("\n  grist bench fleet --devices"), "{}", fleet.stdout);
}

#[test]
fn command_lines_that_make_no_sense_end_with_2_and_say_what_would() {
    for (arguments, said) in [
        (&["demmo"][..], "demo"),
        (&["demo", "--models", "10", "--machines", "500"], "say --models 2000 or more, or --machines 2 or fewer"),
        (&["demo", "--log", "a=b=c"], "--log"),
        (&["demo", "--seconds", "0"], "0 is not in 1..="),
        (&["bench", "flet"], "fleet"),
        (&["bench", "fleet", "--devices", "0"], "0 is not in 1..="),
        (
            &["score", "a.toml", "--input", "a.txt", "--output", "b.csv"],
            "name a file that ends in .csv, .jsonl or .parquet",
        ),
        (&["plan", "a.toml", "--dot", "--json"], "cannot be used with"),
    ] {
        let ended = run(arguments);
        assert_eq!(ended.code, 2, "{arguments:?} {ended:?}");
        assert!(ended.stderr.contains(said), "{arguments:?}: {}", ended.stderr);
    }
}
