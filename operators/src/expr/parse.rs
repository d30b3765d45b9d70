//! From words to a tree, by how tightly operators bind.

use super::error::{ExprError, Place};
use super::function::Function;
use super::lexer::{Token, tokens};

/// How deep parts may lie in each other; each further term of a sum is a level too.
pub const DEPTH_MAX: usize = 128;
/// The most parts: operators, calls, names and values.
pub const PARTS_MAX: usize = 1000;

/// A part of an expression.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Part {
    pub(super) place: Place,
    pub(super) what: What,
    /// Levels of parts in it, itself included.
    height: usize,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum What {
    Integer(i64),
    Float(f64),
    Bool(bool),
    Text(String),
    /// A need, by its name: `wear`, `@rating`, `previous(wear)`.
    Name(String),
    Negate(Box<Part>),
    Not(Box<Part>),
    Binary(Binary, Box<Part>, Box<Part>),
    Call(Function, Vec<Part>),
    Element(Box<Part>, usize),
}

const TOO_DEEP: &str = "parts lie in each other more than 128 deep: split it into nodes";

impl What {
    /// The parts that it is made of.
    fn parts(&self) -> impl Iterator<Item = &Part> {
        let (first, second, more): (Option<&Part>, Option<&Part>, &[Part]) = match self {
            Self::Negate(of) | Self::Not(of) | Self::Element(of, _) => (Some(of), None, &[]),
            Self::Binary(_, left, right) => (Some(left), Some(right), &[]),
            Self::Call(_, arguments) => (None, None, arguments),
            _ => (None, None, &[]),
        };
        first.into_iter().chain(second).chain(more)
    }
}

/// An operator between two parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Binary {
    Or,
    And,
    Equal,
    NotEqual,
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
    Add,
    Subtract,
    Multiply,
    Divide,
    Remainder,
}

impl Binary {
    const ALL: [(&'static str, Self); 13] = [
        ("or", Self::Or),
        ("and", Self::And),
        ("==", Self::Equal),
        ("!=", Self::NotEqual),
        ("<", Self::Less),
        ("<=", Self::LessEqual),
        (">", Self::Greater),
        (">=", Self::GreaterEqual),
        ("+", Self::Add),
        ("-", Self::Subtract),
        ("*", Self::Multiply),
        ("/", Self::Divide),
        ("%", Self::Remainder),
    ];

    pub(super) fn sign(self) -> &'static str {
        Self::ALL.into_iter().find(|(_, of)| *of == self).map_or("", |(sign, _)| sign)
    }

    /// How tightly it binds: more is tighter.
    fn power(self) -> u8 {
        match self {
            Self::Or => 1,
            Self::And => 2,
            _ if self.compares() => COMPARISON,
            Self::Add | Self::Subtract => 5,
            _ => 6,
        }
    }

    pub(super) fn compares(self) -> bool {
        use Binary::{Equal, Greater, GreaterEqual, Less, LessEqual, NotEqual};
        matches!(self, Equal | NotEqual | Less | LessEqual | Greater | GreaterEqual)
    }
}

/// `not` binds looser than comparisons and tighter than `and`.
const NOT: u8 = 3;
const COMPARISON: u8 = 4;
const NEGATION: u8 = 7;

type Failed = (Place, String);

/// Reads an expression.
pub(super) fn parse(text: &str) -> Result<Part, ExprError> {
    let read = || {
        let mut parser = Parser { tokens: tokens(text)?, at: 0, depth: 0, parts: 0 };
        let part = parser.expression(0)?;
        match parser.next() {
            (Token::End, _) => Ok(part),
            (token, place) => Err(place.error(format!(
                "{} is too much here; an operator is missing before it, or a parenthesis",
                shown(&token)
            ))),
        }
    };
    read().map_err(|failed| ExprError::new(text, failed))
}

struct Parser {
    tokens: Vec<(Token, Place)>,
    at: usize,
    depth: usize,
    parts: usize,
}

impl Parser {
    fn peek(&self) -> &Token {
        &self.tokens[self.at].0
    }

    fn next(&mut self) -> (Token, Place) {
        let next = self.tokens[self.at].clone();
        self.at = (self.at + 1).min(self.tokens.len() - 1);
        next
    }

    fn is(&self, sign: &str) -> bool {
        matches!(self.peek(), Token::Sign(is) if *is == sign)
    }

    fn expect(&mut self, sign: &str, what: &str) -> Result<Place, Failed> {
        let (token, place) = self.next();
        match token {
            Token::Sign(is) if is == sign => Ok(place),
            other => Err(place.error(format!("{what}, not {}", shown(&other)))),
        }
    }

    fn part(&mut self, place: Place, what: What) -> Result<Part, Failed> {
        self.parts += 1;
        if self.parts > PARTS_MAX {
            return Err(place.error(format!("the expression has more than {PARTS_MAX} parts: split it into nodes")));
        }
        let height = 1 + what.parts().map(|part| part.height).max().unwrap_or(0);
        if height > DEPTH_MAX {
            return Err(place.error(TOO_DEEP));
        }
        Ok(Part { place, what, height })
    }

