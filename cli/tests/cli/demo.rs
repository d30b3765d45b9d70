//! `grist demo`: it ends by itself, and its counts add up.

use crate::support::run;

#[test]
fn counts_add_up_while_models_are_added() {
    let arguments = ["demo", "--seconds", "3", "--models", "82", "--machines", "20", "--add", "8", "--shards", "2", "--json"];
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
    assert!(ended.stdout.contains("10 models as revision 2"), "{}", ended.stdout);
    assert!(ended.stdout.ends_with("nothing: every row was scored by every model that it had\n"), "{}", ended.stdout);
}
