//! Tokens to a tree, by precedence: OR binds weakest, then AND, then NOT, then comparisons.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::evaluate::size;
use super::{Comparator, Condition, ExpressionError, ExpressionKind, Operand, Substitutions};
use crate::expression::cursor::{Kind, Parsed, Token};
use crate::expression::{Cursor, Flaw, Path};
use crate::limits::IN_OPERANDS;
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

/// Functions that are conditions. `size` is an operand.
const FUNCTIONS: [&str; 5] =
    ["attribute_exists", "attribute_not_exists", "attribute_type", "begins_with", "contains"];
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
        comparator(next).is_some()
            || matches!(next.text, "." | "[")
            || ["BETWEEN", "IN"].iter().any(|word| next.text.eq_ignore_ascii_case(word))
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
        let token = self.cursor.peek();
        let Some(comparator) = comparator(token) else { return Err(self.cursor.syntax()) };
        self.cursor.operator()?;
        self.cursor.next();
        let right = self.operand()?;
        self.check_distinct(token.text, &left, &right);
        if !matches!(comparator, Comparator::Eq | Comparator::Ne) {
            self.check_ordered(token.text, &left);
            self.check_ordered(token.text, &right);
        }
        Ok(Condition::Compare(left, comparator, right))
    }

    fn between(&mut self, value: Operand) -> Parsed<Condition> {
        self.cursor.operator()?;
        let low = self.operand()?;
        if !self.cursor.keyword("AND") {
            return Err(self.cursor.syntax());
        }
        let high = self.operand()?;
        for operand in [&value, &low, &high] {
            self.check_ordered("BETWEEN", operand);
        }
        if let (Operand::Value(low), Operand::Value(high)) = (&low, &high) {
            self.check_between(low, high);
        }
        Ok(Condition::Between(value, low, high))
    }

    fn in_list(&mut self, value: Operand) -> Parsed<Condition> {
        self.cursor.operator()?;
        self.cursor.expect("(")?;
        let mut list = vec![self.operand()?];
        while self.cursor.symbol(",") {
            list.push(self.operand()?);
        }
        self.cursor.expect(")")?;
        if list.len() > IN_OPERANDS {
            return Err(self.cursor.invalid(format!(
                "The IN operator is provided with too many operands; number of operands: {}",
                list.len()
            )));
        }
        Ok(Condition::In(value, list))
    }

    /// An operand in the place where something is ordered: text, number or binary, where it is known.
    fn check_ordered(&mut self, operator: &str, operand: &Operand) {
        match operand {
            Operand::Value(Value::S(_) | Value::N(_) | Value::B(_)) => {}
            Operand::Path(_) | Operand::Size(_) => {}
            Operand::Value(value) => self.cursor.wrong_type(operator, value.type_name()),
        }
    }

    /// An attribute is not compared with itself.
    fn check_distinct(&mut self, operator: &str, a: &Operand, b: &Operand) {
        if let (Operand::Path(a), Operand::Path(b)) = (a, b)
            && a == b
        {
            self.cursor.flaw(
                Flaw::SameOperands,
                format!(
                    "The first operand must be distinct from the remaining operands for this operator \
                     or function; operator: {operator}, first operand: {a}"
                ),
            );
        }
    }

    fn check_between(&mut self, low: &Value, high: &Value) {
        let problem = if low.type_name() != high.type_name() {
            "same data type for lower and upper bounds"
        } else if low > high {
            "upper bound to be greater than or equal to lower bound"
        } else {
            return;
        };
        self.cursor.flaw(
            Flaw::OperandType,
            format!(
                "The BETWEEN operator requires {problem}; lower bound operand: AttributeValue: {}, \
                 upper bound operand: AttributeValue: {}",
                shown(low),
                shown(high)
            ),
        );
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
        let next = self.cursor.peek();
        if comparator(next).is_some() || ["BETWEEN", "IN"].iter().any(|w| self.cursor.is_keyword(w))
        {
            self.cursor.misused_function(name);
            self.rest_of_comparison()?;
        }
        Ok(Some(condition))
    }

    /// `size(path)` is an operand; as a condition of its own it is misused.
    fn size_alone(&mut self) -> Parsed<Option<Condition>> {
        let compared = {
            let at = self.cursor.at;
            self.cursor.at += 1;
            let next = self.cursor.after_parentheses();
            self.cursor.at = at;
            comparator(next).is_some()
                || ["BETWEEN", "IN"].iter().any(|word| next.text.eq_ignore_ascii_case(word))
        };
        if compared {
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

    /// A function other than `size`, known or not. What is wrong with it becomes a flaw, and the condition
    /// that comes back then is never used.
    fn call(&mut self, name: &str) -> Parsed<Condition> {
        self.cursor.operator()?;
        self.cursor.at += 2;
        let operands = self.operands()?;
        let count = operands.len();
        let mut operands = operands.into_iter();
        let (first, second) = (operands.next(), operands.next());
        let wanted = if name.ends_with("exists") { 1 } else { 2 };
        if UPDATE_FUNCTIONS.contains(&name) {
            self.cursor.flaw(
                Flaw::UnknownFunction,
                format!("The function is not allowed in a condition expression; function: {name}"),
            );
        } else if !FUNCTIONS.contains(&name) {
            self.cursor
                .flaw(Flaw::UnknownFunction, format!("Invalid function name; function: {name}"));
        } else if count != wanted {
            self.cursor.wrong_count(name, count);
        } else {
            return Ok(self.build(name, first, second));
        }
        Ok(Condition::Exists(Path(Vec::new())))
    }

    fn build(&mut self, name: &str, first: Option<Operand>, second: Option<Operand>) -> Condition {
        if let (Some(a), Some(b)) = (&first, &second) {
            self.check_distinct(name, a, b);
        }
        match (name, first, second) {
            ("attribute_exists", Some(Operand::Path(path)), None) => Condition::Exists(path),
            ("attribute_not_exists", Some(Operand::Path(path)), None) => Condition::NotExists(path),
            ("attribute_type", Some(Operand::Path(path)), Some(kind)) => {
                Condition::TypeIs(path, self.type_name_of(kind))
            }
            ("begins_with", Some(a), Some(b)) => {
                for operand in [&a, &b] {
                    match operand {
                        Operand::Value(Value::S(_) | Value::B(_)) | Operand::Path(_) => {}
                        Operand::Value(value) => self.cursor.wrong_type(name, value.type_name()),
                        Operand::Size(_) => self.cursor.wrong_type(name, "N"),
                    }
                }
                Condition::BeginsWith(a, b)
            }
            ("contains", Some(a), Some(b)) => Condition::Contains(a, b),
            _ => {
                self.cursor.needs_path(name);
                Condition::Exists(Path(Vec::new()))
            }
        }
    }

    /// The second operand of `attribute_type`.
    fn type_name_of(&mut self, operand: Operand) -> String {
        const TYPES: [&str; 10] = ["S", "N", "B", "BOOL", "NULL", "M", "L", "SS", "NS", "BS"];
        match operand {
            Operand::Value(Value::S(kind)) => {
                if !TYPES.contains(&kind.as_str()) {
                    self.cursor.flaw(
                        Flaw::OperandType,
                        format!(
                            "Invalid attribute type name found; type: {kind}, \
                             valid types: {{B,NULL,SS,BOOL,L,BS,N,NS,S,M}}"
                        ),
                    );
                }
                return kind;
            }
            Operand::Value(value) => self.cursor.wrong_type("attribute_type", value.type_name()),
            Operand::Size(_) => self.cursor.wrong_type("attribute_type", "N"),
            Operand::Path(_) => {
                self.cursor.wrong_type("attribute_type", "{NS,SS,L,BS,N,M,B,BOOL,NULL,S}");
            }
        }
        String::new()
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
        match <[Operand; 1]>::try_from(operands) {
            Err(operands) => self.cursor.wrong_count("size", operands.len()),
            Ok([Operand::Path(path)]) => return Ok(Operand::Size(path)),
            Ok([Operand::Value(value)]) => match value {
                Value::N(_) | Value::Bool(_) | Value::Null => {
                    self.cursor.wrong_type("size", value.type_name());
                }
                // The size of a literal is a literal.
                _ => return Ok(Operand::Value(size(&value).unwrap_or(Value::Null))),
            },
            Ok([Operand::Size(_)]) => self.cursor.misused_function("size"),
        }
        Ok(Operand::Value(Value::Null))
    }
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
