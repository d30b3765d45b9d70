//! What of a saved state the plan at hand can go on with.

use std::collections::{BTreeMap, HashMap};

use super::envelope::sum_of;
use super::key::{KeyRecord, NodeRecord};
use super::part::KeyAlign;
use super::snapshot::Snapshot;
use crate::topology::node::Node;
use crate::topology::plan::{ClassPlan, PlanNode};
use crate::words::{Column, KeyIndex, NodeId, Offset};

/// What a state is good for.
pub(crate) struct Fit {
    /// By the source's number of the partition: how far it goes, and its keys.
    pub(crate) partitions: BTreeMap<u32, (Offset, Vec<KeyRecord>)>,
    /// Nodes whose state is of no use any more, for how many keys, and why.
    pub(crate) dropped: Vec<(NodeId, usize, String)>,
    /// What cannot be read.
    pub(crate) refused: Vec<String>,
}

/// Why a node's state is not restored.
enum Unfit {
    Dropped(String),
    Refused(String),
}

/// A hash of all that a node's state depends on, the version of its operator's state apart.
pub(crate) fn identity(node: &Node) -> [u8; 8] {
    sum_of(&[node.name().as_bytes(), b"\0", node.identity().as_bytes()])
}

/// Takes from a state what the nodes of a plan can go on with; what is refused is not among it.
pub(crate) fn fit(snapshot: Snapshot, plan: &ClassPlan) -> Fit {
    let base: HashMap<&str, &PlanNode> =
        plan.base.nodes.iter().map(|node| (node.name.as_str(), node.as_ref())).collect();
    let mut partitions: BTreeMap<u32, (Offset, Vec<KeyRecord>)> =
        snapshot.head.partitions.iter().map(|(number, next)| (*number, (*next, Vec::new()))).collect();
    let mut dropped: BTreeMap<(NodeId, String), usize> = BTreeMap::new();
    let mut refused: BTreeMap<(NodeId, String), usize> = BTreeMap::new();
    let mut others = Vec::new();
    let mut identities: HashMap<NodeId, [u8; 8]> = HashMap::new();
    for (mut record, _) in snapshot.keys {
        let own = plan.own_nodes_of(&record.key);
        record.nodes.retain(|saved| {
            let own = own.iter().find(|node| node.name == saved.name);
            let node = own.map(AsRef::as_ref).or_else(|| base.get(saved.name.as_str()).copied());
            let result = match node {
                None => Err(Unfit::Dropped("it does not run any more".to_owned())),
                Some(node) => {
                    let now = identities.entry(node.name.clone()).or_insert_with(|| identity(&node.node));
                    of_node(saved, node, *now)
                }
            };
            let (list, why) = match result {
                Ok(()) => return true,
                Err(Unfit::Dropped(why)) => (&mut dropped, why),
                Err(Unfit::Refused(why)) => (&mut refused, why),
            };
            *list.entry((saved.name.clone(), why)).or_default() += 1;
            false
        });
        match partitions.get_mut(&record.partition).filter(|(next, _)| *next == record.next && intake_is_sound(&record))
        {
            Some((_, keys)) => keys.push(record),
            None => others.push(format!("the record of key `{}` does not go with the rest", record.key)),
        }
    }
    let of_keys = |((node, why), keys): ((NodeId, String), usize)| format!("node `{node}` of {keys} keys: {why}");
    others.extend(refused.into_iter().map(of_keys));
    let dropped = dropped.into_iter().map(|((node, why), keys)| (node, keys, why)).collect();
    Fit { partitions, dropped, refused: others }
}

fn of_node(saved: &NodeRecord, node: &PlanNode, identity: [u8; 8]) -> Result<(), Unfit> {
    let changed = |what: &str| Unfit::Dropped(format!("it is another node now: {what}"));
    if saved.identity != identity {
        return Err(changed("its operator, needs, provides or rows are not those of before"));
    }
    if saved.align.as_ref().is_some_and(|align| !goes_with(align, node)) {
        return Err(changed("what it remembers of its needs does not go with them"));
    }
    let needs = &node.needs;
    let fine = |(column, need): (&Option<Column>, &crate::topology::plan::PlanNeed)| {
        column.as_ref().is_none_or(|column| column.len() == 1 && column.element_type() == need.element)
    };
    if saved.last.len() > needs.len() || !saved.last.iter().zip(needs).all(fine) {
        return Err(Unfit::Refused("its last values do not go with its needs".to_owned()));
    }
    let Some(state) = &saved.operator else { return Ok(()) };
    let Some(operator) = &node.operator else { return Err(changed("it runs no operator")) };
    let (found, reads) = (state.version, operator.state_version());
    if found != reads {
        let name = operator.name();
        let why = format!("its state is of version {found}, and `{name}` of this program reads version {reads}");
        return Err(Unfit::Refused(why));
    }
    let read = operator.table(false).decode(KeyIndex(0), &state.bytes);
    read.map_err(|why| {
        Unfit::Refused(format!("its state of version {found}, which this program reads, cannot be read: {why}"))
    })
}

/// Whether what was remembered of needs is sound. Which of them are on other axes may have changed: that is seen when rows
/// come.
fn goes_with(align: &KeyAlign, node: &PlanNode) -> bool {
    let needs: Vec<_> = node.needs.iter().chain(&node.when).collect();
    let sound = |(history, need): (&Option<super::part::History>, &&crate::topology::plan::PlanNeed)| {
        history.as_ref().is_none_or(|history| {
            let rows = history.times.len();
            (rows, rows) == (history.causes.len(), history.values.len())
                && history.values.element_type() == need.element
        })
    };
    let rows = (align.histories.len(), align.newest.len());
    rows == (needs.len(), needs.len()) && align.histories.iter().zip(&needs).all(sound)
}

/// Whether the rows that wait at the intake are rows.
fn intake_is_sound(record: &KeyRecord) -> bool {
    record.intake.axes.iter().all(|(streams, clock)| {
        let Some(waiting) = &clock.waiting else { return true };
        let row = |row: &Vec<Column>| row.len() <= streams.len() && row.iter().all(|column| column.len() == 1);
        waiting.times.len() == waiting.rows.len() && waiting.times.is_sorted() && waiting.rows.iter().all(row)
    })
}
