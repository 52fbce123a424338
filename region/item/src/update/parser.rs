//! Sections of actions, in any order, each at most once.

use super::{Action, Dialect, SetOperand, SetValue, Update};
use crate::condition::Substitutions;
use crate::expression::cursor::{Kind, Parsed, UPDATE_WORDS};
use crate::expression::{Cursor, ExpressionError, ExpressionKind, Flaw, Path};
use crate::value::Value;

/// An update among other expressions of one request. The substitutions have been checked; the caller
/// finishes them after its last expression.
pub fn parse_update(
    text: &str,
    substitutions: &mut Substitutions<'_>,
) -> Result<Update, ExpressionError> {
    let mut parser = Parser { cursor: Cursor::new(ExpressionKind::Update, text, substitutions)? };
    let actions = parser.sections()?;
    parser.cursor.check_paths(actions.iter().map(Action::path));
    parser.cursor.finish(Update { actions, dialect: Dialect::UpdateExpression })
}

struct Parser<'a, 's, 'v> {
    cursor: Cursor<'a, 's, 'v>,
}

/// Functions of conditions only.
const CONDITION_FUNCTIONS: [&str; 6] = [
    "attribute_exists",
    "attribute_not_exists",
    "attribute_type",
    "begins_with",
    "contains",
    "size",
];

