use gristmill::traits::{Operator, Outputs, Rows};
use gristmill::words::{Column, ElementType, Time, Value};

use super::eval::BLOCK_ROWS;
use super::{DEPTH_MAX, Expr, LENGTH_MAX, PARTS_MAX, expr};

fn needs() -> Vec<(String, ElementType)> {
    [
        ("wear", ElementType::F32),
        ("vibration.rms", ElementType::F64),
        ("count", ElementType::I64),
        ("on", ElementType::Bool),
        ("label", ElementType::Str),
        ("spectrum", ElementType::Vector(3)),
        ("line/2:x", ElementType::F32),
        ("@rating", ElementType::F64),
        ("previous(wear)", ElementType::F32),
    ]
    .map(|(name, element)| (name.to_owned(), element))
    .to_vec()
}

fn wired(text: &str, provides: ElementType) -> Expr {
    let mut made = expr(text);
    made.wire(&needs(), &[("out".to_owned(), provides)]);
    made
}

/// The values for rows that are all the same: wear 0.5, vibration.rms 2, count 7, on, label "ok", spectrum 1 2 3,
/// line/2:x 4, @rating 10, previous(wear) 0.25.
fn values(text: &str, provides: ElementType, rows: usize) -> Result<Column, String> {
    let made = wired(text, provides);
    made.check(&[], &[])?;
    let columns = [
        Column::F32(vec![0.5; rows]),
        Column::F64(vec![2.0; rows]),
        Column::I64(vec![7; rows]),
        Column::Bool(vec![Some(true); rows]),
        Column::Str(vec![Some("ok".into()); rows]),
        Column::Vector { width: 3, values: [1.0, 2.0, 3.0].repeat(rows) },
        Column::F32(vec![4.0; rows]),
        Column::F64(vec![10.0; rows]),
        Column::F32(vec![0.25; rows]),
    ];
    let columns: Vec<_> = columns.iter().map(Column::as_ref).collect();
    let (times, mut out) = (vec![Time(0); rows], [Column::missing(provides, rows)]);
    let mut to = Outputs::new(&mut out, 0..rows);
    made.run(&mut (), &Rows::new(&times, &columns), &mut to).map_err(|error| error.0)?;
    let [out] = out;
    Ok(out)
}

fn value(text: &str, provides: ElementType) -> Result<Option<Value>, String> {
    values(text, provides, 1).map(|column| column.as_ref().value(0))
}

#[test]
fn operators_bind_as_in_arithmetic_and_words_looser() {
    for (text, expected) in [
        ("1.0 + 2 * 3 - 4 / 8", 6.5),
        ("-2.0 * -3", 6.0),
        ("(1.0 + 2) * 3", 9.0),
        ("2.0 - 1 - 1", 0.0),
        ("7.5 % 2", 1.5),
        ("1e3 + 0.5e-1", 1000.05),
        ("vibration.rms * 3", 6.0),
        ("wear + vibration.rms", 2.5),
        ("`line/2:x` + @rating - previous(wear)", 13.75),
        ("spectrum[2] + 0.0", 3.0),
        ("pow(2, 10)", 1024.0),
        ("clamp(12, 0.0, 5)", 5.0),
        ("min(3.0, 2, 1) + max(1, 2.5)", 3.5),
        ("if(on and not (count == 8), 1.0, 2)", 1.0),
        ("round(2.5) + round(-2.5) + floor(1.7) + ceil(1.2)", 3.0),
        ("abs(-1.5) + sqrt(4) + exp(0) + log(1) + sin(0) + cos(0) + tanh(0)", 5.5),
        ("f64(on) + f64(count) / 2", 4.5),
    ] {
        assert_eq!(value(text, ElementType::F64), Ok(Some(Value::F64(expected))), "{text}");
    }
    for (text, expected) in [
        ("not on == false", true),
        ("false and false or true", true),
        ("label == 'ok' and label != \"bad\"", true),
        ("1 < 2 == true", false),
        ("is_missing(count)", false),
        ("count >= 7 and count <= 7 and count > 6 and count < 8", true),
    ] {
        let got = value(text, ElementType::Bool);
        if text.contains("2 ==") {
            assert!(got.unwrap_err().contains("two comparisons in a row"), "{text}");
        } else {
            assert_eq!(got, Ok(Some(Value::Bool(expected))), "{text}");
        }
    }
    for (text, expected) in [("count / 2 + count % 4", 6), ("i64(-2.9)", -2), ("-count + i64(on)", -6)] {
        assert_eq!(value(text, ElementType::I64), Ok(Some(Value::I64(expected))), "{text}");
    }
    assert_eq!(value("0.1 * 3", ElementType::F32), Ok(Some(Value::F32(0.1 * 3.0))));
    assert_eq!(value("if(count > 3, 'many', label)", ElementType::Str), Ok(Some(Value::Str("many".into()))));
}

