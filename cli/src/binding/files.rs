//! Files that a topology names: what is written must not be what is read, nor what is written from elsewhere.

use std::path::{Path, PathBuf};

use gristmill::words::Binding;
use serde_json::Value;

use super::fields::Problem;
use super::source::INPUT;

const SOURCE: &str = "[source]";
/// The option that a file of predictions comes from.
const OUTPUT: &str = "--output";

/// A file by who uses it.
struct Used {
    /// The table, or an option.
    place: String,
    /// The field of the table; empty for an option.
    field: &'static str,
    path: PathBuf,
}

/// Files in the order in which they are compared.
pub(crate) struct Files<'a> {
    folder: &'a Path,
    used: Vec<Used>,
}

impl<'a> Files<'a> {
    /// Paths in tables are relative to `folder`.
    pub(crate) fn of(folder: &'a Path) -> Self {
        Self { folder, used: Vec::new() }
    }

    /// What `[source]` reads.
    pub(crate) fn source(&mut self, table: &Value) {
        self.table(SOURCE.to_owned(), table, "path");
    }

    /// Where dead letters go.
    pub(crate) fn letters(&mut self, path: &Path) {
        self.used.push(Used { place: SOURCE.to_owned(), field: "dead_letters", path: path.to_owned() });
    }

    /// Where a sink writes to.
    pub(crate) fn sink(&mut self, name: &Binding, table: &Value) {
        self.table(format!("[sink.{name}]"), table, "path");
    }

    /// The files of the command line that take the place of those in tables.
    pub(crate) fn scored(&mut self, input: &Path, output: &Path) {
        for (place, path) in [(INPUT, input), (OUTPUT, output)] {
            self.used.push(Used { place: place.to_owned(), field: "", path: path.to_owned() });
        }
    }

    fn table(&mut self, place: String, table: &Value, field: &'static str) {
        if let Some(path) = table.get(field).and_then(Value::as_str) {
            self.used.push(Used { place, field, path: self.folder.join(path) });
        }
    }

    /// Each that is the file of one before.
    pub(crate) fn problems(&self) -> Vec<Problem> {
        let files: Vec<Option<PathBuf>> = self.used.iter().map(|used| file(&used.path)).collect();
        let mut problems = Vec::new();
        for (index, used) in self.used.iter().enumerate() {
            let Some(of) = &files[index] else { continue };
            let Some(before) = files[..index].iter().position(|file| file.as_ref() == Some(of)) else { continue };
            let other = &self.used[before];
            let is = if used.field.is_empty() { "it".to_owned() } else { format!("`{}`", used.field) };
            let that = match other.field {
                "" => other.place.clone(),
                field => format!("`{field}` of {}", other.place),
            };
            let problem = format!("{is} is `{}`, which is the file of {that} too", used.path.display());
            let advice = "one would destroy or mix what the other has; name another file".to_owned();
            problems.push(Problem { line: None, place: used.place.clone(), problem, advice });
        }
        problems
    }
}

/// Which file a path leads to, whether it is there or not; `None` for what is no file, such as a terminal or a pipe.
fn file(path: &Path) -> Option<PathBuf> {
    let is_device = ["/dev", "/proc"].iter().any(|folder| path.starts_with(folder));
    if is_device || path.metadata().is_ok_and(|about| !about.is_file()) {
        return None;
    }
    path.canonicalize().ok().or_else(|| {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        Some(folder.canonicalize().ok()?.join(path.file_name()?))
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn told(files: &Files<'_>) -> Vec<String> {
        files.problems().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_file_has_one_user() {
        let folder = std::env::temp_dir().join(format!("grist-files-{}", std::process::id()));
        std::fs::create_dir_all(folder.join("inner")).expect("a folder");
        std::fs::write(folder.join("rows.csv"), "a").expect("a file");
        let mut files = Files::of(&folder);
        files.source(&json!({"path": "rows.csv"}));
        files.letters(&folder.join("inner/../new.jsonl"));
        files.sink(&"a".into(), &json!({"path": "./rows.csv"}));
        files.sink(&"b".into(), &json!({"path": folder.join("new.jsonl")}));
        files.sink(&"c".into(), &json!({"path": "inner/new.jsonl"}));
        for name in ["d", "e"] {
            files.sink(&name.into(), &json!({"path": "/dev/null"}));
            files.sink(&name.into(), &json!({"path": "no/such/folder"}));
            files.sink(&name.into(), &json!({"kind": "console"}));
        }
        let told = told(&files);
        std::fs::remove_dir_all(&folder).expect("it is ours");
        let begin = [
            format!(
                "[sink.a]: `path` is `{}`, which is the file of `path` of [source] too",
                folder.join("./rows.csv").display()
            ),
            format!(
                "[sink.b]: `path` is `{}`, which is the file of `dead_letters` of [source] too",
                folder.join("new.jsonl").display()
            ),
        ];
        assert_eq!(told.len(), 2, "{told:?}");
        assert!(told.iter().zip(&begin).all(|(told, begin)| told.starts_with(begin)), "{told:?}");
    }

    #[test]
    fn dead_letters_do_not_go_where_predictions_do() {
        let mut files = Files::of(Path::new(""));
        files.scored(Path::new("rows.csv"), Path::new("scores.csv"));
        files.letters(Path::new("./other.csv"));
        assert_eq!(told(&files), [""; 0]);
        files.letters(Path::new("./scores.csv"));
        let told = told(&files);
        let begin = "[source]: `dead_letters` is `./scores.csv`, which is the file of --output too; ";
        assert!(told.len() == 1 && told[0].starts_with(begin), "{told:?}");
    }
}
