//! Tokens to a tree, by precedence: OR binds weakest, then AND, then NOT, then comparisons.

use std::collections::BTreeMap;

use super::lexer::{Kind, Lexer, Token};
use super::{Comparator, Condition, ExpressionError, Operand, Path, Step, Substitutions};
use crate::limits::{EXPRESSION_DEPTH, EXPRESSION_OPERATORS, IN_OPERANDS, NESTING_LEVELS};
use crate::value::Value;

/// A condition with its own names and values, all of which must be used.
pub fn parse(
    text: &str,
    names: &BTreeMap<String, String>,
    values: &BTreeMap<String, Value>,
) -> Result<Condition, ExpressionError> {
    let mut substitutions = Substitutions::new(names, values);
    let condition = parse_with("ConditionExpression", text, &mut substitutions)?;
    substitutions.finish()?;
    Ok(condition)
}

/// A condition among other expressions of one request. `kind` names the parameter in errors.
pub(super) fn parse_with(
    kind: &'static str,
    text: &str,
    substitutions: &mut Substitutions<'_>,
) -> Result<Condition, ExpressionError> {
    let lexer = Lexer::new(kind, text)?;
    let mut parser = Parser { lexer, at: 0, depth: 0, operators: 0, substitutions };
    let condition = parser.or()?;
    match parser.peek().kind {
        Kind::End => Ok(condition),
        _ => Err(parser.syntax()),
    }
}

struct Parser<'a, 's, 'v> {
    lexer: Lexer<'a>,
    at: usize,
    depth: usize,
    operators: usize,
    substitutions: &'s mut Substitutions<'v>,
}

type Parsed<T> = Result<T, ExpressionError>;

