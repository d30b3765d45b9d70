//! What is said to people whose command line, environment or file is wrong: what it is, and what would be right.

use crate::support::{file, folder, grist, run};

#[test]
fn a_filter_says_where_it_came_from_and_which_levels_there_are() {
    let levels = "the levels are error, warn, info, debug, trace and off";
    for (filter, said) in [
        ("inof", format!("--log: `inof` is no level; {levels}")),
        ("warn,gristmill", format!("--log: `gristmill` is no level; {levels}")),
        ("a=b=c", "--log: `a=b=c` is no filter".to_owned()),
    ] {
        let ended = run(&["limits", "--log", filter]);
        assert_eq!((ended.code, ended.stdout.as_str()), (2, ""), "{ended:?}");
        assert!(ended.stderr.contains(&said), "{said} is not in {}", ended.stderr);
    }
    for filter in ["info", "WARN", "off", "warn,gristmill=debug", "gristmill::actor=info"] {
        assert_eq!(run(&["limits", "--log", filter]).code, 0, "{filter}");
    }
    let output = grist(&["limits"]).env("RUST_LOG", "a=b=c").output().expect("the binary starts");
    let said = String::from_utf8(output.stderr).expect("text");
    assert_eq!(output.status.code(), Some(2));
    assert!(said.contains("RUST_LOG: `a=b=c` is no filter") && !said.contains("--log"), "{said}");
}

#[test]
fn a_source_that_makes_no_sense_is_told_in_the_words_of_its_file() {
    let folder = folder("no-sense");
    file(&folder, "rows.jsonl", "{\"tag\":\"P1.a\",\"ts\":1000,\"value\":1}\n");
    let json = "kind = \"json\"\npath = \"rows.jsonl\"\ntime = \"ts\"\nsplit_tag = \".\"";
    let mut cases = vec![
        ("kind = \"simulate\"\nspeed = 0", ":4: [source]: `speed` is 0; write a number above 0"),
        ("kind = \"simulate\"\nspeed = -1", ":4: [source]: `speed` is -1; write a number above 0"),
        (
            "kind = \"simulate\"\nfailing = 500",
            ":4: [source]: `failing` is 500; write how many machines of a hundred wear out: 0 to 100",
        ),
        (
            json,
            ":6: [source]: `split_tag` splits the `tag`, which is not said; add tag = \"tag\" and value = \"value\"",
        ),
    ];
    if cfg!(feature = "kafka") {
        let kafka = "kind = \"kafka\"\nbrokers = \"127.0.0.1:1\"\ntopics = \"a\"\ntime_from_log = true";
        cases.push((kafka, "[source]: it is not said which field is the key; add key = \"machine\", split_tag"));
        let kafka = "kind = \"kafka\"\nbrokers = \"127.0.0.1:1\"\ntopics = \"a\"\nkey_from_record = true";
        cases.push((
            kafka,
            "it is not said which field is the event time; add time = \"time\", or time_from_log = true",
        ));
    }
    for (source, said) in cases {
        let text = format!("class = \"pump\"\n[source]\n{source}\n[[node]]\nprovides = [\"a: f32\"]\nsensor = {{}}\n");
        let ended = run(&["validate", &file(&folder, "a.toml", &text)]);
        assert_eq!(ended.code, 3, "{source}: {ended:?}");
        assert!(ended.stderr.contains(said), "{said}\nis not in\n{}", ended.stderr);
        assert_eq!(ended.stderr.lines().count(), 1, "{}", ended.stderr);
    }
}

#[test]
fn a_folder_of_states_that_is_not_there_is_named() {
    for arguments in [&["state", "ls", "no/such"][..], &["state", "verify", "no/such"]] {
        let ended = run(arguments);
        assert_eq!(ended.code, 3, "{ended:?}");
        assert!(ended.stderr.contains("`no/such`: there is no such folder; name the folder of `grist run --state`"));
    }
}
