//! Small ONNX files, written by hand: a weighted sum of the inputs and a bias.

/// The weight of an input, by its number: each is told from the others by what it adds.
pub fn weight(input: usize) -> f32 {
    10_f32.powi(input as i32)
}

/// A file whose inputs have these names, a column each: it gives `y`, the sum of each times its [`weight`], and `bias`.
pub fn weighted_sum(inputs: &[&str], bias: f32) -> Vec<u8> {
    let weights: Vec<u8> = (0..inputs.len()).flat_map(|input| weight(input).to_le_bytes()).collect();
    let graph = [
        node("Concat", inputs, "x", &[int_attribute("axis", 1)]),
        node("Gemm", &["x", "w", "b"], "y", &[]),
        tensor("w", &[inputs.len() as u64, 1], &weights),
        tensor("b", &[1], &bias.to_le_bytes()),
        inputs.iter().flat_map(|name| bytes(11, &port(name))).collect(),
        bytes(12, &port("y")),
    ];
    let opset = number(2, 17);
    [number(1, 8), bytes(8, &opset), bytes(7, &graph.concat())].concat()
}

fn node(operator: &str, inputs: &[&str], output: &str, attributes: &[Vec<u8>]) -> Vec<u8> {
    let mut node: Vec<u8> = inputs.iter().flat_map(|name| bytes(1, name.as_bytes())).collect();
    node.extend(bytes(2, output.as_bytes()));
    node.extend(bytes(4, operator.as_bytes()));
    node.extend(attributes.iter().flat_map(|attribute| bytes(5, attribute)));
    bytes(1, &node)
}

fn int_attribute(name: &str, value: u64) -> Vec<u8> {
    const INT: u64 = 2;
    [bytes(1, name.as_bytes()), number(3, value), number(20, INT)].concat()
}

/// A constant of floats.
fn tensor(name: &str, sizes: &[u64], raw: &[u8]) -> Vec<u8> {
    let mut tensor: Vec<u8> = sizes.iter().flat_map(|size| number(1, *size)).collect();
    tensor.extend([number(2, FLOAT), bytes(8, name.as_bytes()), bytes(9, raw)].concat());
    bytes(5, &tensor)
}

/// An input or output of `[rows, 1]`.
fn port(name: &str) -> Vec<u8> {
    let shape = [bytes(1, &bytes(2, b"rows")), bytes(1, &number(1, 1))].concat();
    let of = [number(1, FLOAT), bytes(2, &shape)].concat();
    [bytes(1, name.as_bytes()), bytes(2, &bytes(1, &of))].concat()
}

/// The number of floats among ONNX's types.
const FLOAT: u64 = 1;

/// A field of protobuf that is a number.
fn number(field: u64, value: u64) -> Vec<u8> {
    [varint(field << 3), varint(value)].concat()
}

/// A field of protobuf that has a length.
fn bytes(field: u64, value: &[u8]) -> Vec<u8> {
    [varint(field << 3 | 2), varint(value.len() as u64), value.to_vec()].concat()
}

fn varint(mut value: u64) -> Vec<u8> {
    let mut written = Vec::new();
    while value >= 0x80 {
        written.push(value as u8 | 0x80);
        value >>= 7;
    }
    written.push(value as u8);
    written
}
