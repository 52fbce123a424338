//! The textual key condition of a query: `pk = :p`, and at most one condition on the sort key.
//!
//! Always true: what is accepted names the partition key once with `=`, the sort key at most once,
//! uses every name and value that was given, and compares with operands of the key's type
//! (API_Query, KeyConditionExpression). Grammar: condition [AND condition], in either order, in
//! parentheses or not; `=`, `<`, `<=`, `>`, `>=`, `BETWEEN :a AND :b`, `begins_with(sk, :a)`.

use std::collections::{BTreeMap, BTreeSet};

use tombolo_item::{KeySchema, KeyType, SortCondition, Value};

use crate::errors::{self, Failure};

/// How errors call the expression.
const EXPRESSION: &str = "KeyConditionExpression";
/// Longest expression, in bytes (DynamoDB's quotas: 4 KB).
pub(crate) const LONGEST: usize = 4096;

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token<'a> {
    Word(&'a str),
    Symbol(&'static str),
}

fn bad(why: impl std::fmt::Display) -> Failure {
    errors::bad_expression(EXPRESSION, why)
}

fn syntax(token: Option<&Token<'_>>) -> Failure {
    let token = match token {
        None => "<EOF>",
        Some(Token::Word(word)) => word,
        Some(Token::Symbol(symbol)) => symbol,
    };
    bad(format_args!("Syntax error; token: \"{token}\""))
}

/// Apart into words and symbols.
fn tokens(text: &str) -> Result<Vec<Token<'_>>, Failure> {
    const SYMBOLS: [&str; 9] = ["<=", ">=", "<>", "=", "<", ">", "(", ")", ","];
    let of_word = |c: char| c.is_alphanumeric() || matches!(c, '_' | '#' | ':' | '.' | '-');
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        if of_word(first) {
            let end = rest.find(|c| !of_word(c)).unwrap_or(rest.len());
            tokens.push(Token::Word(&rest[..end]));
            rest = &rest[end..];
        } else if let Some(symbol) = SYMBOLS.into_iter().find(|symbol| rest.starts_with(symbol)) {
            tokens.push(Token::Symbol(symbol));
            rest = &rest[symbol.len()..];
        } else {
            return Err(bad(format_args!("Syntax error; token: \"{first}\"")));
        }
        rest = rest.trim_start();
    }
    Ok(tokens)
}

/// One condition on one attribute.
struct One {
    attribute: String,
    condition: SortCondition,
}

struct Parser<'a> {
    tokens: std::iter::Peekable<std::vec::IntoIter<Token<'a>>>,
    names: &'a BTreeMap<String, String>,
    values: &'a BTreeMap<String, Value>,
    used_names: BTreeSet<&'a str>,
    used_values: BTreeSet<&'a str>,
}

impl<'a> Parser<'a> {
    fn symbol(&mut self, symbol: &'static str) -> Result<(), Failure> {
        let token = self.tokens.next();
        if token == Some(Token::Symbol(symbol)) { Ok(()) } else { Err(syntax(token.as_ref())) }
    }

    fn is_word(&mut self, word: &str) -> bool {
        matches!(self.tokens.peek(), Some(Token::Word(next)) if next.eq_ignore_ascii_case(word))
    }

    fn and(&mut self) -> Result<(), Failure> {
        if self.is_word("AND") {
            self.tokens.next();
            return Ok(());
        }
        Err(syntax(self.tokens.peek()))
    }

    fn attribute(&mut self) -> Result<String, Failure> {
        let token = self.tokens.next();
        let Some(Token::Word(word)) = token else { return Err(syntax(token.as_ref())) };
        if word.starts_with('#') {
            let Some((placeholder, name)) = self.names.get_key_value(word) else {
                return Err(bad(format_args!(
                    "An expression attribute name used in the document path is not defined; \
                     attribute name: {word}"
                )));
            };
            self.used_names.insert(placeholder);
            return Ok(name.clone());
        }
        if word.starts_with(':') || word.contains('.') {
            return Err(syntax(Some(&Token::Word(word))));
        }
        Ok(word.to_string())
    }

