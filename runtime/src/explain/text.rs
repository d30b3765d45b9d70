//! Explanations for people.

use std::fmt;

use super::{Explanation, Reason, Seen, Standing};
use crate::actor::Counts;

fn list<T: fmt::Display>(names: &[T]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

impl fmt::Display for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Running { born } => write!(f, "running since revision {born}"),
            Self::Quarantined { reason } => write!(f, "in quarantine: it failed too often, last as {reason}"),
            Self::Paused => f.write_str("paused: it computes nothing until it is resumed"),
            Self::Pending { lacks } => write!(f, "pending until somebody provides {}", list(lacks)),
            Self::Unused => f.write_str("unused: no sink asks for what it provides"),
            Self::NotSelected { why } => write!(f, "not for this key: {why}"),
            Self::Overridden { by } => write!(f, "overridden for this key by `{by}`"),
            Self::Unknown { nearest: Some(name) } => write!(f, "there is no such node; did you mean `{name}`?"),
            Self::Unknown { nearest: None } => f.write_str("there is no such node"),
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::KeyNeverSeen => f.write_str("no row of the key has come"),
            Self::NoRows => f.write_str("nobody provides a stream on whose rows it runs"),
            Self::NoArtifact => f.write_str("it has no artifact for the key, and no default"),
            Self::AttributeMissing { attribute } => write!(f, "the key has no attribute `{attribute}` of its type"),
            Self::NeedMissing { stream } => write!(f, "`{stream}` is missing"),
            Self::NeedTooOld { stream, time, max_age } => {
                write!(f, "`{stream}` is of {time}, which is more than {max_age} ago")
            }
            Self::GateClosed { stream, value: Some(value) } => write!(f, "its gate `{stream}` is {value}"),
            Self::GateClosed { stream, value: None } => write!(f, "its gate `{stream}` has no value"),
            Self::Thinned { every, last } => write!(f, "one row in {every}, and the last was at {last}"),
            Self::Waiting { rows, first, behind } if behind.is_empty() => {
                write!(f, "{rows} rows wait, the first of {first}")
            }
            Self::Waiting { rows, first, behind } => {
                write!(f, "{rows} rows wait, the first of {first}, until {} get there", list(behind))
            }
            Self::AtIntake { rows } => write!(f, "{rows} rows wait to be sorted in"),
            Self::Dropped { late, duplicate, ahead } => {
                write!(f, "rows of the key did not come in: {late} late, {duplicate} twice, {ahead} ahead")
            }
            Self::Failed { reason } => write!(f, "it failed: {reason}"),
        }
    }
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Value { time: Some(time), value } => write!(f, "{value} at {time}"),
            Self::Value { time: None, value } => write!(f, "{value}"),
            Self::Missing { time: Some(time) } => write!(f, "missing at {time}"),
            Self::Missing { time: None } => f.write_str("missing"),
            Self::NotKept => f.write_str("not kept"),
        }
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` for `{}` in revision {}: {}", self.node, self.key, self.revision, self.state)?;
        self.reasons.iter().try_for_each(|reason| write!(f, "\n  because {reason}"))?;
        for need in &self.needs {
            write!(f, "\n  {} {}: {}", need.how, need.name, need.last)?;
            if let Some(provider) = &need.provider {
                write!(f, ", from `{provider}`")?;
            }
        }
        self.outputs.iter().try_for_each(|output| write!(f, "\n  wrote {}: {}", output.name, output.last))?;
        if let Some(counts) = &self.counts {
            let Counts { rows, computed, skipped, failed, quarantined, paused } = counts;
            write!(f, "\n  {rows} rows over all keys: {computed} computed, {skipped} skipped, ")?;
            write!(f, "{failed} failed, {quarantined} in quarantine, {paused} paused")?;
        }
        if !self.watched && self.counts.is_some() {
            f.write_str("\n  what was not kept is kept from now on: ask again after the next rows")?;
        }
        Ok(())
    }
}