impl Parser<'_, '_, '_> {
    fn sections(&mut self) -> Parsed<Vec<Action>> {
        let mut actions = Vec::new();
        let mut seen = Vec::new();
        loop {
            let section = UPDATE_WORDS.iter().find(|word| self.cursor.keyword(word));
            let Some(section) = section else { return Err(self.cursor.syntax()) };
            if seen.contains(section) {
                self.cursor.flaw(
                    Flaw::RepeatedSection,
                    format!(
                        "The \"{section}\" section can only be used once in an update expression;"
                    ),
                );
            }
            seen.push(section);
            actions.push(self.action(section)?);
            while self.cursor.symbol(",") {
                actions.push(self.action(section)?);
            }
            if self.cursor.peek().kind == Kind::End {
                return Ok(actions);
            }
        }
    }

    fn action(&mut self, section: &str) -> Parsed<Action> {
        let path = self.cursor.path()?;
        Ok(match section {
            "SET" => {
                self.cursor.expect("=")?;
                Action::Set(path, self.set_value()?)
            }
            "REMOVE" => Action::Remove(path),
            "ADD" => Action::Add(path, self.member_value("ADD")?),
            _ => Action::Delete(path, self.member_value("DELETE")?),
        })
    }

    /// What ADD or DELETE is given: a set, for ADD also a number.
    fn member_value(&mut self, operator: &str) -> Parsed<Value> {
        let value = self.cursor.value()?;
        let wrong = match &value {
            Value::Ss(_) | Value::Ns(_) | Value::Bs(_) => None,
            Value::N(_) if operator == "ADD" => None,
            Value::N(_) => Some("NUMBER"),
            Value::S(_) => Some("STRING"),
            Value::B(_) => Some("BINARY"),
            Value::Bool(_) => Some("BOOLEAN"),
            Value::Null => Some("NULL"),
            Value::L(_) => Some("LIST"),
            Value::M(_) => Some("MAP"),
        };
        if let Some(kind) = wrong {
            self.cursor.flaw(
                Flaw::ActionOperand,
                format!(
                    "Incorrect operand type for operator or function; operator: {operator}, \
                     operand type: {kind}"
                ),
            );
        }
        Ok(value)
    }

    fn deeper<T>(&mut self, inner: impl FnOnce(&mut Self) -> Parsed<T>) -> Parsed<T> {
        self.cursor.descend()?;
        let parsed = inner(self);
        self.cursor.ascend();
        parsed
    }

    /// One operand, or two with `+` or `-` between them; in parentheses or not.
    fn set_value(&mut self) -> Parsed<SetValue> {
        let around_all = self.cursor.is_symbol("(")
            && !matches!(self.cursor.after_parentheses().text, "+" | "-");
        if around_all {
            self.cursor.next();
            if self.cursor.is_symbol("(")
                && !matches!(self.cursor.after_parentheses().text, "+" | "-")
            {
                self.cursor.redundant_parentheses();
            }
            let value = self.deeper(Self::set_value)?;
            self.cursor.expect(")")?;
            return Ok(value);
        }
        let left = self.operand()?;
        for sign in ["+", "-"] {
            if !self.cursor.symbol(sign) {
                continue;
            }
            self.cursor.operator()?;
            let right = self.operand()?;
            for operand in [&left, &right] {
                match operand {
                    SetOperand::Value(Value::N(_)) | SetOperand::Path(_) => {}
                    SetOperand::Value(value) => self.cursor.wrong_type(sign, value.type_name()),
                    SetOperand::ListAppend(..) => self.cursor.misused_function("list_append"),
                    SetOperand::IfNotExists(..) => {}
                }
            }
            return Ok(match sign {
                "+" => SetValue::Plus(left, right),
                _ => SetValue::Minus(left, right),
            });
        }
        Ok(SetValue::Is(left))
    }

    fn operand(&mut self) -> Parsed<SetOperand> {
        if self.cursor.symbol("(") {
            if self.cursor.is_symbol("(") {
                self.cursor.redundant_parentheses();
            }
            let operand = self.deeper(Self::operand)?;
            self.cursor.expect(")")?;
            return Ok(operand);
        }
        let token = self.cursor.peek();
        match token.kind {
            Kind::Value => self.cursor.value().map(SetOperand::Value),
            Kind::Word if self.cursor.is_call() && !self.cursor.is_operator(token.text) => {
                self.call(token.text)
            }
            Kind::Word | Kind::Name => self.cursor.path().map(SetOperand::Path),
            _ => Err(self.cursor.syntax()),
        }
    }

    /// A function. What is wrong with it becomes a flaw, and the operand that comes back then is never used.
    fn call(&mut self, name: &str) -> Parsed<SetOperand> {
        self.cursor.operator()?;
        self.cursor.at += 2;
        let mut operands = vec![self.deeper(Self::operand)?];
        while self.cursor.symbol(",") {
            operands.push(self.deeper(Self::operand)?);
        }
        self.cursor.expect(")")?;
        if CONDITION_FUNCTIONS.contains(&name) {
            self.cursor.flaw(
                Flaw::UnknownFunction,
                format!("The function is not allowed in an update expression; function: {name}"),
            );
        } else if !["if_not_exists", "list_append"].contains(&name) {
            self.cursor
                .flaw(Flaw::UnknownFunction, format!("Invalid function name; function: {name}"));
        } else if operands.iter().any(|operand| matches!(operand, SetOperand::ListAppend(..))) {
            // Only the whole right-hand side can be a joined list.
            self.cursor.misused_function("list_append");
        }
        let [first, second] = match <[SetOperand; 2]>::try_from(operands) {
            Ok(operands) => operands,
            Err(operands) => {
                self.cursor.wrong_count(name, operands.len());
                return Ok(SetOperand::Path(Path(Vec::new())));
            }
        };
        if name == "list_append" {
            for operand in [&first, &second] {
                match operand {
                    SetOperand::Value(Value::L(_)) => {}
                    SetOperand::Value(value) => self.cursor.wrong_type(name, value.type_name()),
                    _ => {}
                }
            }
            return Ok(SetOperand::ListAppend(Box::new(first), Box::new(second)));
        }
        match first {
            SetOperand::Path(path) => Ok(SetOperand::IfNotExists(path, Box::new(second))),
            _ => {
                self.cursor.needs_path(name);
                Ok(SetOperand::Path(Path(Vec::new())))
            }
        }
    }
}
