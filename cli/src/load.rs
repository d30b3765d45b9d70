//! From a topology file to what runs, with everything that is wrong with it at once.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use gristmill::topology::plan::ClassPlan;
use gristmill::topology::{ManifestErrors, Node, Registry, TopologyFile, Work};
use gristmill::traits::sink::DeadLetters;
use gristmill::traits::{Axes, Sink, Source};
use gristmill::words::Binding;
use gristmill::{Builder, IntakePolicy, Options, Runtime, Topology};
use gristmill_operators::{file, registry};

use crate::attributes_topic::{self, AttributesTopic, Known};
use crate::binding::{self, Files, Input, Intake, Letters, Observed, Problem, Traffic};
use crate::failure::Failure;

/// Dead letters that are logged where no file is kept of them.
const LETTERS_LOGGED_MAX: u64 = 20;

/// What a topology file is wanted for.
pub(crate) enum Purpose<'a> {
    /// To be looked at: sources and sinks may be left to a host.
    Look,
    /// The same, and whether its models score what they must.
    Validate,
    /// To run with its own source and sinks; when `json`, standard output is for the one answer of the command.
    Run { json: bool },
    /// To run over a file, into a sink that writes to the file of a path.
    Score { input: &'a Input, output: Arc<dyn Sink>, path: &'a Path },
}

/// Sinks by the names that nodes use.
type Sinks = Vec<(Binding, Arc<dyn Sink>)>;

/// What a topology file says, ready to run.
pub(crate) struct Loaded {
    pub(crate) topology: Topology,
    pub(crate) plan: ClassPlan,
    /// What it may take; how rows come in is said with the source.
    pub(crate) options: Options,
    source: Option<(Box<dyn Source>, Intake)>,
    sinks: Sinks,
    attributes_topic: Option<AttributesTopic>,
    /// Whether a sink prints.
    pub(crate) console: bool,
    /// What is left to a host.
    pub(crate) unbound: Vec<String>,
}

/// Everything that is wrong with a topology file.
#[derive(Debug)]
pub(crate) struct Refused {
    pub(crate) file: String,
    pub(crate) problems: Vec<Problem>,
}

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            let end = if index == 0 { "" } else { "\n" };
            match problem.line {
                // What the command line says is not in the file.
                _ if problem.place.starts_with('-') => write!(f, "{end}{problem}")?,
                Some(line) => write!(f, "{end}{}:{line}: {problem}", self.file)?,
                None => write!(f, "{end}{}: {problem}", self.file)?,
            }
        }
        Ok(())
    }
}

impl From<Refused> for Failure {
    fn from(refused: Refused) -> Self {
        Self::refused(refused.to_string())
    }
}

/// Reads the file, makes its nodes, sources and sinks, and resolves it.
pub(crate) fn load(path: &Path, purpose: &Purpose<'_>) -> Result<Loaded, Refused> {
    load_by(path, purpose, &registry::registry())
}

/// The same, where what is deployed later is made by the same registry, so that equal artifacts are one in memory.
pub(crate) fn load_by(path: &Path, purpose: &Purpose<'_>, operators: &Registry) -> Result<Loaded, Refused> {
    let refused = |problems| Refused { file: path.display().to_string(), problems };
    if let Some((problem, advice)) = no_topology(path) {
        let (place, advice) = (String::new(), advice.to_owned());
        return Err(refused(vec![Problem { line: None, place, problem: problem.to_owned(), advice }]));
    }
    let read = TopologyFile::read(path).map_err(|errors| refused(of_manifest(errors)))?;
    let folder = path.parent().map_or_else(PathBuf::new, Path::to_owned);
    let mut problems = Vec::new();
    let topology = match read.topology(operators) {
        Ok(topology) => Some(topology),
        Err(errors) => {
            problems.extend(of_manifest(errors));
            None
        }
    };
    let mut loading = Loading { read: &read, folder: &folder, purpose, problems: Vec::new(), unbound: Vec::new() };
    let source = loading.source();
    let (sinks, console) = loading.sinks();
    loading.files(source.as_ref().and_then(|(_, intake)| intake.dead_letters.as_deref()));
    let options = binding::limits(read.limits(), &folder, &mut loading.problems);
    let table = read.attributes_topic();
    let attributes_topic = table.and_then(|table| attributes_topic::of_table(table, &folder, &mut loading.problems));
    let Loading { problems: mut bound, unbound, .. } = loading;
    let text = std::fs::read_to_string(path).unwrap_or_default();
    bound.iter_mut().for_each(|problem| problem.line = line_of(&text, &problem.place, &problem.problem));
    let has_bad_source = source.is_none() && read.source().is_some();
    problems.extend(bound);
    let mut plan = None;
    if let Some(topology) = &topology {
        let axes = source.as_ref().map_or_else(Axes::default, |(source, _)| source.axes());
        match topology.resolve_with(axes) {
            Ok(resolved) => {
                plan = Some(resolved);
                if matches!(purpose, Purpose::Validate)
                    && let Err(error) = topology.try_out()
                {
                    problems.extend(error.each().iter().map(of_nodes));
                }
            }
            // What the source brings is not known, so that what is said of it may be wrong.
            Err(_) if has_bad_source => {}
            Err(errors) => problems.extend(errors.0.iter().map(of_nodes)),
        }
    }
    match (topology, plan) {
        (Some(topology), Some(plan)) if problems.is_empty() => {
            Ok(Loaded { topology, plan, options, source, sinks, attributes_topic, console, unbound })
        }
        _ => {
            problems.sort_by_key(|problem| problem.line.unwrap_or(usize::MAX));
            Err(refused(problems))
        }
    }
}

