//! systemd's manager over D-Bus: many questions at once, jobs that are waited for, and no program that is started for
//! them.
//!
//! Where there is no bus, those who ask here ask `systemctl` instead. The manager's own socket, which that talks to, is no
//! way: the manager signs what it says there with a name that only a bus may have, and the library refuses it.
//! Source: org.freedesktop.systemd1(5).

use futures_util::stream::{self, StreamExt as _};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io;
use std::num::NonZeroUsize;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;
use zbus::{Connection, MatchRule, MessageStream, OwnedObjectPath, Variant, message};

const MANAGER: &str = "org.freedesktop.systemd1.Manager";
const NAME: &str = "org.freedesktop.systemd1";
const PATH: &str = "/org/freedesktop/systemd1";
const JOB: &str = "org.freedesktop.systemd1.Job";
/// How often it is looked whether a job is to be given up.
const LOOK: Duration = Duration::from_millis(100);
/// As long as `systemctl` waits for the manager to read its units anew, which is what takes longest.
const TIME: Duration = Duration::from_mins(3);
/// So many calls are on their way at once: what they and their replies need, both sides can hold.
const AT_ONCE: usize = 64;
/// So many jobs may end between the order for ours and its receipt: more than a boot has.
const ENDED: NonZeroUsize = NonZeroUsize::new(4096).unwrap();

/// A connection to the manager.
#[derive(Debug)]
pub(crate) struct Bus(Connection);

/// A unit as `ListUnits` has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Listed {
    pub(crate) name: String,
    pub(crate) load: String,
    pub(crate) active: String,
    pub(crate) sub: String,
    /// Its object.
    pub(crate) path: String,
}

/// Name, description, load, active and finer state, the unit that it follows, its object, and its job: number, kind, object.
type Row = (
    String,
    String,
    String,
    String,
    String,
    String,
    OwnedObjectPath,
    u32,
    String,
    OwnedObjectPath,
);

/// A property: of `Unit`, `Service`, `Manager` or [`KIND`], and its name.
pub(crate) type Property = (&'static str, &'static str);

/// The interface of the kind of unit that an object is: of a socket `Socket`.
pub(crate) const KIND: &str = "";

impl Bus {
    /// The manager that is process 1, or that of the user.
    pub(crate) fn connect(user: bool) -> zbus::Result<Self> {
        let socket = match (user, std::env::var_os("XDG_RUNTIME_DIR")) {
            (false, _) => PathBuf::from("/run/dbus/system_bus_socket"),
            (true, Some(folder)) => PathBuf::from(folder).join("bus"),
            (true, None) => return Err(io::Error::from(io::ErrorKind::NotFound).into()),
        };
        let stream = UnixStream::connect(socket)?;
        stream.set_nonblocking(true)?;
        let builder = zbus::connection::Builder::unix_stream(stream);
        zbus::block_on(async {
            let bus = Self(builder.method_timeout(TIME).build().await?);
            // Whoever is not subscribed is not told of jobs that end; and a manager that is not on the bus is found out.
            bus.call(PATH, MANAGER, "Subscribe", &()).await?;
            Ok(bus)
        })
    }

    async fn call<B: serde::Serialize + zbus::DynamicType>(
        &self,
        path: &str,
        interface: &str,
        member: &str,
        body: &B,
    ) -> zbus::Result<zbus::Message> {
        let connection = &self.0;
        let called = connection.call_method(Some(NAME), path, Some(interface), member, body);
        called.await
    }

    /// All units that are loaded.
    pub(crate) fn units(&self) -> zbus::Result<Vec<Listed>> {
        let reply = zbus::block_on(self.call(PATH, MANAGER, "ListUnits", &()))?;
        let rows: Vec<Row> = reply.body().deserialize()?;
        let listed = |(name, _, load, active, sub, _, path, ..): Row| Listed {
            name,
            load,
            active,
            sub,
            path: path.as_str().to_owned(),
        };
        Ok(rows.into_iter().map(listed).collect())
    }

