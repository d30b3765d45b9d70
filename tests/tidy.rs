//! Rules about the sources that no compiler checks. Each has a bad source that it must report: a rule that cannot fail
//! is none.

use gristmill_tests::support::source::{self, Source};

const LINES_MAX: usize = 500;
/// Files that may be longer. Split the file instead of adding one.
const LONG_FILES: [&str; 0] = [];

/// Folders and files in `runtime/src` from the bottom to the top: a module sees its own layer and those before it.
const LAYERS: [&[&str]; 8] = [
    &["words", "defect", "prefetch"],
    &["traits", "clock", "metrics"],
    &["topology"],
    &["state", "registry", "letters"],
    &["actor"],
    &["supervisor"],
    &["options", "limits", "runtime", "handle", "explain", "harness", "in_process"],
    &["deployer"],
];

/// What must not be in any source, and what to do instead.
const BANNED_WORDS: [(&str, &str); 5] = [
    ("todo!(", "write it, or leave the feature out and say so in the docs"),
    ("unimplemented!(", "write it, or return an error"),
    ("#[ignore", "make the test quick and sure, or delete it"),
    ("do_send(", "use `try_send`: `do_send` ignores the mailbox's capacity"),
    ("unbounded_channel", "use a channel with a named bound"),
];

/// Where the time of the system may be read.
const CLOCK_READERS: [&str; 4] = ["runtime/src/clock.rs", "tests/", "benches/", "cli/"];

/// Crates that a folder must not name, and why.
const BANNED_CRATES: [(&str, &[&str], &str); 2] = [
    ("operators/", &["actix", "actix_rt"], "an operator is logic: the runtime wraps it in an actor"),
    (
        "runtime/",
        &["rdkafka", "rdkafka_sys", "prost", "tract_onnx", "tract_core", "ort", "onnx", "gristmill_operators"],
        "the runtime knows no Kafka and no model format: write it in `operators/` behind a trait",
    ),
];

type Rule = fn(&Source) -> Vec<String>;

const RULES: [Rule; 6] = [short_files, banned_words, one_clock, layers, banned_crates, dependencies_have_reasons];

#[test]
fn sources_are_tidy() {
    let sources = source::repository();
    for expected in ["Cargo.toml", "runtime/src/lib.rs", "operators/src/lib.rs", "cli/src/main.rs", "tests/tidy.rs"] {
        assert!(sources.iter().any(|source| source.path == expected), "`{expected}` was not read");
    }
    let found: Vec<String> = sources.iter().flat_map(|source| RULES.iter().flat_map(|rule| rule(source))).collect();
    assert!(found.is_empty(), "{} untidy places:\n{}", found.len(), found.join("\n"));
}

fn report(source: &Source, line: usize, rule: &str, advice: &str) -> String {
    format!("{}:{line}: {rule}; {advice}", source.path)
}

fn is_rust(source: &Source) -> bool {
    source.path.ends_with(".rs")
}

fn short_files(source: &Source) -> Vec<String> {
    let lines = source.text.lines().count();
    if !is_rust(source) || lines <= LINES_MAX || LONG_FILES.contains(&source.path.as_str()) {
        return Vec::new();
    }
    vec![report(source, LINES_MAX, &format!("{lines} lines, {LINES_MAX} at most"), "move one concept to its own file")]
}

fn banned_words(source: &Source) -> Vec<String> {
    let mut found = Vec::new();
    for (line, code) in source.lines().filter(|_| is_rust(source)) {
        for (word, advice) in BANNED_WORDS.iter().filter(|(word, _)| code.contains(word)) {
            found.push(report(source, line, &format!("`{word}` is banned"), advice));
        }
    }
    found
}

fn one_clock(source: &Source) -> Vec<String> {
    if !is_rust(source) || CLOCK_READERS.iter().any(|place| source.path.starts_with(place)) {
        return Vec::new();
    }
    let reads = |code: &str| ["Instant::now", "SystemTime::now"].iter().any(|call| code.contains(call));
    let lines = source.lines().filter(|(_, code)| reads(code));
    lines.map(|(line, _)| report(source, line, "reads the system's time", "take a `Clock` instead")).collect()
}

