//! Every path gives the same bits, and the bits of the plainest walk.

use std::sync::Mutex;

use gristmill::traits::Model;
use gristmill::words::{ColumnMut, ColumnRef};
use proptest::prelude::*;

use super::*;

/// The kernels are a switch of the whole process.
static SWITCH: Mutex<()> = Mutex::new(());

fn next(seed: &mut u64) -> u64 {
    *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    *seed >> 33
}

fn number(seed: &mut u64) -> f32 {
    next(seed) as f32 / 2.0_f32.powi(30) - 1.0
}

/// A random comparison that leads to these nodes.
fn split(seed: &mut u64, columns: u16, (low, high): (u32, u32)) -> Node {
    let special = [0.0, -0.0, f32::INFINITY, f32::NEG_INFINITY, f32::NAN];
    let threshold = match next(seed) % 32 {
        at @ 0..5 => special[at as usize],
        _ => (number(seed) * 4.0).round() / 2.0,
    };
    let feature = (next(seed) % u64::from(columns)) as u16;
    Node::Split { feature, threshold, nan_high: next(seed).is_multiple_of(2), low, high }
}

/// A tree of random shape over `columns`, from a seed.
fn tree(seed: &mut u64, depth: usize, columns: u16) -> Tree {
    fn grow(seed: &mut u64, nodes: &mut Vec<Node>, depth: usize, columns: u16) -> u32 {
        let place = nodes.len();
        nodes.push(Node::Leaf(number(seed).to_bits()));
        if depth > 0 && !next(seed).is_multiple_of(8) {
            let low = grow(seed, nodes, depth - 1, columns);
            let high = grow(seed, nodes, depth - 1, columns);
            nodes[place] = split(seed, columns, (low, high));
        }
        place as u32
    }
    let mut nodes = Vec::new();
    let root = grow(seed, &mut nodes, depth, columns);
    Tree { nodes, root }
}

/// A tree with so many leaves, however deep; some have two parents.
fn leafy(seed: &mut u64, leaves: usize, columns: u16) -> Tree {
    fn grow(seed: &mut u64, nodes: &mut Vec<Node>, leaves: usize, columns: u16) -> u32 {
        let place = nodes.len();
        nodes.push(Node::Leaf(number(seed).to_bits()));
        if leaves > 1 {
            let below = 1 + next(seed) as usize % (leaves - 1);
            let low = grow(seed, nodes, below, columns);
            let shared = below == 1 && leaves == 3;
            let high = if shared {
                let middle = grow(seed, nodes, 1, columns);
                nodes.push(split(seed, columns, (middle, low)));
                nodes.len() as u32 - 1
            } else {
                grow(seed, nodes, leaves - below, columns)
            };
            nodes[place] = split(seed, columns, (low, high));
        }
        place as u32
    }
    let mut nodes = Vec::new();
    let root = grow(seed, &mut nodes, leaves, columns);
    Tree { nodes, root }
}

/// The plainest walk there is.
fn walk(tree: &Tree, row: &[f32]) -> f32 {
    let mut at = tree.root;
    loop {
        match tree.nodes[at as usize] {
            Node::Leaf(bits) => return f32::from_bits(bits),
            Node::Split { feature, threshold, nan_high, low, high } => {
                let value = row[usize::from(feature)];
                at = if value > threshold || (value.is_nan() && nan_high) { high } else { low };
            }
        }
    }
}

fn forest(trees: &[Tree], columns: u16) -> Forest {
    let payload = Payload { leaves: Leaves::Single, rule: Rule::Sum, targets: 1 };
    Forest {
        ensemble: Ensemble::new(trees, payload, usize::from(columns)).expect("the trees are sound"),
        inputs: block::ports(usize::from(columns)),
        outputs: block::ports(1),
        digest: Digest([0; 32]),
    }
}