    fn value(&mut self) -> Result<Value, Failure> {
        let token = self.tokens.next();
        let Some(Token::Word(word)) = token else { return Err(syntax(token.as_ref())) };
        if !word.starts_with(':') {
            return Err(syntax(Some(&Token::Word(word))));
        }
        let Some((placeholder, value)) = self.values.get_key_value(word) else {
            return Err(bad(format_args!(
                "An expression attribute value used in expression is not defined; attribute \
                 value: {word}"
            )));
        };
        self.used_values.insert(placeholder);
        Ok(value.clone())
    }

    fn one(&mut self) -> Result<One, Failure> {
        let mut open = 0;
        while self.tokens.next_if_eq(&Token::Symbol("(")).is_some() {
            open += 1;
        }
        let one = self.bare()?;
        for _ in 0..open {
            self.symbol(")")?;
        }
        Ok(one)
    }

    fn bare(&mut self) -> Result<One, Failure> {
        let function = self.is_word("begins_with");
        let attribute = if function {
            self.tokens.next();
            self.symbol("(")?;
            self.attribute()?
        } else {
            self.attribute()?
        };
        if function {
            self.symbol(",")?;
            let prefix = self.value()?;
            self.symbol(")")?;
            return Ok(One { attribute, condition: SortCondition::BeginsWith(prefix) });
        }
        if self.is_word("BETWEEN") {
            self.tokens.next();
            let low = self.value()?;
            self.and()?;
            let high = self.value()?;
            return Ok(One { attribute, condition: SortCondition::Between(low, high) });
        }
        let token = self.tokens.next();
        let make = match token {
            Some(Token::Symbol("=")) => SortCondition::Eq,
            Some(Token::Symbol("<")) => SortCondition::Lt,
            Some(Token::Symbol("<=")) => SortCondition::Le,
            Some(Token::Symbol(">")) => SortCondition::Gt,
            Some(Token::Symbol(">=")) => SortCondition::Ge,
            Some(Token::Symbol("<>")) => {
                return Err(bad("Unsupported operator on KeyCondition: operator: <>"));
            }
            other => return Err(syntax(other.as_ref())),
        };
        Ok(One { attribute, condition: make(self.value()?) })
    }
}

/// Placeholders that were given and not used.
fn unused<'a, T>(given: &'a BTreeMap<String, T>, used: &BTreeSet<&str>) -> Vec<&'a str> {
    given.keys().map(String::as_str).filter(|name| !used.contains(name)).collect()
}

/// The partition key's value and what is asked of the sort key.
pub(crate) fn parse(
    schema: &KeySchema,
    text: &str,
    names: &BTreeMap<String, String>,
    values: &BTreeMap<String, Value>,
) -> Result<(Value, Option<SortCondition>), Failure> {
    let mut parser = Parser {
        tokens: tokens(text)?.into_iter().peekable(),
        names,
        values,
        used_names: BTreeSet::new(),
        used_values: BTreeSet::new(),
    };
    let first = parser.one()?;
    let second = match parser.tokens.peek() {
        None => None,
        Some(_) => {
            parser.and()?;
            Some(parser.one()?)
        }
    };
    if parser.tokens.peek().is_some() {
        return Err(match parser.is_word("AND") {
            true => bad("Conditions can be of length 1 or 2 only"),
            false => syntax(parser.tokens.peek()),
        });
    }
    let Parser { used_names, used_values, .. } = parser;
    let unused_names = unused(names, &used_names);
    if !unused_names.is_empty() {
        return Err(errors::unused_placeholders("ExpressionAttributeNames", &unused_names));
    }
    let unused_values = unused(values, &used_values);
    if !unused_values.is_empty() {
        return Err(errors::unused_placeholders("ExpressionAttributeValues", &unused_values));
    }
    apart(schema, first, second)
}

