//! `grist demo`: it ends by itself, and its counts add up.

use crate::support::run;

#[test]
fn counts_add_up_while_models_are_added() {
    let arguments =
        ["demo", "--seconds", "3", "--models", "82", "--machines", "20", "--add", "8", "--shards", "2", "--json"];
    let ended = run(&arguments);
    assert_eq!(ended.code, 0, "{ended:?}");
    let answer = ended.json();
    let number = |pointer: &str| answer.pointer(pointer).and_then(serde_json::Value::as_u64).unwrap_or(u64::MAX);
    // Twenty machines, ten rows a second.
    assert_eq!((number("/rows/expected"), number("/rows/taken_in")), (600, 600));
    let added = number("/added/rows_scored");
    assert!(added > 0 && added < 8 * 30, "{added} rows in the second half");
    assert_eq!(number("/added/rows_expected"), added);
    // Four models for each machine, and a fifth for two.
    assert_eq!(number("/predictions/expected"), 82 * 30 + added);
    assert_eq!(number("/predictions/scored"), number("/predictions/expected"));
    assert_eq!(number("/predictions/failed"), 0);
    assert_eq!(number("/latency/all/predictions"), number("/predictions/scored"));
    assert!(number("/added/first_score_us") <= number("/added/all_scored_us"), "{answer}");
}

#[test]
fn it_shows_lines_where_nobody_looks_and_a_summary() {
    let ended = run(&["demo", "--seconds", "2", "--models", "40", "--machines", "10"]);
    assert_eq!(ended.code, 0, "{ended:?}");
    assert!(ended.stdout.contains("predictions/s"), "{}", ended.stdout);
    for said in [
        "10 machines, 10 rows a second of each; 40 models",
        "10 anomaly, 10 load, 10 efficiency, 10 wear",
        "anomaly, load, efficiency → wear → alarm",
        "* adding 10 models while rows flow",
        "* revision 2 runs: preview ",
        "* first score ",
        "10 models as revision 2",
    ] {
        assert!(ended.stdout.contains(said), "{said} is not in\n{}", ended.stdout);
    }
    assert!(ended.stdout.ends_with("nothing: every row was scored by every model that it had\n"), "{}", ended.stdout);
}

#[test]
fn so_few_models_that_machines_are_fewer_and_so_short_that_the_addition_ends_with_it() {
    let ended = run(&["demo", "--seconds", "2", "--models", "21", "--json"]);
    assert_eq!(ended.code, 0, "{ended:?}");
    let answer = ended.json();
    assert_eq!((answer["machines"].as_u64(), answer["models"].as_u64()), (Some(5), Some(21)));
    let added = &answer["added"];
    assert_eq!(added["models"].as_u64(), Some(5), "{answer}");
    assert_eq!(added["rows_scored"], added["rows_expected"], "{answer}");
    assert!(added["apply_us"].as_u64() < added["first_score_us"].as_u64(), "{answer}");
    assert!(added["first_score_us"].as_u64() < Some(1_000_000), "{answer}");
    assert!(added["first_score_waited_us"].as_u64() < added["first_score_us"].as_u64(), "{answer}");
}
