//! Makes a failing case small.

use gristmill::Quarantine;

use super::case::{Case, Happening};

/// Removes deployments, entries of the log, nodes and cuts as long as `fails` still says so of what is left, and gives
/// the smallest case found. A case that the resolver would refuse is not asked about.
pub fn shrink(case: &Case, fails: impl Fn(&Case) -> bool) -> Case {
    let mut small = case.clone();
    let still = |case: &Case| case.problems().is_empty() && fails(case);
    loop {
        let before = size(&small);
        without_deployments(&mut small, &still);
        without_entries(&mut small, &still);
        without_nodes(&mut small, &still);
        without_rows(&mut small, &still);
        without_options(&mut small, &still);
        if size(&small) == before {
            return small;
        }
    }
}

fn size(case: &Case) -> usize {
    let nodes: usize = case.plans.iter().map(|plan| plan.nodes.len()).sum();
    let rows: usize = case.log.iter().map(|entry| rows(&entry.what)).sum();
    nodes + rows + case.log.len() + case.plans.len() + case.engine.cuts.len() + case.engine.stops.len()
}

fn rows(what: &Happening) -> usize {
    match what {
        Happening::Record(record) => record.times.len(),
        Happening::Tick(_) => 0,
    }
}

/// Takes the change when the case still fails.
fn attempt(small: &mut Case, still: &impl Fn(&Case) -> bool, change: impl FnOnce(&mut Case)) -> bool {
    let mut tried = small.clone();
    change(&mut tried);
    let better = still(&tried);
    if better {
        *small = tried;
    }
    better
}

fn without_deployments(small: &mut Case, still: &impl Fn(&Case) -> bool) {
    for number in (0..small.deploy_before.len()).rev() {
        let removed = attempt(small, still, |case| {
            case.deploy_before.remove(number);
            case.plans.remove(number + 1);
        });
        if !removed {
            attempt(small, still, |case| {
                case.deploy_before.remove(number);
                case.plans.remove(number);
            });
        }
    }
}

fn without_entries(small: &mut Case, still: &impl Fn(&Case) -> bool) {
    let mut length = small.log.len().div_ceil(2);
    while length > 0 {
        let mut first = 0;
        while first < small.log.len() {
            let last = (first + length).min(small.log.len());
            let removed = attempt(small, still, |case| {
                case.log.drain(first..last);
                let options = case.engine.cuts.iter_mut().chain(&mut case.engine.stops);
                for before in case.deploy_before.iter_mut().chain(options) {
                    *before -= (*before).clamp(first, last) - first;
                }
            });
            if !removed {
                first = last;
            }
        }
        length /= 2;
    }
}

fn without_nodes(small: &mut Case, still: &impl Fn(&Case) -> bool) {
    let mut names: Vec<_> = small.plans.iter().flat_map(|plan| plan.nodes.iter().map(|node| node.name())).collect();
    names.sort();
    names.dedup();
    for name in names {
        attempt(small, still, |case| {
            for plan in &mut case.plans {
                plan.nodes.retain(|node| node.name() != name);
            }
        });
    }
}

fn without_rows(small: &mut Case, still: &impl Fn(&Case) -> bool) {
    for entry in 0..small.log.len() {
        for row in (1..rows(&small.log[entry].what)).rev() {
            attempt(small, still, |case| {
                if let Happening::Record(record) = &mut case.log[entry].what {
                    record.times.truncate(row);
                    record.columns.iter_mut().for_each(|column| column.truncate(row));
                }
            });
        }
    }
}

fn without_options(small: &mut Case, still: &impl Fn(&Case) -> bool) {
    for plan in 0..small.plans.len() {
        for node in 0..small.plans[plan].nodes.len() {
            attempt(small, still, |case| case.plans[plan].nodes[node].slow = None);
        }
    }
    attempt(small, still, |case| case.engine.shards = 1);
    attempt(small, still, |case| case.engine.cuts.clear());
    for number in (0..small.engine.stops.len()).rev() {
        attempt(small, still, |case| _ = case.engine.stops.remove(number));
    }
    attempt(small, still, |case| case.quarantine = Some(Quarantine::default()));
    attempt(small, still, |case| case.intake = super::case::Intake::default());
}
