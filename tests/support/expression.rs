//! Random expressions with what they must give, by an evaluator that is written to be obviously right: one row at a
//! time, one value at a time.

use std::rc::Rc;

use gristmill::ElementType;
use gristmill::words::Value;

use crate::interpreter::random::Random;

/// A value, or missing, or why the row failed.
pub type Result1 = Result<Option<Value>, String>;
/// A value for each of [`NEEDS`].
pub type Row = Vec<Option<Value>>;

/// A part of an expression: its text, and what it is for a row.
#[derive(Clone)]
pub struct Made {
    /// As an expression has it.
    pub text: String,
    /// What it is for a row.
    pub of: Rc<dyn Fn(&Row) -> Result1>,
}

/// What expressions read.
pub const NEEDS: [(&str, ElementType); 11] = [
    ("a", ElementType::F32),
    ("b.c", ElementType::F32),
    ("d", ElementType::F64),
    ("@e", ElementType::F64),
    ("i", ElementType::I64),
    ("j", ElementType::I64),
    ("p", ElementType::Bool),
    ("q", ElementType::Bool),
    ("s", ElementType::Str),
    ("t/u", ElementType::Str),
    ("v", ElementType::Vector(2)),
];

/// A way in which the evaluator here is wrong, to show that it would be found out.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Twist {
    /// Half is rounded to the even number.
    RoundHalfEven,
    /// `false and missing` is missing.
    StrictAnd,
    /// The branch that is not taken can fail.
    EagerIf,
    /// f32 is computed as f64.
    Wide,
}

/// Makes expressions of a seed.
pub struct Maker {
    /// What is drawn from.
    pub random: Random,
    /// In what the evaluator is wrong, if it is.
    pub twist: Option<Twist>,
}

fn f32_of(value: &Value) -> f32 {
    match value {
        Value::F32(value) => *value,
        other => panic!("{other:?} is no f32"),
    }
}

fn f64_of(value: &Value) -> f64 {
    match value {
        Value::F64(value) => *value,
        other => panic!("{other:?} is no f64"),
    }
}

fn i64_of(value: &Value) -> i64 {
    match value {
        Value::I64(value) => *value,
        other => panic!("{other:?} is no i64"),
    }
}

fn bool_of(value: &Value) -> bool {
    match value {
        Value::Bool(value) => *value,
        other => panic!("{other:?} is no bool"),
    }
}

/// A float, or missing when it is NaN.
fn float(element: ElementType, value: f64) -> Option<Value> {
    match element {
        ElementType::F32 => Some(Value::F32(value as f32)).filter(|_| !value.is_nan()),
        _ => Some(Value::F64(value)).filter(|_| !value.is_nan()),
    }
}

impl Maker {
    fn constant(text: impl Into<String>, value: Value) -> Made {
        Made { text: text.into(), of: Rc::new(move |_| Ok(Some(value.clone()))) }
    }

    /// `f` of parts that must all be there.
    fn strict(text: String, parts: Vec<Made>, f: impl Fn(&[Value]) -> Result1 + 'static) -> Made {
        let of = move |row: &Row| {
            let values = parts.iter().map(|part| (part.of)(row)).collect::<Result<Vec<_>, _>>()?;
            values.into_iter().collect::<Option<Vec<_>>>().map_or(Ok(None), |values| f(&values))
        };
        Made { text, of: Rc::new(of) }
    }

    fn need(&mut self, element: ElementType) -> Made {
        let places: Vec<usize> = (0..NEEDS.len()).filter(|place| NEEDS[*place].1 == element).collect();
        let place = *self.random.pick(&places);
        let name = NEEDS[place].0;
        let text = if name.contains('/') { format!("`{name}`") } else { name.to_owned() };
        Made { text, of: Rc::new(move |row| Ok(row[place].clone())) }
    }

    /// A part of a type, of so many levels at most.
    pub fn part(&mut self, element: ElementType, depth: usize) -> Made {
        if depth == 0 || self.random.percent(12) {
            return if self.random.percent(75) { self.need(element) } else { self.literal(element) };
        }
        match (element, self.random.below(5)) {
            (_, 0) => self.choice(element, depth - 1),
            (ElementType::F32 | ElementType::F64, 1) => self.function(element, depth - 1),
            (ElementType::F32 | ElementType::F64, 2) => self.cast(element, depth - 1),
            (ElementType::F32 | ElementType::F64, _) => self.arithmetic(element, depth - 1),
            (ElementType::I64, 1) => self.cast(element, depth - 1),
            (ElementType::I64, _) => self.whole(depth - 1),
            (ElementType::Bool, _) => self.truth(depth - 1),
            _ => self.choice(element, depth - 1),
        }
    }

