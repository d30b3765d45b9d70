//! The types of an expression: which need each name is, and that what meets fits together.

use gristmill::topology::nearest;
use gristmill::words::ElementType;

use super::error::{ExprError, Place};
use super::function::Function;
use super::parse::{Binary, Part, What};
use super::typed::{Arithmetic, BOOL, Comparison, F32, F64, I64, Math, Op, STR, Type, Typed};

type Failed = (Place, String);

/// Needs or provided streams: names and types.
pub(super) type Wires<'w> = &'w [(String, ElementType)];

/// The expression with its types, for a node that reads `needs` and provides one stream.
pub(super) fn check(text: &str, part: &Part, needs: Wires<'_>, provides: Wires<'_>) -> Result<Typed, ExprError> {
    let checker = Checker { text, needs };
    let whole = Place { start: 0, end: text.len() };
    let typed = || {
        let [(name, wanted)] = provides else {
            let problem = format!("an expression provides one stream, not {}: write a node for each", provides.len());
            return Err(whole.error(problem));
        };
        let mut typed = checker.part(part)?;
        if matches!(typed.of, Type::Of(ElementType::Vector(_))) {
            return Err(part.place.error(format!("gives {}; take an element of it: value[0]", typed.of)));
        }
        let wanted = Type::Of(*wanted);
        if typed.of.is_written() {
            typed.settle(checker.settled(&typed, wanted)?);
        }
        match (typed.of, wanted) {
            (is, wanted) if is == wanted => Ok(typed),
            (is, F64) if is == F32 => Ok(cast(typed, F64)),
            (is, wanted) => {
                let advice = match wanted.is_number() && is.is_number() {
                    true => format!("write {wanted}(…) around it, or `{name}: {is}` in provides"),
                    false => format!("write `{name}: {is}` in provides"),
                };
                Err(part.place.error(format!("gives {is}, but `{name}` is {wanted}; {advice}")))
            }
        }
    };
    typed().map_err(|failed| ExprError::new(text, failed))
}

fn cast(of: Typed, to: Type) -> Typed {
    Typed::new(of.place, to, Op::Cast(Box::new(of)))
}

struct Checker<'c> {
    text: &'c str,
    needs: Wires<'c>,
}

