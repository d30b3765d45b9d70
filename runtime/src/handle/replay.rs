//! Dead letters once more: rows that a node failed on are computed apart from the streams, records that could not be
//! decoded are given to the shards again.

use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;

use tokio::sync::oneshot;

use super::Handle;
use crate::actor::driver::{Control, Replay};
use crate::topology::plan::ClassPlan;
use crate::topology::replay::{Again, Computed, again};
use crate::traits::sink::{Artifact, DeadLetter, SinkColumn};
use crate::traits::{Decode, Done, Sink, SinkFrame};
use crate::words::{Binding, Class, Column, Key, NodeId, PartitionIndex, Revision, ShardIndex, Traces};

/// How long sinks and shards may take for what is replayed.
const REPLAY_WAIT: Duration = Duration::from_secs(30);

/// What became of a letter that was replayed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplayedRow {
    /// The plan under which it was computed.
    pub revision: Revision,
    /// How many values sinks got; of a record, those come through the streams and are not counted.
    pub values: usize,
    /// Nodes further on that were not asked again; see [`Again::left_out`].
    pub left_out: Vec<NodeId>,
    /// Nodes further on that failed on it now, with their reasons.
    pub failed: Vec<(NodeId, String)>,
}

impl Handle {
    /// Computes the row of a dead letter again under the plan that runs, and writes what comes out to the sinks, with
    /// the row's own time and position; comes back when they have made it durable. A letter with a node is computed
    /// by that node and those without state that read from it ([`Again`]). A letter with a record is decoded
    /// again and comes to the shards as if it were read now; its rows are late if the key has had later ones.
    ///
    /// # Errors
    /// When it cannot be replayed, or fails again; with the reason. Nothing was written then.
    pub async fn replay(&self, letter: &DeadLetter) -> Result<ReplayedRow, String> {
        let class = Class::from(&*letter.source);
        let (plan, doors) = {
            let state = self.0.state();
            let class =
                state.classes.get(&class).ok_or_else(|| format!("no topology of class `{class}` runs any more"))?;
            (Arc::clone(&class.plan), Arc::clone(&class.doors))
        };
        match (&letter.node, &letter.key, letter.time, &letter.record) {
            (Some(node), Some(key), Some(time), _) => {
                let again = again(&plan, key, node, time, &letter.values)?;
                self.write_again(letter, key, &plan, again).await
            }
            (None, _, _, Some(record)) => {
                let decoder = doors.decoder.as_ref().ok_or("the source hands over rows, no records")?;
                decodes(decoder.as_ref(), record, &plan)?;
                let (done, replayed) = oneshot::channel();
                let replay = Replay { partition: letter.source_partition, record: (**record).clone(), done };
                if !doors.tell(Control::Replay(replay)).await {
                    return Err("the source has ended".to_owned());
                }
                match tokio::time::timeout(REPLAY_WAIT, replayed).await {
                    Ok(Ok(result)) => result?,
                    Ok(Err(_)) => return Err("the source ended meanwhile".to_owned()),
                    Err(_) => return Err(slow("the shards have")),
                }
                Ok(ReplayedRow { revision: plan.revision, values: 0, left_out: Vec::new(), failed: Vec::new() })
            }
            _ => Err("it has no row that a node failed on, and no record: late and refused rows cannot be replayed"
                .to_owned()),
        }
    }

    /// Gives the sinks what was computed.
    async fn write_again(
        &self,
        letter: &DeadLetter,
        key: &Key,
        plan: &ClassPlan,
        again: Again,
    ) -> Result<ReplayedRow, String> {
        let values = again.writes.values().map(Vec::len).sum();
        let mut sinks = Vec::new();
        {
            let bound = self.0.sinks.read().map_err(|_| "the sinks cannot be looked up")?;
            for (binding, values) in again.writes {
                let sink = bound.get(&binding).ok_or_else(|| format!("no sink is bound as `{binding}`"))?;
                sinks.push((binding, Arc::clone(sink), values));
            }
        }
        let (letter, key, revision) = (letter.clone(), key.clone(), plan.revision);
        let written =
            tokio::task::spawn_blocking(move || sinks.iter().try_for_each(|to| write(&letter, &key, revision, to)));
        written.await.map_err(|_| "a sink panicked")??;
        Ok(ReplayedRow { revision, values, left_out: again.left_out, failed: again.failed })
    }
}

fn slow(who: &str) -> String {
    format!("{who} not finished within {} s; it may still be done", REPLAY_WAIT.as_secs())
}

fn decodes(decoder: &dyn Decode, record: &crate::traits::source::RawRecord, plan: &ClassPlan) -> Result<(), String> {
    decoder.decode(record, &plan.base.axes, &mut Vec::new())
}

/// Writes a row's values to a sink, and waits until it has made them durable.
fn write(
    letter: &DeadLetter,
    key: &Key,
    revision: Revision,
    (binding, sink, values): &(Binding, Arc<dyn Sink>, Vec<Computed>),
) -> Result<(), String> {
    // The first shard's: it is told by nothing but what it does with the place.
    let mut writer = sink.open(ShardIndex(0)).map_err(|error| format!("sink `{binding}`: {error}"))?;
    let (times, causes) = ([letter.time.unwrap_or_default()], [letter.cause]);
    let stored: Vec<Column> = values
        .iter()
        .map(|computed| {
            let mut column = Column::with_capacity(computed.value.element_type(), 1);
            column.push(Some(&computed.value));
            column
        })
        .collect();
    let columns: Vec<SinkColumn<'_>> = values
        .iter()
        .zip(&stored)
        .map(|(computed, column)| SinkColumn {
            key,
            stream: &computed.stream,
            node: &computed.node,
            artifact: computed.artifact.as_ref().map(Artifact::Digest),
            times: &times,
            causes: &causes,
            values: column.as_ref(),
        })
        .collect();
    let frame = SinkFrame {
        revision,
        source: &letter.source,
        partition: PartitionIndex(letter.source_partition),
        source_partition: letter.source_partition,
        columns: &columns,
        traces: &Traces::default(),
    };
    let (said, done) = mpsc::sync_channel(1);
    writer.write(&frame, Done::new(move || _ = said.try_send(())));
    let flushed = if done.try_recv().is_ok() { return Ok(()) } else { sink.flush() };
    flushed.map_err(|error| format!("sink `{binding}`: {error}"))?;
    done.recv_timeout(REPLAY_WAIT).map_err(|_| slow(&format!("sink `{binding}` has")))
}
