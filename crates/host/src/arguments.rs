//! The machine's own kernel arguments: what a generation's command line has besides Elea's and
//! the release's. They go with the machine from release to release.

use crate::install;
use elea_formats::cmdline::{Argument, CommandLine};
use elea_formats::digest::Digest;
use elea_formats::generation::MEMORY_ARGUMENT;

/// The machine's own arguments in the line of a generation with number 0 to any, whose image,
/// root and release are known: each argument that [`install::options`] would put there by
/// itself is taken away once, so that one which both gave stays. What a machine in memory has in place of a root is
/// none of them.
pub fn own(line: &str, image: &Digest, number: u64, release: &[String]) -> Vec<String> {
    let root = root_uuid(line).unwrap_or_default();
    let given = install::options(image, number, &root, release.iter().map(String::as_str));
    let given = given.unwrap_or_default();
    let mut given = CommandLine::parse(&given).arguments().to_vec();
    let mut own = Vec::new();
    for word in CommandLine::parse(line).arguments() {
        match given.iter().position(|g| g == word) {
            Some(at) => drop(given.remove(at)),
            None if word.key == MEMORY_ARGUMENT => {}
            None => own.push(plain(word)),
        }
    }
    own
}

/// The UUID of the root in a line.
pub fn root_uuid(line: &str) -> Option<String> {
    let line = CommandLine::parse(line);
    let uuid = line.value("root")?.strip_prefix("UUID=")?;
    Some(uuid.to_owned())
}

/// `key=value` as [`install::options`] takes it: without the quotes of a line.
fn plain(word: &Argument) -> String {
    match &word.value {
        Some(value) => format!("{}={value}", word.key),
        None => word.key.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_release_changes_its_own_arguments_and_keeps_the_machines() {
        let image = elea_formats::digest::Sha256::of(b"image").into();
        let words = |text: &str| text.split('|').map(str::to_owned).collect::<Vec<_>>();
        let (old, new) = (words("quiet|a=1|a=1"), words("a=2|dyndbg=file x +p"));
        let mine = words("console=ttyS0|a=1|b=c d");
        let line = |number, release: &[String], own: &[String]| {
            let all = release.iter().chain(own).map(String::as_str);
            install::options(&image, number, "ab-cd", all).unwrap()
        };
        let first = line(1, &old, &mine);
        let kept = own(&first, &image, 1, &old);
        assert_eq!(kept, mine);
        let in_memory = first.replace("root=UUID=ab-cd", MEMORY_ARGUMENT);
        assert_eq!(own(&in_memory, &image, 1, &old), mine);
        let second = line(2, &new, &kept);
        assert_eq!(root_uuid(&second).as_deref(), Some("ab-cd"));
        assert!(
            second.ends_with("panic=5 a=2 dyndbg=\"file x +p\" console=ttyS0 a=1 b=\"c d\""),
            "{second}"
        );
        assert_eq!(own(&second, &image, 2, &new), mine);
    }
}
