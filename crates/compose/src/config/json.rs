//! JSON of the same shape as the TOML (RFC 8259), every value with its place.

use super::value::{Complaint, Field, Node, Place, Table, Value};
use std::collections::btree_map::Entry;

/// Tables and lists in one another are never deeper.
const DEPTH: usize = 32;

/// Reads an object; the first thing that is no JSON ends it.
pub(super) fn parse_json(file: usize, text: &str) -> (Table, Vec<Complaint>) {
    let mut parser = Parser {
        file,
        text,
        at: 0,
        complaints: Vec::new(),
    };
    let table = match parser.document() {
        Ok(table) => table,
        Err(what) => {
            let place = parser.place(parser.at);
            parser.complaints.push((place, what));
            Table::new()
        }
    };
    (table, parser.complaints)
}

struct Parser<'a> {
    file: usize,
    text: &'a str,
    at: usize,
    complaints: Vec<Complaint>,
}

impl Parser<'_> {
    fn place(&self, start: usize) -> Place {
        Place {
            file: self.file,
            start,
            end: self.at.max(start),
        }
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn blanks(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    /// Goes past a byte that must be next, after blanks.
    fn expect(&mut self, byte: u8) -> Result<(), String> {
        self.blanks();
        if self.peek() == Some(byte) {
            self.at += 1;
            return Ok(());
        }
        Err(format!("`{}` is expected here", char::from(byte)))
    }

    /// Whether this byte is next after blanks; if so, goes past it.
    fn next_is(&mut self, byte: u8) -> bool {
        self.expect(byte).is_ok()
    }

    fn document(&mut self) -> Result<Table, String> {
        self.expect(b'{')?;
        let table = self.object(0)?;
        self.blanks();
        if self.at < self.text.len() {
            return Err("nothing is expected after the object".into());
        }
        Ok(table)
    }

    fn object(&mut self, depth: usize) -> Result<Table, String> {
        let mut table = Table::new();
        if self.next_is(b'}') {
            return Ok(table);
        }
        loop {
            self.blanks();
            let start = self.at;
            let name = self.string()?;
            let key = self.place(start);
            self.expect(b':')?;
            let node = self.value(depth)?;
            match table.entry(name) {
                Entry::Vacant(entry) => {
                    entry.insert(Field { key, node });
                }
                Entry::Occupied(_) => self.complaints.push((key, "duplicate key".into())),
            }
            if !self.next_is(b',') {
                self.expect(b'}')
                    .map_err(|_| "`,` or `}` is expected here".to_owned())?;
                return Ok(table);
            }
        }
    }

    fn list(&mut self, depth: usize) -> Result<Vec<Node>, String> {
        let mut list = Vec::new();
        if self.next_is(b']') {
            return Ok(list);
        }
        loop {
            list.push(self.value(depth)?);
            if !self.next_is(b',') {
                self.expect(b']')
                    .map_err(|_| "`,` or `]` is expected here".to_owned())?;
                return Ok(list);
            }
        }
    }

    fn value(&mut self, depth: usize) -> Result<Node, String> {
        if depth >= DEPTH {
            return Err(format!("values are nested deeper than {DEPTH}"));
        }
        self.blanks();
        let start = self.at;
        let value = match self.peek() {
            Some(b'{') => {
                self.at += 1;
                Value::Table(self.object(depth + 1)?)
            }
            Some(b'[') => {
                self.at += 1;
                Value::List(self.list(depth + 1)?)
            }
            Some(b'"') => Value::Text(self.string()?),
            Some(b'-' | b'0'..=b'9') => self.number(),
            _ if self.word("true") => Value::Boolean(true),
            _ if self.word("false") => Value::Boolean(false),
            _ if self.word("null") => Value::Other("null"),
            _ => return Err("a value is expected here".into()),
        };
        Ok(Node {
            at: self.place(start),
            value,
        })
    }

    fn word(&mut self, word: &str) -> bool {
        let found = self.text[self.at..].starts_with(word);
        if found {
            self.at += word.len();
        }
        found
    }

    fn number(&mut self) -> Value {
        let start = self.at;
        while matches!(
            self.peek(),
            Some(b'-' | b'+' | b'.' | b'e' | b'E' | b'0'..=b'9')
        ) {
            self.at += 1;
        }
        let text = &self.text[start..self.at];
        if text.contains(['.', 'e', 'E']) {
            Value::Other("a fraction")
        } else {
            Value::Integer(text.parse().ok())
        }
    }

    fn string(&mut self) -> Result<String, String> {
        let start = self.at;
        if self.peek() != Some(b'"') {
            return Err("a text in double quotes is expected here".into());
        }
        self.at += 1;
        loop {
            match self.peek() {
                None | Some(0..b' ') => return Err("the text does not end".into()),
                // The byte after it, whatever it is, does not end the text.
                Some(b'\\') => self.at += 2,
                Some(b'"') => {
                    self.at += 1;
                    break;
                }
                Some(_) => self.at += 1,
            }
        }
        self.at = self.at.min(self.text.len());
        // Escapes are serde's business.
        let quoted = self.text.get(start..self.at).unwrap_or_default();
        serde_json::from_str(quoted).map_err(|_| {
            self.at = start;
            "this text has a wrong escape".to_owned()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_those_of_the_text() {
        let text = "{ \"a\": [1, \"x\\u00e4\\\"\"], \"b\": {\"c\": true} }";
        let (table, complaints) = parse_json(3, text);
        assert!(complaints.is_empty());
        let Value::List(list) = &table["a"].node.value else {
            panic!()
        };
        assert!(matches!(list[0].value, Value::Integer(Some(1))));
        assert!(matches!(&list[1].value, Value::Text(t) if t == "xä\""));
        assert_eq!(&text[list[1].at.start..list[1].at.end], "\"x\\u00e4\\\"\"");
        assert_eq!(list[1].at.file, 3);
    }

    #[test]
    fn what_is_no_json_is_said_and_nothing_panics() {
        let deep = format!("{{\"a\":{}{}}}", "[".repeat(100), "]".repeat(100));
        let cases = [
            ("", "`{`"),
            ("{", "double quotes"),
            ("{\"a\" 1}", "`:`"),
            ("{\"a\": }", "a value"),
            ("{\"a\": 1", "`,` or `}`"),
            ("{\"a\": [1 2]}", "`,` or `]`"),
            ("{\"a\": \"\\", "does not end"),
            ("{\"a\": \"\\q\"}", "escape"),
            ("{\"a\": 1} x", "nothing"),
            ("{\"a\": 1, \"a\": 2}", "duplicate"),
            (&deep, "deeper"),
        ];
        for (text, word) in cases {
            let (_, complaints) = parse_json(0, text);
            assert!(complaints[0].1.contains(word), "{text}: {complaints:?}");
        }
        let whole = "{\"a\": [true, \"\\u00e4\", {\"b\": -1.5}]}";
        for end in 0..whole.len() {
            parse_json(0, &whole[..end]);
        }
    }
}