/// Which of the conditions is whose.
fn apart(
    schema: &KeySchema,
    first: One,
    second: Option<One>,
) -> Result<(Value, Option<SortCondition>), Failure> {
    let mut partition = None;
    let mut sort = None;
    for one in std::iter::once(first).chain(second) {
        let slot = if one.attribute == schema.partition.name {
            &mut partition
        } else if schema.sort.as_ref().is_some_and(|key| key.name == one.attribute) {
            &mut sort
        } else {
            let missed = match (&partition, &schema.sort) {
                (Some(_), Some(key)) => &key.name,
                _ => &schema.partition.name,
            };
            return Err(errors::query_condition_missed(missed));
        };
        if slot.replace(one.condition).is_some() {
            return Err(bad("KeyConditionExpressions must only contain one condition per key"));
        }
    }
    match partition {
        Some(SortCondition::Eq(value)) => Ok((value, sort)),
        Some(_) => Err(errors::validation("Query key condition not supported")),
        None => Err(errors::query_condition_missed(&schema.partition.name)),
    }
}

fn is_of(kind: KeyType, value: &Value) -> bool {
    matches!(
        (kind, value),
        (KeyType::S, Value::S(_)) | (KeyType::N, Value::N(_)) | (KeyType::B, Value::B(_))
    )
}

/// Refuses operands of another type than the key, and conditions that its type or the table do not
/// know.
pub(crate) fn check_types(
    schema: &KeySchema,
    partition: &Value,
    sort: Option<&SortCondition>,
) -> Result<(), Failure> {
    if !is_of(schema.partition.kind, partition) {
        return Err(errors::condition_type_mismatch());
    }
    let Some(condition) = sort else { return Ok(()) };
    let Some(key) = &schema.sort else {
        return Err(errors::validation("Query key condition not supported"));
    };
    let fits = match condition {
        SortCondition::Eq(value)
        | SortCondition::Lt(value)
        | SortCondition::Le(value)
        | SortCondition::Gt(value)
        | SortCondition::Ge(value) => is_of(key.kind, value),
        SortCondition::BeginsWith(value) => {
            if key.kind == KeyType::N {
                return Err(errors::bad_expression(
                    EXPRESSION,
                    "Incorrect operand type for operator or function; operator or function: \
                     begins_with, operand type: N",
                ));
            }
            is_of(key.kind, value)
        }
        SortCondition::Between(low, high) => {
            let fits = is_of(key.kind, low) && is_of(key.kind, high);
            if fits && is_above(low, high) {
                return Err(errors::bad_expression(
                    EXPRESSION,
                    "The BETWEEN operator requires upper bound to be greater than or equal to \
                     lower bound",
                ));
            }
            fits
        }
    };
    if fits { Ok(()) } else { Err(errors::condition_type_mismatch()) }
}