    fn literal(&mut self, element: ElementType) -> Made {
        let whole = self.random.between(0, 9);
        let quarters = whole as f64 / 4.0;
        match element {
            ElementType::F32 => Self::constant(format!("f32({quarters:?})"), Value::F32(quarters as f32)),
            ElementType::F64 => Self::constant(format!("f64({quarters:?})"), Value::F64(quarters)),
            ElementType::I64 => Self::constant(format!("i64({whole})"), Value::I64(whole)),
            ElementType::Bool => Self::constant((whole > 4).to_string(), Value::Bool(whole > 4)),
            _ => Self::constant(format!("'{}'", whole % 2), Value::Str(format!("{}", whole % 2).into())),
        }
    }

    /// `if` or `coalesce`.
    fn choice(&mut self, element: ElementType, depth: usize) -> Made {
        let (a, b) = (self.part(element, depth), self.part(element, depth));
        if self.random.percent(40) {
            let text = format!("coalesce({}, {})", a.text, b.text);
            let of = move |row: &Row| match (a.of)(row)? {
                Some(value) => Ok(Some(value)),
                None => (b.of)(row),
            };
            return Made { text, of: Rc::new(of) };
        }
        let condition = self.part(ElementType::Bool, depth);
        let text = format!("if({}, {}, {})", condition.text, a.text, b.text);
        let eager = self.twist == Some(Twist::EagerIf);
        let of = move |row: &Row| {
            let condition = (condition.of)(row)?;
            if eager {
                (a.of)(row)?;
                (b.of)(row)?;
            }
            match condition.as_ref().map(bool_of) {
                Some(true) => (a.of)(row),
                Some(false) => (b.of)(row),
                None => Ok(None),
            }
        };
        Made { text, of: Rc::new(of) }
    }

    /// A float of two, at times with a number that is written out, or an f32 beside an f64.
    fn arithmetic(&mut self, element: ElementType, depth: usize) -> Made {
        let mixed = element == ElementType::F64 && self.random.percent(20);
        let left = self.part(if mixed { ElementType::F32 } else { element }, depth);
        let right = if !mixed && self.random.percent(30) {
            let number = self.random.between(-3, 6);
            let (text, number) = match number % 2 {
                0 => (number.to_string(), number as f64),
                _ => (format!("{:?}", number as f64 / 2.0), number as f64 / 2.0),
            };
            // Only beside something that is not written out too does it take the type of that.
            Self::constant(
                text,
                if element == ElementType::F32 { Value::F32(number as f32) } else { Value::F64(number) },
            )
        } else {
            self.part(element, depth)
        };
        let operator = *self.random.pick(&["+", "-", "*", "/", "%", "min", "max", "pow"]);
        let text = match operator {
            "min" | "max" | "pow" => format!("{operator}({}, {})", left.text, right.text),
            sign => format!("({} {sign} {})", left.text, right.text),
        };
        let wide = self.twist == Some(Twist::Wide);
        Self::strict(text, vec![left, right], move |values| {
            if element == ElementType::F32 && !wide {
                let (a, b) = (f32_of(&values[0]), f32_of(&values[1]));
                let result = match operator {
                    "+" => a + b,
                    "-" => a - b,
                    "*" => a * b,
                    "/" => a / b,
                    "%" => a % b,
                    "min" => {
                        if b < a {
                            b
                        } else {
                            a
                        }
                    }
                    "max" => {
                        if b > a {
                            b
                        } else {
                            a
                        }
                    }
                    _ => libm::powf(a, b),
                };
                return Ok(Some(Value::F32(result)).filter(|_| !result.is_nan()));
            }
            let (a, b) = (values[0].as_f64().expect("a number"), values[1].as_f64().expect("a number"));
            Ok(float(
                element,
                match operator {
                    "+" => a + b,
                    "-" => a - b,
                    "*" => a * b,
                    "/" => a / b,
                    "%" => a % b,
                    "min" => {
                        if b < a {
                            b
                        } else {
                            a
                        }
                    }
                    "max" => {
                        if b > a {
                            b
                        } else {
                            a
                        }
                    }
                    _ => libm::pow(a, b),
                },
            ))
        })
    }

