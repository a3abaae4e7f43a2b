//! Debian's control files (deb822(5)): stanzas of fields.

/// A stanza's fields in order; continuation lines are kept with their line breaks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stanza<'a>(Vec<(&'a str, &'a str)>);

impl std::fmt::Display for Stanza<'_> {
    /// As it stands in a control file.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0
            .iter()
            .try_for_each(|(field, value)| writeln!(f, "{field}:{}", value.trim_end()))
    }
}

impl<'a> Stanza<'a> {
    /// A field's value, trimmed; names are compared without case.
    pub fn get(&self, name: &str) -> Option<&'a str> {
        self.0
            .iter()
            .find(|(field, _)| field.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.trim())
    }
}

/// Reads stanzas; lines that are neither field nor continuation, and comments, are left out.
pub fn parse(text: &str) -> Vec<Stanza<'_>> {
    let mut stanzas = Vec::new();
    let mut current = Stanza::default();
    let mut at = 0;
    // Where the value of the last field begins.
    let mut begin: Option<usize> = None;
    for line in text.split_inclusive('\n') {
        let end = at + line.len();
        let content = line.trim_end_matches(['\n', '\r']);
        if content.trim().is_empty() {
            if !current.0.is_empty() {
                stanzas.push(std::mem::take(&mut current));
            }
            begin = None;
        } else if content.starts_with([' ', '\t']) {
            if let (Some(begin), Some(last)) = (begin, current.0.last_mut()) {
                last.1 = &text[begin..end];
            }
        } else if content.starts_with('#') {
            // A comment does not end a field.
        } else if let Some((name, value)) = content.split_once(':') {
            begin = Some(at + name.len() + 1);
            current.0.push((name, value));
        } else {
            begin = None;
        }
        at = end;
    }
    if !current.0.is_empty() {
        stanzas.push(current);
    }
    stanzas
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_continue_and_stanzas_end() {
        let text =
            "Package: a\nDescription: one\n two\n three\n\n\n# note\nPackage:b\nbroken\n more\n";
        let stanzas = parse(text);
        assert_eq!(stanzas.len(), 2);
        assert_eq!(stanzas[0].get("description"), Some("one\n two\n three"));
        assert_eq!(stanzas[1].get("Package"), Some("b"));
        assert_eq!(stanzas[1].get("Version"), None);
    }
}
