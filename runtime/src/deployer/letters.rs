//! Dead letters: looked through, and replayed after what was wrong is mended.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::Deployer;
use super::change::Refusal;
use crate::handle::ReplayedRow;
use crate::letters::{Kept, LetterFolder, LetterQuery, Replayed};
use crate::registry::AuditLine;
use crate::words::Revision;

/// Most letters that one call replays.
pub const REPLAY_MAX: usize = 1_000;
/// After so many it is noted which have been replayed: whoever is killed repeats no more than these.
const NOTED_AFTER: usize = 50;

/// What became of letters that were to be replayed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Replays {
    /// Those that were, in this order.
    pub replayed: Vec<(u64, ReplayedRow)>,
    /// Those that were not, with the reason.
    pub refused: Vec<(u64, String)>,
    /// Where more letters are meant than one call replays ([`REPLAY_MAX`]), the last that was tried:
    /// [`LetterQuery::after`] goes on from there.
    pub next: Option<u64>,
}

impl Deployer {
    /// The dead letters that are kept, in a folder of their own within the registry's.
    pub fn letters(&self) -> &Arc<LetterFolder> {
        &self.0.letters
    }

    /// Replays letters, those of a key in the order of their rows, and notes which were: see
    /// [`Handle::replay`](crate::Handle::replay). One that was replayed is not replayed again.
    ///
    /// # Errors
    /// When the disk refuses.
    pub async fn replay(&self, query: &LetterQuery, who: &str) -> Result<Replays, Refusal> {
        let (query, who) = (LetterQuery { replayed: false, ..query.clone() }, who.to_owned());
        self.to_its_end(|deployer| async move { deployer.replay_in_turn(&query, &who).await }).await
    }

    async fn replay_in_turn(&self, query: &LetterQuery, who: &str) -> Result<Replays, Refusal> {
        let _turn = self.0.replays.lock().await;
        let letters = self.letters();
        let disk = |error: std::io::Error| Refusal::new("registry", format!("the dead letters: {error}"));
        let (mut found, more) = letters.oldest(query, REPLAY_MAX).map_err(disk)?;
        let place = |kept: &Kept| (Arc::clone(&kept.letter.source), kept.letter.source_partition, kept.letter.cause);
        found.sort_by_key(|kept| (place(kept), kept.id));
        let next = found.iter().map(|kept| kept.id).max().filter(|_| more);
        let mut done = Replays { refused: self.absent(query, &found), next, ..Replays::default() };
        let mut marks = Vec::new();
        for kept in found {
            match self.replay_one(&kept).await {
                Ok(row) => {
                    let (when, who) = (self.0.clock.wall(), who.to_owned());
                    marks.push(Replayed { id: kept.id, revision: row.revision, when, who });
                    done.replayed.push((kept.id, row));
                }
                Err(reason) => done.refused.push((kept.id, reason)),
            }
            if marks.len() == NOTED_AFTER {
                letters.note(&std::mem::take(&mut marks)).map_err(disk)?;
            }
        }
        letters.note(&marks).map_err(disk)?;
        self.folder().audit(&AuditLine {
            when: self.0.clock.wall(),
            who: who.to_owned(),
            what: "replayed".to_owned(),
            revision: done.replayed.last().map(|(_, row)| row.revision),
            content: None,
            note: format!("{} dead letters, and {} could not be", done.replayed.len(), done.refused.len()),
        })?;
        Ok(done)
    }

    async fn replay_one(&self, kept: &Kept) -> Result<ReplayedRow, String> {
        if kept.cut {
            return Err(format!(
                "its record is longer than {} bytes and was not kept whole",
                crate::letters::RECORD_BYTES_MAX
            ));
        }
        self.handle().replay(&kept.letter).await
    }

    /// Letters that are named, and are not there to be replayed.
    fn absent(&self, query: &LetterQuery, found: &[Kept]) -> Vec<(u64, String)> {
        let found: BTreeSet<u64> = found.iter().map(|kept| kept.id).collect();
        let absent: BTreeMap<u64, Option<Revision>> = query
            .ids
            .iter()
            .filter(|id| !found.contains(*id))
            .map(|id| (*id, self.letters().replayed(*id).map(|mark| mark.revision)))
            .collect();
        let reason = |before: Option<Revision>| match before {
            Some(revision) => format!("it was replayed under revision {revision}"),
            None => "no such letter is kept, or it is not among those that are meant".to_owned(),
        };
        absent.into_iter().map(|(id, before)| (id, reason(before))).collect()
    }
}
