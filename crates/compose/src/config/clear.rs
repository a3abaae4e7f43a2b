//! Secrets in clear: everybody who can read an image could read them.
//!
//! What is one for certain (a private key, a token of a known shape, a literal password) is an error. What has only the
//! name of one, or is the hash of a password, is a warning: a guess must not keep anybody from building.

mod text;

use super::reader::Reader;
use super::{Config, Content, Setting, quoted};
use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use text::Clear;

/// As much of a file is looked at, in bytes.
const LOOKED_AT: u64 = 1 << 20;
/// So many of one value are told.
const MOST: usize = 16;

/// Says what looks like a secret in clear in what goes into the image.
pub(super) fn look(reader: &mut Reader, config: &Config) {
    for (path, file) in &config.files {
        let key = format!("files.{}", quoted(path));
        match &file.content {
            Content::Text(text) => tell(reader, config, &format!("{key}.content"), text::of(text)),
            Content::Copy(source) => {
                let text = beginning(source);
                tell(reader, config, &format!("{key}.source"), text::of(&text));
            }
            Content::Link(_) | Content::Folder => {}
        }
    }
    for (path, template) in &config.templates {
        let key = format!("templates.{}.source", quoted(path));
        tell(reader, config, &key, text::of(&template.text));
    }
    units(reader, config);
    for (name, timer) in &config.timers {
        let command = text::of_command(timer.command.iter().map(String::as_str));
        tell(
            reader,
            config,
            &format!("timers.{}.command", quoted(name)),
            command,
        );
    }
    for argument in &config.kernel.arguments {
        let key = format!("kernel.arguments[{argument}]");
        tell(reader, config, &key, text::of(argument));
    }
    for (number, line) in config.tmpfiles.lines.iter().enumerate() {
        let key = format!("tmpfiles.lines[{number}]");
        tell(reader, config, &key, text::of(line));
    }
    if let Some(mirror) = &config.base.mirror {
        tell(reader, config, "base.mirror", text::of(mirror));
    }
}

/// What a text has in clear for certain.
pub(super) fn certain(text: &str) -> Option<String> {
    let mut found = text::of(text).into_iter().filter(|clear| clear.is_certain);
    found.next().map(|clear| clear.what.to_string())
}

fn units(reader: &mut Reader, config: &Config) {
    for (name, unit) in &config.units {
        let key = format!("units.{}", quoted(name));
        let source = unit.source.as_deref().map(beginning);
        for (end, text) in [("text", &unit.text), ("source", &source)] {
            if let Some(text) = text {
                tell(reader, config, &format!("{key}.{end}"), text::of_unit(text));
            }
        }
        for (section, settings) in &unit.sections {
            for (setting, values) in settings {
                let key = format!("{key}.{}.{}", quoted(section), quoted(setting));
                let values = values.each().iter().map(Setting::to_string);
                let all = values.flat_map(|value| text::of_unit(&format!("{setting}={value}")));
                tell(reader, config, &key, all.collect());
            }
        }
    }
}

fn tell(reader: &mut Reader, config: &Config, key: &str, found: Vec<Clear>) {
    for clear in found.into_iter().take(MOST) {
        let place = config.place(key);
        let line = place.and_then(|place| reader.within(place, &clear.line));
        let at = line.or(place);
        let what = clear.what;
        // Of another file the line is not shown, so it is named.
        let place = if key.ends_with(".source") {
            format!("line {} of `{key}`", clear.number)
        } else {
            format!("`{key}`")
        };
        let by_mirror = key == "base.mirror";
        let help = if by_mirror {
            "apt_auth.conf(5) of the build machine has the names and passwords of archives"
        } else {
            "make it a secret: [secrets.NAME] with `from`, and read it from $CREDENTIALS_DIRECTORY/NAME"
        };
        if clear.is_certain {
            let what = format!("there is {what} in {place}, where everybody could read it");
            reader.problem(at, what, "in clear", Some(help.into()));
        } else {
            let what = format!("there may be {what} in {place}, where everybody could read it");
            reader.warn(at, what, "is this one?", help);
        }
    }
}

/// As much of a file as is looked at.
fn beginning(path: &Path) -> String {
    let mut bytes = Vec::new();
    let read = File::open(path).map(|file| file.take(LOOKED_AT).read_to_end(&mut bytes));
    // What cannot be read is said by the build.
    let _ = read;
    String::from_utf8_lossy(&bytes).into_owned()
}
