//! Reads a request's body as JSON, as the service does, from bytes that nobody has looked at yet.
//!
//! Always true: depth is bounded before anything recurses, the number of values before anything is
//! kept; numbers stay text, so no number is too long or loses digits; of equal keys in one object the
//! last one counts; members keep the order in which they were written, because texts quote them in it.

use std::borrow::Cow;
use std::collections::HashMap;

use bytes::Bytes;

/// Deepest nesting: an item's 32 levels take two here, a batch adds a few; beyond it the item's own
/// limit could not be stated any more.
const MOST_DEPTH: usize = 256;
/// Most values in one body: what the largest legal batch of the smallest legal values has.
const MOST_VALUES: usize = 4_000_000;

/// A value.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Json<'a> {
    Null,
    Bool(bool),
    /// As written.
    Number(Cow<'a, str>),
    String(Cow<'a, str>),
    /// Bytes: never read from a body, only made of a string where the model has bytes.
    Blob(Bytes),
    Array(Vec<Json<'a>>),
    Object(Vec<(Cow<'a, str>, Json<'a>)>),
}

/// The body is no JSON, or more than is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Malformed;

impl Json<'_> {
    /// A member of an object.
    pub(crate) fn get(&self, name: &str) -> Option<&Json<'_>> {
        match self {
            Json::Object(members) => members.iter().find(|(key, _)| key == name).map(|(_, v)| v),
            _ => None,
        }
    }
}

/// Reads a whole body.
pub(crate) fn parse(body: &[u8]) -> Result<Json<'_>, Malformed> {
    let text = std::str::from_utf8(body).map_err(|_| Malformed)?;
    let mut reader = Reader { text, at: 0, depth: 0, values: 0 };
    let value = reader.value()?;
    reader.space();
    if reader.at == text.len() { Ok(value) } else { Err(Malformed) }
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
    depth: usize,
    values: usize,
}

impl<'a> Reader<'a> {
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn space(&mut self) {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.peek() {
            self.at += 1;
        }
    }

    fn take(&mut self, byte: u8) -> bool {
        let there = self.peek() == Some(byte);
        self.at += usize::from(there);
        there
    }

    fn word(&mut self, word: &str, value: Json<'a>) -> Result<Json<'a>, Malformed> {
        if !self.text[self.at..].starts_with(word) {
            return Err(Malformed);
        }
        self.at += word.len();
        Ok(value)
    }

    fn value(&mut self) -> Result<Json<'a>, Malformed> {
        self.values += 1;
        if self.values > MOST_VALUES {
            return Err(Malformed);
        }
        self.space();
        match self.peek().ok_or(Malformed)? {
            b'{' => self.nested(Self::object),
            b'[' => self.nested(Self::array),
            b'"' => self.string().map(Json::String),
            b't' => self.word("true", Json::Bool(true)),
            b'f' => self.word("false", Json::Bool(false)),
            b'n' => self.word("null", Json::Null),
            b'-' | b'0'..=b'9' => self.number(),
            _ => Err(Malformed),
        }
    }