/// What is wrong with nodes that can be made.
fn of_nodes(problem: &impl ToString) -> Problem {
    Problem { line: None, place: String::new(), problem: problem.to_string(), advice: String::new() }
}

/// Why this cannot be a topology file, whatever is in it, and what to do.
fn no_topology(path: &Path) -> Option<(&'static str, &'static str)> {
    if path.is_dir() {
        return Some(("is a folder", "name the topology file in it"));
    }
    let known = matches!(path.extension().and_then(|extension| extension.to_str()), Some("toml" | "json"));
    (!known).then_some(("is no topology file by its name", "topologies are written as .toml or .json"))
}

fn of_manifest(errors: ManifestErrors) -> Vec<Problem> {
    let problem = |error: gristmill::topology::manifest::ManifestError| Problem {
        line: error.line,
        place: error.place,
        problem: error.problem,
        advice: error.advice,
    };
    errors.errors.into_iter().map(problem).collect()
}

/// The line of a table, or of the field in it that the problem names, in TOML that is written as tables.
fn line_of(text: &str, place: &str, problem: &str) -> Option<usize> {
    if place.is_empty() {
        return None;
    }
    let mut lines = text.lines().enumerate().skip_while(|(_, line)| line.trim() != place);
    let (header, _) = lines.next()?;
    let field = match problem.split('`').nth(1) {
        Some(_) if problem.starts_with("there is no kind") => "kind",
        Some(field) => field,
        None => return Some(header + 1),
    };
    let names = |line: &str| line.split('=').next().is_some_and(|name| name.trim() == field);
    let mut inside = lines.take_while(|(_, line)| !line.trim_start().starts_with('['));
    let line = inside.find(|(_, line)| names(line)).map_or(header, |(line, _)| line);
    Some(line + 1)
}

struct Loading<'a> {
    read: &'a TopologyFile,
    folder: &'a Path,
    purpose: &'a Purpose<'a>,
    problems: Vec<Problem>,
    unbound: Vec<String>,
}

