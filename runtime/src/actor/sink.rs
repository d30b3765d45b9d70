//! Sinks in a frame: collects what a sink takes, in order, and hands it to the sink's writer.

use std::cell::{Ref, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use super::cell::{Cell, Shared};
use super::frame::{Frame, View};
use crate::topology::node::Work;
use crate::topology::plan::{PlanNode, SlotNumber, To};
use crate::traits::sink::{Artifact, SinkColumn};
use crate::traits::{SinkFrame, SinkWriter};
use crate::words::StreamName;

/// A stream of the class that a sink takes, and the node that provides it in this variant.
struct Taken<'f> {
    stream: &'f StreamName,
    slot: SlotNumber,
    node: &'f PlanNode,
    /// Of a family: what has each key's artifact.
    family: Option<Rc<RefCell<Cell>>>,
}

/// Hands a frame to a sink; its word ends the node's part in the frame.
pub(super) fn write(frame: &Arc<Frame>, leader: u32, sink: &PlanNode, shared: &Shared, writer: &mut dyn SinkWriter) {
    let taken: Vec<Taken<'_>> =
        sink.takes.iter().filter_map(|(stream, slot)| taken(frame, shared, stream, *slot)).collect();
    let families: Vec<Option<Ref<'_, Cell>>> =
        taken.iter().map(|taken| taken.family.as_ref().map(|cell| cell.borrow())).collect();
    let place = frame.installed.variant.place_of(leader);
    let mut columns: Vec<SinkColumn<'_>> = Vec::with_capacity(taken.len() * frame.keys.len() + frame.own_locals.len());
    for run in 0..frame.keys.len() {
        let first = columns.len();
        let own = frame.own(run);
        for (taken, family) in taken.iter().zip(&families) {
            if own.is_some_and(|own| own.kind.wiring.local_of(taken.slot).is_some()) {
                continue;
            }
            if let Some(view) = frame.view(run, taken.slot) {
                let artifact = match family {
                    Some(family) => {
                        family.member(frame.keys[run], frame.plan.revision).map(|model| Artifact::Model(model.as_ref()))
                    }
                    None => taken.node.artifact.as_ref().map(Artifact::Digest),
                };
                columns.push(column(frame, run, taken.stream, taken.node, artifact, view));
            }
        }
        if let Some(own) = own {
            for (node, wires) in own.installed.nodes.iter().zip(&own.kind.wiring.wires) {
                for (_, local) in wires.sinks.iter().filter(|(of, _)| Some(*of) == place) {
                    if let Some(view) = own.view(*local) {
                        let plan = node.plan.as_ref();
                        let output = plan.provides.iter().position(|to| *to == To::Local(*local));
                        let stream = &plan.shape.streams[output.expect("a sink takes what is provided")].0;
                        columns.push(column(
                            frame,
                            run,
                            stream,
                            plan,
                            plan.artifact.as_ref().map(Artifact::Digest),
                            view,
                        ));
                    }
                }
            }
            columns[first..].sort_unstable_by_key(|column| column.stream);
        }
    }
    let token = frame.part.token();
    let whole = SinkFrame {
        revision: frame.plan.revision,
        source: &token.source,
        partition: token.partition,
        source_partition: token.source_partition,
        columns: &columns,
        traces: &token.traces,
    };
    writer.write(&whole, frame.done());
}

fn taken<'f>(frame: &'f Frame, shared: &Shared, stream: &'f StreamName, slot: SlotNumber) -> Option<Taken<'f>> {
    let installed = &frame.installed;
    let leader = *installed.variant.provider.get(&slot)?;
    let members = &installed.variant.members[leader as usize];
    let nodes = &frame.plan.base.nodes;
    let member = *members.iter().find(|member| nodes[**member as usize].provides.contains(&To::Slot(slot)))?;
    let node = nodes[member as usize].as_ref();
    let family = matches!(node.node.work, Work::Family(_)).then(|| shared.cell(installed.cells[member as usize]));
    Some(Taken { stream, slot, node, family })
}

fn column<'f>(
    frame: &'f Frame,
    run: usize,
    stream: &'f StreamName,
    node: &'f PlanNode,
    artifact: Option<Artifact<'f>>,
    view: View<'f>,
) -> SinkColumn<'f> {
    SinkColumn {
        key: &frame.names[run],
        stream,
        node: &node.name,
        artifact,
        times: view.times,
        causes: view.causes,
        values: view.column,
    }
}