    /// A float of one.
    fn function(&mut self, element: ElementType, depth: usize) -> Made {
        if element == ElementType::F32 && self.random.percent(15) {
            let index = self.random.below(2);
            let place = NEEDS.len() - 1;
            let of = move |row: &Row| {
                Ok(row[place].as_ref().and_then(|value| match value {
                    Value::Vector(values) => float(ElementType::F32, f64::from(values[index])),
                    other => panic!("{other:?} is no vector"),
                }))
            };
            return Made { text: format!("v[{index}]"), of: Rc::new(of) };
        }
        let names = ["-", "abs", "sqrt", "exp", "log", "sin", "cos", "tanh", "floor", "ceil", "round"];
        let name = *self.random.pick(&names);
        let part = self.part(element, depth);
        let even = self.twist == Some(Twist::RoundHalfEven);
        Self::strict(format!("{name}({})", part.text), vec![part], move |values| {
            if element == ElementType::F32 {
                let a = f32_of(&values[0]);
                let result = match name {
                    "-" => -a,
                    "abs" => a.abs(),
                    "sqrt" => a.sqrt(),
                    "exp" => libm::expf(a),
                    "log" => libm::logf(a),
                    "sin" => libm::sinf(a),
                    "cos" => libm::cosf(a),
                    "tanh" => libm::tanhf(a),
                    "floor" => libm::floorf(a),
                    "ceil" => libm::ceilf(a),
                    _ if even => libm::rintf(a),
                    _ => libm::roundf(a),
                };
                return Ok(Some(Value::F32(result)).filter(|_| !result.is_nan()));
            }
            let a = f64_of(&values[0]);
            Ok(float(
                element,
                match name {
                    "-" => -a,
                    "abs" => a.abs(),
                    "sqrt" => a.sqrt(),
                    "exp" => libm::exp(a),
                    "log" => libm::log(a),
                    "sin" => libm::sin(a),
                    "cos" => libm::cos(a),
                    "tanh" => libm::tanh(a),
                    "floor" => libm::floor(a),
                    "ceil" => libm::ceil(a),
                    _ if even => libm::rint(a),
                    _ => libm::round(a),
                },
            ))
        })
    }

    fn cast(&mut self, to: ElementType, depth: usize) -> Made {
        let types = [ElementType::F32, ElementType::F64, ElementType::I64, ElementType::Bool];
        let from = *self.random.pick(&types);
        let part = self.part(from, depth);
        let text = format!("{to}({})", part.text);
        let whole = text.clone();
        Self::strict(text, vec![part], move |values| match (&values[0], to) {
            (Value::F32(value), ElementType::F32) => Ok(Some(Value::F32(*value))),
            (value, ElementType::F32 | ElementType::F64) => Ok(match value {
                // Not by way of f64: an i64 would be rounded twice.
                Value::I64(value) if to == ElementType::F32 => Some(Value::F32(*value as f32)),
                value => float(to, value.as_f64().expect("a number")),
            }),
            (Value::F32(_) | Value::F64(_), _) => {
                let value = values[0].as_f64().expect("a float").trunc();
                match value.abs() < 9_223_372_036_854_775_808.0 {
                    true => Ok(Some(Value::I64(value as i64))),
                    false => Err(format!("the value is beyond i64 in `{whole}`")),
                }
            }
            (Value::Bool(value), _) => Ok(Some(Value::I64(i64::from(*value)))),
            (value, _) => Ok(Some(value.clone())),
        })
    }

    fn whole(&mut self, depth: usize) -> Made {
        let left = self.part(ElementType::I64, depth);
        let name = *self.random.pick(&["+", "-", "*", "/", "%", "min", "max", "abs", "neg"]);
        if name == "abs" || name == "neg" {
            let text = if name == "abs" { format!("abs({})", left.text) } else { format!("(-{})", left.text) };
            return Self::strict(text, vec![left], move |values| {
                let value = i64_of(&values[0]);
                Ok(Some(Value::I64(if name == "abs" { value.abs() } else { -value })))
            });
        }
        let right = self.part(ElementType::I64, depth);
        let text = match name {
            "min" | "max" => format!("{name}({}, {})", left.text, right.text),
            sign => format!("({} {sign} {})", left.text, right.text),
        };
        let whole = text.clone();
        Self::strict(text, vec![left, right], move |values| {
            let (a, b) = (i128::from(i64_of(&values[0])), i128::from(i64_of(&values[1])));
            let result = match name {
                "+" => a + b,
                "-" => a - b,
                "*" => a * b,
                "min" => a.min(b),
                "max" => a.max(b),
                _ if b == 0 => return Err(format!("an i64 is divided by zero in `{whole}`")),
                "/" => a / b,
                _ => a % b,
            };
            match i64::try_from(result) {
                Ok(result) if result != i64::MIN => Ok(Some(Value::I64(result))),
                _ => Err(format!("the result is beyond i64 in `{whole}`")),
            }
        })
    }

