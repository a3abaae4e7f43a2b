//! JSON, changed in place: what is not declared stays byte for byte. Comments (`//`, `/* */`) and commas behind the last
//! item, which editors allow in their settings, are read and stay.

use super::{Document, Format, MergeError, Path};
use serde_json::Value;

#[derive(Debug)]
pub(super) struct Json {
    text: String,
    top: Node,
    /// A file without anything in it.
    blank: bool,
}

/// A value and its place in the text.
#[derive(Debug)]
struct Node {
    start: usize,
    end: usize,
    /// The members of an object.
    members: Option<Vec<Member>>,
}

#[derive(Debug)]
struct Member {
    name: String,
    start: usize,
    value: Node,
}

impl Json {
    pub(super) fn parse(text: &str) -> Result<Self, MergeError> {
        let blank = plain(text).trim().is_empty();
        let text = if blank {
            format!("{text}{{}}\n")
        } else {
            text.to_owned()
        };
        let wrong = |why: String| MergeError::Text {
            format: Format::Json,
            why,
        };
        let plain = plain(&text);
        // That it is JSON, nested no deeper than serde_json allows, is known from here on.
        serde_json::from_str::<Value>(&plain).map_err(|e| wrong(e.to_string()))?;
        let mut scanner = Scanner {
            bytes: plain.as_bytes(),
            at: 0,
        };
        let top = scanner
            .value()
            .ok_or_else(|| wrong("it ends early".into()))?;
        if top.members.is_none() {
            return Err(wrong("it is no object".into()));
        }
        Ok(Self { text, top, blank })
    }

    fn node(&self, key: &[String]) -> Option<&Node> {
        let mut node = &self.top;
        for name in key {
            node = &node.member(name)?.value;
        }
        Some(node)
    }

    fn change(&mut self, start: usize, end: usize, new: &str) -> Result<(), MergeError> {
        let mut text = self.text.clone();
        text.replace_range(start..end, new);
        let blank = self.blank;
        *self = Self::parse(&text)?;
        self.blank = blank;
        Ok(())
    }

    /// The blanks that a line begins with.
    fn indent(&self, at: usize) -> &str {
        let line = self.text[..at].rfind('\n').map_or(0, |n| n + 1);
        let rest = &self.text[line..at];
        &rest[..rest.len() - rest.trim_start().len()]
    }

    /// Puts a member at the end of an object.
    fn add(&mut self, table: &[String], name: &str, value: &str) -> Result<(), MergeError> {
        let Some(node) = self.node(table) else {
            return Err(MergeError::Shape(table.join(".")));
        };
        let Some(members) = &node.members else {
            return Err(MergeError::Shape(table.join(".")));
        };
        let name = Value::from(name).to_string();
        let outer = self.indent(node.start).to_owned();
        if let Some(last) = members.last() {
            let first = &members[0];
            let lines = self.text[node.start..first.start].contains('\n');
            let before = if lines {
                format!("\n{}", self.indent(first.start))
            } else {
                " ".to_owned()
            };
            let end = last.value.end;
            // A comma that is there already is used.
            let comma = comma_behind(&self.text, end);
            let mut new = self.text.clone();
            let mut at = comma.map_or(end, |comma| comma + 1);
            if comma.is_none() {
                new.insert(end, ',');
                at += 1;
            }
            // A comment of the last member stays on its line.
            if lines && let Some(length) = rest_is_comment(&new[at..]) {
                at += length;
            }
            new.insert_str(at, &format!("{before}{name}: {value}"));
            let all = self.text.len();
            return self.change(0, all, &new);
        }
        // Its inside may have comments, which stay.
        let inside = &self.text[node.start + 1..node.end - 1];
        let inside = inside.trim_end().to_owned();
        let new = format!("{inside}\n{outer}  {name}: {value}\n{outer}");
        let (start, end) = (node.start + 1, node.end - 1);
        self.change(start, end, &new)
    }
}

impl Node {
    /// The last of that name, which is the one that readers take.
    fn member(&self, name: &str) -> Option<&Member> {
        let members = self.members.as_ref()?;
        members.iter().rev().find(|member| member.name == name)
    }

    fn collect(&self, text: &str, path: &mut Path, all: &mut Vec<(Path, String)>) {
        for member in self.members.iter().flatten() {
            path.push(member.name.clone());
            if member.value.members.is_some() {
                member.value.collect(text, path, all);
            } else {
                let value = text[member.value.start..member.value.end].to_owned();
                all.retain(|(other, _)| other != path);
                all.push((path.clone(), value));
            }
            path.pop();
        }
    }
}

