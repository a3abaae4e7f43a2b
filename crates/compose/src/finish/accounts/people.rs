//! The account files, and the users and groups of the config in them.

use super::super::Job;
use super::super::tree::{ROOT, Tree};
use super::{person, system};
use crate::config::User;
use crate::lock::{Error, Lock};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

/// Records of fields.
type Records = Vec<Vec<String>>;

/// The account files of the tree.
#[derive(Debug)]
pub(super) struct Texts {
    pub(super) passwd: Records,
    pub(super) group: Records,
    shadow: Records,
    gshadow: Records,
}

fn records(text: &str) -> Records {
    text.lines()
        .filter(|line| !line.is_empty())
        .map(|line| line.split(':').map(str::to_owned).collect())
        .collect()
}

/// Names and numbers, in the order of the file.
pub(super) fn numbers(records: &Records) -> Vec<(String, u32)> {
    records
        .iter()
        .filter_map(|r| Some((r.first()?.clone(), r.get(2)?.parse().ok()?)))
        .collect()
}

impl Texts {
    pub(super) fn load(tree: &Tree<'_>) -> Result<Self, Error> {
        let read = |name: &str| tree.text(&format!("etc/{name}")).map(|text| records(&text));
        Ok(Self {
            passwd: read("passwd")?,
            group: read("group")?,
            shadow: read("shadow")?,
            gshadow: read("gshadow")?,
        })
    }

    /// With other numbers.
    pub(super) fn renumbered(
        mut self,
        users: &BTreeMap<u32, u32>,
        groups: &BTreeMap<u32, u32>,
    ) -> Self {
        let change = |field: Option<&mut String>, map: &BTreeMap<u32, u32>| {
            if let Some(field) = field
                && let Some(new) = field.parse().ok().and_then(|old: u32| map.get(&old))
            {
                *field = new.to_string();
            }
        };
        for record in &mut self.passwd {
            change(record.get_mut(2), users);
            change(record.get_mut(3), groups);
        }
        for record in &mut self.group {
            change(record.get_mut(2), groups);
        }
        self
    }

    pub(super) fn save(&mut self, tree: &mut Tree<'_>) -> Result<(), Error> {
        for record in &mut self.shadow {
            // The day of the last change would be the day of the build.
            if let Some(day) = record.get_mut(2) {
                day.clear();
            }
        }
        let shadow = numbers(&self.group)
            .into_iter()
            .find(|(name, _)| name == "shadow")
            .map_or(0, |(_, gid)| gid);
        let files = [
            ("passwd", &self.passwd, 0o644, ROOT),
            ("group", &self.group, 0o644, ROOT),
            ("shadow", &self.shadow, 0o640, (0, shadow)),
            ("gshadow", &self.gshadow, 0o640, (0, shadow)),
        ];
        for (name, records, mode, owner) in files {
            let mut text = String::new();
            for record in records {
                let _ = writeln!(text, "{}", record.join(":"));
            }
            tree.put_as(&format!("etc/{name}"), text.as_bytes(), mode, owner)?;
        }
        Ok(())
    }

    fn join(&mut self, user: &str, group: &str) -> bool {
        let mut found = false;
        for (records, at) in [(&mut self.group, 3), (&mut self.gshadow, 3)] {
            for record in records.iter_mut().filter(|r| r[0] == group) {
                found = true;
                if let Some(members) = record.get_mut(at)
                    && !members.split(',').any(|m| m == user)
                {
                    if !members.is_empty() {
                        members.push(',');
                    }
                    members.push_str(user);
                }
            }
        }
        found
    }

    fn add_group(&mut self, name: &str, gid: u32) {
        let fields = [name, "x", &gid.to_string(), ""].map(str::to_owned);
        self.group.push(fields.to_vec());
        self.gshadow
            .push([name, "!", "", ""].map(str::to_owned).to_vec());
    }
}

/// What the config asks that cannot be.
type Wrong = Vec<(String, String, Option<String>)>;

/// Adds the config's groups and users.
pub(super) fn add(
    job: &Job<'_>,
    tree: &mut Tree<'_>,
    texts: &mut Texts,
    lock: &mut Lock,
) -> Result<(), Error> {
    let config = job.config;
    let mut wrong = Wrong::new();
    for (name, group) in &config.groups {
        if !texts.group.iter().any(|r| r[0] == *name) {
            let wish = group.gid;
            let gid = number(&mut lock.groups, name, wish, None, person);
            match gid {
                Ok(gid) => texts.add_group(name, gid),
                Err(what) => wrong.push((format!("groups.{name}.gid"), what, None)),
            }
        }
    }
    for (name, user) in &config.users {
        let there = texts.passwd.iter().any(|r| r[0] == *name);
        let result = if there {
            change(texts, name, user)
        } else {
            create(texts, lock, name, user)
        };
        if let Err(what) = result {
            wrong.push((format!("users.{name}.uid"), what, None));
        }
        for group in &user.groups {
            if !texts.join(name, group) {
                let key = format!("users.{name}.groups[{group}]");
                let help = "add it as [groups.NAME], or install what brings it".to_owned();
                wrong.push((key, format!("the image has no group `{group}`"), Some(help)));
            }
        }
        if let Some(shell) = user.shell.as_ref().filter(|s| !tree.leads(s)) {
            let key = format!("users.{name}.shell");
            wrong.push((key, format!("the image has no `{shell}`"), None));
        }
        if user.sudo && !tree.has("etc/sudoers.d") {
            let help = "add \"sudo\" to packages.install".to_owned();
            let what = "the image has no sudo".to_owned();
            wrong.push((format!("users.{name}.sudo"), what, Some(help)));
        }
    }
    if !wrong.is_empty() {
        return Err(Error::Config(config.errors(wrong)));
    }
    homes(job, tree, lock)
}

