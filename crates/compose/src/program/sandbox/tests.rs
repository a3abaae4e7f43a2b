use super::*;
use crate::program::run;
use elea_sys::progress::Silent;
use std::fs;
use std::io::ErrorKind;
use std::net::{TcpListener, UdpSocket};
use std::os::linux::fs::MetadataExt as _;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::process::Stdio;

const CLOCK: Clock = Clock {
    epoch: 17,
    ahead: Duration::ZERO,
};

/// Whether a sandbox can be tried here.
fn can_try() -> bool {
    let root = rustix::process::geteuid().is_root();
    let tools = ["/usr/bin/perl", "/usr/bin/dpkg-deb"];
    let all =
        root && tools.iter().all(|tool| Path::new(tool).exists()) && cfg!(target_arch = "x86_64");
    if !all {
        println!("skipped: needs root, perl, dpkg and x86-64");
    }
    all
}

#[test]
fn a_sandbox_has_its_own_place() {
    if !can_try() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let work = dir.path().join("a folder");
    fs::create_dir_all(work.join("tree")).unwrap();
    fs::create_dir(work.join("packages")).unwrap();
    let script = "cat /proc/net/dev; chown 5:70000 /mnt/tree/first; uname -n; umask; pwd; echo $SOURCE_DATE_EPOCH; \
        id -u; ls /; ls /etc; mount -t tmpfs x /tmp && echo > /mnt/tree/made && ! touch /mnt/made 2>/dev/null";
    let command = Sandbox {
        work: &work,
        prepare: "touch /mnt/tree/first\n",
        clock: CLOCK,
    }
    .command(&["/bin/sh", "-c", script].map(OsStr::new));
    let printed = run(command, "util-linux", &dir.path().join("log"), &Silent).unwrap();
    let text = String::from_utf8(printed).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    // Two lines of heading, then `lo` alone.
    let devices: Vec<&str> = lines.iter().copied().filter(|l| l.contains(": ")).collect();
    assert_eq!(devices.len(), 1, "{text}");
    assert!(devices[0].trim().starts_with("lo:"), "{text}");
    let at = lines.iter().position(|l| *l == "localhost").unwrap();
    assert_eq!(
        lines[at..at + 5],
        ["localhost", "0022", "/", "17", "0"],
        "{text}"
    );
    for name in ["home", "root.lock", "shadow", "machine-id"] {
        assert!(!lines.contains(&name), "{text}");
    }
    assert!(work.join("tree/made").exists());
    let first = fs::metadata(work.join("tree/first")).unwrap();
    assert_eq!((first.st_uid(), first.st_gid()), (5, 70000));
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
    assert!(!mounts.contains(&*work.to_string_lossy()), "{mounts}");
}

/// A package of which a script writes the year into a file, and every program of it sees another one.
#[test]
fn a_script_of_a_package_sees_another_time() {
    if !can_try() {
        return;
    }
    let year = |ahead: Duration| {
        let dir = tempfile::tempdir_in("/var/tmp").unwrap();
        let work = dir.path();
        package(
            work,
            "#!/bin/sh\ndate +%Y > /year\nperl -e 'print((gmtime)[5] + 1900)' > /perl\n",
        );
        let clock = Clock { ahead, ..CLOCK };
        let command = Sandbox {
            work,
            prepare: SYSTEM,
            clock,
        }
        .command(&INSTALL.map(OsStr::new));
        run(command, "dpkg", &work.join("log"), &Silent).unwrap();
        let read = |name: &str| {
            let text = fs::read_to_string(work.join("tree").join(name)).unwrap();
            text.trim().parse::<u32>().unwrap()
        };
        let year = read("year");
        assert_eq!(read("perl"), year);
        year
    };
    let here = year(Duration::ZERO);
    let ahead = year(Duration::from_hours(400 * 24));
    assert!([1, 2].contains(&(ahead - here)), "{here} {ahead}");
}

/// Gives up after a time: what is tried ends before it, or never.
struct Patience(std::time::Instant);

impl elea_sys::progress::Progress for Patience {
    fn start(&self, _: &str, _: Option<u64>, _: elea_sys::progress::Unit) {}
    fn advance(&self, _: u64) {}
    fn finish(&self) {}
    fn note(&self, _: &str) {}
    fn cancelled(&self) -> bool {
        self.0.elapsed() > std::time::Duration::from_mins(1)
    }
}