/// The text with blanks where comments and commas without a next item are: JSON, with every place the same.
fn plain(text: &str) -> String {
    let mut out = without_comments(text);
    let mut comma = None;
    let mut quoted = false;
    let mut at = 0;
    while at < out.len() {
        match out[at] {
            b'\\' if quoted => at += 1,
            b'"' => {
                quoted = !quoted;
                comma = None;
            }
            b',' if !quoted => comma = Some(at),
            b'}' | b']' if !quoted => {
                if let Some(comma) = comma.take() {
                    out[comma] = b' ';
                }
            }
            byte if !byte.is_ascii_whitespace() => comma = None,
            _ => {}
        }
        at += 1;
    }
    String::from_utf8(out).unwrap_or_default()
}

/// The bytes with blanks for comments; line ends stay.
fn without_comments(text: &str) -> Vec<u8> {
    let bytes = text.as_bytes();
    let mut out = bytes.to_vec();
    let (mut at, mut quoted) = (0, false);
    while at < bytes.len() {
        match (bytes[at], bytes.get(at + 1)) {
            (b'\\', _) if quoted => at += 1,
            (b'"', _) => quoted = !quoted,
            (b'/', Some(kind @ (b'/' | b'*'))) if !quoted => {
                let rest = &text[at + 2..];
                let length = if *kind == b'/' {
                    rest.find('\n').unwrap_or(rest.len())
                } else {
                    // One that does not end is none.
                    match rest.find("*/") {
                        Some(length) => length + 2,
                        None => return out,
                    }
                };
                for byte in &mut out[at..at + 2 + length] {
                    if *byte != b'\n' {
                        *byte = b' ';
                    }
                }
                at += 1 + length;
            }
            _ => {}
        }
        at += 1;
    }
    out
}

/// The length of the rest of a line that has nothing but a comment, without the blanks at its end.
fn rest_is_comment(text: &str) -> Option<usize> {
    let line = text.lines().next()?;
    let open = line
        .rfind("/*")
        .is_some_and(|at| !line[at..].contains("*/"));
    let bare = String::from_utf8(without_comments(line)).unwrap_or_default();
    (!open && bare.trim().is_empty()).then(|| line.trim_end().len())
}

/// The comma that comes next, with nothing but blanks and comments before it.
fn comma_behind(text: &str, at: usize) -> Option<usize> {
    let bytes = without_comments(text);
    let rest = &bytes[at..];
    let next = rest.iter().position(|byte| !byte.is_ascii_whitespace())?;
    (rest[next] == b',').then_some(at + next)
}

/// Takes a part out of a text, with the whole line if nothing else is on it, else with the blanks behind it.
fn cut(text: &mut String, start: usize, end: usize) {
    let line = text[..start].rfind('\n').map_or(0, |n| n + 1);
    let alone = text[line..start].trim().is_empty();
    let rest = &text[end..];
    let blanks = rest.len() - rest.trim_start_matches([' ', '\t', '\r']).len();
    match rest[blanks..].starts_with('\n') {
        true if alone && line > 0 => text.replace_range(line..=end + blanks, ""),
        true => text.replace_range(start..end, ""),
        false => text.replace_range(start..end + blanks, ""),
    }
}

/// Reads text that is JSON for certain.
struct Scanner<'t> {
    bytes: &'t [u8],
    at: usize,
}