    /// Properties of each of some objects, as text by name; without those that an object does not have.
    pub(crate) fn properties(
        &self,
        paths: &[String],
        wanted: &[Property],
    ) -> zbus::Result<Vec<BTreeMap<&'static str, String>>> {
        let questions = paths.iter().enumerate();
        let questions = questions.flat_map(|(at, path)| wanted.iter().map(move |w| (at, path, w)));
        let asked = stream::iter(questions)
            .map(|(at, path, (of, name))| async move {
                Ok::<_, zbus::Error>((at, *name, self.get(path, &interface(of, path), name).await?))
            })
            .buffer_unordered(AT_ONCE);
        let answers = zbus::block_on(asked.collect::<Vec<_>>());
        let mut all = vec![BTreeMap::new(); paths.len()];
        for answer in answers {
            let (at, name, value) = answer?;
            if let Some(value) = value {
                all[at].insert(name, value);
            }
        }
        Ok(all)
    }

    /// A property as text; none if there is none.
    async fn get(&self, path: &str, of: &str, name: &str) -> zbus::Result<Option<String>> {
        let properties = "org.freedesktop.DBus.Properties";
        let reply = match self.call(path, properties, "Get", &(of, name)).await {
            Ok(reply) => reply,
            // What the manager says no to, this object does not have; all else is a fault of the connection.
            Err(zbus::Error::MethodError(..) | zbus::Error::FDO(_)) => return Ok(None),
            Err(e) => return Err(e),
        };
        let body = reply.body();
        Ok(match body.deserialize()? {
            Variant::Str(text) => Some(text.as_str().to_owned()),
            Variant::U32(number) => Some(number.to_string()),
            Variant::I32(number) => Some(number.to_string()),
            Variant::U64(number) => Some(number.to_string()),
            _ => None,
        })
    }

    /// A property of the manager.
    pub(crate) fn manager(&self, name: &'static str) -> zbus::Result<Option<String>> {
        zbus::block_on(self.get(PATH, MANAGER, name))
    }

    /// Lets earlier failures of a unit count no more.
    pub(crate) fn reset_failed(&self, unit: &str) -> zbus::Result<()> {
        zbus::block_on(self.call(PATH, MANAGER, "ResetFailedUnit", &unit)).map(drop)
    }

    /// Lets the manager read its units anew, and waits for it.
    pub(crate) fn reload(&self) -> zbus::Result<()> {
        zbus::block_on(self.call(PATH, MANAGER, "Reload", &())).map(drop)
    }

    /// Orders a job (`StartUnit`, `StopUnit`, …) in the place of others of the unit, and waits for its end however long it
    /// takes: `done`, or `failed`, `timeout`, `dependency`, …. Once `stop` says so, it is given up: `canceled`, which
    /// leaves the unit as far as it came.
    pub(crate) fn job(
        &self,
        order: &str,
        unit: &str,
        stop: &(dyn Fn() -> bool + Sync),
    ) -> zbus::Result<String> {
        let (ordered, ended) = (OnceLock::<String>::new(), AtomicBool::new(false));
        thread::scope(|scope| {
            let watcher = scope.spawn(|| {
                while !ended.load(Ordering::Acquire) {
                    if let Some(job) = ordered.get().filter(|_| stop()) {
                        // One that ended meanwhile cannot be given up, and need not be.
                        let _ = zbus::block_on(self.call(job, JOB, "Cancel", &()));
                        break;
                    }
                    thread::park_timeout(LOOK);
                }
            });
            let result = self.wait_for(order, unit, &ordered);
            ended.store(true, Ordering::Release);
            watcher.thread().unpark();
            result
        })
    }

    fn wait_for(
        &self,
        order: &str,
        unit: &str,
        ordered: &OnceLock<String>,
    ) -> zbus::Result<String> {
        zbus::block_on(async {
            let rule = MatchRule::builder()
                .msg_type(message::Type::Signal)
                .path(PATH)
                .interface(MANAGER)
                .member("JobRemoved")
                .build()?;
            // Before the order: a short job ends before the receipt is read.
            let mut ended = MessageStream::for_match_rule(rule, &self.0, Some(ENDED)).await?;
            let receipt = self.call(PATH, MANAGER, order, &(unit, "replace")).await?;
            let ours: OwnedObjectPath = receipt.body().deserialize()?;
            let _ = ordered.set(ours.as_str().to_owned());
            while let Some(signal) = ended.next().await {
                let signal = signal?;
                let body = signal.body();
                let (_, job, _, result): (u32, OwnedObjectPath, String, String) =
                    body.deserialize()?;
                if job == ours {
                    return Ok(result);
                }
            }
            Err(io::Error::from(io::ErrorKind::UnexpectedEof).into())
        })
    }
}

/// The object of a unit, which the manager loads when it is asked of it: letters and digits are themselves, a digit in
/// front and all else is `_` and two hexadecimal digits (`sd_bus_path_encode(3)`).
pub(crate) fn object(unit: &str) -> String {
    let mut path = format!("{PATH}/unit/");
    if unit.is_empty() {
        path.push('_');
    }
    for (at, byte) in unit.bytes().enumerate() {
        if byte.is_ascii_alphabetic() || (at > 0 && byte.is_ascii_digit()) {
            path.push(byte.into());
        } else {
            // Writing to a string does not fail.
            let _ = write!(path, "_{byte:02x}");
        }
    }
    path
}

fn interface(of: &str, path: &str) -> String {
    let kind = path.rsplit_once("_2e").map_or("", |(_, kind)| kind);
    let (first, rest) = kind.split_at_checked(1).unwrap_or_default();
    match of {
        KIND => format!(
            "org.freedesktop.systemd1.{}{rest}",
            first.to_ascii_uppercase()
        ),
        of => format!("org.freedesktop.systemd1.{of}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_object_of_a_unit_is_named_as_systemd_names_it() {
        for (unit, name) in [
            ("ssh.service", "ssh_2eservice"),
            ("user@0.service", "user_400_2eservice"),
            ("9p-x.mount", "_39p_2dx_2emount"),
            ("dev-a\\x2db.swap", "dev_2da_5cx2db_2eswap"),
        ] {
            assert_eq!(object(unit), format!("{PATH}/unit/{name}"));
        }
    }
}
