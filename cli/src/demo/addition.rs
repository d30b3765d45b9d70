//! Models that are deployed while rows flow, and what that cost.

use std::time::Duration;

use gristmill::words::Revision;
use gristmill::{Handle, SwitchPosition};
use gristmill_operators::simulate::Plant;
use tokio::sync::watch;

use super::PARTITIONS;
use super::models;
use super::probe::{FirstScore, Phase, Probe};
use crate::failure::Failure;
use crate::output::{count, duration};

/// How often it is looked whether all have scored.
const LOOK: Duration = Duration::from_millis(1);
/// How long after the last first score the deployment still counts as under way.
const SETTLE: Duration = Duration::from_secs(1);
/// How long it is waited for first scores.
const PATIENCE: Duration = Duration::from_secs(10);

/// A deployment, as it was measured.
#[derive(Clone, Debug)]
pub(crate) struct Addition {
    pub(crate) models: u32,
    pub(crate) revision: Revision,
    /// Validation of the whole plan.
    pub(crate) preview: Duration,
    /// Trial, staging and switch, until the call came back.
    pub(crate) apply: Duration,
    pub(crate) scores: FirstScores,
    /// From which record on each partition has them.
    pub(crate) positions: Vec<SwitchPosition>,
}

/// When added models first scored, after the call of `apply`.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct FirstScores {
    /// The first of them.
    pub(crate) first: Option<Duration>,
    /// How much of that was waiting for the first machine to send a row after `apply` had come back.
    pub(crate) waited: Duration,
    /// The last of them; `None` when not all have scored before the end.
    pub(crate) last: Option<Duration>,
}

/// Deploys a model of its own for each of the first machines. `ended` turns true when no more rows come.
pub(crate) async fn add(
    mill: &Handle,
    probe: &Probe,
    deployment: (&Plant, u32, u64),
    mut ended: watch::Receiver<bool>,
) -> Result<Addition, Failure> {
    let (plant, models, seed) = deployment;
    let refused = |error: &dyn std::fmt::Display| Failure::failed(format!("models could not be added: {error}"));
    let deployment = models::added(plant, models, seed).map_err(|error| refused(&error))?;
    probe.event(format!("adding {} while rows flow", count(models.into(), "model")));
    probe.enter(Phase::During);
    let began = probe.now();
    let preview = mill.preview(deployment).await.map_err(|error| refused(&error))?;
    let previewed = probe.now();
    let applied = preview.apply().await.map_err(|error| refused(&error))?;
    let applied_at = probe.now();
    let (preview, apply) = (previewed - began, applied_at - previewed);
    probe.event(format!(
        "revision {} runs: preview {}, apply {}",
        applied.revision.0,
        duration(preview),
        duration(apply)
    ));
    let scores = first_scores(probe, models as usize, previewed, applied_at, &ended).await;
    probe.event(scores.to_string());
    tokio::select! {
        () = tokio::time::sleep(SETTLE) => {}
        _ = ended.wait_for(|ended| *ended) => {}
    }
    probe.enter(Phase::After);
    Ok(Addition { models, revision: applied.revision, preview, apply, scores, positions: applied.positions })
}

/// Waits until so many models have scored, or the end.
async fn first_scores(
    probe: &Probe,
    models: usize,
    called: Duration,
    applied: Duration,
    ended: &watch::Receiver<bool>,
) -> FirstScores {
    let until = probe.now() + PATIENCE;
    loop {
        // What has ended has scored all that it will.
        let over = *ended.borrow() || probe.now() >= until;
        {
            let tally = probe.tally();
            let all = tally.first_scores.len() >= models;
            if all || over {
                let first: Option<FirstScore> = tally.first_scores.values().min_by_key(|score| score.at).copied();
                let last = tally.first_scores.values().map(|score| score.at).max().filter(|_| all);
                return FirstScores {
                    first: first.map(|score| score.at.saturating_sub(called)),
                    waited: first.map_or(Duration::ZERO, |score| score.handed_over.saturating_sub(applied)),
                    last: last.map(|last| last.saturating_sub(called)),
                };
            }
        }
        tokio::time::sleep(LOOK).await;
    }
}

impl std::fmt::Display for FirstScores {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Some(first) = self.first else { return f.write_str("no added model has scored before the end") };
        write!(f, "first score {} after the call of apply", duration(first))?;
        write!(f, " ({} of it waiting for the machine's next row)", duration(self.waited))?;
        match self.last {
            Some(last) => write!(f, ", all after {}", duration(last)),
            None => f.write_str(", not all before the end"),
        }
    }
}

impl Addition {
    /// Rows of the machines that have an added model, from the position on at which they took over: each must have been
    /// scored by it. A partition that the deployment does not name had no rows before.
    pub(crate) fn rows(&self, probe: &Probe, machines: u32) -> u64 {
        let of = |partition: u32, first: i64| {
            // Machine m speaks in partition m modulo the number of partitions, in turns.
            let in_partition = i64::from((machines + PARTITIONS - 1 - partition) / PARTITIONS);
            let mine = i64::from((self.models + PARTITIONS - 1 - partition) / PARTITIONS);
            (first..probe.next(partition).0).filter(|offset| offset % in_partition.max(1) < mine).count() as u64
        };
        (0..PARTITIONS)
            .map(|partition| {
                let position = self.positions.iter().find(|(of, _)| *of == partition);
                of(partition, position.map_or(0, |(_, first)| first.0))
            })
            .sum()
    }
}
