//! Bounds how deep nested data may be when serde reads it. Requests between nodes carry values and
//! conditions in a format whose reader recurses as deep as the bytes say; without a bound, a few kilobytes
//! of nested lists would end the process with a full stack. Formats of our own bound themselves.

use std::cell::Cell;
use std::thread::LocalKey;

use serde::de::{Deserialize, Deserializer, Error};

use crate::limits::{EXPRESSION_DEPTH, EXPRESSION_OPERATORS, NESTING_LEVELS};

thread_local! {
    static VALUES: Cell<usize> = const { Cell::new(0) };
    static CONDITIONS: Cell<usize> = const { Cell::new(0) };
    static OPERANDS: Cell<usize> = const { Cell::new(0) };
}

/// Steps out again when it goes out of scope, whether reading succeeded or not.
struct Level(&'static LocalKey<Cell<usize>>);

impl Drop for Level {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

fn deeper<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
    counter: &'static LocalKey<Cell<usize>>,
    limit: usize,
) -> Result<T, D::Error> {
    counter.set(counter.get() + 1);
    let level = Level(counter);
    if level.0.get() > limit {
        return Err(D::Error::custom(format!("nested deeper than {limit} levels")));
    }
    T::deserialize(deserializer)
}

/// What a list or map holds.
pub(crate) fn in_value<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    deeper(deserializer, &VALUES, NESTING_LEVELS)
}

/// What AND, OR and NOT hold: each of them is an operator, and operators are bounded.
pub(crate) fn in_condition<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    deeper(deserializer, &CONDITIONS, EXPRESSION_OPERATORS)
}

/// What the functions of an update hold: each of them is in parentheses, and those are bounded.
pub(crate) fn in_operand<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    deeper(deserializer, &OPERANDS, EXPRESSION_DEPTH)
}

#[cfg(test)]
mod tests {
    use crate::condition::{Condition, Path, Step};
    use crate::value::Value;

    fn list(levels: usize) -> Value {
        (0..levels).fold(Value::Null, |inner, _| Value::L(vec![inner]))
    }

    fn not(levels: usize) -> Condition {
        let innermost = Condition::Exists(Path(vec![Step::Attribute("a".into())]));
        (0..levels).fold(innermost, |inner, _| Condition::Not(Box::new(inner)))
    }

    #[test]
    fn values_nest_to_their_limit_and_no_deeper() {
        let read = |value: &Value| {
            postcard::from_bytes::<Value>(&postcard::to_stdvec(value).expect("written"))
        };
        assert_eq!(read(&list(31)), Ok(list(31)));
        assert!(read(&list(32)).is_err());
        assert_eq!(read(&list(31)), Ok(list(31)), "a refusal leaves nothing behind");
    }

    #[test]
    fn conditions_nest_to_their_limit_and_no_deeper() {
        let read = |condition: &Condition| {
            postcard::from_bytes::<Condition>(&postcard::to_stdvec(condition).expect("written"))
        };
        assert_eq!(read(&not(300)), Ok(not(300)));
        assert!(read(&not(301)).is_err());
        assert_eq!(read(&not(300)), Ok(not(300)), "a refusal leaves nothing behind");
    }

    /// Postcard: the variant's number, the list's length, again and again.
    #[test]
    fn a_million_levels_do_not_fill_the_stack() {
        assert!(postcard::from_bytes::<Value>(&[6, 1].repeat(1_000_000)).is_err());
        let nots = vec![8; 1_000_000];
        assert!(postcard::from_bytes::<Condition>(&nots).is_err());
    }
}
