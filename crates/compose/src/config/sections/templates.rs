//! `[templates."/path"]`: files with the config's variables filled in.

use super::super::reader::{Fields, Reader};
use super::super::{Content, File};
use super::files;
use serde::{Serialize, Serializer};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// `[templates."/path"]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    /// The file of the build machine.
    pub source: PathBuf,
    /// Its text with every `${vars.NAME}` replaced.
    pub text: String,
    /// What becomes of it.
    pub file: File,
}

/// A template is never larger, in bytes.
const LARGEST: u64 = 4 << 20;

/// As the config has it.
impl Serialize for Template {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let content = Content::Copy(self.source.clone());
        let file = self.file.clone();
        File { content, ..file }.serialize(serializer)
    }
}

/// Reads every template.
pub(super) fn read(reader: &mut Reader, top: &mut Fields) -> BTreeMap<String, Template> {
    let mut out = BTreeMap::new();
    for (path, mut fields) in reader.tables(top, "templates") {
        let template = template(reader, &mut fields);
        reader.finish(&fields);
        if let (true, Some(template)) = (files::placed(reader, &path), template) {
            out.insert(path.value, template);
        }
    }
    out
}

fn template(reader: &mut Reader, f: &mut Fields) -> Option<Template> {
    let source = reader.text(f, "source");
    let source = reader.needed(source, f, "source", "\"app.conf.in\"");
    let mode = reader.text(f, "mode");
    let owner = files::owner(reader, f, "owner");
    let group = files::owner(reader, f, "group");
    let mode = match mode {
        None => Some(0o644),
        Some(text) => files::mode(reader, &text),
    };
    let source = source?;
    let path = files::readable(reader, &source)?;
    let text = match read_text(&path) {
        Ok(text) => text,
        Err(why) => {
            let what = format!("cannot read the template {}: {why}", path.display());
            reader.problem(Some(source.at), what, "named here", None);
            return None;
        }
    };
    let text = reader.filled(source.at, text);
    let file = File {
        content: Content::Text(text.clone()),
        mode: mode?,
        owner: owner?,
        group: group?,
    };
    Some(Template {
        source: path,
        text,
        file,
    })
}

fn read_text(path: &std::path::Path) -> Result<String, String> {
    use std::io::Read as _;
    let file = std::fs::File::open(path).map_err(|e| e.to_string())?;
    let mut bytes = Vec::new();
    file.take(LARGEST + 1)
        .read_to_end(&mut bytes)
        .map_err(|e| e.to_string())?;
    if bytes.len() as u64 > LARGEST {
        return Err(format!("it is larger than {} MiB", LARGEST >> 20));
    }
    String::from_utf8(bytes).map_err(|_| "it is not UTF-8".into())
}