/// Compares two key values of one type.
fn is_above(low: &Value, high: &Value) -> bool {
    match (low, high) {
        (Value::S(low), Value::S(high)) => low > high,
        (Value::N(low), Value::N(high)) => low > high,
        (Value::B(low), Value::B(high)) => low > high,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tombolo_item::KeyAttribute;

    fn schema() -> KeySchema {
        KeySchema {
            partition: KeyAttribute { name: "pk".into(), kind: KeyType::S },
            sort: Some(KeyAttribute { name: "sk".into(), kind: KeyType::N }),
        }
    }

    fn number(text: &str) -> Value {
        Value::N(text.parse().unwrap())
    }

    fn given(text: &str, with: &[&str]) -> Result<(Value, Option<SortCondition>), String> {
        let names = [("#p".to_string(), "pk".to_string())];
        let values =
            [(":p", Value::S("a".into())), (":x", number("1")), (":y", number("2"))];
        let names = names.into_iter().filter(|(name, _)| with.contains(&name.as_str())).collect();
        let values = values
            .into_iter()
            .filter(|(name, _)| with.contains(name))
            .map(|(name, value)| (name.to_string(), value))
            .collect();
        parse(&schema(), text, &names, &values).map_err(|failure| failure.message.into_owned())
    }

    #[test]
    fn what_is_understood() {
        let a = || Value::S("a".into());
        let cases = [
            ("pk = :p", &[":p"][..], None),
            ("#p=:p", &[":p", "#p"], None),
            ("(pk = :p) AND (sk > :x)", &[":p", ":x"], Some(SortCondition::Gt(number("1")))),
            ("sk <= :x and pk = :p", &[":p", ":x"], Some(SortCondition::Le(number("1")))),
            (
                "pk = :p AND sk BETWEEN :x AND :y",
                &[":p", ":x", ":y"],
                Some(SortCondition::Between(number("1"), number("2"))),
            ),
            (
                "pk = :p AND begins_with(sk, :x)",
                &[":p", ":x"],
                Some(SortCondition::BeginsWith(number("1"))),
            ),
        ];
        for (text, with, sort) in cases {
            assert_eq!(given(text, with), Ok((a(), sort)), "{text}");
        }
    }

    #[test]
    fn what_is_refused_and_with_which_words() {
        let cases = [
            ("", &[][..], "Invalid KeyConditionExpression: Syntax error; token: \"<EOF>\""),
            ("pk =", &[], "Invalid KeyConditionExpression: Syntax error; token: \"<EOF>\""),
            ("pk ! :p", &[":p"], "Invalid KeyConditionExpression: Syntax error; token: \"!\""),
            ("pk = :p extra", &[":p"], "Invalid KeyConditionExpression: Syntax error; token: \"extra\""),
            (
                "pk = :p",
                &[":p", ":x"],
                "Value provided in ExpressionAttributeValues unused in expressions: keys: {:x}",
            ),
            (
                "pk = :p",
                &[":p", "#p"],
                "Value provided in ExpressionAttributeNames unused in expressions: keys: {#p}",
            ),
            (
                "pk = :p",
                &[],
                "Invalid KeyConditionExpression: An expression attribute value used in expression \
                 is not defined; attribute value: :p",
            ),
            (
                "#p = :p",
                &[":p"],
                "Invalid KeyConditionExpression: An expression attribute name used in the document \
                 path is not defined; attribute name: #p",
            ),
            ("sk = :x", &[":x"], "Query condition missed key schema element: pk"),
            ("pk = :p AND other = :x", &[":p", ":x"], "Query condition missed key schema element: sk"),
            ("pk > :p", &[":p"], "Query key condition not supported"),
            (
                "pk = :p AND sk > :x AND sk < :y",
                &[":p", ":x", ":y"],
                "Invalid KeyConditionExpression: Conditions can be of length 1 or 2 only",
            ),
            (
                "pk = :p AND sk <> :x",
                &[":p", ":x"],
                "Invalid KeyConditionExpression: Unsupported operator on KeyCondition: operator: <>",
            ),
        ];
        for (text, with, message) in cases {
            assert_eq!(given(text, with), Err(message.to_string()), "{text}");
        }
    }

    #[test]
    fn operands_must_be_of_the_keys_type() {
        let text = Value::S("a".into());
        let check = |partition: &Value, sort: Option<SortCondition>| {
            check_types(&schema(), partition, sort.as_ref())
                .map_err(|failure| failure.message.into_owned())
        };
        assert_eq!(check(&text, Some(SortCondition::Gt(number("1")))), Ok(()));
        let mismatch = "One or more parameter values were invalid: Condition parameter type does \
                        not match schema type";
        assert_eq!(check(&number("1"), None), Err(mismatch.into()));
        assert_eq!(check(&text, Some(SortCondition::Gt(text.clone()))), Err(mismatch.into()));
        let upside_down = Some(SortCondition::Between(number("2"), number("1")));
        assert!(check(&text, upside_down).unwrap_err().contains("BETWEEN"));
        assert!(check(&text, Some(SortCondition::BeginsWith(number("1")))).is_err());
    }
}