#[test]
fn what_fails_fails_its_row_only_where_it_is_wanted() {
    for (text, expected) in [
        ("count / (count - 7)", Err("an i64 is divided by zero in `count / (count - 7)`".to_owned())),
        ("count * 9223372036854775807", Err("the result is beyond i64 in `count * 9223372036854775807`".to_owned())),
        ("i64(vibration.rms / 0)", Err("the value is beyond i64 in `i64(vibration.rms / 0)`".to_owned())),
        ("if(count == 7, 0, count / (count - 7))", Ok(Some(Value::I64(0)))),
        ("coalesce(count, count / 0)", Ok(Some(Value::I64(7)))),
        ("i64(log(-1))", Ok(None)),
    ] {
        assert_eq!(value(text, ElementType::I64), expected, "{text}");
    }
    assert_eq!(value("count != 7 and count / 0 > 1", ElementType::Bool), Ok(Some(Value::Bool(false))));
    assert_eq!(value("count == 7 or count / 0 > 1", ElementType::Bool), Ok(Some(Value::Bool(true))));
    assert_eq!(value("vibration.rms / 0", ElementType::F64), Ok(Some(Value::F64(f64::INFINITY))));
    for (text, can_fail) in [("vibration.rms / 0", false), ("f64(count) / 0", false), ("f64(count / 2)", true)] {
        assert_eq!(wired(text, ElementType::F64).can_fail(), can_fail, "{text}");
    }
}

/// Bug: an expression with a part that fails for all rows, such as `1 / 0`, panicked in `if`, `and`, `or` and `coalesce`.
/// Cause: that part had a fault for each row of a full block, and the others values for as many rows as there were. Fix: as
/// many faults as rows.
#[test]
fn a_part_that_fails_for_all_rows_fails_those_that_want_it() {
    let zero = |part: &str| Err(format!("an i64 is divided by zero in `{part}`"));
    let cases = [
        ("if(on, 1 / 0, count)", ElementType::I64, zero("1 / 0")),
        ("if(not on, 1 / 0, count)", ElementType::I64, Ok(Value::I64(7))),
        ("coalesce(count, i64(1e30))", ElementType::I64, Ok(Value::I64(7))),
        ("coalesce(count, 9223372036854775807 + 1)", ElementType::I64, Ok(Value::I64(7))),
        ("count != 7 and 100 / 0 > count", ElementType::Bool, Ok(Value::Bool(false))),
        ("count == 7 or 100 / 0 > count", ElementType::Bool, Ok(Value::Bool(true))),
        ("count == 7 and 100 / 0 > count", ElementType::Bool, zero("100 / 0")),
    ];
    // Less than a block, and a block and the beginning of the next.
    for rows in [1, 5, BLOCK_ROWS + 3] {
        for (text, provides, expected) in &cases {
            match (values(text, *provides, rows), expected) {
                (Ok(column), Ok(value)) => {
                    let all = (0..rows).all(|row| column.as_ref().value(row).as_ref() == Some(value));
                    assert!(all, "{text}: {column:?}");
                }
                (Err(got), Err(reason)) => assert_eq!(&got, reason, "{text}"),
                (got, _) => panic!("{text} gives {got:?}, not {expected:?}"),
            }
        }
    }
}

