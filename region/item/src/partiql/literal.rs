//! Literals: `'text'`, `1.5`, `true`, `null`, `[list]`, `<<set>>`, `{'map': ..}`.

use std::collections::{BTreeMap, BTreeSet};

use super::error::{Parsed, StatementError, refused};
use super::lexer::Token;
use super::parser::Parser;
use crate::number::Number;
use crate::value::Value;

/// Where a literal stands in a value, as errors show it: `root`, `root.x`, `root[1]`.
const ROOT: &str = "root";

impl Parser<'_> {
    /// Whether a literal or a parameter is ahead.
    pub(super) fn is_literal(&self) -> bool {
        match self.peek() {
            Token::Text(_) | Token::Number(_) | Token::Parameter => true,
            Token::Symbol(symbol) => matches!(*symbol, "[" | "{" | "<<" | "-" | "+"),
            Token::Word(_) => ["TRUE", "FALSE", "NULL"].iter().any(|word| self.is_word(0, word)),
            Token::Quoted(_) | Token::End => false,
        }
    }

    /// A literal or a parameter.
    pub(super) fn literal(&mut self) -> Parsed<Value> {
        if *self.peek() == Token::Parameter {
            self.next();
            return self.parameter();
        }
        self.whole()
    }

    /// A literal that is not inside of another.
    fn whole(&mut self) -> Parsed<Value> {
        let value = self.member(ROOT)?;
        value.check()?;
        Ok(value)
    }

    /// The item of INSERT: parameters may stand for attributes, but not for what is inside of them.
    pub(super) fn item(&mut self) -> Parsed<BTreeMap<String, Value>> {
        if !self.is_symbol(0, "{") {
            return refused(
                "Unsupported format in item expression. Please use struct format {...} to express \
                 item values for insert statement.",
            );
        }
        self.pairs(ROOT, |parser, _| {
            if *parser.peek() == Token::Parameter {
                parser.next();
                return parser.parameter();
            }
            parser.whole()
        })
    }

    /// A literal; `under` is where it stands.
    fn member(&mut self, under: &str) -> Parsed<Value> {
        let at = self.at;
        match self.next() {
            Token::Text(text) => Ok(Value::S(text)),
            Token::Number(digits) => number(&digits, false, under).map(Value::N),
            Token::Symbol(sign @ ("-" | "+")) => {
                let mut minus = sign == "-";
                loop {
                    match self.next() {
                        Token::Symbol("-") => minus = !minus,
                        Token::Symbol("+") => {}
                        Token::Number(digits) => {
                            return number(&digits, minus, under).map(Value::N);
                        }
                        _ => return self.unexpected(),
                    }
                }
            }
            Token::Word(word) if word.eq_ignore_ascii_case("true") => Ok(Value::Bool(true)),
            Token::Word(word) if word.eq_ignore_ascii_case("false") => Ok(Value::Bool(false)),
            Token::Word(word) if word.eq_ignore_ascii_case("null") => Ok(Value::Null),
            Token::Symbol("[") => self.deeper(|parser| parser.list(under)).map(Value::L),
            Token::Symbol("<<") => self.deeper(|parser| parser.set(under)),
            Token::Symbol("{") => {
                self.at = at;
                let members =
                    |parser: &mut Self, name: &str| parser.member(&format!("{under}.{name}"));
                self.deeper(|parser| parser.pairs(under, members)).map(Value::M)
            }
            Token::Parameter => {
                self.refused_at(at, format!("Unsupported data type: Parameter under key {under}"))
            }
            Token::Word(name) | Token::Quoted(name) => {
                self.refused_at(at, format!("Unsupported data type: {name} under key {under}"))
            }
            Token::Symbol(_) | Token::End => self.unexpected(),
        }
    }

    fn list(&mut self, under: &str) -> Parsed<Vec<Value>> {
        let mut list = Vec::new();
        if self.symbol("]") {
            return Ok(list);
        }
        loop {
            list.push(self.member(&format!("{under}[{}]", list.len()))?);
            if !self.symbol(",") {
                self.expect("]")?;
                return Ok(list);
            }
        }
    }

    /// `{'name': value, ..}`
    fn pairs(
        &mut self,
        under: &str,
        mut value: impl FnMut(&mut Self, &str) -> Parsed<Value>,
    ) -> Parsed<BTreeMap<String, Value>> {
        self.expect("{")?;
        let mut map = BTreeMap::new();
        if self.symbol("}") {
            return Ok(map);
        }
        loop {
            let name = match self.next() {
                Token::Text(name) | Token::Quoted(name) => name,
                _ => return self.unexpected(),
            };
            self.expect(":")?;
            let value = value(self, &name)?;
            if map.contains_key(&name) {
                return refused(format!("Duplicate keys in tuple. Key: {name} under {under}"));
            }
            map.insert(name, value);
            if !self.symbol(",") {
                self.expect("}")?;
                return Ok(map);
            }
        }
    }

    /// A set of strings or of numbers; the opening signs have been read.
    fn set(&mut self, under: &str) -> Parsed<Value> {
        if self.symbol(">>") {
            return refused("Empty bags are not supported");
        }
        let (mut texts, mut numbers, mut shown) = (BTreeSet::new(), BTreeSet::new(), Vec::new());
        loop {
            let start = self.at;
            match self.member(under)? {
                Value::S(text) => {
                    shown.push(text.clone());
                    texts.insert(text);
                }
                Value::N(number) => {
                    shown.push(self.written(start));
                    numbers.insert(number);
                }
                _ => {
                    return refused(
                        "Unsupported data type in Bag. DynamoDB only supports either numbers or \
                         strings in bags",
                    );
                }
            }
            if !self.symbol(",") {
                self.expect(">>")?;
                break;
            }
        }
        let all = shown.len();
        let shown = shown.join(", ");
        let collection = format!(
            "One or more parameter values were invalid: Input collection [{shown}] contains duplicates"
        );
        match (texts.len(), numbers.len()) {
            (0, count) if count == all => Ok(Value::Ns(numbers)),
            (count, 0) if count == all => Ok(Value::Ss(texts)),
            (0, _) => refused(format!("{collection}! under {under}")),
            (_, 0) => refused(format!("{collection}.")),
            _ => refused(
                "Unsupported data type in Bag. DynamoDB only supports either numbers or strings in bags",
            ),
        }
    }

    /// The tokens since `start`, as they were written.
    fn written(&self, start: usize) -> String {
        let tokens = (start..self.at).map(|at| match self.token(at) {
            Token::Number(digits) => digits.clone(),
            Token::Symbol(sign) => (*sign).to_owned(),
            _ => String::new(),
        });
        tokens.collect()
    }
}

/// A number's digits with its sign. An exponent or scale that 32 bits do not hold cannot be read at all;
/// other numbers break the rules of numbers.
fn number(digits: &str, minus: bool, under: &str) -> Parsed<Number> {
    let (mantissa, power) = digits.split_once(['e', 'E']).unwrap_or((digits, "0"));
    let fraction = mantissa.split_once('.').map_or(0, |(_, fraction)| fraction.len()) as i64;
    let scale = power.parse::<i32>().ok().map(|power| fraction - i64::from(power));
    if scale.is_none_or(|scale| i32::try_from(scale).is_err()) {
        return Err(StatementError::NotWellFormed(""));
    }
    let text = if minus { format!("-{digits}") } else { digits.to_owned() };
    text.parse().map_err(|error| StatementError::Number { error, under: under.to_owned() })
}
