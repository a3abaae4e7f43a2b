//! `[users.NAME]` and `[groups.NAME]`.

use super::super::reader::{Fields, Located, Reader};
use super::super::{Group, User, check};
use super::values;
use std::collections::BTreeMap;

/// Numbers that a config may give: people's from 1000, and root's.
const LAST_ID: u64 = 60_000;

/// Reads the users.
pub(super) fn users(reader: &mut Reader, top: &mut Fields) -> BTreeMap<String, User> {
    let mut out = BTreeMap::new();
    let mut numbers: BTreeMap<u64, Located<u64>> = BTreeMap::new();
    for (name, mut fields) in reader.tables(top, "users") {
        named(reader, &name);
        let uid = reader.number(&mut fields, "uid", 0..=LAST_ID);
        if let Some(uid) = &uid {
            if let Some(other) = numbers.get(&uid.value) {
                let first = other.at;
                reader.problem(
                    Some(uid.at),
                    format!("two users have the number {}", uid.value),
                    "and here",
                    None,
                );
                if let Some(problem) = reader.problems.last_mut() {
                    problem.other = Some((first, "here".into()));
                }
            }
            numbers.insert(uid.value, uid.clone());
        }
        let user = user(reader, &mut fields, uid);
        reader.finish(&fields);
        out.insert(name.value, user);
    }
    out
}

fn user(reader: &mut Reader, fields: &mut Fields, uid: Option<Located<u64>>) -> User {
    let rule = "a group's name";
    let groups = reader.checked_list(fields, "groups", check::account, rule);
    let rule = "a line of authorized_keys: type, key and comment";
    let keys = reader.checked_list(fields, "ssh_keys", check::ssh_key, rule);
    let rule = "a hash as `mkpasswd` prints it, never the password itself";
    let password = reader.checked(fields, "password", check::password, rule);
    let rule = "an absolute path";
    let shell = reader.checked(fields, "shell", plain_path, rule);
    let home = reader.checked(fields, "home", plain_path, rule);
    let comment: fn(&str) -> bool = |text| {
        text.len() <= 200 && !text.contains([':', '\n', ',']) && !text.chars().any(char::is_control)
    };
    let comment = reader.checked(fields, "comment", comment, "one line without `:` and `,`");
    let sudo = reader.boolean(fields, "sudo");
    let system = reader.boolean(fields, "system");
    let text = |located: Option<Located<String>>| located.map(|l| l.value);
    User {
        uid: uid.and_then(|n| u32::try_from(n.value).ok()),
        system: system.unwrap_or(false),
        groups: values(groups),
        ssh_keys: values(keys),
        password: text(password),
        shell: text(shell),
        home: text(home),
        comment: text(comment).unwrap_or_default(),
        sudo: sudo.unwrap_or(false),
    }
}

fn plain_path(text: &str) -> bool {
    check::path(text) && !text.contains(':')
}

/// Reads the groups.
pub(super) fn groups(reader: &mut Reader, top: &mut Fields) -> BTreeMap<String, Group> {
    let mut out = BTreeMap::new();
    for (name, mut fields) in reader.tables(top, "groups") {
        named(reader, &name);
        let gid = reader.number(&mut fields, "gid", 0..=LAST_ID);
        reader.finish(&fields);
        let gid = gid.and_then(|n| u32::try_from(n.value).ok());
        out.insert(name.value, Group { gid });
    }
    out
}

pub(super) fn named(reader: &mut Reader, name: &Located<String>) {
    if !check::account(&name.value) {
        reader.problem(
            Some(name.at),
            format!(
                "`{}` cannot be the name of an account",
                name.value.escape_debug()
            ),
            "lower-case letters, digits, `_` and `-`, at most 32; the first a letter or `_`",
            None,
        );
    }
}
