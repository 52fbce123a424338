//! Tokens to a tree, by precedence: OR binds weakest, then AND, then NOT, then comparisons.

use std::collections::BTreeMap;

use super::build::{self, Built, FUNCTIONS, comparator};
use super::{Condition, ExpressionError, ExpressionKind, Operand, Substitutions};
use crate::expression::cursor::{Kind, Parsed, Token};
use crate::expression::{Cursor, Flaw, Path};
use crate::value::Value;

/// A condition with its own names and values, all of which must be used.
pub fn parse(
    text: &str,
    names: &BTreeMap<String, String>,
    values: &BTreeMap<String, Value>,
) -> Result<Condition, ExpressionError> {
    let mut substitutions = Substitutions::new(names, values);
    substitutions.check()?;
    let condition = parse_with(ExpressionKind::Condition, text, &mut substitutions)?;
    substitutions.finish()?;
    Ok(condition)
}

/// A condition among other expressions of one request. `kind` names the parameter in errors. The
/// substitutions have been checked; the caller finishes them after its last expression.
pub fn parse_with(
    kind: ExpressionKind,
    text: &str,
    substitutions: &mut Substitutions<'_>,
) -> Result<Condition, ExpressionError> {
    let mut parser = Parser { cursor: Cursor::new(kind, text, substitutions)?, group: None };
    let condition = parser.or()?;
    parser.cursor.finish(condition)
}

struct Parser<'a, 's, 'v> {
    cursor: Cursor<'a, 's, 'v>,
    /// The first token inside the last closed parentheses, and the one after them.
    group: Option<(usize, usize)>,
}

/// Functions of update expressions only.
const UPDATE_FUNCTIONS: [&str; 2] = ["if_not_exists", "list_append"];

