//! Decision trees before they are laid out for scoring.

use gristmill::traits::LoadError;

/// A node of a [`Tree`]. Every comparison is brought to one form: high when `x > threshold`, else low.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Node {
    /// Compares a feature.
    Split {
        /// The number of the input column.
        feature: u16,
        /// Goes high when the value is above this.
        threshold: f32,
        /// Whether NaN goes high.
        nan_high: bool,
        /// The node for values at or below the threshold.
        low: u32,
        /// The node for values above it.
        high: u32,
    },
    /// The value, or the number of the row of weights, as bits.
    Leaf(u32),
}

/// A tree. A node may have several parents (an equality is two comparisons that share a branch).
#[derive(Clone, Debug)]
pub(crate) struct Tree {
    pub(crate) nodes: Vec<Node>,
    pub(crate) root: u32,
}

impl Tree {
    /// The most comparisons on a way from the root.
    pub(crate) fn depth(&self) -> Result<usize, LoadError> {
        const OPEN: u32 = u32::MAX;
        const NEW: u32 = u32::MAX - 1;
        let mut depths = vec![NEW; self.nodes.len()];
        let mut stack = vec![self.root];
        while let Some(&index) = stack.last() {
            let at = index as usize;
            let Node::Split { low, high, .. } = self.nodes[at] else {
                depths[at] = 0;
                stack.pop();
                continue;
            };
            let (a, b) = (depths[low as usize], depths[high as usize]);
            if a < NEW && b < NEW {
                depths[at] = a.max(b) + 1;
                stack.pop();
                continue;
            }
            if depths[at] == NEW {
                depths[at] = OPEN;
            }
            for (child, depth) in [(low, a), (high, b)] {
                match depth {
                    OPEN => return Err(LoadError { reason: format!("a tree runs in a circle through node {child}") }),
                    NEW => stack.push(child),
                    _ => {}
                }
            }
        }
        Ok(depths[self.root as usize] as usize)
    }
}
