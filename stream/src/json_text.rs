//! Attribute-value JSON written straight into a text, without a tree in between: a table's stream
//! renders every item it shows, and the tree costs several times the text.
//!
//! Always true: what is written parses to exactly what [`tombolo_item::json::item_to_json`] makes of
//! the item.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use std::fmt::Write;
use tombolo_item::{Item, Value};

/// `{"name":{"S":"…"},…}`
pub(crate) fn item(out: &mut String, item: &Item) {
    fields(out, item.0.iter());
}

/// A JSON string.
pub(crate) fn string(out: &mut String, text: &str) {
    out.push('"');
    let mut plain = 0;
    for (at, byte) in text.bytes().enumerate() {
        if byte >= 0x20 && byte != b'"' && byte != b'\\' {
            continue;
        }
        out.push_str(&text[plain..at]);
        plain = at + 1;
        match byte {
            b'"' => out.push_str("\\\""),
            b'\\' => out.push_str("\\\\"),
            b'\n' => out.push_str("\\n"),
            b'\r' => out.push_str("\\r"),
            b'\t' => out.push_str("\\t"),
            _ => show(out, format_args!("\\u{byte:04x}")),
        }
    }
    out.push_str(&text[plain..]);
    out.push('"');
}

/// Anything that formats, as it is.
pub(crate) fn show(out: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing to a String fails only if a Display implementation does; none here can.
    let _ = out.write_fmt(text);
}

fn fields<'a>(out: &mut String, fields: impl Iterator<Item = (&'a String, &'a Value)>) {
    list(out, '{', '}', fields, |out, (name, inner)| {
        string(out, name);
        out.push(':');
        value(out, inner);
    });
}

fn list<T>(
    out: &mut String,
    open: char,
    close: char,
    parts: impl Iterator<Item = T>,
    mut write: impl FnMut(&mut String, T),
) {
    out.push(open);
    for (index, part) in parts.enumerate() {
        if index > 0 {
            out.push(',');
        }
        write(out, part);
    }
    out.push(close);
}

fn binary(out: &mut String, bytes: &[u8]) {
    out.push('"');
    STANDARD.encode_string(bytes, out);
    out.push('"');
}

fn value(out: &mut String, value: &Value) {
    match value {
        Value::S(text) => tagged(out, "S", |out| string(out, text)),
        Value::N(number) => tagged(out, "N", |out| show(out, format_args!("\"{number}\""))),
        Value::B(bytes) => tagged(out, "B", |out| binary(out, bytes)),
        Value::Bool(truth) => tagged(out, "BOOL", |out| show(out, format_args!("{truth}"))),
        Value::Null => tagged(out, "NULL", |out| out.push_str("true")),
        Value::M(map) => tagged(out, "M", |out| fields(out, map.iter())),
        Value::L(values) => tagged(out, "L", |out| list(out, '[', ']', values.iter(), self::value)),
        Value::Ss(set) => {
            tagged(out, "SS", |out| list(out, '[', ']', set.iter(), |out, text| string(out, text)))
        }
        Value::Ns(set) => tagged(out, "NS", |out| {
            list(out, '[', ']', set.iter(), |out, n| show(out, format_args!("\"{n}\"")))
        }),
        Value::Bs(set) => tagged(out, "BS", |out| {
            list(out, '[', ']', set.iter(), |out, bytes| binary(out, bytes))
        }),
    }
}

fn tagged(out: &mut String, tag: &str, write: impl FnOnce(&mut String)) {
    show(out, format_args!("{{\"{tag}\":"));
    write(out);
    out.push('}');
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    #[test]
    fn it_parses_to_what_the_tree_would_be() {
        let every_char: String = (0..0x3000u32).filter_map(char::from_u32).collect();
        let number = |text: &str| text.parse().expect("a number");
        let inner = [
            ("S".to_owned(), Value::S(every_char.clone())),
            ("empty".to_owned(), Value::S(String::new())),
            (every_char, Value::N(number("-1.5E-100"))),
            ("B".to_owned(), Value::B(Bytes::from_static(&[0, 255, 16]))),
            ("T".to_owned(), Value::Bool(true)),
            ("0".to_owned(), Value::Null),
            ("M".to_owned(), Value::M([("x".to_owned(), Value::L(vec![]))].into())),
            ("L".to_owned(), Value::L(vec![Value::Null, Value::M([].into())])),
            ("SS".to_owned(), Value::Ss(["a".to_owned(), "\"".to_owned()].into())),
            ("NS".to_owned(), Value::Ns([number("1"), number("2.5")].into())),
            ("BS".to_owned(), Value::Bs([Bytes::new(), Bytes::from_static(b"x")].into())),
        ];
        let whole = Item(inner.into());
        let mut text = String::new();
        item(&mut text, &whole);
        assert!(!text.contains('\n'), "one line");
        let parsed: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(parsed, tombolo_item::json::item_to_json(&whole));
    }
}