impl<'a> Parser<'a, '_, '_> {
    fn peek(&self) -> Token<'a> {
        self.lexer.tokens[self.at]
    }

    fn next(&mut self) -> Token<'a> {
        let token = self.peek();
        if token.kind != Kind::End {
            self.at += 1;
        }
        token
    }

    fn syntax(&self) -> ExpressionError {
        self.lexer.syntax_at(self.at)
    }

    fn keyword(&mut self, word: &str) -> bool {
        let token = self.peek();
        let found = token.kind == Kind::Word && token.text.eq_ignore_ascii_case(word);
        self.at += usize::from(found);
        found
    }

    fn symbol(&mut self, symbol: &str) -> bool {
        let token = self.peek();
        let found = token.kind == Kind::Symbol && token.text == symbol;
        self.at += usize::from(found);
        found
    }

    fn expect(&mut self, symbol: &str) -> Parsed<()> {
        if self.symbol(symbol) { Ok(()) } else { Err(self.syntax()) }
    }

    fn operator(&mut self) -> Parsed<()> {
        self.operators += 1;
        if self.operators > EXPRESSION_OPERATORS {
            return Err(self.lexer.invalid(format!(
                "The expression contains too many operators; max operators: {EXPRESSION_OPERATORS}"
            )));
        }
        Ok(())
    }

    fn or(&mut self) -> Parsed<Condition> {
        let mut left = self.and()?;
        while self.keyword("OR") {
            self.operator()?;
            left = Condition::Or(Box::new(left), Box::new(self.and()?));
        }
        Ok(left)
    }

    fn and(&mut self) -> Parsed<Condition> {
        let mut left = self.not()?;
        while self.keyword("AND") {
            self.operator()?;
            left = Condition::And(Box::new(left), Box::new(self.not()?));
        }
        Ok(left)
    }

    fn deeper<T>(&mut self, inner: impl FnOnce(&mut Self) -> Parsed<T>) -> Parsed<T> {
        self.depth += 1;
        if self.depth > EXPRESSION_DEPTH {
            return Err(self.lexer.invalid(format!(
                "The expression is nested deeper than {EXPRESSION_DEPTH} levels"
            )));
        }
        let parsed = inner(self);
        self.depth -= 1;
        parsed
    }

    fn not(&mut self) -> Parsed<Condition> {
        if self.keyword("NOT") {
            self.operator()?;
            return Ok(Condition::Not(Box::new(self.deeper(Self::not)?)));
        }
        if self.symbol("(") {
            let inner = self.deeper(Self::or)?;
            self.expect(")")?;
            return Ok(inner);
        }
        self.predicate()
    }

    fn predicate(&mut self) -> Parsed<Condition> {
        if let Some(condition) = self.function()? {
            return Ok(condition);
        }
        let left = self.operand()?;
        self.operator()?;
        if self.keyword("BETWEEN") {
            let low = self.operand()?;
            if !self.keyword("AND") {
                return Err(self.syntax());
            }
            let high = self.operand()?;
            if let (Operand::Value(low), Operand::Value(high)) = (&low, &high) {
                self.check_between(low, high)?;
            }
            return Ok(Condition::Between(left, low, high));
        }
        if self.keyword("IN") {
            self.expect("(")?;
            let mut list = vec![self.operand()?];
            while self.symbol(",") {
                list.push(self.operand()?);
                if list.len() > IN_OPERANDS {
                    return Err(self.lexer.invalid(
                        "The IN operator is provided with too many operands; number of operands: 101",
                    ));
                }
            }
            self.expect(")")?;
            return Ok(Condition::In(left, list));
        }
        let token = self.peek();
        let comparator = match token.text {
            "=" => Comparator::Eq,
            "<>" => Comparator::Ne,
            "<" => Comparator::Lt,
            "<=" => Comparator::Le,
            ">" => Comparator::Gt,
            ">=" => Comparator::Ge,
            _ => return Err(self.syntax()),
        };
        self.next();
        let right = self.operand()?;
        Ok(Condition::Compare(left, comparator, right))
    }

    fn check_between(&self, low: &Value, high: &Value) -> Parsed<()> {
        let kinds = (low.type_name(), high.type_name());
        if kinds.0 != kinds.1 {
            return Err(self.lexer.invalid(format!(
                "The BETWEEN operator requires same data type for lower and upper bounds; \
                 lower bound operand: AttributeValue: {{{}:..}}, upper bound operand: AttributeValue: {{{}:..}}",
                kinds.0, kinds.1
            )));
        }
        if low > high {
            return Err(self.lexer.invalid(
                "The BETWEEN operator requires upper bound to be greater than or equal to lower bound",
            ));
        }
        Ok(())
    }

    /// A condition that is a function; `size` is an operand and not one.
    fn function(&mut self) -> Parsed<Option<Condition>> {
        let token = self.peek();
        let open = self.lexer.tokens.get(self.at + 1).is_some_and(|next| next.text == "(");
        if token.kind != Kind::Word || !open || token.text == "size" {
            return Ok(None);
        }
        let name = token.text;
        let known = [
            "attribute_exists",
            "attribute_not_exists",
            "attribute_type",
            "begins_with",
            "contains",
        ];
        if !known.contains(&name) {
            if ["AND", "OR", "NOT"].iter().any(|word| name.eq_ignore_ascii_case(word)) {
                return Err(self.syntax());
            }
            return Err(self.lexer.invalid(format!("Invalid function name; function: {name}")));
        }
        self.operator()?;
        self.at += 2;
        let mut operands = vec![self.operand()?];
        while self.symbol(",") {
            operands.push(self.operand()?);
        }
        self.expect(")")?;
        let wanted = if name.ends_with("exists") { 1 } else { 2 };
        if operands.len() != wanted {
            return Err(self.lexer.invalid(format!(
                "Incorrect number of operands for operator or function; operator or function: {name}, \
                 number of operands: {}",
                operands.len()
            )));
        }
        let mut operands = operands.into_iter();
        self.build(name, operands.next(), operands.next()).map(Some)
    }

    fn build(
        &self,
        name: &str,
        first: Option<Operand>,
        second: Option<Operand>,
    ) -> Parsed<Condition> {
        let wrong_type = |kind: &str| {
            self.lexer.invalid(format!(
                "Incorrect operand type for operator or function; operator or function: {name}, \
                 operand type: {kind}"
            ))
        };
        match (name, first, second) {
            ("attribute_exists", Some(Operand::Path(path)), None) => Ok(Condition::Exists(path)),
            ("attribute_not_exists", Some(Operand::Path(path)), None) => {
                Ok(Condition::NotExists(path))
            }
            ("attribute_type", Some(Operand::Path(path)), Some(Operand::Value(kind))) => {
                let Value::S(kind) = kind else { return Err(wrong_type(kind.type_name())) };
                let types = ["S", "N", "B", "BOOL", "NULL", "M", "L", "SS", "NS", "BS"];
                if !types.contains(&kind.as_str()) {
                    return Err(self.lexer.invalid(format!(
                        "Invalid attribute type name found; type: {kind}, \
                         valid types: {{B,NULL,SS,BOOL,L,BS,N,NS,S,M}}"
                    )));
                }
                Ok(Condition::TypeIs(path, kind))
            }
            ("begins_with", Some(a), Some(b)) => match &b {
                Operand::Value(Value::S(_) | Value::B(_)) | Operand::Path(_) => {
                    Ok(Condition::BeginsWith(a, b))
                }
                Operand::Value(value) => Err(wrong_type(value.type_name())),
                Operand::Size(_) => Err(wrong_type("N")),
            },
            ("contains", Some(a), Some(b)) => Ok(Condition::Contains(a, b)),
            _ => Err(self.lexer.invalid(format!(
                "Operator or function requires a document path; operator or function: {name}"
            ))),
        }
    }

    fn operand(&mut self) -> Parsed<Operand> {
        let token = self.peek();
        match token.kind {
            Kind::Value => {
                self.next();
                match self.substitutions.value(token.text) {
                    Some(value) => Ok(Operand::Value(value.clone())),
                    None => Err(self.lexer.invalid(format!(
                        "An expression attribute value used in expression is not defined; attribute value: {}",
                        token.text
                    ))),
                }
            }
            Kind::Word
                if token.text == "size"
                    && self.lexer.tokens.get(self.at + 1).is_some_and(|t| t.text == "(") =>
            {
                self.operator()?;
                self.at += 2;
                let path = self.path()?;
                self.expect(")")?;
                Ok(Operand::Size(path))
            }
            Kind::Word | Kind::Name => self.path().map(Operand::Path),
            _ => Err(self.syntax()),
        }
    }

    fn path(&mut self) -> Parsed<Path> {
        let mut steps = vec![Step::Attribute(self.name()?)];
        loop {
            if self.symbol(".") {
                steps.push(Step::Attribute(self.name()?));
            } else if self.symbol("[") {
                let token = self.next();
                let index = match token.kind {
                    Kind::Number => token.text.parse::<u32>().ok(),
                    _ => None,
                };
                let Some(index) = index else {
                    self.at -= usize::from(token.kind != Kind::End);
                    return Err(self.syntax());
                };
                self.expect("]")?;
                steps.push(Step::Index(index));
            } else {
                return Ok(Path(steps));
            }
            if steps.len() > NESTING_LEVELS + 1 {
                return Err(self.lexer.invalid(
                    "The document path has too many nesting elements; nesting levels: 33",
                ));
            }
        }
    }

    fn name(&mut self) -> Parsed<String> {
        let token = self.peek();
        match token.kind {
            Kind::Name => {
                self.next();
                match self.substitutions.name(token.text) {
                    Some(name) => Ok(name.to_owned()),
                    None => Err(self.lexer.invalid(format!(
                        "An expression attribute name used in the document path is not defined; attribute name: {}",
                        token.text
                    ))),
                }
            }
            Kind::Word if is_operator(token.text) => Err(self.syntax()),
            Kind::Word => {
                self.next();
                Ok(token.text.to_owned())
            }
            _ => Err(self.syntax()),
        }
    }
}

/// Words that are operators can never be bare attribute names.
fn is_operator(word: &str) -> bool {
    ["AND", "OR", "NOT", "BETWEEN", "IN"].iter().any(|op| word.eq_ignore_ascii_case(op))
}
