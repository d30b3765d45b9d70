//! What lowering may make of a file. The scan bounds what a file holds; lowering copies shared parts as often as nodes
//! read them and fills up what is sparse, so that a small file could ask for any amount of memory.

use gristmill::traits::LoadError;

/// The most bytes that are made of a file's contents.
pub const BYTES_MAX: usize = 512 << 20;

/// What bytes are made for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Part {
    Constants,
    Layers,
    Forests,
    Labels,
    Columns,
}

impl Part {
    /// What it is, and how there is less of it.
    fn text(self) -> (&'static str, &'static str) {
        match self {
            Self::Constants => ("constants", "leave out those that no node reads, or train a smaller model"),
            Self::Layers => ("the weights of layers", "take fewer or narrower layers"),
            Self::Forests => ("forests", "max_depth, min_samples_leaf or fewer trees make one smaller"),
            Self::Labels => ("labels", "take fewer classes"),
            Self::Columns => ("input and output columns", "take fewer of them, or shorter names"),
        }
    }
}

/// How many bytes have been taken, of how many. They are taken before anything is allocated.
#[derive(Debug)]
pub(crate) struct Budget {
    limit: usize,
    taken: usize,
}

impl Budget {
    pub(crate) fn of(limit: usize) -> Self {
        Self { limit, taken: 0 }
    }

    /// Takes `count` times `each` bytes.
    pub(crate) fn take(&mut self, part: Part, count: usize, each: usize) -> Result<(), LoadError> {
        let bytes = count.saturating_mul(each);
        let taken = self.taken.saturating_add(bytes);
        if taken > self.limit {
            let (what, advice) = part.text();
            let Self { limit, taken } = self;
            return Err(LoadError {
                reason: format!(
                    "the model is too large in memory: {bytes} bytes for {what} after {taken} bytes for what it has \
                     already; {limit} in all are allowed: {advice}"
                ),
            });
        }
        self.taken = taken;
        Ok(())
    }

    /// What has been taken, for [`Budget::give_back_to`].
    pub(crate) fn taken(&self) -> usize {
        self.taken
    }

