//! Gathers what the engine writes into an [`Outcome`].

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use gristmill::traits::sink::{DeadLetter, DeadLetters};
use gristmill::traits::{Done, Sink, SinkError, SinkFrame, SinkWriter};
use gristmill::words::{Binding, Key, Revision, ShardIndex};

use super::outcome::{Letter, Outcome, Written};

/// Where all sinks and the dead letters of a run of the engine go.
#[derive(Clone, Debug, Default)]
pub struct Gather(Arc<Mutex<Gathered>>);

#[derive(Debug, Default)]
struct Gathered {
    /// With the revision in the place of the plan.
    written: BTreeMap<(Binding, Key), Vec<(Revision, Written)>>,
    letters: Vec<Letter>,
}

impl Gather {
    /// The sink to bind under this name.
    pub fn sink(&self, binding: &str) -> Arc<dyn Sink> {
        Arc::new(GatherSink { binding: binding.into(), gather: self.clone() })
    }

    /// Where dead letters go.
    pub fn dead_letters(&self) -> Arc<dyn DeadLetters> {
        Arc::new(self.clone())
    }

    /// What was gathered; `revisions` are those of the case's plans, in order. A row of any other revision is said to
    /// be of a plan that the case does not have.
    pub fn outcome(&self, revisions: &[Revision]) -> Outcome {
        let gathered = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let plan = |revision| revisions.iter().position(|known| *known == revision).unwrap_or(usize::MAX);
        let mut outcome = Outcome { letters: gathered.letters.clone(), ..Outcome::default() };
        for (place, written) in &gathered.written {
            let written =
                written.iter().map(|(revision, written)| Written { plan: plan(*revision), ..written.clone() });
            outcome.written.insert(place.clone(), written.collect());
        }
        outcome
    }
}

struct GatherSink {
    binding: Binding,
    gather: Gather,
}

impl Sink for GatherSink {
    fn open(&self, _shard: ShardIndex) -> Result<Box<dyn SinkWriter>, SinkError> {
        Ok(Box::new(GatherWriter { binding: self.binding.clone(), gather: self.gather.clone() }))
    }
}

struct GatherWriter {
    binding: Binding,
    gather: Gather,
}

impl SinkWriter for GatherWriter {
    fn write(&mut self, frame: &SinkFrame<'_>, done: Done) {
        let mut gathered = self.gather.0.lock().unwrap_or_else(PoisonError::into_inner);
        frame.for_each(|row| {
            let written = Written {
                cause: row.cause,
                time: row.time,
                stream: row.stream.clone(),
                value: row.value,
                node: row.node.clone(),
                artifact: row.artifact,
                plan: 0,
            };
            let place = (self.binding.clone(), row.key.clone());
            gathered.written.entry(place).or_default().push((frame.revision, written));
        });
        drop(gathered);
        done.done();
    }
}

impl DeadLetters for Gather {
    fn write(&self, letters: Vec<DeadLetter>, done: Done) {
        let mut gathered = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        gathered.letters.extend(letters.into_iter().map(|letter| Letter {
            partition: letter.source_partition,
            cause: letter.cause,
            key: letter.key.unwrap_or_else(|| Key::from("")),
            node: letter.node,
            time: letter.time.unwrap_or_default(),
            reason: letter.reason,
        }));
        drop(gathered);
        done.done();
    }
}
