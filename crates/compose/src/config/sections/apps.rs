//! `[apps.NAME]` and `[boxes.NAME]`: read, checked and shown; nothing acts on them yet.

use super::super::check;
use super::super::reader::{Fields, Located, Reader};
use super::values;
use elea_formats::oci::reference::Reference;
use serde::Serialize;
use std::collections::BTreeMap;

/// `[apps.NAME]`: an image that runs confined.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct App {
    /// Where it comes from: `flatpak:…`, `snap:…`, `appimage:…`, `registry:…`.
    pub source: String,
    /// What it follows there: `stable`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub channel: Option<String>,
    /// Whether it stays at the revision that it has.
    pub hold: bool,
    /// What it may do besides running: `network`, `files:~/Documents`.
    pub permissions: Vec<String>,
}

/// `[boxes.NAME]`: a mutable environment made from an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Box {
    /// The image: `registry:HOST/NAME:TAG`, or a name in the store.
    pub image: String,
    /// Whose it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Whether the home in it is the user's or its own: `shared`, `own`.
    pub home: &'static str,
    /// Whether it runs an init with services.
    pub init: bool,
    /// What is installed in it.
    pub packages: Vec<String>,
}

/// What `home` of a box knows.
pub(crate) const HOMES: &[&str] = &["shared", "own"];
/// Transports of apps.
const SOURCES: [&str; 4] = ["appimage", "flatpak", "registry", "snap"];
/// What a permission is about.
const PERMISSIONS: [&str; 5] = ["bus", "device", "files", "network", "socket"];

/// Reads every app.
pub(super) fn apps(reader: &mut Reader, top: &mut Fields) -> BTreeMap<String, App> {
    let mut out = BTreeMap::new();
    for (name, mut fields) in reader.tables(top, "apps") {
        let app = app(reader, &mut fields);
        reader.finish(&fields);
        if let (Some(name), Some(app)) = (named(reader, "apps", name), app) {
            out.insert(name.value, app);
        }
    }
    out
}

fn app(reader: &mut Reader, f: &mut Fields) -> Option<App> {
    let rule = "flatpak:NAME, snap:NAME, appimage:FILE or registry:HOST/NAME:TAG";
    let source = reader.checked(f, "source", source, rule);
    let source = reader.needed(source, f, "source", "\"flatpak:org.example.App\"");
    let channel = reader.checked(f, "channel", channel, "such as stable or 2.0/edge");
    let hold = reader.boolean(f, "hold");
    let rule =
        "bus, device, files, network or socket, perhaps with `:` and which: files:~/Documents";
    let permissions = reader.checked_list(f, "permissions", permission, rule);
    Some(App {
        source: source?.value,
        channel: channel.map(|l| l.value),
        hold: hold.unwrap_or(false),
        permissions: values(permissions),
    })
}

/// Reads every box.
pub(super) fn boxes(reader: &mut Reader, top: &mut Fields) -> BTreeMap<String, Box> {
    let mut out = BTreeMap::new();
    for (name, mut fields) in reader.tables(top, "boxes") {
        let one = one_box(reader, &mut fields);
        reader.finish(&fields);
        if let (Some(name), Some(one)) = (named(reader, "boxes", name), one) {
            out.insert(name.value, one);
        }
    }
    out
}

fn one_box(reader: &mut Reader, f: &mut Fields) -> Option<Box> {
    let image: fn(&str) -> bool = |text| {
        let parsed = text.parse::<Reference>();
        parsed.is_ok_and(|r| matches!(r, Reference::Registry(_) | Reference::Store(_)))
    };
    let image = reader.checked(
        f,
        "image",
        image,
        "registry:HOST/NAME:TAG, or a name in the store",
    );
    let image = reader.needed(image, f, "image", "\"registry:HOST/NAME:TAG\"");
    let user = reader.checked(f, "user", check::account, "an account's name");
    let home = reader.word(f, "home", HOMES);
    let init = reader.boolean(f, "init");
    let rule = "a package's name: lower-case letters, digits and `+.-`";
    let packages = reader.checked_list(f, "packages", check::package, rule);
    Some(Box {
        image: image?.value,
        user: user.map(|l| l.value),
        home: home.unwrap_or("shared"),
        init: init.unwrap_or(false),
        packages: values(packages),
    })
}

fn named(reader: &mut Reader, of: &str, name: Located<String>) -> Option<Located<String>> {
    let rule = "lower-case letters, digits and `._-`, at most 63";
    reader.check(of, name, check::system_name, rule)
}

fn source(text: &str) -> bool {
    let is_registry = text.starts_with("registry:");
    let place =
        |(transport, place): (&str, &str)| SOURCES.contains(&transport) && !place.is_empty();
    text.split_once(':').is_some_and(place)
        && check::line(text)
        && (!is_registry || text.parse::<Reference>().is_ok())
}

fn channel(text: &str) -> bool {
    let good = |c: char| c.is_ascii_alphanumeric() || "._-/".contains(c);
    (1..=128).contains(&text.len()) && text.chars().all(good)
}

fn permission(text: &str) -> bool {
    let (kind, which) = text.split_once(':').unwrap_or((text, "all"));
    PERMISSIONS.contains(&kind) && !which.is_empty() && text.len() <= 1024 && check::line(text)
}