    fn nested(
        &mut self,
        inner: impl FnOnce(&mut Self) -> Result<Json<'a>, Malformed>,
    ) -> Result<Json<'a>, Malformed> {
        self.depth += 1;
        if self.depth > MOST_DEPTH {
            return Err(Malformed);
        }
        self.at += 1;
        let value = inner(self)?;
        self.depth -= 1;
        Ok(value)
    }

    fn array(&mut self) -> Result<Json<'a>, Malformed> {
        let mut list = Vec::new();
        self.space();
        if self.take(b']') {
            return Ok(Json::Array(list));
        }
        loop {
            list.push(self.value()?);
            self.space();
            if self.take(b']') {
                return Ok(Json::Array(list));
            }
            if !self.take(b',') {
                return Err(Malformed);
            }
        }
    }

    fn object(&mut self) -> Result<Json<'a>, Malformed> {
        self.space();
        if self.take(b'}') {
            return Ok(Json::Object(Vec::new()));
        }
        // Nearly every object is an attribute value with one member: it takes room for one.
        let mut members = Vec::with_capacity(1);
        loop {
            self.space();
            if self.peek() != Some(b'"') {
                return Err(Malformed);
            }
            let key = self.string()?;
            self.space();
            if !self.take(b':') {
                return Err(Malformed);
            }
            members.push((key, self.value()?));
            self.space();
            if self.take(b'}') {
                return Ok(Json::Object(last_of_equal_keys(members)));
            }
            if !self.take(b',') {
                return Err(Malformed);
            }
        }
    }

    fn number(&mut self) -> Result<Json<'a>, Malformed> {
        let start = self.at;
        self.take(b'-');
        if !self.take(b'0') && self.digits() == 0 {
            return Err(Malformed);
        }
        if self.take(b'.') && self.digits() == 0 {
            return Err(Malformed);
        }
        if self.take(b'e') || self.take(b'E') {
            let _ = self.take(b'+') || self.take(b'-');
            if self.digits() == 0 {
                return Err(Malformed);
            }
        }
        Ok(Json::Number(Cow::Borrowed(&self.text[start..self.at])))
    }

    fn digits(&mut self) -> usize {
        let start = self.at;
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        self.at - start
    }

    fn string(&mut self) -> Result<Cow<'a, str>, Malformed> {
        self.at += 1;
        let start = self.at;
        let mut owned: Option<String> = None;
        let mut from = start;
        loop {
            match self.peek().ok_or(Malformed)? {
                b'"' => {
                    let rest = &self.text[from..self.at];
                    self.at += 1;
                    return Ok(match owned {
                        None => Cow::Borrowed(rest),
                        Some(mut text) => {
                            text.push_str(rest);
                            Cow::Owned(text)
                        }
                    });
                }
                b'\\' => {
                    let text = owned.get_or_insert_default();
                    text.push_str(&self.text[from..self.at]);
                    self.at += 1;
                    let escaped = self.escape()?;
                    owned.get_or_insert_default().push(escaped);
                    from = self.at;
                }
                0..=0x1f => return Err(Malformed),
                _ => self.at += 1,
            }
        }
    }

    fn escape(&mut self) -> Result<char, Malformed> {
        let byte = self.peek().ok_or(Malformed)?;
        self.at += 1;
        Ok(match byte {
            b'"' => '"',
            b'\\' => '\\',
            b'/' => '/',
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => {
                let first = self.hex()?;
                // Half a pair is no character; keeping something else would change the caller's data.
                let code = match first {
                    0xd800..=0xdbff => {
                        if !(self.take(b'\\') && self.take(b'u')) {
                            return Err(Malformed);
                        }
                        let second = self.hex()?;
                        if !(0xdc00..=0xdfff).contains(&second) {
                            return Err(Malformed);
                        }
                        0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00)
                    }
                    other => other,
                };
                char::from_u32(code).ok_or(Malformed)?
            }
            _ => return Err(Malformed),
        })
    }

    fn hex(&mut self) -> Result<u32, Malformed> {
        let digits = self.text.as_bytes().get(self.at..self.at + 4).ok_or(Malformed)?;
        let mut code = 0;
        for &digit in digits {
            code = code * 16 + char::from(digit).to_digit(16).ok_or(Malformed)?;
        }
        self.at += 4;
        Ok(code)
    }
}

type Members<'a> = Vec<(Cow<'a, str>, Json<'a>)>;

