//! A deployment is carried out, phase by phase. Until the switch the old plan serves, and a failure costs nothing.

use std::sync::Arc;
use std::time::Duration;

use actix::Addr;
use tokio::sync::oneshot;
use tracing::Span;

use super::class::Doors;
use super::error::DeployError;
use super::prepare::Staged;
use super::trial::try_all;
use crate::actor::Flush;
use crate::actor::control::{Retire, Stage, Unstage};
use crate::actor::driver::{Control, SwitchPosition, Until};
use crate::actor::shard::Shard;
use crate::topology::node::RowRule;
use crate::topology::plan::{ClassPlan, PlanNode};
use crate::words::{Cause, NodeId, Offset, Revision};

/// Tries out what is prepared, and starts it beside the plan that runs; `stages` hears that shards are told now.
pub(crate) async fn try_and_stage(
    doors: &Doors,
    staged: &mut Staged,
    limit: Option<Duration>,
    span: &Span,
    stages: impl FnOnce(),
) -> Result<(), DeployError> {
    let first = doors.clock.monotonic();
    span.record("changes", staged.changes.0.len() as i64);
    try_all(std::mem::take(&mut staged.trial), limit).await?;
    let begun = phase(doors, span, "trial_us", first);
    if staged.is_nothing() {
        return Ok(());
    }
    let left = limit.map(|limit| limit.saturating_sub(begun.saturating_sub(first)));
    stages();
    let staging = stage(&doors.shards, staged);
    match limit.zip(left) {
        None => staging.await?,
        Some((limit, left)) => match tokio::time::timeout(left, staging).await {
            Ok(done) => done?,
            Err(_) => {
                let (shards, revision) = (doors.shards.clone(), staged.plan.revision);
                tokio::spawn(async move { unstage(&shards, revision).await });
                return Err(DeployError::TimedOut { phase: "starting its actors", node: None, limit });
            }
        },
    }
    phase(doors, span, "stage_us", begun);
    Ok(())
}

/// Switches from a plan to the one that is staged: from which offset on, for each partition.
pub(crate) async fn switch(doors: &Doors, old: &ClassPlan, staged: &Staged, span: &Span) -> Vec<SwitchPosition> {
    let begun = doors.clock.monotonic();
    let flush = Flush { cause: Cause { offset: Offset(-1), row: u32::MAX }, departing: departing(old, staged) };
    let (tell, switched) = oneshot::channel();
    let control = Control::Switch { plan: Arc::clone(&staged.plan), departing: Arc::new(flush), switched: tell };
    // A source that has ended has no more rows: the plan takes over for whoever asks about it.
    let positions = if doors.tell(control).await { switched.await.unwrap_or_default() } else { Vec::new() };
    phase(doors, span, "switch_us", begun);
    positions
}

/// Puts on the span how long a phase took; when it ended.
pub(crate) fn phase(doors: &Doors, span: &Span, name: &str, begun: Duration) -> Duration {
    let now = doors.clock.monotonic();
    span.record(name, micros(now.saturating_sub(begun)));
    now
}

fn micros(took: Duration) -> i64 {
    i64::try_from(took.as_micros()).unwrap_or(i64::MAX)
}

/// Takes back what a shard that is late has started or will start: it does one after the other.
async fn unstage(shards: &[Addr<Shard>], revision: Revision) {
    // All are told before the first answers: a shard that is busy keeps no other from it.
    for answer in shards.iter().map(|shard| shard.send(Unstage(revision))).collect::<Vec<_>>() {
        // A shard that is gone has nothing to take back.
        let _ = answer.await;
    }
}

async fn stage(shards: &[Addr<Shard>], staged: &Staged) -> Result<(), DeployError> {
    let sent = shards.iter().map(|shard| {
        shard.send(Stage {
            plan: Arc::clone(&staged.plan),
            keys: Arc::clone(&staged.keys),
            members: Arc::clone(&staged.members),
        })
    });
    let mut failed = None;
    for answer in sent.collect::<Vec<_>>() {
        match answer.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => failed = Some(DeployError::Stage { reason: error.reason }),
            Err(_) => return Err(DeployError::Stopped),
        }
    }
    let Some(error) = failed else { return Ok(()) };
    unstage(shards, staged.plan.revision).await;
    Err(error)
}

/// Nodes whose waiting rows must be let go: they do not run on.
fn departing(old: &ClassPlan, staged: &Staged) -> Vec<(NodeId, Revision)> {
    let waits = |node: &PlanNode| matches!(node.node.rule, RowRule::OnAll { .. });
    let stays = |node: &PlanNode| staged.plan.node(&node.name).is_some_and(|now| now.born == node.born);
    let base = old.base.nodes.iter();
    let own = staged.keys.iter().flat_map(|key| old.own_nodes_of(key));
    let ending = base.chain(own).filter(|node| waits(node) && !stays(node));
    let mut departing: Vec<_> = ending.map(|node| (node.name.clone(), node.born)).collect();
    departing.sort_unstable();
    departing
}

/// Waits until no row is under way that a plan before this one computes, and ends what only they had.
pub(crate) async fn drain_and_retire(doors: Arc<Doors>, retire: Retire, span: Span) {
    let begun = doors.clock.monotonic();
    let (tell, drained) = oneshot::channel();
    if doors.tell(Control::Drained { until: Until::Older(retire.before), drained: tell }).await {
        // An error means that the source has ended, and with it all that was in flight, unless it has abandoned that.
        let _ = drained.await;
    }
    if doors.abandoned.is_abandoned() {
        return;
    }
    for shard in &doors.shards {
        // A shard that is gone has nothing to end.
        let _ = shard.send(retire.clone()).await;
    }
    phase(&doors, &span, "drain_us", begun);
}
