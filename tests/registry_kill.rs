//! A process that is killed, or a machine that loses power, while it writes its folder of revisions: what the next one
//! finds is what was before or what was written, never a half. Twins that leave out a step of the writing are found out.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use gristmill::registry::disk::{Disk, SystemDisk};
use gristmill::registry::{
    AuditLine, ClassContent, Decided, Kind, Record, RegistryError, RegistryFolder, SetRef, Verdict, digest_of,
};
use gristmill::words::{Revision, Time};

/// A step of the writing that a twin leaves out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Twin {
    Sound,
    /// Files are written in place.
    InPlace,
    /// Content is not made durable before the file gets its name.
    NoSync,
    /// Lines of the audit log are not made durable.
    NoAuditSync,
    /// Names are not made durable.
    NoFolderSync,
}

/// What is not durable yet.
#[derive(Default)]
struct Pending {
    /// Files that were written anew.
    written: BTreeSet<PathBuf>,
    /// How many bytes files had that were added to.
    added: BTreeMap<PathBuf, u64>,
    /// What was under names that other files have got; `None` where nothing was.
    renamed: BTreeMap<PathBuf, Option<Vec<u8>>>,
}

/// Does so much, then nothing any more: each byte and each step costs one. What was not made durable is lost then.
struct Dying {
    left: Mutex<usize>,
    pending: Mutex<Pending>,
    in_place: Mutex<BTreeMap<PathBuf, PathBuf>>,
    twin: Twin,
    final_place: fn(&Path) -> Option<PathBuf>,
}

impl Dying {
    fn after(left: usize, twin: Twin) -> Arc<Self> {
        let final_place = |aside: &Path| {
            let (root, name) = (aside.parent()?.parent()?, aside.file_name()?.to_str()?);
            (aside.parent()?.file_name()? == "aside" && name.ends_with(".json"))
                .then(|| root.join("revisions").join(name))
        };
        Arc::new(Self {
            left: Mutex::new(left),
            pending: Mutex::default(),
            in_place: Mutex::default(),
            twin,
            final_place,
        })
    }

    fn dead() -> io::Error {
        io::Error::other("killed")
    }

    /// Takes up to so much of what is left.
    fn spend(&self, wanted: usize) -> usize {
        let mut left = self.left.lock().expect("nobody panics with it");
        let taken = wanted.min(*left);
        *left -= taken;
        taken
    }

    fn step(&self) -> io::Result<()> {
        if self.spend(1) == 1 { Ok(()) } else { Err(Self::dead()) }
    }

    fn pending(&self) -> MutexGuard<'_, Pending> {
        self.pending.lock().expect("nobody panics with it")
    }

    /// The power is gone, and with it what was not made durable. A disk may have written names, and what was added to
    /// files, `early`: before it was told to.
    fn power_loss(&self, early: bool) {
        const WRITABLE: &str = "the folder of temporary files can be written";
        let pending = self.pending();
        for path in pending.written.iter().filter(|path| path.exists()) {
            SystemDisk.write(path, b"").expect(WRITABLE);
        }
        if early {
            return;
        }
        for (path, bytes) in pending.added.iter().filter(|(path, _)| path.exists()) {
            let file = std::fs::OpenOptions::new().write(true).open(path).expect(WRITABLE);
            file.set_len(*bytes).expect(WRITABLE);
        }
        for (path, before) in &pending.renamed {
            match before {
                Some(bytes) => SystemDisk.write(path, bytes).expect(WRITABLE),
                None => SystemDisk.remove(path).expect(WRITABLE),
            }
        }
    }
}

impl Disk for Dying {
    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let mut place = path.to_owned();
        if self.twin == Twin::InPlace
            && let Some(final_place) = (self.final_place)(path)
        {
            self.in_place.lock().expect("nobody panics with it").insert(place, final_place.clone());
            place = final_place;
        }
        self.step()?;
        self.pending().written.insert(place.clone());
        let part = self.spend(bytes.len());
        SystemDisk.write(&place, &bytes[..part])?;
        if part == bytes.len() { Ok(()) } else { Err(Self::dead()) }
    }

    fn append(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let before = std::fs::metadata(path).map_or(0, |file| file.len());
        self.pending().added.entry(path.to_owned()).or_insert(before);
        let part = self.spend(bytes.len());
        SystemDisk.append(path, &bytes[..part])?;
        if part == bytes.len() { Ok(()) } else { Err(Self::dead()) }
    }

    fn sync(&self, path: &Path) -> io::Result<()> {
        self.step()?;
        let in_place = self.in_place.lock().expect("nobody panics with it");
        let path = in_place.get(path).map_or(path, |place| place);
        let mut pending = self.pending();
        if path.is_dir() && self.twin != Twin::NoFolderSync {
            pending.renamed.retain(|renamed, _| renamed.parent() != Some(path));
        }
        if self.twin != Twin::NoSync {
            pending.written.remove(path);
        }
        if self.twin != Twin::NoAuditSync {
            pending.added.remove(path);
        }
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.step()?;
        if self.in_place.lock().expect("nobody panics with it").contains_key(from) {
            return Ok(());
        }
        let mut pending = self.pending();
        if pending.written.remove(from) {
            pending.written.insert(to.to_owned());
        } else {
            pending.written.remove(to);
        }
        let before = std::fs::read(to).ok();
        pending.renamed.entry(to.to_owned()).or_insert(before);
        SystemDisk.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.step()?;
        SystemDisk.remove(path)
    }
}