/// Of members with equal keys, the last one at the place of the first.
fn last_of_equal_keys(members: Members<'_>) -> Members<'_> {
    // A handful is compared quicker than hashed; thousands must not be compared with each other.
    let distinct = if members.len() <= 8 {
        (1..members.len()).all(|i| members[..i].iter().all(|(key, _)| *key != members[i].0))
    } else {
        let keys: std::collections::HashSet<&str> = members.iter().map(|(key, _)| &**key).collect();
        keys.len() == members.len()
    };
    if distinct {
        return members;
    }
    let mut places: HashMap<Cow<'_, str>, usize> = HashMap::new();
    let mut kept: Members<'_> = Vec::new();
    for (key, value) in members {
        match places.get(&key) {
            Some(&place) => kept[place].1 = value,
            None => {
                places.insert(key.clone(), kept.len());
                kept.push((key, value));
            }
        }
    }
    kept
}

/// Appends a text as a JSON string.
pub(crate) fn write_string(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    let mut from = 0;
    for (at, byte) in text.bytes().enumerate() {
        let escape: &[u8] = match byte {
            b'"' => b"\\\"",
            b'\\' => b"\\\\",
            b'\n' => b"\\n",
            b'\r' => b"\\r",
            b'\t' => b"\\t",
            0x08 => b"\\b",
            0x0c => b"\\f",
            0..=0x1f => b"",
            _ => continue,
        };
        out.extend_from_slice(&text.as_bytes()[from..at]);
        if escape.is_empty() {
            out.extend_from_slice(format!("\\u{byte:04x}").as_bytes());
        } else {
            out.extend_from_slice(escape);
        }
        from = at + 1;
    }
    out.extend_from_slice(&text.as_bytes()[from..]);
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_json_is_read_and_what_is_not_is_refused() {
        // RFC 8259's grammar.
        for good in
            ["{}", " [1, -2.5e+3 ,\"\\u00e9\\ud83d\\ude00\"] ", "null", "0", "\"\\/\"", "-0.0"]
        {
            assert!(parse(good.as_bytes()).is_ok(), "{good}");
        }
        for bad in [
            "",
            "hi",
            "{",
            "{\"a\"}",
            "{\"a\":1,}",
            "[1,]",
            "01",
            "1.",
            ".5",
            "1e",
            "+1",
            "tru",
            "\"\\x\"",
            "\"\\ud800\"",
            "\"\\ud800\\u0041\"",
            "\"a\nb\"",
            "{} {}",
            "{a:1}",
            "'a'",
            "\u{feff}{}",
        ] {
            assert_eq!(parse(bad.as_bytes()), Err(Malformed), "{bad}");
        }
        assert_eq!(parse(b"\"\xff\""), Err(Malformed));
        let text = parse("\"\\u00e9\\ud83d\\ude00\"".as_bytes()).unwrap();
        assert_eq!(text, Json::String("\u{e9}\u{1f600}".into()));
    }

    #[test]
    fn of_equal_keys_the_last_counts_at_the_place_of_the_first() {
        let value = parse(br#"{"a":1,"b":2,"a":3}"#).unwrap();
        let members =
            vec![("a".into(), Json::Number("3".into())), ("b".into(), Json::Number("2".into()))];
        assert_eq!(value, Json::Object(members));
        let many: String = (0..100_000).map(|i| format!("\"k{}\":{i},", i % 50_000)).collect();
        let text = format!("{{{}}}", many.trim_end_matches(','));
        let Json::Object(members) = parse(text.as_bytes()).unwrap() else { panic!("no object") };
        assert_eq!((members.len(), &members[0].1), (50_000, &Json::Number("50000".into())));
    }

    #[test]
    fn depth_size_and_length_do_no_harm() {
        for open in ["[", "{\"a\":"] {
            assert_eq!(parse(open.repeat(100_000).as_bytes()), Err(Malformed));
        }
        let digits = "9".repeat(10_000);
        assert_eq!(parse(digits.as_bytes()), Ok(Json::Number((&digits).into())));
        let many = format!("[{}0]", "0,".repeat(MOST_VALUES));
        assert_eq!(parse(many.as_bytes()), Err(Malformed));
    }

    #[test]
    fn written_strings_are_read_back() {
        let all: String =
            (0..0x300).filter_map(char::from_u32).chain("\u{1f600}".chars()).collect();
        let mut out = Vec::new();
        write_string(&mut out, &all);
        assert_eq!(parse(&out).unwrap(), Json::String(all.into()));
    }
}
