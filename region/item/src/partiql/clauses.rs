//! WHERE and SET: conditions and actions in PartiQL's spelling.

use super::error::{Parsed, refused};
use super::lexer::Token;
use super::parser::Parser;
use crate::condition::build::{self, Built, FUNCTIONS};
use crate::condition::{Comparator, Condition, Operand, Path};
use crate::update::{Action, SetOperand, SetValue};
use crate::value::Value;

fn checked<T>(built: Built<T>) -> Parsed<T> {
    built.or_else(|(_, reason)| refused(reason))
}

/// What a WHERE clause is made of: a condition, or what conditions compare.
enum Term {
    Condition(Condition),
    Operand(Operand),
}

impl Parser<'_> {
    /// The expression behind WHERE.
    pub(super) fn condition(&mut self) -> Parsed<Condition> {
        match self.or()? {
            Term::Condition(condition) => Ok(condition),
            Term::Operand(_) => {
                refused("WHERE clause must contain an expression that resolves to a boolean")
            }
        }
    }

    fn or(&mut self) -> Parsed<Term> {
        let mut left = self.and()?;
        while self.word("OR") {
            self.operator()?;
            let right = self.and()?;
            left = joined(Condition::Or, left, right)?;
        }
        Ok(left)
    }

    fn and(&mut self) -> Parsed<Term> {
        let mut left = self.not()?;
        while self.word("AND") {
            self.operator()?;
            let right = self.not()?;
            left = joined(Condition::And, left, right)?;
        }
        Ok(left)
    }

    fn not(&mut self) -> Parsed<Term> {
        if !self.word("NOT") {
            return self.comparison();
        }
        self.operator()?;
        match self.deeper(Self::not)? {
            Term::Condition(inner) => Ok(Term::Condition(Condition::Not(Box::new(inner)))),
            Term::Operand(_) => refused("The argument to NOT must be a Type or Expression"),
        }
    }

    fn comparison(&mut self) -> Parsed<Term> {
        let left = self.term()?;
        if self.word("IS") {
            return self.is(left).map(Term::Condition);
        }
        if self.is_word(0, "NOT") && (self.is_word(1, "IN") || self.is_word(1, "BETWEEN")) {
            self.next();
            let inner = self.within(left)?;
            return Ok(Term::Condition(Condition::Not(Box::new(inner))));
        }
        if self.is_word(0, "IN") || self.is_word(0, "BETWEEN") {
            return self.within(left).map(Term::Condition);
        }
        let Token::Symbol(symbol) = *self.peek() else { return Ok(left) };
        // `!=` is another spelling of it.
        let symbol = if symbol == "!=" { "<>" } else { symbol };
        let Some(comparator) = build::comparator(symbol) else { return Ok(left) };
        self.next();
        self.operator()?;
        let missing = self.is_word(0, "MISSING");
        if missing {
            return refused("MISSING must be compared using IS operator");
        }
        match (left, self.term()?) {
            (Term::Operand(a), Term::Operand(b)) => {
                checked(build::compare(symbol, comparator, a, b)).map(Term::Condition)
            }
            // A condition compared with a truth value is itself or its opposite.
            (Term::Condition(condition), Term::Operand(Operand::Value(Value::Bool(is)))) => {
                match (comparator, is) {
                    (Comparator::Eq, true) | (Comparator::Ne, false) => {
                        Ok(Term::Condition(condition))
                    }
                    (Comparator::Eq, false) | (Comparator::Ne, true) => {
                        Ok(Term::Condition(Condition::Not(Box::new(condition))))
                    }
                    _ => refused(format!(
                        "Unsupported operator in Condition Expression. Operator: {symbol}"
                    )),
                }
            }
            _ => {
                refused(format!("Unsupported operator in Condition Expression. Operator: {symbol}"))
            }
        }
    }

    /// `IN` and `BETWEEN`.
    fn within(&mut self, left: Term) -> Parsed<Condition> {
        const IN: &str = "IN operator must have a left hand argument of type Variable Reference and \
                          right hand argument of type Seq with at least one member";
        self.operator()?;
        let left = operand(left)?;
        if self.word("BETWEEN") {
            let low = self.term().and_then(operand)?;
            self.expect_word("AND")?;
            let high = self.term().and_then(operand)?;
            return checked(build::between(left, low, high));
        }
        self.expect_word("IN")?;
        let close = if self.symbol("(") {
            ")"
        } else if self.symbol("[") {
            "]"
        } else {
            return refused(IN);
        };
        if !matches!(left, Operand::Path(_)) || self.is_symbol(0, close) {
            return refused(IN);
        }
        let mut list = vec![self.term().and_then(operand)?];
        while self.symbol(",") {
            list.push(self.term().and_then(operand)?);
        }
        self.expect(close)?;
        checked(build::in_list(left, list))
    }

    /// `IS [NOT] NULL`, `IS [NOT] MISSING`, `IS [NOT] <type>`
    fn is(&mut self, left: Term) -> Parsed<Condition> {
        self.operator()?;
        let negated = self.word("NOT");
        let Term::Operand(Operand::Path(path)) = left else {
            return refused(
                "The left hand side argument to IS must be a Variable Reference, Literal, or Path",
            );
        };
        let Token::Word(name) = self.next() else { return self.unexpected() };
        let name = name.to_ascii_uppercase();
        let kind = match name.as_str() {
            "MISSING" if negated => return Ok(Condition::Exists(path)),
            "MISSING" => return Ok(Condition::NotExists(path)),
            "NULL" => "NULL",
            "BOOLEAN" | "BOOL" => "BOOL",
            "BLOB" => "B",
            "STRING" => "S",
            "NUMERIC" => "N",
            "STRUCT" | "TUPLE" => "M",
            "LIST" => "L",
            _ => {
                return refused(format!(
                    "Unsupported data type for IS operator: {name}. Supported data types are \
                     [MISSING, NULL, BOOLEAN, BLOB, STRING, NUMERIC, STRUCT, TUPLE, LIST]"
                ));
            }
        };
        let is = Condition::TypeIs(path, kind.to_owned());
        Ok(if negated { Condition::Not(Box::new(is)) } else { is })
    }

    fn term(&mut self) -> Parsed<Term> {
        if self.symbol("(") {
            let inner = self.deeper(Self::or)?;
            self.expect(")")?;
            return Ok(inner);
        }
        if self.is_literal() {
            return self.literal().map(|value| Term::Operand(Operand::Value(value)));
        }
        if self.is_call() {
            return self.deeper(Self::call);
        }
        self.path().map(|path| Term::Operand(Operand::Path(path)))
    }

    fn call(&mut self) -> Parsed<Term> {
        self.operator()?;
        let at = self.at;
        let Token::Word(name) = self.next() else { return self.unexpected() };
        let name = name.to_ascii_lowercase();
        if name != "size" && !FUNCTIONS.contains(&name.as_str()) {
            return self.refused_at(at, format!("Unrecognized function: {name}"));
        }
        self.expect("(")?;
        let mut operands = Vec::new();
        if !self.symbol(")") {
            operands.push(self.term().and_then(operand)?);
            while self.symbol(",") {
                operands.push(self.term().and_then(operand)?);
            }
            self.expect(")")?;
        }
        if name == "size" {
            return checked(build::size_of(operands)).map(Term::Operand);
        }
        checked(build::call(&name, operands)).map(Term::Condition)
    }

    /// One assignment behind SET.
    pub(super) fn assignment(&mut self) -> Parsed<Action> {
        let path = self.path()?;
        self.expect("=")?;
        if self.is_call() && (self.is_word(0, "set_add") || self.is_word(0, "set_delete")) {
            return self.change_set(path);
        }
        let left = self.set_operand()?;
        for sign in ["+", "-"] {
            if self.symbol(sign) {
                self.operator()?;
                let right = self.set_operand()?;
                for operand in [&left, &right] {
                    if let SetOperand::Value(value) = operand
                        && !matches!(value, Value::N(_))
                    {
                        return refused(format!(
                            "Incorrect operand type for operator or function; operator or \
                             function: {sign}, operand type: {}",
                            value.type_name()
                        ));
                    }
                }
                let plus = sign == "+";
                let value =
                    if plus { SetValue::Plus(left, right) } else { SetValue::Minus(left, right) };
                return Ok(Action::Set(path, value));
            }
        }
        if self.word("IS") {
            return refused("IS operator is not supported in update expressions");
        }
        Ok(Action::Set(path, SetValue::Is(left)))
    }

    /// `a = set_add(a, <<..>>)`, `a = set_delete(a, <<..>>)`
    fn change_set(&mut self, path: Path) -> Parsed<Action> {
        self.operator()?;
        let function = self.at;
        let Token::Word(name) = self.next() else { return self.unexpected() };
        let name = name.to_ascii_uppercase();
        self.expect("(")?;
        let first = self.at;
        let mut operands = vec![self.set_operand()?];
        while self.symbol(",") {
            operands.push(self.set_operand()?);
        }
        self.expect(")")?;
        let Ok([target, members]) = <[SetOperand; 2]>::try_from(operands) else {
            return self.refused_at(function, format!("{name} must have exactly two arguments"));
        };
        if target != SetOperand::Path(path.clone()) {
            return self.refused_at(
                function,
                format!("The first argument to {name} must equal the assignment value"),
            );
        }
        match members {
            SetOperand::Value(value @ (Value::Ss(_) | Value::Ns(_) | Value::Bs(_))) => {
                Ok(match name.as_str() {
                    "SET_ADD" => Action::Add(path, value),
                    _ => Action::Delete(path, value),
                })
            }
            _ => self.refused_at(
                first,
                format!("The second argument to {name} must be a value with type SET"),
            ),
        }
    }

    fn set_operand(&mut self) -> Parsed<SetOperand> {
        if self.symbol("(") {
            let operand = self.deeper(Self::set_operand)?;
            self.expect(")")?;
            return Ok(operand);
        }
        if self.is_literal() {
            return self.literal().map(SetOperand::Value);
        }
        if !self.is_call() {
            return self.path().map(SetOperand::Path);
        }
        self.operator()?;
        let at = self.at;
        let Token::Word(name) = self.next() else { return self.unexpected() };
        let name = name.to_ascii_lowercase();
        if !["list_append", "if_not_exists"].contains(&name.as_str()) {
            return self.refused_at(at, format!("Unrecognized function: {name}"));
        }
        self.expect("(")?;
        let mut operands = vec![self.deeper(Self::set_operand)?];
        while self.symbol(",") {
            operands.push(self.deeper(Self::set_operand)?);
        }
        self.expect(")")?;
        let count = operands.len();
        let Ok([first, second]) = <[SetOperand; 2]>::try_from(operands) else {
            return checked(Err(build::wrong_count(&name, count)));
        };
        if name == "if_not_exists" {
            return match first {
                SetOperand::Path(path) => Ok(SetOperand::IfNotExists(path, Box::new(second))),
                _ => refused(format!(
                    "Operator or function requires a document path; operator or function: {name}"
                )),
            };
        }
        for operand in [&first, &second] {
            if let SetOperand::Value(value) = operand
                && !matches!(value, Value::L(_))
            {
                return refused(format!(
                    "Incorrect operand type for operator or function; operator or function: {name}, \
                     operand type: {}",
                    value.type_name()
                ));
            }
        }
        Ok(SetOperand::ListAppend(Box::new(first), Box::new(second)))
    }
}

fn joined(
    join: fn(Box<Condition>, Box<Condition>) -> Condition,
    left: Term,
    right: Term,
) -> Parsed<Term> {
    match (left, right) {
        (Term::Condition(a), Term::Condition(b)) => {
            Ok(Term::Condition(join(Box::new(a), Box::new(b))))
        }
        _ => refused("The arguments to AND/OR must be Expressions"),
    }
}

fn operand(term: Term) -> Parsed<Operand> {
    match term {
        Term::Operand(operand) => Ok(operand),
        Term::Condition(_) => refused("Unsupported token in expression: Expression"),
    }
}
