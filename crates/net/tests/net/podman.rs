//! podman from 5 on, of a newer Debian: it fetches our layers in part, as we do.

use crate::docker_registry::{Access, DockerRegistry};
use crate::fixture::{Place, options, reference, run};
use crate::parts::grown;
use elea_net::push;
use elea_sys::progress::Silent;
use elea_testkit::debian;
use std::path::PathBuf;
use std::process::Command;

/// podman, and the folder that it has its images in.
struct Podman {
    root: PathBuf,
    folder: tempfile::TempDir,
}

impl Podman {
    fn find() -> Option<Self> {
        let Some(root) = debian::root() else {
            eprintln!("skipped: no Debian 13 in a folder; `cargo xtask test` makes one");
            return None;
        };
        // Beside the root: podman puts an overlay over it, which not every file system takes.
        let folder = tempfile::tempdir_in(root.parent()?).unwrap();
        let podman = Self { root, folder };
        let there = podman.command(&["podman", "info"]).output().unwrap();
        if there.status.success() {
            return Some(podman);
        }
        let said = String::from_utf8_lossy(&there.stderr);
        eprintln!("skipped: podman from 5 on does not work here: {said}");
        None
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = debian::enter(&self.root, self.folder.path());
        command.args(words);
        command
    }

    /// Pulls an image and gives how many layers came in part, by its own words.
    fn pull(&self, image: &str) -> usize {
        let pull = ["podman", "--log-level=debug", "pull", "--tls-verify=false"];
        let out = self.command(&pull).arg(image).output().unwrap();
        let said = String::from_utf8_lossy(&out.stderr);
        assert!(out.status.success(), "{said}");
        said.matches("Retrieved partial blob").count()
    }

    /// What `LIST` says of the image.
    fn files(&self, image: &str) -> String {
        let script = format!(r#"cd "$(podman image mount "$0")"; {LIST}"#);
        run(&mut self.command(&["sh", "-ec", &script, image]))
    }
}

/// Each file of a folder with its mode, owners, size, names and time of change, and its content. Of directories and links
/// podman sets no times, nor does it for layers of its own.
const LIST: &str =
    "find usr etc -type f -printf '%m %U %G %s %n %T@ ' -exec sha256sum {} ';' | sort";

#[test]
fn podman_fetches_our_layers_in_part() {
    let Some(podman) = Podman::find() else { return };
    let Some(registry) = DockerRegistry::start(&Access::default()) else {
        return;
    };
    let place = Place::new();
    let at = |version: &str| format!("{}/hello:{version}", registry.host());
    let mut sent = Vec::new();
    for version in ["1.0", "2.0"] {
        let image = grown(&place, version);
        let to = reference(&format!("registry:{}", at(version)));
        push(&image, &place.store, &to, &options(), None, &Silent).unwrap();
        let before = registry.sent();
        let parts = podman.pull(&at(version));
        sent.push(registry.sent() - before);
        if version == "1.0" {
            assert_eq!(parts, place.store.layers_of(&image).unwrap().len());
        }
        let tree = place.path(&format!("grown-{version}"));
        let list = run(Command::new("sh").args(["-ec", LIST]).current_dir(tree));
        assert_eq!(podman.files(&at(version)), list);
    }
    // Of the large file chunks came, as `of_a_large_file_only_chunks_come` has it for us.
    assert!((5 << 20..6 << 20).contains(&sent[0]), "{sent:?}");
    assert!((100_000..800_000).contains(&sent[1]), "{sent:?}");
}