/// Each error with the text that its carets stand under.
#[test]
fn errors_say_where_and_what_to_do() {
    for (text, under, says) in [
        ("wear > 0.8 and temprature < 90", "temprature", "is no need of the node; it needs `wear`, `vibration.rms`"),
        ("wear > 0.8 and vibration.rsm < 90", "vibration.rsm", "did you mean `vibration.rms`?"),
        ("raiting > 1", "raiting", "did you mean @rating?"),
        ("line > 1", "line", "`line/2:x` in backticks"),
        ("wear + count > 1", "wear + count", "not `wear`, which is f32, and `count`, which is i64; write f64(…)"),
        ("wear and on", "wear", "`and` takes a bool, and this is f32"),
        ("label < 'x'", "label < 'x'", "`<` compares numbers, and these are str"),
        ("label == 1", "label == 1", "`label`, which is str, and `1`, which is a whole number"),
        ("count > 0.5", "0.5", "no whole number"),
        ("squrt(wear) > 1", "squrt", "did you mean `sqrt`?"),
        ("min(wear) > 1", "min(wear)", "min(a, b, …) takes two or more, not 1 arguments"),
        ("wear = 1", "=", "write `==`"),
        ("wear > 1 && on", "&&", "write `and`"),
        ("wear ** 2 > 1", "**", "write `pow(a, b)`"),
        ("0 < wear < 1", "<", "write `a < b and b < c`"),
        ("(wear > 1", "", "a `)` must follow, not the end"),
        ("wear >", "", "the expression ends here"),
        ("wear > 1 on", "on", "`on` is too much here"),
        ("wear > 1.", "1.", "digits must follow the point: write 1.0"),
        ("wear > 1x", "1x", "no number"),
        ("label == 'ok", "'ok", "the closing ' is missing"),
        ("spectrum[3] > 1", "spectrum[3]", "counted from 0 to 2"),
        ("spectrum == spectrum", "spectrum == spectrum", "these are f32[3]"),
        ("coalesce(spectrum, spectrum)[0] > 1", "spectrum", "takes no vectors"),
        ("wear[0] > 1", "wear", "only a vector has elements"),
        ("wear + 1", "wear + 1", "gives f32, but `out` is bool; write `out: f32` in provides"),
        ("wear > 99999999999999999999", "99999999999999999999", "beyond 64 bits"),
        ("§ > 1", "§", "stands in backticks"),
        ("sqrt(count) > 1", "count", "write f64(…) around it"),
        ("@ > 1", "@", "no name follows"),
        ("", "", "the expression ends here"),
    ] {
        let error = wired(text, ElementType::Bool).check(&[], &[]).expect_err(text);
        assert!(error.contains(says), "{text}: {error}");
        let lines: Vec<&str> = error.lines().collect();
        let (from, carets) = (lines[2].chars().take_while(|c| *c == ' ').count(), lines[2].trim().len());
        let marked: String = lines[1].chars().skip(from).take(carets).collect();
        assert_eq!(marked.trim(), under, "{error}");
    }
}

#[test]
fn limits_are_named() {
    let deep = |levels: usize| format!("{}1{} > 0", "(-".repeat(levels), ")".repeat(levels));
    let sums = |terms: usize| vec!["1"; terms].join(" + ") + " > 0";
    let flat = |sums: usize| vec!["max(1, 2, 3, 4, 5, 6, 7, 8)"; sums].join(" + ") + " > 0";
    for (text, says) in [
        (deep(DEPTH_MAX), "more than 128 deep"),
        (sums(DEPTH_MAX + 1), "more than 128 deep"),
        (flat(PARTS_MAX / 9), "more than 1000 parts"),
        ("1".repeat(LENGTH_MAX + 1), "the limit is 4096"),
    ] {
        let error = wired(&text, ElementType::Bool).check(&[], &[]).expect_err("it is too much");
        assert!(error.contains(says), "{error}");
        assert!(error.len() < 600, "{error}");
    }
    for text in [deep(60), sums(100), flat(90)] {
        wired(&text, ElementType::Bool).check(&[], &[]).expect("it is within the limits");
    }
}
