//! What does an expression cost beside the same closure in Rust, by the rows of a call?
//!
//! `cargo bench -p gristmill-benches --bench expressions`. Both run in turns, so that the ratio holds on a busy machine.
#![allow(clippy::disallowed_methods, clippy::print_stdout)]

use std::hint::black_box;
use std::time::Instant;

use gristmill::Stream;
use gristmill::topology::{Node, Work, provide};
use gristmill::traits::{AnyOperator, Outputs, Rows};
use gristmill::words::{Column, KeyIndex, Time};
use gristmill_operators::expr::expr;

const A: Stream<f32> = Stream::new("a");
const B: Stream<f32> = Stream::new("b");
const ROWS: [usize; 5] = [1, 10, 64, 640, 6400];
const REPEATS: usize = 41;
/// Rows that each repeat computes, whatever the size of a call.
const ROWS_REPEAT: usize = 64_000;

fn operator(node: &Node) -> &dyn AnyOperator {
    match &node.work {
        Work::Operator(operator) => operator.as_ref(),
        other => panic!("{other:?} is no operator"),
    }
}

/// Nanoseconds that a row takes.
fn time(operator: &dyn AnyOperator, columns: &[Column], times: &[Time], out: &mut [Column]) -> f64 {
    let mut table = operator.table(false);
    let needs: Vec<_> = columns.iter().map(Column::as_ref).collect();
    let (rows, calls) = (Rows::new(times, &needs), ROWS_REPEAT / times.len());
    let start = Instant::now();
    for _ in 0..calls {
        let mut out = Outputs::new(out, 0..times.len());
        let result = operator.run(table.as_mut(), KeyIndex(0), black_box(&rows), &mut out);
        black_box(result).unwrap_or_else(|error| panic!("{error}"));
    }
    start.elapsed().as_nanos() as f64 / (calls * times.len()) as f64
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn report(text: &str, closure: &Node) {
    let out = closure.provides[0].1;
    let expression = match out {
        gristmill::ElementType::Bool => provide(Stream::<bool>::new("out")).needs((A, B)).by(expr(text)),
        _ => provide(Stream::<f32>::new("out")).needs((A, B)).by(expr(text)),
    };
    for rows in ROWS {
        let column = |salt: usize| (0..rows).map(|row| ((row * 37 + salt) % 101) as f32).collect();
        let columns = [Column::F32(column(1)), Column::F32(column(50))];
        let times: Vec<Time> = (0..rows as i64).map(Time::from_millis).collect();
        let [mut by_closure, mut by_expression] = [0; 2].map(|_| [Column::missing(out, rows)]);
        let pairs: Vec<(f64, f64)> = (0..REPEATS)
            .map(|_| {
                let closure = time(operator(closure), &columns, &times, &mut by_closure);
                (closure, time(operator(&expression), &columns, &times, &mut by_expression))
            })
            .collect();
        assert!(by_closure[0].as_ref().same(&by_expression[0].as_ref()), "`{text}` is not what the closure computes");
        let ratio = median(pairs.iter().map(|(closure, expression)| closure / expression).collect());
        let [closure, expression] =
            [0, 1].map(|which| median(pairs.iter().map(|pair| [pair.0, pair.1][which]).collect()));
        println!(
            "{rows:>5} rows: closure {closure:>6.2} ns a row, expression {expression:>6.2} ns, closure / expression {ratio:>5.2}: {text}"
        );
    }
}

fn main() {
    let alarm = provide(Stream::<bool>::new("out")).needs((A, B)).by(|a: f32, b: f32| a / 50.0 > 0.8 && b < 90.0);
    report("a / 50 > 0.8 and b < 90", &alarm);
    let sum = provide(Stream::<f32>::new("out")).needs((A, B)).by(|a: f32, b: f32| (a - b) * 0.5 + a * b - 3.0);
    report("(a - b) * 0.5 + a * b - 3", &sum);
    let chosen = provide(Stream::<f32>::new("out"))
        .needs((A, B))
        .by(|a: f32, b: f32| if a > b { (a * a + b * b).sqrt() } else { a.min(b).max(10.0) });
    report("if(a > b, sqrt(a * a + b * b), max(min(a, b), 10))", &chosen);
}
