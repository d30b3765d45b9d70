//! `grist bench`: the scores are right, and the figures are there.

use crate::support::run;

#[test]
fn the_fleet_is_measured_against_a_plain_loop() {
    for more in [&[][..], &["--per-key-models", "--kernels", "scalar"]] {
        let arguments =
            [&["bench", "fleet", "--devices", "30", "--epochs", "2", "--shards", "2", "--json"], more].concat();
        let ended = run(&arguments);
        assert_eq!((ended.code, ended.stderr.as_str()), (0, ""), "{ended:?}");
        let answer = ended.json();
        let number = |name: &str| answer[name].as_f64().unwrap_or_else(|| panic!("{name} is not in {answer}"));
        assert_eq!((number("models"), number("epochs"), number("shards")), (120.0, 2.0, 2.0));
        assert_eq!(answer["per_key_models"], !more.is_empty());
        assert_eq!(answer["kernels"], if more.is_empty() { "best" } else { "scalar" });
        // The first ten devices, four models, ten rows, three epochs with the one that is not counted.
        assert_eq!(number("compared"), 1_200.0);
        assert!(number("max_error") <= 1e-5, "{answer}");
        assert_eq!(answer["bits_equal"], true);
        let (engine, plain) = (number("epoch_seconds"), number("plain_loop_seconds"));
        assert!(engine > 0.0 && plain > 0.0 && number("ratio") > 0.0, "{answer}");
        assert!(number("rss_bytes") > 1e6, "{answer}");
    }
}

#[test]
fn people_get_a_table() {
    let ended = run(&["bench", "fleet", "--devices", "10", "--epochs", "1"]);
    assert_eq!(ended.code, 0, "{ended:?}");
    for said in ["40 of 10 devices, in families", "ratio (plain / engine)", "same bits as the plain loop     yes"] {
        assert!(ended.stdout.contains(said), "{said} is not in\n{}", ended.stdout);
    }
}