#[test]
fn without_a_namespace_of_users_it_ends_and_says_so() {
    if !can_try() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let command = Sandbox {
        work: dir.path(),
        // As it does in a chroot, or where a setting forbids it.
        prepare: "unshare() { echo 'unshare: not permitted' >&2; return 1; }\n",
        clock: CLOCK,
    }
    .command(&["/bin/true"].map(OsStr::new));
    let log = dir.path().join("log");
    let patience = Patience(std::time::Instant::now());
    let error = run(command, "util-linux", &log, &patience).unwrap_err();
    assert!(error.to_string().contains("not permitted"), "{error}");
}

/// Wants to stop once a file is there.
struct Until(std::path::PathBuf);

impl elea_sys::progress::Progress for Until {
    fn start(&self, _: &str, _: Option<u64>, _: elea_sys::progress::Unit) {}
    fn advance(&self, _: u64) {}
    fn finish(&self) {}
    fn note(&self, _: &str) {}
    fn cancelled(&self) -> bool {
        self.0.exists()
    }
}

#[test]
fn who_stops_asks_what_runs_inside_to_end() {
    if !can_try() {
        return;
    }
    for ahead in [0, 1000] {
        let dir = tempfile::tempdir().unwrap();
        let tree = dir.path().join("tree");
        fs::create_dir(&tree).unwrap();
        let script =
            "trap 'touch /mnt/tree/asked; exit' TERM; touch /mnt/tree/runs; sleep 100 & wait";
        let command = Sandbox {
            work: dir.path(),
            prepare: "",
            clock: Clock {
                ahead: Duration::from_secs(ahead),
                ..CLOCK
            },
        }
        .command(&["/bin/sh", "-c", script].map(OsStr::new));
        let stopped = Until(tree.join("runs"));
        let error = run(command, "util-linux", &dir.path().join("log"), &stopped).unwrap_err();
        assert!(error.to_string().contains("stopped as asked"), "{error}");
        assert!(tree.join("asked").exists(), "{ahead}");
    }
}

/// What a script of a package would like to reach.
struct Bait {
    dir: tempfile::TempDir,
    tcp: TcpListener,
    udp: UdpSocket,
    unix: Vec<UnixListener>,
    process: std::process::Child,
    arguments: Vec<String>,
}

impl Bait {
    fn new() -> Self {
        // Not in /tmp, which a sandbox has its own of.
        let dir = tempfile::tempdir_in("/var/tmp").unwrap();
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let udp = UdpSocket::bind(tcp.local_addr().unwrap()).unwrap();
        let name = format!("elea-socket-{}", std::process::id());
        let unix = vec![
            UnixListener::bind(dir.path().join("socket")).unwrap(),
            UnixListener::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap(),
        ];
        tcp.set_nonblocking(true).unwrap();
        udp.set_nonblocking(true).unwrap();
        for listener in &unix {
            listener.set_nonblocking(true).unwrap();
        }
        fs::write(dir.path().join("secret"), "secret").unwrap();
        let process = Command::new("perl")
            .args(["-e", "sleep 600", "elea-bait"])
            .current_dir(dir.path())
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let disk = fs::metadata("/usr").unwrap().st_dev();
        let disk = format!("{}:{}", rustix::fs::major(disk), rustix::fs::minor(disk));
        let arguments = vec![
            dir.path().display().to_string(),
            tcp.local_addr().unwrap().port().to_string(),
            name,
            process.id().to_string(),
            disk,
        ];
        Self {
            dir,
            tcp,
            udp,
            unix,
            process,
            arguments,
        }
    }

    /// How many of the four sockets somebody spoke to since the last time.
    fn spoken_to(&self) -> usize {
        let waits = |result: Result<(), std::io::Error>| match result {
            Err(e) if e.kind() == ErrorKind::WouldBlock => 0,
            result => {
                result.unwrap();
                1
            }
        };
        let unix: usize = self
            .unix
            .iter()
            .map(|s| waits(s.accept().map(|_| ())))
            .sum();
        waits(self.tcp.accept().map(|_| ())) + waits(self.udp.recv(&mut [0; 9]).map(|_| ())) + unix
    }
}

