//! Tokens to a tree, by precedence: OR binds weakest, then AND, then NOT, then comparisons.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::lexer::{Kind, Lexer, Token};
use super::reserved::is_reserved;
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
    substitutions.check()?;
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
    let mut parser = Parser { lexer, at: 0, depth: 0, operators: 0, group: None, substitutions };
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
    /// The first token inside the last closed parentheses, and the one after them.
    group: Option<(usize, usize)>,
    substitutions: &'s mut Substitutions<'v>,
}

/// Functions that are conditions. `size` is an operand.
const FUNCTIONS: [&str; 5] =
    ["attribute_exists", "attribute_not_exists", "attribute_type", "begins_with", "contains"];

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
        if self.peek().text != "(" || self.operand_in_parentheses() {
            return self.predicate();
        }
        self.next();
        let start = self.at;
        let inner = self.deeper(Self::or)?;
        // All that stood between these two was itself in parentheses.
        let redundant = self.group == Some((start + 1, self.at));
        self.expect(")")?;
        if redundant {
            return Err(self.redundant());
        }
        self.group = Some((start, self.at));
        Ok(inner)
    }

    fn redundant(&self) -> ExpressionError {
        self.lexer.invalid("The expression has redundant parentheses;")
    }

    /// Whether the parenthesis ahead encloses one operand, as in `(a) = :v`, and not a condition.
    fn operand_in_parentheses(&mut self) -> bool {
        let (at, operators) = (self.at, self.operators);
        let operand = self.operand();
        let alone = operand.is_ok() && {
            let next = self.peek();
            comparator(next).is_some()
                || ["BETWEEN", "IN"].iter().any(|word| next.text.eq_ignore_ascii_case(word))
        };
        (self.at, self.operators) = (at, operators);
        alone
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
            for operand in [&left, &low, &high] {
                self.check_ordered("BETWEEN", operand)?;
            }
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
            }
            self.expect(")")?;
            if list.len() > IN_OPERANDS {
                return Err(self.lexer.invalid(format!(
                    "The IN operator is provided with too many operands; number of operands: {}",
                    list.len()
                )));
            }
            return Ok(Condition::In(left, list));
        }
        let token = self.peek();
        let Some(comparator) = comparator(token) else { return Err(self.syntax()) };
        self.next();
        let right = self.operand()?;
        self.check_distinct(token.text, &left, &right)?;
        if !matches!(comparator, Comparator::Eq | Comparator::Ne) {
            self.check_ordered(token.text, &left)?;
            self.check_ordered(token.text, &right)?;
        }
        Ok(Condition::Compare(left, comparator, right))
    }

    /// An operand in the place where something is ordered: text, number or binary, where it is known.
    fn check_ordered(&self, operator: &str, operand: &Operand) -> Parsed<()> {
        match operand {
            Operand::Value(Value::S(_) | Value::N(_) | Value::B(_)) => Ok(()),
            Operand::Path(_) | Operand::Size(_) => Ok(()),
            Operand::Value(value) => Err(self.wrong_type(operator, value.type_name())),
        }
    }

    fn wrong_type(&self, operator: &str, kind: &str) -> ExpressionError {
        self.lexer.invalid(format!(
            "Incorrect operand type for operator or function; operator or function: {operator}, \
             operand type: {kind}"
        ))
    }

    /// An attribute is not compared with itself.
    fn check_distinct(&self, operator: &str, a: &Operand, b: &Operand) -> Parsed<()> {
        match (a, b) {
            (Operand::Path(a), Operand::Path(b)) if a == b => Err(self.lexer.invalid(format!(
                "The first operand must be distinct from the remaining operands for this operator \
                 or function; operator: {operator}, first operand: {a}"
            ))),
            _ => Ok(()),
        }
    }

    fn check_between(&self, low: &Value, high: &Value) -> Parsed<()> {
        let problem = if low.type_name() != high.type_name() {
            "same data type for lower and upper bounds"
        } else if low > high {
            "upper bound to be greater than or equal to lower bound"
        } else {
            return Ok(());
        };
        Err(self.lexer.invalid(format!(
            "The BETWEEN operator requires {problem}; lower bound operand: AttributeValue: {}, \
             upper bound operand: AttributeValue: {}",
            shown(low),
            shown(high)
        )))
    }

    /// A condition that is a function; `size` is an operand and not one.
    fn function(&mut self) -> Parsed<Option<Condition>> {
        let token = self.peek();
        if token.kind != Kind::Word || !self.called() || token.text == "size" {
            return Ok(None);
        }
        let name = token.text;
        if !FUNCTIONS.contains(&name) {
            if is_operator(name) {
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
        if let (Some(a), Some(b)) = (&first, &second) {
            self.check_distinct(name, a, b)?;
        }
        let wrong_type = |kind: &str| self.wrong_type(name, kind);
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
            ("attribute_type", Some(Operand::Path(_)), Some(Operand::Size(_))) => {
                Err(wrong_type("N"))
            }
            ("attribute_type", Some(Operand::Path(_)), _) => {
                Err(wrong_type("{NS,SS,L,BS,N,M,B,BOOL,NULL,S}"))
            }
            ("begins_with", Some(a), Some(b)) => {
                for operand in [&a, &b] {
                    match operand {
                        Operand::Value(Value::S(_) | Value::B(_)) | Operand::Path(_) => {}
                        Operand::Value(value) => return Err(wrong_type(value.type_name())),
                        Operand::Size(_) => return Err(wrong_type("N")),
                    }
                }
                Ok(Condition::BeginsWith(a, b))
            }
            ("contains", Some(a), Some(b)) => Ok(Condition::Contains(a, b)),
            _ => Err(self.lexer.invalid(format!(
                "Operator or function requires a document path; operator or function: {name}"
            ))),
        }
    }

    fn operand(&mut self) -> Parsed<Operand> {
        if self.symbol("(") {
            if self.peek().text == "(" {
                return Err(self.redundant());
            }
            let operand = self.operand()?;
            self.expect(")")?;
            return Ok(operand);
        }
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
            Kind::Word if token.text == "size" && self.called() => {
                self.operator()?;
                self.at += 2;
                let path = self.path()?;
                self.expect(")")?;
                Ok(Operand::Size(path))
            }
            Kind::Word if FUNCTIONS.contains(&token.text) && self.called() => {
                Err(self.lexer.invalid(format!(
                    "The function is not allowed to be used this way in an expression; function: {}",
                    token.text
                )))
            }
            Kind::Word | Kind::Name => self.path().map(Operand::Path),
            _ => Err(self.syntax()),
        }
    }

    /// Whether a parenthesis follows the word ahead.
    fn called(&self) -> bool {
        self.lexer.tokens.get(self.at + 1).is_some_and(|next| next.text == "(")
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
            Kind::Word if is_reserved(token.text) => Err(self.lexer.invalid(format!(
                "Attribute name is a reserved keyword; reserved keyword: {}",
                token.text
            ))),
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

fn comparator(token: Token<'_>) -> Option<Comparator> {
    Some(match token.text {
        "=" => Comparator::Eq,
        "<>" => Comparator::Ne,
        "<" => Comparator::Lt,
        "<=" => Comparator::Le,
        ">" => Comparator::Gt,
        ">=" => Comparator::Ge,
        _ => return None,
    })
}

/// A bound as DynamoDB shows it, cut where it is long.
fn shown(value: &Value) -> String {
    let content = match value {
        Value::S(text) => text.clone(),
        Value::N(number) => number.to_string(),
        Value::B(bytes) => STANDARD.encode(bytes),
        _ => "..".to_owned(),
    };
    let content: String = content.chars().take(200).collect();
    format!("{{{}:{content}}}", value.type_name())
}
