//! `[kernel]` and `[sysctl]`.

use super::super::reader::{Fields, Located, Reader};
use super::super::settings::{Setting, Shape};
use super::super::{Base, Kernel, check};
use super::values;
use elea_formats::cmdline::{Argument, CommandLine};
use std::collections::BTreeMap;

/// Arguments that Elea sets itself.
const RESERVED: [&str; 6] = ["composefs.digest", "elea", "init", "root", "ro", "rw"];

/// Reads `[kernel]`.
pub(super) fn read(reader: &mut Reader, top: &mut Fields, base: &Base) -> Kernel {
    let mut fields = reader.table(top, "kernel");
    let f = &mut fields;
    let package = reader.checked(f, "package", check::package, "a package's name");
    let mut arguments = Vec::new();
    for text in reader.texts(f, "arguments") {
        let parsed = CommandLine::parse(&text.value);
        let [argument] = parsed.arguments() else {
            reader.problem(
                Some(text.at),
                "one item of `kernel.arguments` is one argument",
                "none, or more than one",
                Some(
                    "write each as an item of its own; a value with blanks in double quotes".into(),
                ),
            );
            continue;
        };
        let key = argument.key.as_str();
        let family = key.split('.').next().unwrap_or(key);
        if let Err(e) = Argument::new(key, argument.value.as_deref()) {
            reader.problem(Some(text.at), e.to_string(), "here", None);
        } else if RESERVED.contains(&key) || family == "elea" {
            reader.problem(
                Some(text.at),
                format!("the kernel argument `{key}` is Elea's own"),
                "set by the generation that is booted",
                Some("take it out".into()),
            );
        } else {
            arguments.push(argument.to_string());
        }
    }
    let rule = "a kernel module's name";
    let drivers = reader.checked_list(f, "drivers", module, rule);
    let usual = reader.boolean(f, "usual_drivers");
    let modules = reader.checked_list(f, "modules", module, rule);
    let blacklist = reader.checked_list(f, "blacklist", module, rule);
    let options = options(reader, f);
    reader.finish(&fields);
    Kernel {
        package: match package {
            Some(name) => name.value,
            None => format!("linux-image-{}", base.architecture),
        },
        arguments,
        drivers: values(drivers),
        usual_drivers: usual.unwrap_or(true),
        modules: values(modules),
        blacklist: values(blacklist),
        options,
    }
}

fn module(text: &str) -> bool {
    let good = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    !text.is_empty() && text.len() <= 64 && text.chars().all(good)
}

/// `[kernel.options.NAME]`: each becomes a line of modprobe.d(5), and the kernel parts its words at blanks.
fn options(
    reader: &mut Reader,
    fields: &mut Fields,
) -> BTreeMap<String, BTreeMap<String, Setting>> {
    let shape = Shape {
        lists: false,
        fits: |text| {
            !text.is_empty()
                && check::line(text)
                && !text.contains(|c: char| c.is_whitespace() || "\\\"'#".contains(c))
        },
        rule: "one word without quotes, `#` and backslashes",
    };
    let mut out = BTreeMap::new();
    for (name, mut fields) in reader.tables(fields, "options") {
        let name = reader.check("kernel.options", name, module, "a kernel module's name");
        let read = reader.settings(&mut fields, module, "a parameter's name", &shape);
        if let Some(Located { value, .. }) = name {
            out.insert(value, read);
        }
    }
    out
}

/// Reads `[sysctl]`.
pub(super) fn sysctl(reader: &mut Reader, top: &mut Fields) -> BTreeMap<String, Setting> {
    let shape = Shape {
        lists: false,
        fits: |text| !text.is_empty() && check::line(text),
        rule: "one line",
    };
    // As in sysctl.d(5): parted by dots, or by slashes where a name has a dot in it; `*` and a dash before it are known.
    let name: fn(&str) -> bool = |text| {
        let good = |c: char| c.is_ascii_alphanumeric() || "._-/*:@".contains(c);
        let text = text.strip_prefix('-').unwrap_or(text);
        let parts = || text.split(['.', '/']);
        text.len() <= 255
            && text.chars().all(good)
            && parts().count() > 1
            && parts().all(|part| !part.is_empty())
    };
    let mut fields = reader.table(top, "sysctl");
    let rule = "a setting as sysctl(8) names it, such as net.ipv4.ip_forward";
    reader.settings(&mut fields, name, rule, &shape)
}
