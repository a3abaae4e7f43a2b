//! Memory does not grow with a tree: each command goes on under a control group's limit.

use crate::program::{Elea, Ran, skipped};
use crate::refusals::header;
use std::fs;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// How many files there are, unless `ELEA_FILES` says it; with 1,000,000 the limit is 100 MB.
const FILES: u64 = 10_000;
/// What a command may need, in bytes, whatever it does.
const BASE: u64 = 40_000_000;
/// The page cache of a limited program counts too: this lets it work without reading everything twice.
const EACH: u64 = 60;

/// A control group with a limit; gone when dropped.
struct Group(PathBuf);

impl Group {
    /// None where there are none, or this user may not make one.
    fn new(limit: u64) -> Option<Self> {
        let name = format!("elea-test-{}", std::process::id());
        let [old, new] =
            ["/sys/fs/cgroup/memory", "/sys/fs/cgroup"].map(|root| Path::new(root).join(&name));
        let (path, file) = if Path::new("/sys/fs/cgroup/memory").is_dir() {
            (old, "memory.limit_in_bytes")
        } else {
            (new, "memory.max")
        };
        fs::create_dir(&path).ok()?;
        let group = Self(path);
        fs::write(group.0.join(file), limit.to_string()).ok()?;
        Some(group)
    }

    /// Runs words of `elea` in it.
    fn run(&self, elea: &Elea, line: &str, input: impl FnOnce(&mut dyn Write) + Send) -> Ran {
        let words: Vec<&str> = line.split_whitespace().collect();
        let command = elea.command(&words);
        let mut child = Command::new("sh")
            .args(["-c", "echo $$ >\"$0\" && exec \"$@\""])
            .arg(self.0.join("cgroup.procs"))
            .arg(command.get_program())
            .args(command.get_args())
            .env("ELEA_STORE", elea.store())
            .env("TMPDIR", elea.path(""))
            .current_dir(elea.path(""))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut pipe = BufWriter::new(child.stdin.take().unwrap());
        input(&mut pipe);
        drop(pipe);
        child.wait_with_output().unwrap().into()
    }

    /// Runs words that need no input and must succeed; stdout.
    fn good(&self, elea: &Elea, line: &str) -> String {
        let ran = self.run(elea, line, |_| {});
        assert_eq!(ran.code, Some(0), "{line}: {ran:?}");
        ran.out
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.0);
    }
}

/// A tar file of so many files, a thousand to a folder; each twentieth is large enough for an object.
fn archive(files: u64, out: &mut dyn Write) {
    for file in 0..files {
        let content = format!("file {file:07} ").repeat(if file % 20 == 0 { 20 } else { 2 });
        let name = format!("d{:04}/file-{file:07}", file / 1000);
        out.write_all(&header(&name, content.len() as u64)).unwrap();
        let mut content = content.into_bytes();
        content.resize(content.len().next_multiple_of(512), 0);
        out.write_all(&content).unwrap();
    }
    out.write_all(&[0; 1024]).unwrap();
}

#[test]
fn no_command_needs_memory_for_each_file() {
    let files = std::env::var("ELEA_FILES").map_or(FILES, |files| files.parse().unwrap());
    let Some(group) = Group::new(BASE + EACH * files) else {
        return skipped("no control group for memory can be made");
    };
    let elea = Elea::new();
    elea.good("store init");
    let line = "image import tar:- --name a";
    let ran = group.run(&elea, line, |out| archive(files, out));
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let image = elea.json("image show a")["image"].clone();
    for line in [
        "image export a erofs:a.erofs",
        "image export a dump:a.dump",
        "image export a tar:a.tar",
        "image push a oci:a.oci:gzip",
        "image push a oci:b.oci:chunked --compression zstd:chunked",
        "image explain a a",
        "image diff a a",
        "store stats",
        "store fsck",
        "store gc",
    ] {
        group.good(&elea, line);
    }
    for source in ["dump:a.dump", "erofs:a.erofs", "tar:a.tar"] {
        let out = group.good(&elea, &format!("image digest {source}"));
        assert_eq!(out.trim(), image.as_str().unwrap(), "{source}");
    }
    for source in ["oci:a.oci:gzip", "oci:b.oci:chunked"] {
        fs::remove_dir_all(elea.store()).unwrap();
        elea.good("store init");
        group.good(
            &elea,
            &format!("image pull {source} --allow-unsigned --name b"),
        );
        assert_eq!(elea.json("image show b")["image"], image, "{source}");
    }
}
