//! INI, line by line. What belongs to a value is what Python's `configparser` takes for it: lines that are indented
//! further than the key go on with it. Of a key that stands twice in a section the last one counts, as there and in git.

use super::{Document, MergeError, Path};

#[derive(Debug)]
pub(super) struct Ini {
    /// With their ends.
    lines: Vec<String>,
}

/// Where a key is: its lines, and the value.
struct Entry {
    section: String,
    key: String,
    value: String,
    first: usize,
    /// Behind the last line.
    end: usize,
    /// What stands before the value: the key with its indentation and the sign.
    lead: String,
}

impl Ini {
    pub(super) fn parse(text: &str) -> Self {
        Self {
            lines: text.split_inclusive('\n').map(str::to_owned).collect(),
        }
    }

    fn entries(&self) -> Vec<Entry> {
        let mut all: Vec<Entry> = Vec::new();
        let (mut section, mut open, mut depth) = (String::new(), false, 0);
        for (number, line) in self.lines.iter().enumerate() {
            let body = line.trim();
            let indent = line.len() - line.trim_start().len();
            if body.is_empty() || body.starts_with(['#', ';']) {
                continue;
            }
            if open
                && indent > depth
                && let Some(last) = all.last_mut()
            {
                last.value.push('\n');
                last.value.push_str(body);
                last.end = number + 1;
                continue;
            }
            depth = indent;
            if let Some(name) = header(body) {
                name.clone_into(&mut section);
                open = false;
                continue;
            }
            let sign = body.find(['=', ':']).unwrap_or(body.len());
            let value = body.get(sign + 1..).unwrap_or_default().trim();
            let behind = line.trim_end().len() - value.len();
            all.push(Entry {
                section: section.clone(),
                key: body[..sign].trim_end().to_owned(),
                value: value.to_owned(),
                first: number,
                end: number + 1,
                lead: line[..behind].to_owned(),
            });
            open = true;
        }
        all
    }

    fn find(&self, key: &[String]) -> Option<Entry> {
        let [section, key] = key else { return None };
        let fits = |e: &Entry| e.section == *section && e.key == *key;
        self.entries().into_iter().rev().find(fits)
    }

    /// The header of a section, the last of that name.
    fn header_of(&self, section: &str) -> Option<usize> {
        let is = |line: &String| header(line.trim()) == Some(section);
        self.lines.iter().rposition(is)
    }

    /// Behind the last line of a section that says something.
    fn end_of(&self, header_at: Option<usize>) -> usize {
        let first = header_at.map_or(0, |at| at + 1);
        let next = (first..self.lines.len()).find(|n| header(self.lines[*n].trim()).is_some());
        let mut end = next.unwrap_or(self.lines.len());
        while end > first && self.lines[end - 1].trim().is_empty() {
            end -= 1;
        }
        end
    }

    /// A line that another one can follow.
    fn closed(&mut self, number: usize) {
        if let Some(line) = number.checked_sub(1).and_then(|n| self.lines.get_mut(n))
            && !line.ends_with('\n')
        {
            line.push('\n');
        }
    }
}

/// The name in a section's header; what stands behind the bracket plays no role.
fn header(body: &str) -> Option<&str> {
    let inner = body.strip_prefix('[')?;
    inner.rfind(']').map(|end| &inner[..end])
}

impl Document for Ini {
    fn leaves(&self) -> Result<Vec<(Path, String)>, MergeError> {
        let mut all: Vec<(Path, String)> = Vec::new();
        for entry in self.entries() {
            let key = vec![entry.section, entry.key];
            if all.iter().any(|(other, _)| *other == key) {
                let what = format!("`{}`, a key that is declared twice,", key.join("."));
                return Err(MergeError::Unmergeable(what));
            }
            all.push((key, entry.value));
        }
        Ok(all)
    }

    fn get(&self, key: &[String]) -> Option<String> {
        self.find(key).map(|entry| entry.value)
    }

    fn has_table(&self, key: &[String]) -> bool {
        matches!(key, [section] if section.is_empty() || self.header_of(section).is_some())
    }

    fn set(&mut self, key: &[String], value: &str) -> Result<(), MergeError> {
        let [section, name] = key else {
            return Err(MergeError::Shape(key.join(".")));
        };
        // Lines that go on are indented further than any key is.
        let value = value.replace('\n', "\n\t\t");
        if let Some(entry) = self.find(key) {
            let sign = if entry.lead.contains(['=', ':']) {
                ""
            } else {
                " = "
            };
            let line = format!("{}{sign}{value}\n", entry.lead);
            self.lines.splice(entry.first..entry.end, [line]);
            return Ok(());
        }
        let siblings: Vec<Entry> = self.entries();
        let like = siblings.iter().rev().find(|e| e.section == *section);
        let like = like.or(siblings.first());
        let (indent, sign) = match like {
            // As its neighbours are written.
            Some(e) => {
                let indent = e.lead.len() - e.lead.trim_start().len();
                let around = e.lead.trim_start().strip_prefix(&e.key).unwrap_or(" = ");
                let sign = if around.contains(['=', ':']) {
                    around
                } else {
                    " = "
                };
                (e.lead[..indent].to_owned(), sign.to_owned())
            }
            None => (String::new(), " = ".to_owned()),
        };
        let header_at = self.header_of(section);
        let mut at = self.end_of(header_at);
        if header_at.is_none() && !section.is_empty() {
            at = self.lines.len();
            self.closed(at);
            if at > 0 && !self.lines[at - 1].trim().is_empty() {
                self.lines.push("\n".into());
            }
            self.lines.push(format!("[{section}]\n"));
            at = self.lines.len();
        }
        self.closed(at);
        self.lines
            .insert(at, format!("{indent}{name}{sign}{value}\n"));
        Ok(())
    }

    fn remove(&mut self, key: &[String]) {
        if let Some(entry) = self.find(key) {
            self.lines.drain(entry.first..entry.end);
        }
    }

    fn remove_table(&mut self, key: &[String]) {
        let [section] = key else { return };
        let Some(at) = self.header_of(section) else {
            return;
        };
        if self.end_of(Some(at)) == at + 1 {
            // The blank line before it was made with it.
            let blank = at > 0 && self.lines[at - 1].trim().is_empty();
            self.lines.drain(at - usize::from(blank)..=at);
        }
    }

    fn is_empty(&self) -> bool {
        self.lines.iter().all(|line| line.trim().is_empty())
    }

    fn same(&self, a: &str, b: &str) -> bool {
        a == b
    }

    fn text(&self) -> String {
        self.lines.concat()
    }
}