impl Loading<'_> {
    fn wrong(&mut self, place: &str, problem: String, advice: String) {
        self.problems.push(Problem { line: None, place: place.to_owned(), problem, advice });
    }

    fn source(&mut self) -> Option<(Box<dyn Source>, Intake)> {
        match (self.purpose, self.read.source()) {
            (Purpose::Score { input, .. }, table) => binding::replaced(table, input, self.folder, &mut self.problems),
            (_, Some(table)) => binding::source(table, self.read.class(), self.folder, &mut self.problems),
            (Purpose::Look | Purpose::Validate, None) => {
                self.unbound.push("[source]".to_owned());
                None
            }
            (Purpose::Run { .. }, None) => {
                let advice = "add one, such as kind = \"csv\" with path, key and time; or use `grist score`";
                self.wrong("", "there is no [source], so nothing can run".to_owned(), advice.to_owned());
                None
            }
        }
    }

    /// A sink for each that the nodes name; whether one prints.
    fn sinks(&mut self) -> (Sinks, bool) {
        let mut wanted: Vec<Binding> = Vec::new();
        for node in self.read.declared() {
            if let gristmill::topology::manifest::Run::Sink { binding, .. } = &node.run
                && !wanted.contains(binding)
            {
                wanted.push(binding.clone());
            }
        }
        if let Purpose::Score { output, .. } = self.purpose {
            return (wanted.into_iter().map(|name| (name, Arc::clone(output))).collect(), false);
        }
        let json = matches!(self.purpose, Purpose::Run { json: true });
        let (mut sinks, mut console) = (Sinks::new(), false);
        for (name, table) in self.read.sinks() {
            if !wanted.contains(name) {
                let advice = format!("add a node with sink = \"{name}\" and what it asks for, or take the table out");
                self.wrong(&format!("[sink.{name}]"), "no node writes to it".to_owned(), advice);
            }
            if let Some(made) = binding::sink(name, table, self.folder, json, &mut self.problems) {
                console |= made.console;
                sinks.push((name.clone(), made.sink));
            }
        }
        for name in wanted.iter().filter(|name| !self.read.sinks().contains_key(*name)) {
            match self.purpose {
                Purpose::Run { .. } => {
                    let problem = format!("the sink `{name}` is not bound");
                    self.wrong("", problem, format!("add a table [sink.{name}], such as kind = \"console\""));
                }
                _ => self.unbound.push(format!("[sink.{name}]")),
            }
        }
        (sinks, console)
    }

    /// No file that is read or written may be written from elsewhere.
    fn files(&mut self, dead_letters: Option<&Path>) {
        let mut files = Files::of(self.folder);
        if let Purpose::Score { input, path, .. } = self.purpose {
            files.scored(&input.path, path);
            dead_letters.into_iter().for_each(|path| files.letters(path));
        } else {
            self.read.source().into_iter().for_each(|table| files.source(table));
            dead_letters.into_iter().for_each(|path| files.letters(path));
            self.read.sinks().iter().for_each(|(name, table)| files.sink(name, table));
        }
        self.problems.extend(files.problems());
    }
}

impl Loaded {
    /// Reads what a topic says of keys now, if there is one; what it says later is to be followed.
    pub(crate) async fn know(mut self) -> Result<(Self, Option<Known>), Failure> {
        let (topology, known) = attributes_topic::read(self.attributes_topic.take(), self.topology).await?;
        self.topology = topology;
        Ok((self, known))
    }

    /// Everything bound, with what goes by counted.
    pub(crate) fn builder(self, traffic: &Arc<Traffic>) -> Result<Builder, Failure> {
        let mut builder = Runtime::builder().topology(self.topology);
        let Some((source, intake)) = self.source else {
            return Err(Failure::refused("there is no [source], so nothing can run"));
        };
        let (letters, most): (Box<dyn DeadLetters>, u64) = match &intake.dead_letters {
            None => (Box::new(gristmill::in_process::LoggedLetters), LETTERS_LOGGED_MAX),
            Some(path) => {
                let letters = file::dead_letters(path);
                let letters =
                    letters.map_err(|error| Failure::failed(format!("dead letters cannot be kept: {error}")))?;
                (Box::new(letters), u64::MAX)
            }
        };
        let waiting_rows_max = self.options.intake.waiting_rows_max;
        builder =
            builder.options(Options { intake: IntakePolicy { waiting_rows_max, ..intake.policy }, ..self.options });
        for (name, sink) in self.sinks {
            builder = builder.sink(name, sink);
        }
        let builder = builder.source(Observed { source, traffic: Arc::clone(traffic) });
        Ok(builder.dead_letters(Letters { to: letters, traffic: Arc::clone(traffic), most }))
    }

    /// The columns that its sensors read.
    pub(crate) fn columns(&self) -> Vec<String> {
        let column = |node: &Node| match &node.work {
            Work::Sensor { raw, .. } => Some(raw.to_string()),
            _ => None,
        };
        self.topology.nodes().filter_map(column).collect()
    }

    /// How many nodes write to sinks.
    pub(crate) fn sink_nodes(&self) -> usize {
        self.topology.nodes().filter(|node| matches!(node.work, Work::Sink(_))).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_has_the_line_of_its_field_or_of_its_table() {
        let text = "class = \"pump\"\n\n[source]\nkind = \"csv\"\npaht = \"a\"\n\n[sink.out]\nkind = \"console\"\n";
        assert_eq!(line_of(text, "[source]", "there is no field `paht`"), Some(5));
        assert_eq!(line_of(text, "[source]", "there is no `path`"), Some(3));
        assert_eq!(line_of(text, "[sink.out]", "no node writes to it"), Some(7));
        assert_eq!(line_of(text, "[sink.out]", "there is no kind `consle`"), Some(8));
        assert_eq!(line_of("[sink.a]\nkind = \"csv\"\n\n[sink.b]\n", "[sink.a]", "no node writes to it"), Some(1));
        assert_eq!(line_of(text, "", "there is no `path`"), None);
    }
}