impl Checker<'_> {
    fn part(&self, part: &Part) -> Result<Typed, Failed> {
        let place = part.place;
        let typed = |of, what| Ok(Typed::new(place, of, what));
        match &part.what {
            What::Integer(value) => typed(Type::Whole, Op::Integer(*value)),
            What::Float(value) => typed(Type::Point, Op::Float(*value)),
            What::Bool(value) => typed(BOOL, Op::Bool(*value)),
            What::Text(text) => typed(STR, Op::Text(text.into())),
            What::Name(name) => self.name(name, place),
            What::Negate(inner) => {
                let inner = self.number(inner, "`-`")?;
                typed(inner.of, Op::Negate(Box::new(inner)))
            }
            What::Not(inner) => typed(BOOL, Op::Not(Box::new(self.bool(inner, "`not`")?))),
            What::Binary(operator, left, right) => self.binary(*operator, place, left, right),
            What::Call(function, arguments) => self.call(*function, place, arguments),
            What::Element(of, index) => {
                let of = self.part(of)?;
                let Type::Of(ElementType::Vector(width)) = of.of else {
                    return Err(of.place.error(format!("only a vector has elements, and this is {}", of.of)));
                };
                if *index >= usize::from(width) {
                    let problem = format!("the element {index} of {}; they are counted from 0 to {}", of.of, width - 1);
                    return Err(place.error(problem));
                }
                typed(F32, Op::Element(Box::new(of), *index))
            }
        }
    }

    fn name(&self, name: &str, place: Place) -> Result<Typed, Failed> {
        if let Some(need) = self.needs.iter().position(|(known, _)| known == name) {
            return Ok(Typed::new(place, Type::Of(self.needs[need].1), Op::Need(need)));
        }
        let names = || self.needs.iter().map(|(name, _)| name.as_str());
        Err(place.error(match nearest(name, names()) {
            Some(nearest) => format!("`{name}` is no need of the node; did you mean {}?", written(nearest)),
            None => {
                let names: Vec<_> = names().take(NAMES_LISTED_MAX).map(written).collect();
                let more = match self.needs.len() - names.len() {
                    0 => String::new(),
                    more => format!(" and {more} more"),
                };
                format!("`{name}` is no need of the node; it needs {}{more}", names.join(", "))
            }
        }))
    }

    fn number(&self, part: &Part, who: &str) -> Result<Typed, Failed> {
        let typed = self.part(part)?;
        if !typed.of.is_number() {
            return Err(part.place.error(format!("{who} takes numbers, and this is {}", typed.of)));
        }
        Ok(typed)
    }

    /// Anything but a vector.
    fn whole(&self, part: &Part, who: &str) -> Result<Typed, Failed> {
        let typed = self.part(part)?;
        if let Type::Of(ElementType::Vector(_)) = typed.of {
            return Err(part.place.error(format!("{who} takes no vectors, and this is {}", typed.of)));
        }
        Ok(typed)
    }

    fn bool(&self, part: &Part, who: &str) -> Result<Typed, Failed> {
        let typed = self.part(part)?;
        if typed.of != BOOL {
            return Err(part.place.error(format!("{who} takes a bool, and this is {}", typed.of)));
        }
        Ok(typed)
    }

    /// A float of either width; whole numbers that are written out become floats.
    fn float(&self, part: &Part, who: &str) -> Result<Typed, Failed> {
        let mut typed = self.number(part, who)?;
        if typed.of == I64 {
            return Err(part.place.error(format!("{who} takes floats, and this is i64; write f64(…) around it")));
        }
        typed.settle(Type::Point);
        Ok(typed)
    }

    /// Two parts that meet, in one type.
    fn meet(&self, left: Typed, right: Typed, who: &str) -> Result<([Typed; 2], Type), Failed> {
        let (mut left, mut right) = (left, right);
        match (left.of, right.of) {
            (a, b) if a == b => {}
            (a, b) if a.is_written() && b.is_written() => {
                left.settle(Type::Point);
                right.settle(Type::Point);
            }
            (a, b) if a.is_written() && b.is_number() => left.settle(self.settled(&left, b)?),
            (a, b) if a.is_number() && b.is_written() => right.settle(self.settled(&right, a)?),
            (a, b) if a.is_float() && b.is_float() => match a == F32 {
                true => left = cast(left, F64),
                false => right = cast(right, F64),
            },
            (a, b) => {
                let advice = match a.is_number() && b.is_number() {
                    true => "; write f64(…) around the i64",
                    false => "",
                };
                let (l, r) = (self.shown(&left), self.shown(&right));
                let problem =
                    format!("{who} takes two of one type, not {l}, which is {a}, and {r}, which is {b}{advice}");
                return Err(left.place.to(right.place).error(problem));
            }
        }
        let of = left.of;
        Ok(([left, right], of))
    }

    /// The type that something written out has next to `of`.
    fn settled(&self, part: &Typed, of: Type) -> Result<Type, Failed> {
        match (part.of, of) {
            (Type::Point, I64) => Err(part.place.error(format!(
                "{} is no whole number, as it must be next to i64; write f64(…) around what is i64",
                self.shown(part)
            ))),
            (_, of) if of.is_number() => Ok(of),
            (Type::Whole, _) => Ok(I64),
            _ => Ok(F64),
        }
    }

    fn shown(&self, part: &Typed) -> String {
        let text = &self.text[part.place.start..part.place.end];
        match text.char_indices().nth(SHOWN_MAX) {
            Some((at, _)) => format!("`{}…`", &text[..at]),
            None => format!("`{text}`"),
        }
    }

    fn binary(&self, operator: Binary, place: Place, left: &Part, right: &Part) -> Result<Typed, Failed> {
        let who = format!("`{}`", operator.sign());
        let arithmetic = match operator {
            Binary::And | Binary::Or => {
                let two = Box::new([self.bool(left, &who)?, self.bool(right, &who)?]);
                return Ok(Typed::new(place, BOOL, Op::Logic(operator == Binary::And, two)));
            }
            Binary::Add => Arithmetic::Add,
            Binary::Subtract => Arithmetic::Subtract,
            Binary::Multiply => Arithmetic::Multiply,
            Binary::Divide => Arithmetic::Divide,
            Binary::Remainder => Arithmetic::Remainder,
            comparison => return self.compare(comparison, place, left, right),
        };
        let (two, of) = self.meet(self.number(left, &who)?, self.number(right, &who)?, &who)?;
        Ok(Typed::new(place, of, Op::Arithmetic(arithmetic, Box::new(two))))
    }

    fn compare(&self, operator: Binary, place: Place, left: &Part, right: &Part) -> Result<Typed, Failed> {
        let who = format!("`{}`", operator.sign());
        let comparison = match operator {
            Binary::Equal => Comparison::Equal,
            Binary::NotEqual => Comparison::NotEqual,
            Binary::Less => Comparison::Less,
            Binary::LessEqual => Comparison::LessEqual,
            Binary::Greater => Comparison::Greater,
            _ => Comparison::GreaterEqual,
        };
        let (mut two, of) = self.meet(self.part(left)?, self.part(right)?, &who)?;
        if of.is_written() {
            let of = self.settled(&two[0], of).map(|_| if of == Type::Whole { I64 } else { F64 })?;
            two.iter_mut().for_each(|part| part.settle(of));
        }
        let order = !matches!(comparison, Comparison::Equal | Comparison::NotEqual);
        let of = two[0].of;
        if matches!(of, Type::Of(ElementType::Vector(_))) || (order && !of.is_number()) {
            let takes = if order { "numbers" } else { "numbers, bools or texts" };
            return Err(place.error(format!("{who} compares {takes}, and these are {of}")));
        }
        Ok(Typed::new(place, BOOL, Op::Compare(comparison, Box::new(two))))
    }

    fn call(&self, function: Function, place: Place, arguments: &[Part]) -> Result<Typed, Failed> {
        let who = format!("`{}`", function.name());
        let math = match function {
            Function::Sqrt => Math::Sqrt,
            Function::Exp => Math::Exp,
            Function::Log => Math::Log,
            Function::Sin => Math::Sin,
            Function::Cos => Math::Cos,
            Function::Tanh => Math::Tanh,
            Function::Floor => Math::Floor,
            Function::Ceil => Math::Ceil,
            Function::Round => Math::Round,
            other => return self.other(other, place, arguments, &who),
        };
        let of = self.float(&arguments[0], &who)?;
        Ok(Typed::new(place, of.of, Op::Math(math, Box::new(of))))
    }

    fn other(&self, function: Function, place: Place, parts: &[Part], who: &str) -> Result<Typed, Failed> {
        match function {
            Function::If => {
                let condition = self.bool(&parts[0], "the condition of `if`")?;
                let ([then, other], of) = self.meet(self.whole(&parts[1], who)?, self.whole(&parts[2], who)?, who)?;
                Ok(Typed::new(place, of, Op::If(Box::new([condition, then, other]))))
            }
            Function::Min => self.fold(Arithmetic::Min, place, parts, who),
            Function::Max => self.fold(Arithmetic::Max, place, parts, who),
            Function::Clamp => {
                let low = self.fold(Arithmetic::Max, place, &parts[..2], who)?;
                let (two, of) = self.meet(low, self.number(&parts[2], who)?, who)?;
                Ok(Typed::new(place, of, Op::Arithmetic(Arithmetic::Min, Box::new(two))))
            }
            Function::Pow => {
                let (two, of) = self.meet(self.float(&parts[0], who)?, self.float(&parts[1], who)?, who)?;
                Ok(Typed::new(place, of, Op::Arithmetic(Arithmetic::Pow, Box::new(two))))
            }
            Function::Abs => {
                let of = self.number(&parts[0], who)?;
                Ok(Typed::new(place, of.of, Op::Abs(Box::new(of))))
            }
            Function::Coalesce => {
                let mut all = self.whole(&parts[0], who)?;
                for part in &parts[1..] {
                    let (two, of) = self.meet(all, self.whole(part, who)?, who)?;
                    all = Typed::new(place, of, Op::Coalesce(Box::new(two)));
                }
                Ok(all)
            }
            Function::IsMissing => {
                let mut of = self.part(&parts[0])?;
                of.settle(self.settled(&of, BOOL)?);
                Ok(Typed::new(place, BOOL, Op::IsMissing(Box::new(of))))
            }
            Function::F32 => self.cast(F32, place, &parts[0], who),
            Function::F64 => self.cast(F64, place, &parts[0], who),
            _ => self.cast(I64, place, &parts[0], who),
        }
    }

    fn fold(&self, what: Arithmetic, place: Place, parts: &[Part], who: &str) -> Result<Typed, Failed> {
        let mut all = self.number(&parts[0], who)?;
        for part in &parts[1..] {
            let (two, of) = self.meet(all, self.number(part, who)?, who)?;
            all = Typed::new(place, of, Op::Arithmetic(what, Box::new(two)));
        }
        Ok(all)
    }

    fn cast(&self, to: Type, place: Place, part: &Part, who: &str) -> Result<Typed, Failed> {
        let mut of = self.part(part)?;
        if !of.of.is_number() && of.of != BOOL {
            return Err(part.place.error(format!("{who} takes a number or a bool, and this is {}", of.of)));
        }
        if of.of.is_written() {
            // A number that is written out is of the type at once, unless it must be cut to a whole one.
            let at_once = to != I64 || of.of == Type::Whole;
            of.settle(if at_once { to } else { F64 });
        }
        Ok(if of.of == to { of } else { Typed::new(place, to, Op::Cast(Box::new(of))) })
    }
}

/// A need's name as an expression has it.
fn written(name: &str) -> String {
    let plain = |name: &str| {
        let mut bytes = name.bytes();
        bytes.next().is_some_and(|first| first.is_ascii_alphabetic())
            && bytes.all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.'))
            && !name.ends_with('.')
    };
    match (name.strip_prefix('@'), name.strip_prefix("previous(")) {
        (Some(attribute), _) if !plain(attribute) => format!("@`{attribute}`"),
        (None, None) if !plain(name) => format!("`{name}` in backticks"),
        (None, None) => format!("`{name}`"),
        _ => name.to_owned(),
    }
}

/// Most needs that an error lists.
const NAMES_LISTED_MAX: usize = 12;
/// Characters of a part that an error shows.
const SHOWN_MAX: usize = 40;
