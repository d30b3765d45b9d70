//! A look at the raw protobuf before anything is decoded: counts what decoding would allocate, and refuses early.

use gristmill::traits::LoadError;

/// The largest file, in bytes, external data included.
pub const FILE_BYTES_MAX: usize = 128 << 20;
/// The most nodes of a graph.
pub const NODES_MAX: usize = 4_096;
/// The most constants of a graph.
pub const TENSORS_MAX: usize = 8_192;
/// The most inputs and outputs of a graph, each.
pub const PORTS_MAX: usize = 8_192;
/// The most dimensions of the shapes of all inputs and outputs together.
pub const DIMENSIONS_MAX: usize = 65_536;
/// The most names and attributes of all nodes together.
pub const ATTRIBUTES_MAX: usize = 65_536;
/// The most strings of all attributes and constants together: a tree has one for each of its nodes.
pub const STRINGS_MAX: usize = 1 << 22;
/// The most integers of all attributes and constants together: eight bytes each when they are decoded, whatever they
/// take in the file. A tree has about eight for each of its nodes.
pub const INTEGERS_MAX: usize = 1 << 25;
/// The longest name of a value, attribute or operator, in bytes.
pub const NAME_BYTES_MAX: usize = 1_024;
/// The most dimensions of a constant, or of a value between nodes.
pub const RANK_MAX: usize = 8;

/// What to do about a file that is too large: only forests come near the limits.
pub(crate) const SMALLER: &str = "of a forest, max_depth, min_samples_leaf or fewer trees make a smaller one";

/// How deep the messages that are scanned lie in one another.
const NESTING_MAX: usize = 8;

/// Which message is scanned: what its fields mean depends on it.
#[derive(Clone, Copy, PartialEq)]
enum Message {
    Model,
    Graph,
    Node,
    Attribute,
    Tensor,
    /// An input or output of the graph, and what leads from it to its dimensions.
    Port,
    PortType,
    TensorType,
    Shape,
    Other,
}

#[derive(Default)]
struct Counts {
    nodes: usize,
    tensors: usize,
    ports: usize,
    dimensions: usize,
    attributes: usize,
    strings: usize,
    integers: usize,
}

fn refused<T>(reason: String) -> Result<T, LoadError> {
    Err(LoadError { reason })
}

/// Checks a file against the limits.
///
/// # Errors
/// When a limit is exceeded, or when the file is no protobuf, cut off, or has subgraphs or functions.
pub(crate) fn scan(bytes: &[u8]) -> Result<(), LoadError> {
    if bytes.len() > FILE_BYTES_MAX {
        return refused(format!("the file has {} bytes; {FILE_BYTES_MAX} are allowed: {SMALLER}", bytes.len()));
    }
    let mut counts = Counts::default();
    message(bytes, Message::Model, 0, &mut counts)
}

fn message(mut bytes: &[u8], kind: Message, depth: usize, counts: &mut Counts) -> Result<(), LoadError> {
    if depth > NESTING_MAX {
        return refused(format!("messages are nested deeper than {NESTING_MAX}"));
    }
    while !bytes.is_empty() {
        let key = varint(&mut bytes)?;
        let field = key >> 3;
        match key & 7 {
            0 => {
                varint(&mut bytes)?;
                if matches!((kind, field), (Message::Attribute, 8) | (Message::Tensor, 1 | 5 | 7)) {
                    count(&mut counts.integers, 1, INTEGERS_MAX, "integers")?;
                }
            }
            1 => drop(take(&mut bytes, 8)?),
            2 => {
                let length = usize::try_from(varint(&mut bytes)?).unwrap_or(usize::MAX);
                let content = take(&mut bytes, length)?;
                nested(content, kind, field, depth, counts)?;
            }
            5 => drop(take(&mut bytes, 4)?),
            other => return refused(format!("not an ONNX file: wire type {other}")),
        }
    }
    Ok(())
}

