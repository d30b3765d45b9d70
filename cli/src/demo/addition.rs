//! Models that are deployed while rows flow, and what that cost.

use std::time::Duration;

use gristmill::words::Revision;
use gristmill::{Handle, SwitchPosition};
use gristmill_operators::simulate::Plant;

use super::PARTITIONS;
use super::models;
use super::probe::{Phase, Probe};
use crate::failure::Failure;

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
    /// From the call of `apply` to the first and last model's first score.
    pub(crate) first_score: Option<Duration>,
    pub(crate) all_scored: Option<Duration>,
    /// From which record on each partition has them.
    pub(crate) positions: Vec<SwitchPosition>,
}

/// Deploys a model of its own for each of the first machines.
pub(crate) async fn add(
    mill: &Handle,
    probe: &Probe,
    plant: &Plant,
    models: u32,
    seed: u64,
) -> Result<Addition, Failure> {
    let refused = |error: &dyn std::fmt::Display| Failure::failed(format!("models could not be added: {error}"));
    let deployment = models::added(plant, models, seed).map_err(|error| refused(&error))?;
    probe.enter(Phase::During);
    let began = probe.now();
    let preview = mill.preview(deployment).await.map_err(|error| refused(&error))?;
    let previewed = probe.now();
    let applied = preview.apply().await.map_err(|error| refused(&error))?;
    let applied_at = probe.now();
    let scored = first_scores(probe, models as usize).await;
    tokio::time::sleep(SETTLE).await;
    probe.enter(Phase::After);
    Ok(Addition {
        models,
        revision: applied.revision,
        preview: previewed - began,
        apply: applied_at - previewed,
        first_score: scored.map(|(first, _)| first.saturating_sub(previewed)),
        all_scored: scored.map(|(_, last)| last.saturating_sub(previewed)),
        positions: applied.positions,
    })
}

/// When the first and the last of so many models first scored; `None` when some did not.
async fn first_scores(probe: &Probe, models: usize) -> Option<(Duration, Duration)> {
    let until = probe.now() + PATIENCE;
    while probe.now() < until {
        {
            let tally = probe.tally();
            if tally.first_scores.len() >= models {
                return Some((*tally.first_scores.values().min()?, *tally.first_scores.values().max()?));
            }
        }
        tokio::time::sleep(LOOK).await;
    }
    None
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