fn layers(source: &Source) -> Vec<String> {
    let Some(inner) = source.path.strip_prefix("runtime/src/").filter(|path| is_rust(source) && *path != "lib.rs")
    else {
        return Vec::new();
    };
    let module = inner.split('/').next().unwrap_or(inner).trim_end_matches(".rs");
    let Some(own) = layer_of(module) else {
        return vec![report(source, 1, &format!("`{module}` is in no layer"), "add it to LAYERS in tests/tidy.rs")];
    };
    let is_top_module = inner.trim_end_matches("/mod.rs").trim_end_matches(".rs") == module;
    let mut found = Vec::new();
    for (place, name) in paths_from_root(&source.code, is_top_module) {
        let line = source.line_of(place);
        let starts_upper = name.starts_with(|letter: char| letter.is_uppercase());
        match layer_of(&name) {
            Some(layer) if layer > own => {
                let rule = format!("`{module}` imports `{name}`, which is above it");
                found.push(report(source, line, &rule, "move what both need down, or pass it in"));
            }
            None if starts_upper || name == "*" => {
                let rule = format!("`{name}` of the root hides its layer");
                found.push(report(source, line, &rule, "name its module: `crate::words::…`"));
            }
            _ => {}
        }
    }
    found
}

fn layer_of(module: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| layer.contains(&module))
}

/// The first names of all paths that begin at the root of the crate, with their places.
fn paths_from_root(code: &str, is_top_module: bool) -> Vec<(usize, String)> {
    // In `runtime/src/words/mod.rs` `super::` is the root; one level further down `super::super::` is.
    let up = if is_top_module { "super::" } else { "super::super::" };
    let mut found = Vec::new();
    for root in ["crate::", up] {
        for (place, _) in code.match_indices(root) {
            let before = code[..place].chars().next_back();
            if before.is_some_and(|letter| letter.is_alphanumeric() || "_$:".contains(letter)) {
                continue;
            }
            let rest = &code[place + root.len()..];
            let names = if rest.starts_with('{') { group_names(rest) } else { first_name(rest).into_iter().collect() };
            // `super::` of a module inside the file is not the root: only names of layers are sure to be meant.
            let sure = |name: &String| root == "crate::" || layer_of(name).is_some();
            found.extend(names.into_iter().filter(sure).map(|name| (place, name)));
        }
    }
    found
}

/// The name that a path begins with; none for a macro, which is at the root wherever it was written.
fn first_name(path: &str) -> Option<String> {
    let path = path.trim_start();
    let end = path.find(|letter: char| !(letter.is_alphanumeric() || "_*".contains(letter))).unwrap_or(path.len());
    let is_name = end > 0 && !path[end..].starts_with('!');
    is_name.then(|| path[..end].to_owned())
}