    /// Gives back what has been taken since: it is no longer there.
    pub(crate) fn give_back_to(&mut self, taken: usize) {
        self.taken = self.taken.min(taken);
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;

    use gristmill::traits::LoadError;

    use super::Budget;
    use crate::model::onnx::proto::*;
    use crate::model::onnx::tests::{assert_refused, floats, ints, named, node, port, refusal, weights, with};
    use crate::model::onnx::{program, program_of_files};
    use crate::model::program::{Labels, Write};

    fn within(limit: usize, bytes: &[u8]) -> String {
        program(bytes, Budget::of(limit)).map_or_else(|error| error.reason, |_| "it was loaded".to_owned())
    }

    fn assert_too_large(reason: &str, limit: usize, parts: &[&str]) {
        let all = ["the model is too large in memory", &format!("{limit} in all are allowed")];
        assert!(all.iter().chain(parts).all(|part| reason.contains(part)), "`{reason}` does not say {parts:?}");
    }

    /// `v0` is `x` times `columns` numbers; the outputs are `v0` and others by other names.
    fn aliases(columns: usize, names: usize) -> Vec<u8> {
        with(|graph| {
            graph.input = vec![port("x", &[None, Some(1)])];
            graph.initializer = vec![weights("c", &[1, columns as i64], &vec![1.0; columns])];
            graph.node = vec![named("v0", node("Mul", "", &["x", "c"], vec![]))];
            graph.node.extend((1..names).map(|name| named(&format!("v{name}"), node("Identity", "", &["v0"], vec![]))));
            graph.output = (0..names).map(|name| port(&format!("v{name}"), &[])).collect();
        })
    }

    /// Bug: a file of under a megabyte took gigabytes before it was refused, which ended the process. Cause: output
    /// columns were counted when all had been made, as often as outputs named one value. Fix: they are counted before.
    #[test]
    fn output_columns_are_counted_before_they_are_made() {
        assert_eq!(refusal(&aliases(8_192, 1)), "it was loaded");
        assert_refused(&aliases(8_193, 1), &["output `v0` has 8193 columns", "8192 columns", "give fewer outputs"]);
        assert_refused(
            &aliases(8_000, 2_000),
            &["output `v1` has 8000 columns, which are too many with those before it"],
        );
        let twice = with(|graph| graph.output = vec![port("y", &[]); 8_000]);
        assert_refused(&twice, &["two outputs are named `y`"]);
        assert_too_large(&within(100_000, &aliases(8_000, 1)), 100_000, &["input and output columns", "shorter names"]);
    }

    /// Bug: a name of 300 KB was written once for each of 8,000 columns. Fix: names have a limit.
    #[test]
    fn names_have_a_limit() {
        let called = |bytes: usize| {
            with(|graph| {
                let name = "y".repeat(bytes);
                graph.node[0].output = vec![name.clone()];
                graph.output = vec![port(&name, &[])];
            })
        };
        assert_eq!(refusal(&called(1_024)), "it was loaded");
        assert_refused(&called(1_025), &["a name has 1025 bytes; 1024 are allowed: give it a shorter one"]);
        let long = "y".repeat(1_025);
        let changes: [fn(&mut GraphProto, String); 5] = [
            |graph, name| graph.node[0].input[0] = name,
            |graph, name| graph.node[0].op_type = name,
            |graph, name| graph.node[0].attribute = vec![floats(&name, &[])],
            |graph, name| graph.initializer[0].name = name,
            |graph, name| graph.input[0].name = name,
        ];
        for change in changes {
            assert_refused(&with(|graph| change(graph, long.clone())), &["a name has 1025 bytes"]);
        }
    }

    /// A forest of `trees` leaves, two of which have weights, for other targets.
    fn sparse(output: &str, trees: usize, targets: i64) -> NodeProto {
        let zeros = vec![0; trees];
        let attributes = vec![
            AttributeProto { name: "n_targets".to_owned(), i: targets, ..AttributeProto::default() },
            ints("nodes_treeids", &(0..trees as i64).collect::<Vec<_>>()),
            ints("nodes_nodeids", &zeros),
            ints("nodes_featureids", &zeros),
            floats("nodes_values", &vec![0.0; trees]),
            AttributeProto {
                name: "nodes_modes".to_owned(),
                strings: vec![b"LEAF".to_vec(); trees],
                ..AttributeProto::default()
            },
            ints("nodes_truenodeids", &zeros),
            ints("nodes_falsenodeids", &zeros),
            ints("target_treeids", &[0, 0]),
            ints("target_nodeids", &[0, 0]),
            ints("target_ids", &[0, 1]),
            floats("target_weights", &[1.0, 2.0]),
        ];
        named(output, node("TreeEnsembleRegressor", "ai.onnx.ml", &["x"], attributes))
    }

    /// Bug: a few hundred bytes a forest became 256 MiB each. Cause: weights that the file leaves out were bounded for
    /// a node, not for the file. Fix: they come from the budget of the file.
    #[test]
    fn leaves_that_a_file_leaves_out_are_counted_for_the_whole_file() {
        // 256 MiB a forest, of which no page is touched: they are zeros.
        let forests = |count: usize| {
            with(|graph| {
                graph.node = (0..count).map(|forest| sparse(&format!("v{forest}"), 16_384, 4_096)).collect();
                graph.output = vec![port("v0", &[])];
            })
        };
        assert_eq!(refusal(&forests(1)), "it was loaded");
        assert_too_large(&refusal(&forests(2)), super::BYTES_MAX, &["TreeEnsembleRegressor", "forests", "max_depth"]);
        // What was taken for reading a forest is given back; what is read of its nodes and trees is taken before.
        let small = |count: usize| with(|graph| graph.node = vec![sparse("y", count, 2); 1]);
        assert_eq!(within(1 << 20, &small(1_000)), "it was loaded");
        assert_too_large(&within(1 << 20, &small(10_000)), 1 << 20, &["forests"]);
        let many = with(|graph| {
            graph.node = (0..100).map(|forest| sparse(&format!("v{forest}"), 1_000, 2)).collect();
            graph.output = vec![port("v0", &[])];
        });
        assert_eq!(within(4 << 20, &many), "it was loaded");
    }

    /// Bug: labels were copied for every node that looks classes up in one constant. Fix: they are shared with it; a
    /// table of them as floats is one for each node, and comes from the budget.
    #[test]
    fn labels_are_shared_with_their_constant() {
        let classes = 100_000;
        let extract = |name: String| named(&name, node("ArrayFeatureExtractor", "ai.onnx.ml", &["names", "a"], vec![]));
        let with_labels = |names: TensorProto, more: fn(usize) -> NodeProto| {
            with(|graph| {
                let winner = named("a", node("ArgMax", "", &["x"], vec![axis(1)]));
                graph.node = vec![winner];
                graph.node.extend((0..200).map(|name| extract(format!("v{name}"))));
                graph.node.extend((0..200).map(more));
                graph.initializer = vec![names];
                graph.output = vec![port("v0", &[]), port("v1", &[])];
            })
        };
        let alias = |name: usize| named(&format!("w{name}"), node("Identity", "", &["v0"], vec![]));
        let strings = TensorProto {
            name: "names".to_owned(),
            dims: vec![classes],
            data_type: element::STRING,
            string_data: vec![vec![]; classes as usize],
            ..TensorProto::default()
        };
        let model = program(&with_labels(strings, alias), Budget::of(4 << 20)).expect("the labels are there once");
        match &model.writes[..] {
            [Write::Label(_, first), Write::Label(_, second)] => match (&**first, &**second) {
                (Labels::Strings(first), Labels::Strings(second)) => assert!(Arc::ptr_eq(first, second)),
                other => panic!("{other:?}"),
            },
            other => panic!("{other:?}"),
        }
        let numbers = TensorProto {
            name: "names".to_owned(),
            dims: vec![classes],
            data_type: element::INT64,
            int64_data: (0..classes).collect(),
            ..TensorProto::default()
        };
        let cast = |name: usize| {
            let to = AttributeProto { name: "to".to_owned(), i: element::FLOAT.into(), ..AttributeProto::default() };
            named(&format!("w{name}"), node("Cast", "", &["v0"], vec![to]))
        };
        assert_too_large(&within(4 << 20, &with_labels(numbers, cast)), 4 << 20, &["Cast", "labels", "fewer classes"]);
    }

    fn axis(axis: i64) -> AttributeProto {
        AttributeProto { name: "axis".to_owned(), i: axis, ..AttributeProto::default() }
    }

    /// Bug: every MatMul and Gemm laid out a copy of the matrix that all of them read, 4,096 of them. Fix: copies come
    /// from the budget.
    #[test]
    fn matrices_that_many_nodes_read_are_counted_for_each() {
        for operator in ["MatMul", "Gemm"] {
            let bytes = with(|graph| {
                graph.input = vec![port("x", &[None, Some(8_000)])];
                graph.initializer = vec![weights("w", &[8_000, 8], &[1.0; 64_000])];
                graph.node = (0..100)
                    .map(|layer| named(&format!("v{layer}"), node(operator, "", &["x", "w"], vec![])))
                    .collect();
                graph.output = vec![port("v0", &[])];
            });
            assert_too_large(&within(8 << 20, &bytes), 8 << 20, &[operator, "the weights of layers", "narrower"]);
            assert_eq!(within(64 << 20, &bytes), "it was loaded");
        }
    }

    /// Bug: a value of 200,000 dimensions was copied by every node that it went through. Fix: eight are allowed.
    #[test]
    fn values_and_constants_have_few_dimensions() {
        let reshape = |rank: usize| {
            let mut dims = vec![1; rank];
            (dims[0], dims[1]) = (0, 2);
            with(|graph| {
                graph.node = vec![node("Reshape", "", &["x", "shape"], vec![])];
                graph.initializer = vec![TensorProto {
                    name: "shape".to_owned(),
                    dims: vec![rank as i64],
                    data_type: element::INT64,
                    int64_data: dims,
                    ..TensorProto::default()
                }];
            })
        };
        assert_eq!(refusal(&reshape(8)), "it was loaded");
        for rank in [9, 200_000] {
            assert_refused(&reshape(rank), &["Reshape", "8 dimensions are allowed"]);
        }
        let unsqueeze = |count: usize| {
            with(|graph| {
                let one = |number: usize| {
                    let from = if number == 0 { "x".to_owned() } else { format!("v{}", number - 1) };
                    named(&format!("v{number}"), node("Unsqueeze", "", &[&from], vec![ints("axes", &[-1])]))
                };
                graph.node = (0..count).map(one).collect();
                graph.output = vec![port(&format!("v{}", count - 1), &[])];
            })
        };
        assert_eq!(refusal(&unsqueeze(6)), "it was loaded");
        assert_refused(&unsqueeze(7), &["Unsqueeze", "9 dimensions; 8 are allowed"]);
        let constant = with(|graph| graph.initializer[0].dims = vec![2, 1, 1, 1, 1, 1, 1, 1, 1]);
        assert_refused(&constant, &["tensor `w`", "8 dimensions are allowed"]);
    }

    /// Bug: each of up to 8,192 constants copied the same range of a file beside the model. Fix: constants come from
    /// the budget, and so does what they grow by: a bool is a byte in a file, and eight as a whole number.
    #[test]
    fn constants_are_counted_as_they_are_in_memory() {
        let bools = with(|graph| {
            graph.initializer.push(TensorProto {
                name: "flags".to_owned(),
                dims: vec![1_000_000],
                data_type: element::BOOL,
                raw_data: vec![1; 1_000_000],
                ..TensorProto::default()
            });
        });
        assert_too_large(&within(4 << 20, &bools), 4 << 20, &["constants"]);
        assert_eq!(within(16 << 20, &bools), "it was loaded");

        let folder = std::env::temp_dir().join(format!("gristmill-onnx-{}-budget", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder can be made");
        std::fs::write(folder.join("weights.bin"), vec![0; 1 << 20]).expect("a file can be written");
        let shared = with(|graph| {
            graph.initializer.extend((0..100).map(|name| TensorProto {
                name: format!("w{name}"),
                dims: vec![1 << 18],
                data_type: element::FLOAT,
                data_location: 1,
                external_data: vec![StringStringEntry { key: "location".to_owned(), value: "weights.bin".to_owned() }],
                ..TensorProto::default()
            }));
        });
        let load = |folder: &Path, limit: usize| program_of_files(&shared, folder, Budget::of(limit)).map(drop);
        let refused = load(&folder, 8 << 20);
        let loaded = load(&folder, 128 << 20);
        std::fs::remove_dir_all(&folder).expect("the folder can be removed");
        let LoadError { reason } = refused.expect_err("a hundred copies of a MiB");
        assert_too_large(&reason, 8 << 20, &["constants"]);
        loaded.expect("there is room");
    }
}