fn nested(content: &[u8], kind: Message, field: u64, depth: usize, counts: &mut Counts) -> Result<(), LoadError> {
    let mut into = |kind| message(content, kind, depth + 1, counts);
    match (kind, field) {
        (Message::Model, 7) => into(Message::Graph),
        (Message::Model, 8) => {
            into(Message::Other)?;
            count(&mut counts.attributes, 1, ATTRIBUTES_MAX, "operator sets, names and attributes")
        }
        (Message::Model, 20) => refused("training information is not supported".to_owned()),
        (Message::Model, 25) => refused("local functions are not supported".to_owned()),
        (Message::Graph, 1) => {
            into(Message::Node)?;
            count(&mut counts.nodes, 1, NODES_MAX, "nodes")
        }
        (Message::Graph, 5) | (Message::Attribute, 5) => {
            into(Message::Tensor)?;
            count(&mut counts.tensors, 1, TENSORS_MAX, "tensors")
        }
        (Message::Graph, 11 | 12) => {
            into(Message::Port)?;
            count(&mut counts.ports, 1, 2 * PORTS_MAX, "inputs and outputs")
        }
        (Message::Port, 2) => into(Message::PortType),
        (Message::PortType, 1) => into(Message::TensorType),
        (Message::TensorType, 2) => into(Message::Shape),
        (Message::Shape, 1) => {
            into(Message::Other)?;
            count(&mut counts.dimensions, 1, DIMENSIONS_MAX, "dimensions of inputs and outputs")
        }
        (Message::Graph, 15) => refused("sparse constants are not supported".to_owned()),
        (Message::Node, 5) => {
            into(Message::Attribute)?;
            count(&mut counts.attributes, 1, ATTRIBUTES_MAX, "operator sets, names and attributes")
        }
        (Message::Node, 4 | 7) | (Message::Attribute, 1) | (Message::Tensor, 8) | (Message::Port, 1) => name(content),
        (Message::Node, 1 | 2) => {
            name(content)?;
            count(&mut counts.attributes, 1, ATTRIBUTES_MAX, "operator sets, names and attributes")
        }
        (Message::Attribute, 6 | 11) => refused("subgraphs are not supported".to_owned()),
        (Message::Attribute, 10 | 14 | 15 | 22 | 23) => {
            refused("attributes that are lists of tensors, sparse tensors or types are not supported".to_owned())
        }
        (Message::Attribute, 9) | (Message::Tensor, 6 | 13) => count(&mut counts.strings, 1, STRINGS_MAX, "strings"),
        (Message::Attribute, 8) | (Message::Tensor, 1 | 5 | 7) => {
            // The last byte of each is the one without the highest bit.
            let integers = content.iter().filter(|byte| **byte < 0x80).count();
            count(&mut counts.integers, integers, INTEGERS_MAX, "integers")
        }
        _ => Ok(()),
    }
}

fn count(counter: &mut usize, by: usize, limit: usize, what: &str) -> Result<(), LoadError> {
    *counter = counter.saturating_add(by);
    if *counter <= limit {
        return Ok(());
    }
    let advice = if matches!(what, "strings" | "integers") { format!(": {SMALLER}") } else { String::new() };
    refused(format!("more than {limit} {what}{advice}"))
}

fn name(content: &[u8]) -> Result<(), LoadError> {
    if content.len() <= NAME_BYTES_MAX {
        return Ok(());
    }
    refused(format!("a name has {} bytes; {NAME_BYTES_MAX} are allowed: give it a shorter one", content.len()))
}

fn varint(bytes: &mut &[u8]) -> Result<u64, LoadError> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let [byte] = take(bytes, 1)? else { break };
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    refused("not an ONNX file: a number has more than 10 bytes".to_owned())
}

fn take<'a>(bytes: &mut &'a [u8], length: usize) -> Result<&'a [u8], LoadError> {
    match bytes.split_at_checked(length) {
        Some((taken, rest)) => {
            *bytes = rest;
            Ok(taken)
        }
        None => refused(format!("the file is cut off: {length} bytes are announced, {} are there", bytes.len())),
    }
}