const NOW: Time = Time::from_secs(1_700_000_000);

fn folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("registry").join(name);
    let _ = std::fs::remove_dir_all(&folder); // what an earlier run left
    folder
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("the folder of temporary files can be written");
    for entry in std::fs::read_dir(from).expect("the folder was made") {
        let path = entry.expect("it can be read").path();
        let target = to.join(path.file_name().expect("it has a name"));
        if path.is_dir() {
            copy(&path, &target);
        } else {
            std::fs::copy(&path, &target).expect("the folder of temporary files can be written");
        }
    }
}

fn record(revision: u64, verdict: Verdict, model: &[u8]) -> Record {
    let model = BTreeMap::from([("model.onnx".to_owned(), digest_of(model))]);
    let set = Arc::new(SetRef { manifest: digest_of(b"manifest"), artifacts: model });
    let mut content = ClassContent::default();
    content.put(&set, ["failure".into()]);
    Record {
        revision: Revision(revision),
        base: Revision(revision - 1),
        topology: "pump".into(),
        kind: Kind::Deploy,
        who: "test".to_owned(),
        when: NOW,
        verdict,
        positions: BTreeMap::new(),
        put: vec![set],
        remove: Vec::new(),
        decided: Decided::default(),
        idempotency: None,
        ground: digest_of(b"ground"),
        content: BTreeMap::from([("pump".into(), content)]),
    }
}

fn applied() -> Verdict {
    Verdict::Applied { changes: "+ failure".to_owned() }
}

/// A deployment as the deployer writes it.
fn deploy(folder: &mut RegistryFolder, revision: u64, model: &[u8]) -> Result<(), RegistryError> {
    folder.store(b"manifest", NOW)?;
    folder.store(model, NOW)?;
    folder.write(&record(revision, Verdict::Begun, model))?;
    folder.audit(&AuditLine {
        when: NOW,
        who: "test".to_owned(),
        what: "applied".to_owned(),
        revision: Some(Revision(revision)),
        content: None,
        note: String::new(),
    })?;
    folder.write(&record(revision, applied(), model))
}

/// What is wrong with what the next process finds after the one before died; `done` is whether that had been told that
/// its second deployment is durable.
fn wrong_after(root: &Path, done: bool) -> Option<String> {
    let folder = match RegistryFolder::open(root, NOW) {
        Ok(folder) => folder,
        Err(error) => return Some(error.to_string()),
    };
    let runs = match folder.in_force() {
        Some(runs) => runs,
        None => return Some("nothing is in force any more".to_owned()),
    };
    let (number, model): (u64, &[u8]) = if runs.revision == Revision(2) { (2, b"first") } else { (3, b"second") };
    if *runs != record(number, applied(), model) {
        return Some(format!("{runs:?} is neither the old nor the new"));
    }
    if done && number != 3 {
        return Some("what was said to be durable is gone".to_owned());
    }
    let missing = runs.refers_to().find_map(|digest| folder.load(digest).err());
    if let Some(error) = missing {
        return Some(error.to_string());
    }
    if folder.records().any(|record| record.verdict == Verdict::Begun) {
        return Some("a deployment is still said to be going on".to_owned());
    }
    let lines = folder.audit_lines(usize::MAX).expect("the audit log can be read").0;
    let applied =
        |revision| lines.iter().any(|line| line.what == "applied" && line.revision == Some(Revision(revision)));
    (!applied(number)).then(|| format!("revision {number} is not in the audit log"))
}

