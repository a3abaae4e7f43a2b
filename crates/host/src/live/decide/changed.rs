//! A running unit whose text changed: the table of decisions.

use super::difference::{Cause, Change};
use super::{Decisions, Need, Verb, may_start, option};
use elea_formats::unit::{Difference, Kind, Name, Unit};

impl Decisions<'_> {
    /// Decides for a unit, in the order of NixOS's table. What that table leaves undone
    /// (sockets) or cannot do (units that refuse) is decided here too.
    pub(super) fn changed(&mut self, change: &Change) {
        let (name, new) = (change.name.as_str(), &change.new);
        let is_text = change.cause == Cause::Text;
        let it_changed = change.why();
        if change.difference == Difference::Reload && can_reload(&change.name, new) {
            let why = match change.cause {
                Cause::Text => "what changed is taken by a reload",
                _ => &*it_changed,
            };
            if !self.has(Verb::Restart, name) && !self.has(Verb::Stop, name) {
                self.set(Verb::Reload, name, why);
            }
            return;
        }
        if matches!(change.name.kind(), Kind::Path | Kind::Slice) {
            // The manager applies these when it reads them.
            return;
        }
        if let Some((needs, why)) = self.protected(&change.name, Some(&change.old)) {
            self.skip(name, format!("{it_changed}, but {why}"), needs);
            return;
        }
        let kind = change.name.kind();
        if kind == Kind::Mount {
            let why = match change.cause {
                Cause::Text => "what is mounted changed",
                _ => &*it_changed,
            };
            self.set(Verb::Restart, name, why);
            return;
        }
        if option(new, "X-ReloadIfChanged", false)
            && is_text
            && can_reload(&change.name, new)
            && !self.has(Verb::Restart, name)
            && !self.has(Verb::Stop, name)
        {
            self.set(
                Verb::Reload,
                name,
                format!("{it_changed}, and X-ReloadIfChanged=true"),
            );
            return;
        }
        if let Some(why) = refuses(new) {
            self.skip(name, format!("{it_changed}, but {why}"), Need::Nothing);
            return;
        }
        match kind {
            Kind::Socket => self.socket(change),
            // As it is, with its sockets and what it left with the manager: only its program or a file is another.
            _ if !is_text => self.restart(name, &it_changed),
            Kind::Service if option(new, "X-StopIfChanged", true) => self.service(change),
            _ => self.restart(name, &it_changed),
        }
    }

    fn restart(&mut self, name: &str, why: &str) {
        self.unset(Verb::Reload, name);
        if !self.has(Verb::Stop, name) {
            self.set(Verb::Restart, name, why);
        }
    }

    /// Stopped as it was, started as it is; one that sockets start only lends them its place.
    fn service(&mut self, change: &Change) {
        let name = change.name.as_str();
        let mut sockets: Vec<String> = change
            .new
            .words("Service", "Sockets")
            .map(str::to_owned)
            .collect();
        if sockets.is_empty() {
            sockets.push(change.name.companion(Kind::Socket));
        }
        let mut by_socket = false;
        for socket in sockets {
            let socket = self.new.canonical(&socket).to_owned();
            if self.live.runs(&socket) && !self.has(Verb::Skip, &socket) {
                let why = format!("{name} changed, which it starts");
                self.set(Verb::Stop, &socket, &*why);
                if self.new.unit(&socket).is_some() {
                    self.set(Verb::Start, &socket, why);
                    by_socket = true;
                }
            }
        }
        let started = !by_socket || option(&change.new, "X-NotSocketActivated", false);
        self.stop_and_start(name, started, "it changed");
    }

    /// A socket does not start while its service runs, and a service keeps the socket that it
    /// was given: both stop, the socket starts. (NixOS leaves a changed socket as it is.)
    fn socket(&mut self, change: &Change) {
        let Change { name, old, new, .. } = change;
        let socket = name.as_str();
        let it_changed = change.why();
        // With Accept=yes each connection has a service of its own, which may go on.
        let mut services: Vec<String> = Vec::new();
        for unit in [old, new] {
            if !unit.is("Socket", "Accept", false) {
                let named = unit.value("Socket", "Service").map(str::to_owned);
                services.push(named.unwrap_or_else(|| name.companion(Kind::Service)));
            }
        }
        services.sort();
        services.dedup();
        services.retain(|service| self.live.runs(service));
        for service in &services {
            let unit = self.new.unit(service).or_else(|| self.old.unit(service));
            let keeps = unit.as_deref().and_then(refuses);
            let parsed = Name::parse(service).ok();
            let protected = parsed.and_then(|name| self.protected(&name, unit.as_deref()));
            if let Some((needs, why)) = protected {
                self.skip(
                    socket,
                    format!("{it_changed}, but {service} runs with it: {why}"),
                    needs,
                );
                return;
            }
            if let Some(why) = keeps {
                let why = format!("{it_changed}, but {service} runs with it, where {why}");
                self.skip(socket, why, Need::Nothing);
                return;
            }
        }
        for service in services {
            let why = format!("{socket} changed, which starts it");
            let started = self
                .new
                .unit(&service)
                .is_some_and(|unit| option(&unit, "X-NotSocketActivated", false));
            self.stop_and_start(&service, started, &why);
        }
        self.stop_and_start(socket, true, &it_changed);
    }

    /// Stops a unit, and starts it again if it says so or a running target wants it for itself.
    fn stop_and_start(&mut self, unit: &str, started: bool, why: &str) {
        self.unset(Verb::Reload, unit);
        self.unset(Verb::Restart, unit);
        self.set(Verb::Stop, unit, why);
        let targets = self.running_targets();
        let wanted = || {
            targets
                .iter()
                .any(|target| self.new.wants(target).contains(unit))
        };
        let known = self.new.unit(unit).is_some_and(|new| may_start(&new));
        if known && (started || wanted()) {
            self.set(Verb::Start, unit, why);
        }
    }
}

/// Why a unit must not be restarted, if so.
fn refuses(unit: &Unit) -> Option<&'static str> {
    if !option(unit, "X-RestartIfChanged", true) {
        return Some("X-RestartIfChanged=false");
    }
    if unit.is("Unit", "RefuseManualStop", false) {
        return Some("RefuseManualStop=yes");
    }
    if unit.is("Unit", "RefuseManualStart", false) {
        return Some("RefuseManualStart=yes");
    }
    option(unit, "X-OnlyManualStart", false).then_some("X-OnlyManualStart=true")
}

/// Whether a reload can be asked for at all.
fn can_reload(name: &Name, unit: &Unit) -> bool {
    match name.kind() {
        Kind::Mount => true,
        Kind::Service => {
            !unit.values("Service", "ExecReload").is_empty()
                || unit.value("Service", "Type") == Some("notify-reload")
        }
        _ => false,
    }
}
