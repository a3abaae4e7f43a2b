//! The reference writers of composefs images, as programs: what they say is right.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// What was answered, or why not.
pub type Answer = Result<Vec<u8>, String>;

/// A program or folder that a variable names, or that stands at a place below the repository.
pub(crate) fn place(variable: &str, default: &str) -> Option<PathBuf> {
    let path = std::env::var_os(variable).map_or_else(
        || {
            Path::new(env!("CARGO_MANIFEST_DIR"))
                .join("../..")
                .join(default)
        },
        PathBuf::from,
    );
    path.exists().then_some(path)
}

/// The `composefs` crate, in one process for many questions: `ELEA_ORACLE` names the program, else it
/// is where `cargo build --profile tested --manifest-path oracle/Cargo.toml` puts it.
#[derive(Debug)]
pub struct Oracle {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Oracle {
    /// The program, if it is there.
    pub fn program() -> Option<PathBuf> {
        place("ELEA_ORACLE", "oracle/target/tested/elea-oracle")
    }

    /// Starts it, if it is there.
    pub fn start() -> Option<Self> {
        let mut child = Command::new(Self::program()?)
            .arg("serve")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .ok()?;
        Some(Self {
            input: child.stdin.take()?,
            output: BufReader::new(child.stdout.take()?),
            child,
        })
    }

    /// Asks `write`, `write-v0`, `write-v2` (a dump to an image) or `read` (an image to a dump).
    pub fn ask(&mut self, verb: &str, input: &[u8]) -> Answer {
        self.exchange(verb, input)
            .unwrap_or_else(|e| Err(format!("the oracle is gone: {e}")))
    }

    fn exchange(&mut self, verb: &str, input: &[u8]) -> io::Result<Answer> {
        writeln!(self.input, "{verb} {}", input.len())?;
        self.input.write_all(input)?;
        self.input.flush()?;
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        let (word, length) = line.trim_end().split_once(' ').unwrap_or_default();
        let mut bytes = vec![0; length.parse().map_err(io::Error::other)?];
        self.output.read_exact(&mut bytes)?;
        Ok(match word {
            "ok" => Ok(bytes),
            _ => Err(String::from_utf8_lossy(&bytes).into_owned()),
        })
    }
}

impl Drop for Oracle {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The C programs `mkcomposefs`, `composefs-info` and `mount.composefs`: in a folder that `ELEA_COMPOSEFS_ROOT` names
/// or `cargo xtask test` makes, else those of this machine.
#[derive(Debug)]
pub struct Composefs {
    root: Option<PathBuf>,
}

impl Composefs {
    /// Finds them.
    pub fn find() -> Option<Self> {
        let root = place("ELEA_COMPOSEFS_ROOT", "target/composefs-root");
        (root.is_some() || crate::has("mkcomposefs")).then_some(Self { root })
    }

    /// One of the programs. Of another system's folder it runs with that system's libraries.
    fn command(&self, program: &str) -> Command {
        let Some(root) = &self.root else {
            return Command::new(program);
        };
        let places = ["usr/bin", "usr/sbin"].map(|folder| root.join(folder).join(program));
        let [place, _] = &places;
        let place = places.iter().find(|place| place.exists()).unwrap_or(place);
        let mut command = Command::new(root.join("usr/lib64/ld-linux-x86-64.so.2"));
        command
            .arg("--library-path")
            .arg(root.join("usr/lib/x86_64-linux-gnu"))
            .arg(place);
        command
    }

    /// The image of a dump, which is parsed strictly; `options` say which version.
    pub fn write(&self, options: &[&str], dump: &[u8]) -> Answer {
        let mut command = self.command("mkcomposefs");
        command.env("CFS_PARSE_STRICT", "1");
        command.arg("--from-file").args(options).args(["-", "-"]);
        answer(&mut command, dump)
    }

    /// The V1 image of a folder. Hard links in it become files of their own.
    pub fn write_folder(&self, folder: &Path) -> Answer {
        let mut command = self.command("mkcomposefs");
        command.arg("--min-version=1").arg(folder).arg("-");
        answer(&mut command, b"")
    }

    /// The dump of an image.
    pub fn dump(&self, image: &Path) -> Answer {
        self.info(&["dump"], &[image])
    }

    /// What `composefs-info` says of images or files; its options and verb are the words.
    pub fn info(&self, words: &[&str], paths: &[&Path]) -> Answer {
        let mut command = self.command("composefs-info");
        answer(command.args(words).args(paths), b"")
    }

    /// Mounts an image by `mount.composefs`, with its options as `mount -o` has them.
    pub fn mount(&self, options: &str, image: &Path, target: &Path) -> Answer {
        let mut command = self.command("mount.composefs");
        answer(command.args(["-o", options]).args([image, target]), b"")
    }
}

fn answer(command: &mut Command, input: &[u8]) -> Answer {
    let mut run = || {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let mut stdin = child.stdin.take();
        let output = std::thread::scope(|scope| {
            scope.spawn(move || {
                // It may refuse before it read all.
                let _ = stdin.as_mut().map(|stdin| stdin.write_all(input));
            });
            child.wait_with_output()
        })?;
        Ok::<_, io::Error>(output)
    };
    let output = run().map_err(|e| e.to_string())?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(format!("{}: {said}", output.status))
}