impl Scanner<'_> {
    fn next(&mut self) -> Option<u8> {
        while self.bytes.get(self.at)?.is_ascii_whitespace() {
            self.at += 1;
        }
        self.bytes.get(self.at).copied()
    }

    fn text(&mut self) -> Option<String> {
        let start = self.at;
        self.at += 1;
        loop {
            match self.bytes.get(self.at)? {
                b'\\' => self.at += 1,
                b'"' => break,
                _ => {}
            }
            self.at += 1;
        }
        self.at += 1;
        serde_json::from_slice(&self.bytes[start..self.at]).ok()
    }

    fn value(&mut self) -> Option<Node> {
        let first = self.next()?;
        let start = self.at;
        let mut members = None;
        match first {
            b'{' => members = Some(self.object()?),
            b'[' => {
                self.at += 1;
                while self.next()? != b']' {
                    if self.next()? == b',' {
                        self.at += 1;
                    } else {
                        self.value()?;
                    }
                }
                self.at += 1;
            }
            b'"' => {
                self.text()?;
            }
            _ => {
                let ends = |b: &u8| b.is_ascii_whitespace() || b",]}".contains(b);
                let rest = &self.bytes[self.at..];
                self.at += rest.iter().position(ends).unwrap_or(rest.len());
            }
        }
        Some(Node {
            start,
            end: self.at,
            members,
        })
    }

    fn object(&mut self) -> Option<Vec<Member>> {
        let mut members = Vec::new();
        self.at += 1;
        loop {
            match self.next()? {
                b'}' => break,
                b',' => self.at += 1,
                _ => {
                    let start = self.at;
                    let name = self.text()?;
                    self.next()?;
                    self.at += 1;
                    let value = self.value()?;
                    members.push(Member { name, start, value });
                }
            }
        }
        self.at += 1;
        Some(members)
    }
}

impl Document for Json {
    fn leaves(&self) -> Result<Vec<(Path, String)>, MergeError> {
        let mut all = Vec::new();
        self.top.collect(&self.text, &mut Path::new(), &mut all);
        Ok(all)
    }

    fn get(&self, key: &[String]) -> Option<String> {
        let node = self.node(key)?;
        Some(self.text[node.start..node.end].to_owned())
    }

    fn has_table(&self, key: &[String]) -> bool {
        self.node(key).is_some_and(|node| node.members.is_some())
    }

    fn set(&mut self, key: &[String], value: &str) -> Result<(), MergeError> {
        if let Some(node) = self.node(key) {
            if node.members.is_some() {
                return Err(MergeError::Shape(key.join(".")));
            }
            let (start, end) = (node.start, node.end);
            return self.change(start, end, value);
        }
        for depth in 0..key.len() {
            let (table, name) = (&key[..depth], &key[depth]);
            if depth + 1 == key.len() {
                self.add(table, name, value)?;
            } else if self.node(&key[..=depth]).is_none() {
                self.add(table, name, "{}")?;
            }
        }
        Ok(())
    }

    fn remove(&mut self, key: &[String]) {
        let Some((last, table)) = key.split_last() else {
            return;
        };
        let Some(members) = self.node(table).and_then(|node| node.members.as_ref()) else {
            return;
        };
        let Some(number) = members.iter().rposition(|member| member.name == *last) else {
            return;
        };
        let member = &members[number];
        let (start, end) = (member.start, member.value.end);
        // The comma behind it goes with it, or that before the last one.
        let behind = comma_behind(&self.text, end);
        let previous = number.checked_sub(1).map(|n| members[n].value.end);
        let comma = behind.or_else(|| comma_behind(&self.text, previous?));
        let mut text = self.text.clone();
        match comma {
            Some(comma) if text.get(end..comma).is_some_and(|t| t.trim().is_empty()) => {
                cut(&mut text, start, comma + 1);
            }
            Some(comma) if comma > end => {
                text.remove(comma);
                cut(&mut text, start, end);
            }
            Some(comma) if text[comma + 1..start].trim_matches([' ', '\t']).is_empty() => {
                text.replace_range(comma..end, "");
            }
            Some(comma) => {
                cut(&mut text, start, end);
                text.remove(comma);
            }
            None => cut(&mut text, start, end),
        }
        let blank = self.blank;
        if let Ok(new) = Self::parse(&text) {
            *self = Self { blank, ..new };
        }
    }

    fn remove_table(&mut self, key: &[String]) {
        let empty = self.node(key).is_some_and(|node| {
            let inside = &self.text[node.start + 1..node.end - 1];
            node.members.as_ref().is_some_and(Vec::is_empty) && inside.trim().is_empty()
        });
        if empty {
            self.remove(key);
        }
    }

    fn is_empty(&self) -> bool {
        let text: String = self.text.split_whitespace().collect();
        text.is_empty() || text == "{}"
    }

    fn same(&self, a: &str, b: &str) -> bool {
        let value = |text: &str| serde_json::from_str::<Value>(&plain(text));
        a == b || matches!((value(a), value(b)), (Ok(a), Ok(b)) if a == b)
    }

    fn text(&self) -> String {
        if self.blank && self.is_empty() {
            return String::new();
        }
        self.text.clone()
    }
}