impl Drop for Bait {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Installs it.
const INSTALL: [&str; 5] = [
    "dpkg",
    "--force-depends",
    "--root=/mnt/tree",
    "--install",
    "/mnt/packages/probe.deb",
];

const PROBE: &str = include_str!("probe.pl");

/// A package with a script, and a tree that dpkg can install it in.
fn package(work: &Path, script: &str) {
    let (source, packages) = (work.join("probe"), work.join("packages"));
    fs::create_dir_all(source.join("DEBIAN")).unwrap();
    for folder in [
        "packages",
        "tree/var/lib/dpkg/info",
        "tree/var/lib/dpkg/updates",
        "tree/dev",
        "tree/proc",
        "tree/etc",
    ] {
        fs::create_dir_all(work.join(folder)).unwrap();
    }
    fs::write(work.join("tree/var/lib/dpkg/status"), "").unwrap();
    let control = "Package: probe\nVersion: 1\nArchitecture: all\nMaintainer: x <x@localhost>\nDescription: x\n";
    fs::write(source.join("DEBIAN/control"), control).unwrap();
    fs::write(source.join("opt-probe.pl"), PROBE).unwrap();
    let postinst = source.join("DEBIAN/postinst");
    fs::write(&postinst, script).unwrap();
    for path in [source.clone(), source.join("DEBIAN"), postinst] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let built = Command::new("dpkg-deb")
        .args(["--root-owner-group", "--build"])
        .args([&source, &packages.join("probe.deb")])
        .output()
        .unwrap();
    assert!(built.status.success(), "{built:?}");
}

/// The tree is a system by the programs of the machine, as a tree of packages is by its own.
const SYSTEM: &str = "\
mkdir /mnt/tree/usr
mount --bind /usr /mnt/tree/usr
for name in bin sbin lib lib32 lib64; do
  if test -L /$name; then cp -P /$name /mnt/tree/
  elif test -d /$name; then mkdir /mnt/tree/$name; mount --bind /$name /mnt/tree/$name; fi
done
cp /etc/ld.so.cache /mnt/tree/etc/
mount --rbind /proc /mnt/tree/proc
mount --rbind /dev /mnt/tree/dev
";

#[test]
fn a_script_of_a_package_finds_no_way_out() {
    if !can_try() {
        return;
    }
    let bait = Bait::new();
    // The probes find what there is to find: outside, where nothing stops them.
    let probe = bait.dir.path().join("probe.pl");
    fs::write(&probe, PROBE).unwrap();
    let outside = Command::new("perl")
        .arg(&probe)
        .args(&bait.arguments)
        .args([
            "tcp",
            "udp",
            "abstract",
            "path",
            "socket",
            "proc-root",
            "see",
            "kill",
            "keyring",
        ])
        .output()
        .unwrap();
    let outside = String::from_utf8(outside.stdout).unwrap();
    assert!(
        !outside.contains("closed") && outside.lines().count() == 9,
        "{outside}"
    );
    assert_eq!(bait.spoken_to(), 4);

    let work = bait.dir.path().join("work");
    fs::create_dir(&work).unwrap();
    let script = format!(
        "#!/bin/sh\nperl /opt-probe.pl {} > /report 2> /words\n",
        bait.arguments.join(" ")
    );
    package(&work, &script);
    let (name, null) = (
        rustix::system::uname(),
        fs::metadata("/dev/null").unwrap().st_mode(),
    );
    let command = Sandbox {
        work: &work,
        prepare: SYSTEM,
        clock: CLOCK,
    }
    .command(&INSTALL.map(OsStr::new));
    run(command, "dpkg", &work.join("log"), &Silent).unwrap();
    let report = fs::read_to_string(work.join("tree/report")).unwrap();
    let words = fs::read_to_string(work.join("tree/words")).unwrap();
    let open: Vec<&str> = report
        .lines()
        .filter(|l| !l.starts_with("closed "))
        .collect();
    assert!(open.is_empty(), "{open:?}\n{words}");
    assert_eq!(
        report.lines().count(),
        PROBE.matches("probe '").count() + 8,
        "{report}{words}"
    );

    // What the probes cannot know, the machine does.
    assert_eq!(bait.spoken_to(), 0);
    assert_eq!(rustix::system::uname().nodename(), name.nodename());
    assert_eq!(fs::metadata("/dev/null").unwrap().st_mode(), null);
    assert!(!Path::new("/usr/of-probe").exists());
    assert!(!work.join("packages/of-probe").exists());
    assert!(fs::metadata(format!("/proc/{}", bait.process.id())).is_ok());
}