fn score(forest: &Forest, rows: &[Vec<f32>], block: usize) -> Vec<u32> {
    let mut scores = vec![0.0; rows.len()];
    for (rows, scores) in rows.chunks(block).zip(scores.chunks_mut(block)) {
        let columns: Vec<Vec<f32>> =
            (0..forest.inputs.len()).map(|column| rows.iter().map(|row| row[column]).collect()).collect();
        let inputs: Vec<ColumnRef<'_>> = columns.iter().map(|column| ColumnRef::F32(column)).collect();
        forest.score(&inputs, &mut [ColumnMut::F32(scores)]).expect("it scores");
    }
    scores.iter().map(|score| score.to_bits()).collect()
}

/// What the plainest walks sum up to.
fn plain(trees: &[Tree], rows: &[Vec<f32>]) -> Vec<u32> {
    let sum = |row: &Vec<f32>| trees.iter().fold(0.0, |sum, tree| sum + walk(tree, row));
    rows.iter().map(|row| sum(row).to_bits()).collect()
}

fn value() -> impl Strategy<Value = f32> {
    prop_oneof![
        4 => (-6_i8..=6).prop_map(|half| f32::from(half) / 2.0),
        4 => -3.0_f32..3.0,
        1 => Just(f32::NAN),
        1 => prop::sample::select(vec![f32::INFINITY, f32::NEG_INFINITY, -0.0, f32::MIN_POSITIVE]),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn all_kernels_and_all_blocks_give_the_same_bits(
        mut seed in any::<u64>(),
        depths in proptest::collection::vec(0_usize..=6, 0..24),
        leaves in proptest::collection::vec(1_usize..=32, 0..6),
        deep in proptest::option::of(7_usize..12),
        rows in proptest::collection::vec(proptest::collection::vec(value(), 5), 1..40),
        block in 1_usize..40,
    ) {
        // Of one kind, or of both.
        let both = next(&mut seed).is_multiple_of(2);
        let padded = depths.into_iter().chain(deep).filter(|_| both || leaves.is_empty()).collect::<Vec<_>>();
        let mut trees: Vec<Tree> = padded.into_iter().map(|depth| tree(&mut seed, depth, 5)).collect();
        trees.extend(leaves.into_iter().map(|leaves| leafy(&mut seed, leaves, 5)));
        let forest = forest(&trees, 5);
        let plain = plain(&trees, &rows);
        let guard = SWITCH.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        for kernels in [Kernels::Scalar, Kernels::Best] {
            kernels.set();
            prop_assert_eq!(&score(&forest, &rows, block), &plain, "{:?}, blocks of {}", kernels, block);
            prop_assert_eq!(&score(&forest, &rows, rows.len()), &plain, "{:?}, one block", kernels);
        }
        drop(guard);
    }
}

#[test]
fn a_forest_takes_the_layout_that_fits() {
    let mut seed = 1;
    let mut full = |depth: u32| {
        let nodes = (1..1 << depth).map(|node| split(&mut seed, 5, (2 * node - 1, 2 * node)));
        let leaves = (0..1 << depth).map(Node::Leaf);
        Tree { nodes: nodes.collect::<Vec<_>>().into_iter().chain(leaves).collect(), root: 0 }
    };
    let (shallow, deep) = (full(6), full(7));
    assert!(matches!(forest(std::slice::from_ref(&shallow), 5).ensemble.layout, Layout::Perfect(_)));
    assert!(matches!(forest(&[shallow, deep], 5).ensemble.layout, Layout::Walk(_)));
    let mut seed = 2;
    let trees: Vec<Tree> = (0..20).map(|_| leafy(&mut seed, 31, 5)).collect();
    assert!(matches!(forest(&trees, 5).ensemble.layout, Layout::Masks(_)));
}

#[test]
fn a_forest_may_compare_more_columns_than_there_are_keys() {
    let mut seed = 3;
    let trees: Vec<Tree> = (0..200).map(|_| tree(&mut seed, 5, 1_000)).collect();
    let rows: Vec<Vec<f32>> = (0..20).map(|_| (0..1_000).map(|_| number(&mut seed)).collect()).collect();
    let forest = forest(&trees, 1_000);
    assert!(matches!(forest.ensemble.layout, Layout::Walk(_)));
    assert_eq!(score(&forest, &rows, 7), plain(&trees, &rows));
}

#[test]
fn a_walked_tree_takes_columns_up_to_a_byte_and_beyond() {
    for columns in [254_u16, 255, 256, 257] {
        // A comparison of each column in turn, the leaf below it -0 now and then: its bits are the largest.
        let leaf = |column: u16| if column.is_multiple_of(3) { -0.0 } else { f32::from(column) };
        let pairs = (0..columns).flat_map(|column| {
            let next = 2 * u32::from(column) + 2;
            let threshold = if column == columns - 1 { 1.0 } else { 0.0 };
            let split = Node::Split {
                feature: column,
                threshold,
                nan_high: column.is_multiple_of(2),
                low: next - 1,
                high: next,
            };
            [split, Node::Leaf(leaf(column).to_bits())]
        });
        let tree = Tree { nodes: pairs.chain([Node::Leaf(1e6_f32.to_bits())]).collect(), root: 0 };
        let rows: Vec<Vec<f32>> = (0..=columns)
            .map(|end| {
                // High up to the end: above the threshold, or NaN where it goes high.
                let high = |column: u16| if column.is_multiple_of(2) { f32::NAN } else { 2.0 };
                (0..columns).map(|column| if column < end { high(column) } else { -1.0 }).collect()
            })
            .collect();
        let trees = [tree];
        let forest = forest(&trees, columns);
        assert!(matches!(forest.ensemble.layout, Layout::Walk(_)));
        for block in [1, 16] {
            assert_eq!(score(&forest, &rows, block), plain(&trees, &rows), "{columns} columns, blocks of {block}");
        }
    }
}

#[test]
fn a_perfect_forest_goes_high_above_the_threshold_and_low_on_nan() {
    let forest = Forest::perfect(
        2,
        2,
        &[0, 1, 1, 0, 0, 0],
        &[0.0, 1.0, 2.0, 5.0, 0.0, 0.0],
        &[1.0, 2.0, 3.0, 4.0, 10.0, 20.0, 30.0, 40.0],
    )
    .expect("the lengths fit");
    let rows = [[0.0, 1.0], [0.0, 1.5], [0.1, 1.5], [0.1, 2.5], [f32::NAN, f32::NAN], [6.0, 0.0]].map(Vec::from);
    let scores: Vec<f32> = score(&forest, &rows, 6).into_iter().map(f32::from_bits).collect();
    assert_eq!(scores, [11.0, 12.0, 23.0, 24.0, 11.0, 43.0]);
    assert_eq!(forest.inputs().len(), 2);
}

#[test]
fn forests_that_do_not_fit_are_refused() {
    assert!(Forest::perfect(1, 7, &[], &[], &[]).is_err());
    assert!(Forest::perfect(1, 0, &[], &[], &[0.0]).is_err());
    assert!(Forest::perfect(1, 1, &[0], &[0.0], &[1.0]).is_err());
    assert!(Forest::perfect(1, 1, &[u16::MAX], &[0.0], &[1.0, 2.0]).is_err());
    assert!(Forest::perfect(usize::MAX, 6, &[], &[], &[]).is_err());
}

#[test]
fn a_small_forest_is_small() {
    let (features, thresholds, leaves) = (vec![9; 50 * 15], vec![0.5; 50 * 15], vec![1.0; 50 * 16]);
    let forest = Forest::perfect(50, 4, &features, &thresholds, &leaves).expect("the lengths fit");
    assert!(forest.bytes() < 8_000, "{} bytes", forest.bytes());
    assert_eq!(forest.inputs().len(), 10);
}
