//! Writes JSON objects and lists.

use super::json::write_string;

/// An object under construction.
pub(super) struct Object<'a> {
    out: &'a mut Vec<u8>,
    empty: bool,
}

/// Appends an object.
pub(super) fn object(out: &mut Vec<u8>, fill: impl FnOnce(&mut Object<'_>)) {
    out.push(b'{');
    fill(&mut Object { out, empty: true });
    out.push(b'}');
}

/// Appends a list.
pub(super) fn list<T>(
    out: &mut Vec<u8>,
    items: impl IntoIterator<Item = T>,
    mut each: impl FnMut(&mut Vec<u8>, T),
) {
    out.push(b'[');
    for (index, one) in items.into_iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        each(out, one);
    }
    out.push(b']');
}

impl Object<'_> {
    /// A member with any value.
    pub(super) fn put(&mut self, name: &str, write: impl FnOnce(&mut Vec<u8>)) {
        if !std::mem::take(&mut self.empty) {
            self.out.push(b',');
        }
        write_string(self.out, name);
        self.out.push(b':');
        write(self.out);
    }

    pub(super) fn text(&mut self, name: &str, text: &str) {
        self.put(name, |out| write_string(out, text));
    }

    /// Whatever prints as a JSON number or truth value.
    pub(super) fn plain(&mut self, name: &str, value: impl std::fmt::Display) {
        self.put(name, |out| out.extend_from_slice(value.to_string().as_bytes()));
    }

    /// Milliseconds since 1970 as seconds with a fraction.
    pub(super) fn time(&mut self, name: &str, ms: u64) {
        self.put(name, |out| {
            out.extend_from_slice(format!("{}.{:03}", ms / 1000, ms % 1000).as_bytes());
        });
    }

    pub(super) fn object(&mut self, name: &str, fill: impl FnOnce(&mut Object<'_>)) {
        self.put(name, |out| object(out, fill));
    }

    pub(super) fn list<T>(
        &mut self,
        name: &str,
        items: impl IntoIterator<Item = T>,
        each: impl FnMut(&mut Vec<u8>, T),
    ) {
        self.put(name, |out| list(out, items, each));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_and_lists_are_json() {
        let mut out = Vec::new();
        object(&mut out, |o| {
            o.text("a", "\"");
            o.plain("b", 0.5);
            o.time("c", 1_370_772_015_007);
            o.list("d", [1, 2], |out, one| out.extend_from_slice(format!("{one}").as_bytes()));
            o.object("e", |_| ());
        });
        let text = String::from_utf8(out).unwrap();
        assert_eq!(text, r#"{"a":"\"","b":0.5,"c":1370772015.007,"d":[1,2],"e":{}}"#);
    }
}