impl Parser<'_, '_, '_> {
    fn or(&mut self) -> Parsed<Condition> {
        let mut left = self.and()?;
        while self.cursor.keyword("OR") {
            self.cursor.operator()?;
            left = Condition::Or(Box::new(left), Box::new(self.and()?));
        }
        Ok(left)
    }

    fn and(&mut self) -> Parsed<Condition> {
        let mut left = self.not()?;
        while self.cursor.keyword("AND") {
            self.cursor.operator()?;
            left = Condition::And(Box::new(left), Box::new(self.not()?));
        }
        Ok(left)
    }

    fn deeper<T>(&mut self, inner: impl FnOnce(&mut Self) -> Parsed<T>) -> Parsed<T> {
        self.cursor.descend()?;
        let parsed = inner(self);
        self.cursor.ascend();
        parsed
    }

    fn not(&mut self) -> Parsed<Condition> {
        if self.cursor.keyword("NOT") {
            self.cursor.operator()?;
            return Ok(Condition::Not(Box::new(self.deeper(Self::not)?)));
        }
        if !self.cursor.is_symbol("(") || self.operand_in_parentheses() {
            let predicate = self.predicate();
            self.cursor.predicate += 1;
            return predicate;
        }
        self.cursor.next();
        let start = self.cursor.at;
        let inner = self.deeper(Self::or)?;
        // All that stood between these two was itself in parentheses.
        let redundant = self.group == Some((start + 1, self.cursor.at));
        self.cursor.expect(")")?;
        if redundant {
            self.cursor.redundant_parentheses();
        }
        self.group = Some((start, self.cursor.at));
        Ok(inner)
    }

    /// Whether the parenthesis ahead encloses one operand, as in `(a) = :v`, and not a condition.
    fn operand_in_parentheses(&self) -> bool {
        let next = self.cursor.after_parentheses();
        is_compared(next) || matches!(next.text, "." | "[")
    }

    fn predicate(&mut self) -> Parsed<Condition> {
        if let Some(condition) = self.function()? {
            return Ok(condition);
        }
        let left = self.operand()?;
        if self.cursor.keyword("BETWEEN") {
            return self.between(left);
        }
        if self.cursor.keyword("IN") {
            return self.in_list(left);
        }
        let symbol = self.cursor.peek().text;
        let Some(comparator) = comparator(symbol) else { return Err(self.cursor.syntax()) };
        self.cursor.operator()?;
        self.cursor.next();
        let right = self.operand()?;
        Ok(self.checked(build::compare(symbol, comparator, left, right)))
    }

    /// The condition; where there is a mistake in it, one that is never used.
    fn checked(&mut self, built: Built<Condition>) -> Condition {
        built.unwrap_or_else(|(flaw, reason)| {
            self.cursor.flaw(flaw, reason);
            Condition::Exists(Path(Vec::new()))
        })
    }

    fn between(&mut self, value: Operand) -> Parsed<Condition> {
        self.cursor.operator()?;
        let low = self.operand()?;
        if !self.cursor.keyword("AND") {
            return Err(self.cursor.syntax());
        }
        let high = self.operand()?;
        Ok(self.checked(build::between(value, low, high)))
    }

    fn in_list(&mut self, value: Operand) -> Parsed<Condition> {
        self.cursor.operator()?;
        self.cursor.expect("(")?;
        let list = self.operands()?;
        Ok(self.checked(build::in_list(value, list)))
    }

    /// A condition that is a function; `size` is an operand and not one.
    fn function(&mut self) -> Parsed<Option<Condition>> {
        let name = self.cursor.peek().text;
        if !self.cursor.is_call() || self.cursor.is_operator(name) {
            return Ok(None);
        }
        if name == "size" {
            return self.size_alone();
        }
        let condition = self.call(name)?;
        // What is compared is an operand, and this function cannot be one.
        if is_compared(self.cursor.peek()) {
            self.cursor.misused_function(name);
            self.rest_of_comparison()?;
        }
        Ok(Some(condition))
    }

    /// `size(path)` is an operand; as a condition of its own it is misused.
    fn size_alone(&mut self) -> Parsed<Option<Condition>> {
        self.cursor.at += 1;
        let next = self.cursor.after_parentheses();
        self.cursor.at -= 1;
        if is_compared(next) {
            return Ok(None);
        }
        let operand = self.operand()?;
        self.cursor.misused_function("size");
        Ok(Some(Condition::Contains(operand, Operand::Value(Value::Null))))
    }

    /// Reads over the right side of a comparison that cannot be.
    fn rest_of_comparison(&mut self) -> Parsed<()> {
        let nothing = Operand::Value(Value::Null);
        if self.cursor.keyword("BETWEEN") {
            self.between(nothing)?;
        } else if self.cursor.keyword("IN") {
            self.in_list(nothing)?;
        } else {
            self.cursor.next();
            self.operand()?;
        }
        Ok(())
    }

    /// A function other than `size`, known or not.
    fn call(&mut self, name: &str) -> Parsed<Condition> {
        self.cursor.operator()?;
        self.cursor.at += 2;
        let operands = self.operands()?;
        let unknown = if UPDATE_FUNCTIONS.contains(&name) {
            format!("The function is not allowed in a condition expression; function: {name}")
        } else if !FUNCTIONS.contains(&name) {
            format!("Invalid function name; function: {name}")
        } else {
            return Ok(self.checked(build::call(name, operands)));
        };
        Ok(self.checked(Err((Flaw::UnknownFunction, unknown))))
    }

    fn operand(&mut self) -> Parsed<Operand> {
        if self.cursor.symbol("(") {
            if self.cursor.is_symbol("(") {
                self.cursor.redundant_parentheses();
            }
            let operand = self.deeper(Self::operand)?;
            self.cursor.expect(")")?;
            return match operand {
                Operand::Path(path) => self.cursor.path_from(path.0).map(Operand::Path),
                other => Ok(other),
            };
        }
        let token = self.cursor.peek();
        match token.kind {
            Kind::Value => self.cursor.value().map(Operand::Value),
            Kind::Word if self.cursor.is_call() && !self.cursor.is_operator(token.text) => {
                if token.text == "size" {
                    return self.size();
                }
                self.call(token.text)?;
                self.cursor.misused_function(token.text);
                Ok(Operand::Value(Value::Null))
            }
            Kind::Word | Kind::Name => self.cursor.path().map(Operand::Path),
            _ => Err(self.cursor.syntax()),
        }
    }

    /// A function's operands and the parenthesis that closes them.
    fn operands(&mut self) -> Parsed<Vec<Operand>> {
        let mut operands = vec![self.deeper(Self::operand)?];
        while self.cursor.symbol(",") {
            operands.push(self.deeper(Self::operand)?);
        }
        self.cursor.expect(")")?;
        Ok(operands)
    }

    /// `size(path)`
    fn size(&mut self) -> Parsed<Operand> {
        self.cursor.operator()?;
        self.cursor.at += 2;
        let operands = self.operands()?;
        Ok(build::size_of(operands).unwrap_or_else(|(flaw, reason)| {
            self.cursor.flaw(flaw, reason);
            Operand::Value(Value::Null)
        }))
    }
}

/// Whether what stands before the token is compared with something.
fn is_compared(token: Token<'_>) -> bool {
    comparator(token.text).is_some()
        || ["BETWEEN", "IN"].iter().any(|word| token.text.eq_ignore_ascii_case(word))
}
