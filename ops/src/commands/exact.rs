//! Numbers of plain JSON with all their digits.
//!
//! The JSON reader keeps a number as a 64-bit integer or float, which loses digits that DynamoDB's
//! numbers have (38). So a long number is put into quotes behind a mark before reading, and taken out
//! again after. The mark is random per process: no text that a user writes begins with it.

use std::borrow::Cow;
use std::sync::LazyLock;

use tombolo_item::{Item, Number, Value};

use crate::error::{Failure, Result};

static MARK: LazyLock<String> = LazyLock::new(|| format!("{}:", uuid::Uuid::new_v4()));

/// Numbers with at most this many characters are read exactly (digits, sign, point, exponent).
const SHORT: usize = 15;

/// Puts long numbers into marked quotes; everything else stays as it is.
pub(super) fn mark(text: &str) -> Cow<'_, str> {
    let is_number = |b: u8| b.is_ascii_digit() || matches!(b, b'-' | b'+' | b'.' | b'e' | b'E');
    let bytes = text.as_bytes();
    let mut marked = String::new();
    let mut copied = 0;
    let mut at = 0;
    while at < bytes.len() {
        match bytes[at] {
            b'"' => at = end_of_text(bytes, at),
            b'-' | b'0'..=b'9' => {
                let length = bytes[at..].iter().take_while(|b| is_number(**b)).count();
                if length > SHORT {
                    marked.push_str(&text[copied..at]);
                    marked.push('"');
                    marked.push_str(&MARK);
                    marked.push_str(&text[at..at + length]);
                    marked.push('"');
                    copied = at + length;
                }
                at += length;
            }
            _ => at += 1,
        }
    }
    if copied == 0 {
        return Cow::Borrowed(text);
    }
    marked.push_str(&text[copied..]);
    Cow::Owned(marked)
}

/// The position after the closing quote of the text that opens at `at`.
fn end_of_text(bytes: &[u8], mut at: usize) -> usize {
    at += 1;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    bytes.len()
}

/// Makes marked texts the numbers they stand for.
pub(super) fn restore(mut item: Item) -> Result<Item> {
    for (name, value) in &mut item.0 {
        restore_value(value).map_err(|failure| failure.prefixed(name))?;
    }
    Ok(item)
}

fn restore_value(value: &mut Value) -> Result {
    match value {
        Value::S(text) => {
            if let Some(digits) = text.strip_prefix(MARK.as_str()) {
                let number: Number =
                    digits.parse().map_err(|error| Failure::usage(format!("{digits}: {error}")))?;
                *value = Value::N(number);
            }
        }
        Value::M(map) => map.values_mut().try_for_each(restore_value)?,
        Value::L(list) => list.iter_mut().try_for_each(restore_value)?,
        _ => {}
    }
    Ok(())
}