    fn truth(&mut self, depth: usize) -> Made {
        match self.random.below(4) {
            0 => self.logic(depth),
            1 => {
                let part = self.part(ElementType::Bool, depth);
                Self::strict(format!("(not {})", part.text), vec![part], |values| {
                    Ok(Some(Value::Bool(!bool_of(&values[0]))))
                })
            }
            2 => {
                let elements = NEEDS.map(|(_, element)| element);
                let element = *self.random.pick(&elements[..10]);
                let part = self.part(element, depth);
                let text = format!("is_missing({})", part.text);
                Made { text, of: Rc::new(move |row| Ok(Some(Value::Bool((part.of)(row)?.is_none())))) }
            }
            _ => self.comparison(depth),
        }
    }

    fn logic(&mut self, depth: usize) -> Made {
        let (a, b) = (self.part(ElementType::Bool, depth), self.part(ElementType::Bool, depth));
        let (word, decides) = *self.random.pick(&[("and", false), ("or", true)]);
        let text = format!("({} {word} {})", a.text, b.text);
        let strict = self.twist == Some(Twist::StrictAnd);
        let of = move |row: &Row| {
            let left = (a.of)(row)?.as_ref().map(bool_of);
            if left == Some(decides) && !strict {
                return Ok(Some(Value::Bool(decides)));
            }
            let right = (b.of)(row)?.as_ref().map(bool_of);
            Ok(match (left, right) {
                (None, Some(right)) if right == decides && !strict => Some(Value::Bool(decides)),
                (Some(left), Some(right)) => Some(Value::Bool(if decides { left || right } else { left && right })),
                _ => None,
            })
        };
        Made { text, of: Rc::new(of) }
    }

    fn comparison(&mut self, depth: usize) -> Made {
        let elements = NEEDS.map(|(_, element)| element);
        let element = *self.random.pick(&elements[..10]);
        let signs = ["==", "!=", "<", "<=", ">", ">="];
        let ordered = !matches!(element, ElementType::Bool | ElementType::Str);
        let sign = *self.random.pick(if ordered { &signs } else { &signs[..2] });
        let (a, b) = (self.part(element, depth), self.part(element, depth));
        Self::strict(format!("({} {sign} {})", a.text, b.text), vec![a, b], move |values| {
            let ordering = match (&values[0], &values[1]) {
                (Value::I64(a), Value::I64(b)) => a.cmp(b),
                (Value::Bool(a), Value::Bool(b)) => a.cmp(b),
                (Value::Str(a), Value::Str(b)) => a.cmp(b),
                (a, b) => a.as_f64().partial_cmp(&b.as_f64()).expect("neither is missing"),
            };
            Ok(Some(Value::Bool(match sign {
                "==" => ordering.is_eq(),
                "!=" => ordering.is_ne(),
                "<" => ordering.is_lt(),
                "<=" => ordering.is_le(),
                ">" => ordering.is_gt(),
                _ => ordering.is_ge(),
            })))
        })
    }

    /// A value of a need, missing at times.
    pub fn value(&mut self, element: ElementType) -> Option<Value> {
        const FLOATS: [f64; 9] = [0.0, -0.0, 1.0, 2.5, -1.5, 0.1, 1e30, f64::INFINITY, f64::NEG_INFINITY];
        const WHOLES: [i64; 8] = [0, 0, 1, -1, 2, 7, i64::MAX, i64::MIN + 1];
        if self.random.percent(15) {
            return None;
        }
        let random = &mut self.random;
        let mut any = || match random.percent(50) {
            true => random.between(-800, 800) as f64 / 64.0,
            false => *random.pick(&FLOATS),
        };
        Some(match element {
            ElementType::F32 => Value::F32(any() as f32),
            ElementType::F64 => Value::F64(any()),
            ElementType::I64 => Value::I64(*random.pick(&WHOLES)),
            ElementType::Bool => Value::Bool(random.percent(50)),
            ElementType::Str => Value::Str(format!("{}", random.below(2)).into()),
            ElementType::Vector(_) => Value::Vector([any() as f32, if any() > 5.0 { f32::NAN } else { 1.0 }].into()),
        })
    }
}