/// The first names in `{a::b, c::{d, e}}`: here `a` and `c`.
fn group_names(group: &str) -> Vec<String> {
    let (mut depth, mut names, mut start) = (0_usize, Vec::new(), 1);
    for (place, letter) in group.char_indices() {
        match letter {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 || (depth == 1 && letter == ',') {
            names.extend(first_name(&group[start..place]));
            start = place + 1;
        }
        if depth == 0 {
            break;
        }
    }
    names
}

fn banned_crates(source: &Source) -> Vec<String> {
    let mut found = Vec::new();
    for (folder, crates, advice) in BANNED_CRATES.iter().filter(|(folder, ..)| source.path.starts_with(folder)) {
        let names = |line: &str| crates.iter().copied().find(|name| names_crate(source, line, name));
        for (line, code) in source.lines() {
            if let Some(name) = names(code) {
                found.push(report(source, line, &format!("`{folder}` names `{name}`"), advice));
            }
        }
    }
    found
}

/// Whether a line of Rust has the crate at the head of a path, or a line of a manifest depends on it.
fn names_crate(source: &Source, line: &str, name: &str) -> bool {
    if !is_rust(source) {
        let key = line.split(['=', '.', ' ']).next().unwrap_or("");
        return key.replace('-', "_") == name;
    }
    line.match_indices(name).any(|(place, _)| {
        let before = line[..place].trim_end_matches("::");
        let is_whole = !before.ends_with(|letter: char| letter.is_alphanumeric() || "_:.".contains(letter));
        let after = &line[place + name.len()..];
        let is_import = before.trim_end().ends_with("use") || before.trim_end().ends_with("extern crate");
        let ends = !after.starts_with(|letter: char| letter.is_alphanumeric() || letter == '_');
        is_whole && (after.starts_with("::") || (is_import && ends))
    })
}

fn dependencies_have_reasons(source: &Source) -> Vec<String> {
    if source.path != "Cargo.toml" {
        return Vec::new();
    }
    let lines = source.text.lines().enumerate().skip_while(|(_, line)| *line != "[workspace.dependencies]").skip(1);
    let mut commented = false;
    let mut found = Vec::new();
    for (index, line) in lines.take_while(|(_, line)| !line.starts_with('[')) {
        let has_reason = commented || line.contains(" # ") || line.contains("path = ");
        let is_entry = !line.trim().is_empty() && !line.starts_with(['#', ' ', '}', ']']);
        commented = line.starts_with("# ");
        if is_entry && !has_reason {
            let name = line.split_whitespace().next().unwrap_or(line);
            found.push(report(
                source,
                index + 1,
                &format!("`{name}` has no reason"),
                "say in a comment what it is for",
            ));
        }
    }
    found
}

/// A bad source for every rule, with the line and a word of what is reported.
const TWINS: [(Rule, &str, &str, usize, &str); 21] = [
    (banned_words, "cli/src/a.rs", "fn a() {\n    todo!()\n}", 2, "`todo!(`"),
    (banned_words, "cli/src/a.rs", "fn a() { unimplemented!() }", 1, "`unimplemented!(`"),
    (banned_words, "tests/a.rs", "#[test]\n#[ignore = \"slow\"]\nfn a() {}", 2, "`#[ignore`"),
    (banned_words, "runtime/src/actor/a.rs", "address.do_send(Message)", 1, "`try_send`"),
    (banned_words, "runtime/src/actor/a.rs", "mpsc::unbounded_channel()", 1, "bound"),
    (one_clock, "operators/src/a.rs", "let a = Instant::now();", 1, "`Clock`"),
    (one_clock, "examples/a.rs", "let a = \"//\"; let b = std::time::SystemTime::now();", 1, "`Clock`"),
    (layers, "runtime/src/words/a.rs", "// a\nuse crate::traits::Model;", 2, "`words` imports `traits`"),
    (layers, "runtime/src/actor/a.rs", "use crate::{words::Key, handle::{Handle}};", 1, "`actor` imports `handle`"),
    (layers, "runtime/src/topology/a.rs", "fn a(b: &crate::actor::Node) {}", 1, "`topology` imports `actor`"),
    (layers, "runtime/src/topology/a.rs", "use crate::{\n    state,\n};", 1, "`topology` imports `state`"),
    (layers, "runtime/src/words/mod.rs", "use super::supervisor::A;", 1, "`words` imports `supervisor`"),
    (layers, "runtime/src/words/a.rs", "use super::super::runtime::A;", 1, "`words` imports `runtime`"),
    (layers, "runtime/src/words/a.rs", "use crate::Runtime;", 1, "hides its layer"),
    (layers, "runtime/src/tricks.rs", "", 1, "LAYERS"),
    (banned_crates, "operators/src/a.rs", "use actix::prelude::*;", 1, "`actix`"),
    (banned_crates, "operators/Cargo.toml", "[dependencies]\nactix.workspace = true", 2, "`actix`"),
    (banned_crates, "runtime/src/actor/a.rs", "let a: ::rdkafka::Offset = b;", 1, "`rdkafka`"),
    (banned_crates, "runtime/Cargo.toml", "tract-onnx = \"0.23\"", 1, "`tract_onnx`"),
    (banned_crates, "runtime/src/a.rs", "use prost as p;", 1, "`prost`"),
    (dependencies_have_reasons, "Cargo.toml", "[workspace.dependencies]\na = \"1\" # why\nb = \"1\"", 3, "`b`"),
];

#[test]
fn every_rule_reports_its_bad_source() {
    for (rule, path, text, line, word) in TWINS {
        let found = rule(&Source::new(path, text));
        let as_expected =
            found.len() == 1 && found[0].starts_with(&format!("{path}:{line}: ")) && found[0].contains(word);
        assert!(as_expected, "`{text}` in {path}: {found:?}");
    }
    let long = Source::new("runtime/src/words/a.rs", &"\n".repeat(LINES_MAX + 1));
    assert_eq!(short_files(&long).len(), 1);
    for rule in RULES {
        let is_proven = TWINS.iter().any(|twin| std::ptr::fn_addr_eq(twin.0, rule));
        assert!(is_proven || std::ptr::fn_addr_eq(rule, short_files as Rule), "a rule has no bad source");
    }
}

#[test]
fn what_only_looks_bad_is_not_reported() {
    let good = [
        ("runtime/src/words/a.rs", "// todo!()\nlet a = \"Instant::now\"; /* crate::actor */ use crate::words::Key;"),
        ("runtime/src/actor/a.rs", "use crate::{state::Store, topology::{Plan, actor}}; crate::macro_of_ours!();"),
        ("runtime/src/actor/mod.rs", "pub(crate) mod node; mod tests { use super::*; use super::node::Node; }"),
        ("runtime/src/clock.rs", "Instant::now()"),
        ("benches/a.rs", "Instant::now()"),
        ("operators/src/a.rs", "let actix = 1; let b = my_actix::c();"),
        ("runtime/src/state/a.rs", "effort::a(); self.ort(); let ort = 1;"),
        ("operators/Cargo.toml", "rdkafka = { workspace = true } # not actix"),
        ("Cargo.toml", "[workspace.dependencies]\n# why\na = \"1\"\nb = { path = \"b\" }\n[profile.release]\nc = 1"),
    ];
    for (path, text) in good {
        let source = Source::new(path, text);
        let found: Vec<String> = RULES.iter().flat_map(|rule| rule(&source)).collect();
        assert!(found.is_empty(), "{found:?}");
    }
}

const DEFECTS: &str = "runtime/src/defect.rs";

/// Mechanisms that can be broken and that no test breaks: those neither in `Defect::ALL` nor named in `tests/`.
fn defects_without_test(sources: &[Source]) -> Vec<String> {
    let defects = sources.iter().find(|source| source.path == DEFECTS).expect("it was read");
    let between = |begin: &str, end: &str| {
        let (_, rest) = defects.code.split_once(begin).unwrap_or_else(|| panic!("there is no `{begin}`"));
        rest.split_once(end).map_or(rest, |(inner, _)| inner)
    };
    let names = |text: &str, name: &str| {
        text.match_indices(name).any(|(place, _)| {
            let after = text[place + name.len()..].chars().next();
            !after.is_some_and(|letter| letter.is_alphanumeric() || letter == '_')
        })
    };
    let all = between("const ALL", ";\n}");
    let variants = between("pub enum Defect {", "}").split(',').map(str::trim).filter(|variant| !variant.is_empty());
    let is_tested = |variant: &str| {
        let name = format!("Defect::{variant}");
        let mut tests = sources.iter().filter(|source| source.path.starts_with("tests/"));
        names(all, &format!("Self::{variant}")) || tests.any(|source| names(&source.code, &name))
    };
    variants.filter(|variant| !is_tested(variant)).map(str::to_owned).collect()
}

#[test]
fn every_defect_is_one_that_a_test_finds() {
    let sources = source::repository();
    assert_eq!(defects_without_test(&sources), [""; 0], "break each in a test that must find out");
    let text = "pub enum Defect {\n    /// A.\n    One,\n    Two,\n    Three,\n    Four,\n}\nimpl Defect {\n    pub const ALL: [Self; 1] = [Self::One];\n}\n";
    let used = "// Defect::Four\nlet defects = [Defect::Two, Defect::Threefold];";
    let twin = [Source::new(DEFECTS, text), Source::new("tests/a.rs", used)];
    assert_eq!(defects_without_test(&twin), ["Three", "Four"]);
}
