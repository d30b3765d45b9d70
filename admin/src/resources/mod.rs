//! What can be asked about and changed, a file each.

pub(crate) mod artifacts;
pub(crate) mod attributes;
pub(crate) mod audit;
pub(crate) mod dead_letters;
pub(crate) mod health;
pub(crate) mod keys;
pub(crate) mod nodes;
pub(crate) mod revisions;
pub(crate) mod topologies;