    /// An expression of operators that bind at least as tightly as `power`.
    fn expression(&mut self, power: u8) -> Result<Part, Failed> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            let place = self.tokens[self.at].1;
            return Err(place.error(TOO_DEEP));
        }
        let mut left = self.prefix()?;
        while let Token::Sign(sign) = *self.peek()
            && let Some((_, operator)) = Binary::ALL.into_iter().find(|(of, _)| *of == sign)
            && operator.power() >= power
        {
            self.next();
            let right = self.expression(operator.power() + 1)?;
            if operator.compares() && matches!(self.peek(), Token::Sign(next) if compares(next)) {
                let place = self.tokens[self.at].1;
                return Err(place.error("two comparisons in a row; write `a < b and b < c`"));
            }
            let place = left.place.to(right.place);
            left = self.part(place, What::Binary(operator, Box::new(left), Box::new(right)))?;
        }
        self.depth -= 1;
        Ok(left)
    }

    fn prefix(&mut self) -> Result<Part, Failed> {
        let (token, place) = self.next();
        let part = match token {
            Token::Sign("-") => {
                let of = self.expression(NEGATION)?;
                return self.part(place.to(of.place), What::Negate(Box::new(of)));
            }
            Token::Sign("not") => {
                let of = self.expression(NOT)?;
                return self.part(place.to(of.place), What::Not(Box::new(of)));
            }
            Token::Sign("(") => {
                let inner = self.expression(0)?;
                let end = self.expect(")", "a `)` must follow")?;
                Part { place: place.to(end), ..inner }
            }
            Token::Sign(word @ ("true" | "false")) => self.part(place, What::Bool(word == "true"))?,
            Token::Integer(value) => self.part(place, What::Integer(value))?,
            Token::Float(value) => self.part(place, What::Float(value))?,
            Token::Text(text) => self.part(place, What::Text(text))?,
            Token::Quoted(name) => self.part(place, What::Name(name))?,
            Token::Attribute(name) => self.part(place, What::Name(format!("@{name}")))?,
            Token::Name(name) if self.is("(") => self.call(&name, place)?,
            Token::Name(name) => self.part(place, What::Name(name))?,
            Token::End => return Err(place.error("a value must follow; the expression ends here")),
            other => return Err(place.error(format!("a value must stand here, not {}", shown(&other)))),
        };
        self.element(part)
    }

    /// The part, or an element of it: `spectrum[3]`.
    fn element(&mut self, mut part: Part) -> Result<Part, Failed> {
        while self.is("[") {
            self.next();
            let (token, at) = self.next();
            let Token::Integer(index) = token else {
                return Err(at.error(format!("an element's number from 0 must stand here, not {}", shown(&token))));
            };
            let end = self.expect("]", "a `]` must follow")?;
            let index = usize::try_from(index).unwrap_or(usize::MAX);
            part = self.part(part.place.to(end), What::Element(Box::new(part), index))?;
        }
        Ok(part)
    }

    fn call(&mut self, name: &str, place: Place) -> Result<Part, Failed> {
        self.next();
        if name == "previous" {
            let (token, at) = self.next();
            let (Token::Name(of) | Token::Quoted(of)) = token else {
                return Err(at.error(format!("the name of a stream must stand here, not {}", shown(&token))));
            };
            let end = self.expect(")", "a `)` must follow; what stands in before the first row is said in `needs`")?;
            return self.part(place.to(end), What::Name(format!("previous({of})")));
        }
        let function = Function::named(name).map_err(|problem| place.error(problem))?;
        let mut arguments = Vec::new();
        while !self.is(")") {
            arguments.push(self.expression(0)?);
            if !self.is(",") {
                break;
            }
            self.next();
        }
        let end = self.expect(")", "a `,` or `)` must follow")?;
        let (place, (least, most)) = (place.to(end), function.arguments());
        if arguments.len() < least || arguments.len() > most {
            let problem = format!("{}, not {} arguments", function.usage(), arguments.len());
            return Err(place.error(problem));
        }
        self.part(place, What::Call(function, arguments))
    }
}

fn compares(sign: &str) -> bool {
    Binary::ALL.into_iter().any(|(of, operator)| of == sign && operator.compares())
}

fn shown(token: &Token) -> String {
    match token {
        Token::Name(name) | Token::Quoted(name) => format!("`{name}`"),
        Token::Attribute(name) => format!("`@{name}`"),
        Token::Integer(value) => format!("`{value}`"),
        Token::Float(value) => format!("`{value}`"),
        Token::Text(text) => format!("the text \"{text}\""),
        Token::Sign(sign) => format!("`{sign}`"),
        Token::End => "the end".to_owned(),
    }
}