/// Kills the second deployment after each byte and step; the first thing that was found wrong.
fn kill_everywhere(name: &str, twin: Twin) -> Option<String> {
    let before = folder(&format!("{name}-before"));
    deploy(&mut RegistryFolder::open(&before, NOW).expect("a new folder opens"), 2, b"first")
        .expect("the disk is sound");
    for budget in 0.. {
        let mut done = false;
        for early in [true, false] {
            let root = folder(name);
            copy(&before, &root);
            let disk = Dying::after(budget, twin);
            let opened = RegistryFolder::open_on(Arc::<Dying>::clone(&disk), &root, NOW);
            done = match opened {
                Ok(mut folder) => deploy(&mut folder, 3, b"second").is_ok(),
                Err(_) => false,
            };
            disk.power_loss(early);
            if let Some(wrong) = wrong_after(&root, done) {
                return Some(format!("killed after {budget} bytes and steps (early: {early}): {wrong}"));
            }
        }
        if done {
            assert!(budget > 1_000, "it was killed at {budget} places only");
            return None;
        }
    }
    None
}

#[test]
fn whoever_is_killed_leaves_the_old_or_the_new() {
    assert_eq!(kill_everywhere("sound", Twin::Sound), None);
}

#[test]
fn a_folder_that_is_written_in_place_is_found_out() {
    assert!(kill_everywhere("in-place", Twin::InPlace).is_some());
}

#[test]
fn a_folder_that_is_not_made_durable_is_found_out() {
    assert!(kill_everywhere("no-sync", Twin::NoSync).is_some());
}

#[test]
fn an_audit_log_that_is_not_made_durable_is_found_out() {
    assert!(kill_everywhere("no-audit-sync", Twin::NoAuditSync).is_some());
}

#[test]
fn names_that_are_not_made_durable_are_found_out() {
    assert!(kill_everywhere("no-folder-sync", Twin::NoFolderSync).is_some());
}

#[test]
fn kept_revisions_share_their_manifests() {
    let root = folder("share");
    let mut folder = RegistryFolder::open(&root, NOW).expect("a new folder opens");
    for revision in 1..=2 {
        deploy(&mut folder, revision, b"model").expect("the disk takes it");
    }
    let check = |folder: &RegistryFolder| {
        let sets = folder.records().flat_map(|record| record.put.iter().chain(record.content["pump"].nodes.values()));
        let sets: Vec<&Arc<SetRef>> = sets.collect();
        assert_eq!(sets.len(), 4);
        assert!(sets.iter().all(|set| Arc::ptr_eq(set, sets[0])), "a hundred revisions would be a hundred copies");
    };
    check(&folder);
    drop(folder);
    check(&RegistryFolder::open(&root, NOW).expect("nobody has it"));
}

#[test]
fn a_folder_belongs_to_one_process_and_damage_has_a_name() {
    let root = folder("one");
    let mut folder = RegistryFolder::open(&root, NOW).expect("a new folder opens").keeping(3);
    let second = RegistryFolder::open(&root, NOW).expect_err("it is in use");
    assert!(matches!(second, RegistryError::Locked { .. }), "{second}");
    assert!(second.to_string().contains(&format!("process {}", std::process::id())), "{second}");

    for revision in 2..10 {
        deploy(&mut folder, revision, format!("model {revision}").as_bytes()).expect("the disk is sound");
    }
    let two_days = Time(NOW.0.max(i64::MAX / 4));
    folder.retire(two_days).expect("the disk is sound");
    let kept: Vec<u64> = folder.records().map(|record| record.revision.0).collect();
    assert_eq!(kept, [7, 8, 9]);
    assert!(matches!(folder.load(digest_of(b"model 6")), Err(RegistryError::NoArtifact { .. })));
    assert_eq!(folder.load(digest_of(b"model 7")).expect("it is referred to"), b"model 7");

    let digest = digest_of(b"model 9").to_string();
    std::fs::write(root.join("artifacts/sha256").join(&digest[..2]).join(&digest), b"other").expect("it is there");
    let error = folder.load(digest_of(b"model 9")).expect_err("its bytes are others");
    assert!(matches!(error, RegistryError::Mismatch { .. }), "{error}");
    folder.store(b"model 9", NOW).expect("sending it again mends it");
    assert_eq!(folder.load(digest_of(b"model 9")).expect("it was mended"), b"model 9");
    drop(folder);

    std::fs::write(root.join("revisions/00000000000000000009.json"), b"{").expect("it is there");
    let error = RegistryFolder::open(&root, NOW).expect_err("a revision is damaged");
    assert!(matches!(error, RegistryError::Damaged { .. }), "{error}");
}