/// A name's number: the lock's, else the wished one, else the next free one.
fn number(
    pins: &mut BTreeMap<String, u32>,
    name: &str,
    wish: Option<u32>,
    better: Option<u32>,
    next: fn(&BTreeSet<u32>) -> Option<u32>,
) -> Result<u32, String> {
    if let Some(pin) = pins.get(name) {
        return match wish {
            Some(wish) if wish != *pin => Err(format!(
                "the lock gives `{name}` the number {pin} for ever, and the config says {wish}"
            )),
            _ => Ok(*pin),
        };
    }
    let taken: BTreeSet<u32> = pins.values().copied().collect();
    let number = match wish {
        Some(wish) if taken.contains(&wish) => {
            let owner = pins.iter().find(|(_, n)| **n == wish);
            let owner = owner.map_or("another", |(name, _)| name);
            return Err(format!("the number {wish} belongs to `{owner}`"));
        }
        Some(wish) => wish,
        None => better
            .filter(|n| !taken.contains(n))
            .or_else(|| next(&taken))
            .ok_or_else(|| format!("no number is free for `{name}`"))?,
    };
    pins.insert(name.to_owned(), number);
    Ok(number)
}

fn create(texts: &mut Texts, lock: &mut Lock, name: &str, user: &User) -> Result<(), String> {
    let next = if user.system { system } else { person };
    let uid = number(&mut lock.users, name, user.uid, None, next)?;
    let existing = texts.group.iter().find(|r| r[0] == name);
    let gid = if let Some(gid) = existing.and_then(|r| r.get(2)?.parse().ok()) {
        gid
    } else {
        let gid = number(&mut lock.groups, name, None, Some(uid), next)?;
        texts.add_group(name, gid);
        gid
    };
    let home = home(name, user);
    let (uid, gid) = (uid.to_string(), gid.to_string());
    let shell = user.shell.as_deref().unwrap_or("/bin/bash");
    let record = [name, "x", &uid, &gid, &user.comment, &home, shell];
    texts.passwd.push(record.map(str::to_owned).to_vec());
    let password = user.password.as_deref().unwrap_or("*");
    let record = [name, password, "", "0", "99999", "7", "", "", ""];
    texts.shadow.push(record.map(str::to_owned).to_vec());
    Ok(())
}

/// Changes an account that packages brought.
fn change(texts: &mut Texts, name: &str, user: &User) -> Result<(), String> {
    for record in texts
        .passwd
        .iter_mut()
        .filter(|r| r[0] == name && r.len() >= 7)
    {
        if let Some(uid) = user.uid
            && record[2] != uid.to_string()
        {
            return Err(format!(
                "`{name}` is a user of packages with the number {}",
                record[2]
            ));
        }
        if let Some(shell) = &user.shell {
            record[6].clone_from(shell);
        }
        if let Some(home) = &user.home {
            record[5].clone_from(home);
        }
        if !user.comment.is_empty() {
            record[4].clone_from(&user.comment);
        }
    }
    for record in texts
        .shadow
        .iter_mut()
        .filter(|r| r[0] == name && r.len() > 1)
    {
        if let Some(password) = &user.password {
            record[1].clone_from(password);
        }
    }
    Ok(())
}

fn home(name: &str, user: &User) -> String {
    user.home.clone().unwrap_or_else(|| format!("/home/{name}"))
}

/// Homes are the machine's: the first boot makes them. Keys and the right to become root
/// are the image's.
fn homes(job: &Job<'_>, tree: &mut Tree<'_>, lock: &Lock) -> Result<(), Error> {
    let mut list = String::new();
    for (name, user) in &job.config.users {
        let numbers = (lock.users.get(name), lock.groups.get(name));
        if let (Some(uid), Some(gid)) = numbers
            && (*uid >= 1000 || user.home.is_some())
        {
            let home = super::super::var::escape(&home(name, user));
            let _ = writeln!(list, "d {home} 0700 {uid} {gid} -");
        }
        if !user.ssh_keys.is_empty() {
            let text = user.ssh_keys.join("\n") + "\n";
            tree.put(
                &format!("etc/ssh/authorized_keys.d/{name}"),
                text.as_bytes(),
            )?;
        }
        if user.sudo {
            let text = format!("{name} ALL=(ALL:ALL) NOPASSWD: ALL\n");
            let path = format!("etc/sudoers.d/{name}");
            tree.put_as(&path, text.as_bytes(), 0o440, ROOT)?;
        }
    }
    if !list.is_empty() {
        // In /etc, so that a live switch makes them.
        tree.put("etc/tmpfiles.d/elea-homes.conf", list.as_bytes())?;
    }
    if job.config.users.values().any(|u| !u.ssh_keys.is_empty()) {
        let text = "AuthorizedKeysFile .ssh/authorized_keys /etc/ssh/authorized_keys.d/%u\n";
        tree.put("etc/ssh/sshd_config.d/10-elea.conf", text.as_bytes())?;
    }
    Ok(())
}
