//! What is mounted where: `/proc/<pid>/mountinfo` (`proc_pid_mountinfo(5)`).

/// More lines than any machine has.
const MAX_LINES: usize = 100_000;

/// One mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mounted {
    /// Its id.
    pub id: u64,
    /// The id of the mount that it is on.
    pub parent: u64,
    /// Where it is.
    pub at: String,
    /// The kind of file system.
    pub kind: String,
    /// Its device, or a name.
    pub source: String,
    /// Options of the file system.
    pub options: Vec<String>,
}

/// Reads the text; lines that do not fit say nothing.
pub fn parse(text: &str) -> Vec<Mounted> {
    let lines = text.lines().take(MAX_LINES);
    lines.filter_map(line).collect()
}

fn line(line: &str) -> Option<Mounted> {
    // Between the two halves are optional fields, as many as there are, then a hyphen.
    let (mount, system) = line.split_once(" - ")?;
    let mut mount = mount.split(' ');
    let mut system = system.split(' ');
    Some(Mounted {
        id: mount.next()?.parse().ok()?,
        parent: mount.next()?.parse().ok()?,
        at: unescape(mount.nth(2)?),
        kind: unescape(system.next()?),
        source: unescape(system.next()?),
        options: system.next()?.split(',').map(unescape).collect(),
    })
}

/// The mounts at a place, the lowest first: each is on the one before. What shows is the last.
pub fn stack<'a>(mounts: &'a [Mounted], at: &str) -> Vec<&'a Mounted> {
    let here: Vec<&Mounted> = mounts.iter().filter(|mount| mount.at == at).collect();
    let is_here = |id: u64| here.iter().any(|mount| mount.id == id);
    let mut stack: Vec<&Mounted> = Vec::new();
    let mut next = here.iter().find(|mount| !is_here(mount.parent));
    while let Some(mount) = next.filter(|_| stack.len() < here.len()) {
        stack.push(mount);
        next = here.iter().find(|above| above.parent == mount.id);
    }
    stack
}

impl Mounted {
    /// The value of an option of the file system.
    pub fn value(&self, key: &str) -> Option<&str> {
        let options = self.options.iter();
        let mut values = options.filter_map(|option| option.strip_prefix(key)?.strip_prefix('='));
        values.next()
    }
}

/// A blank, tab, line end and backslash are written as `\ooo`; a file's name that is no text is shown as such.
fn unescape(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        let octal = tail.get(..3).filter(|_| first == b'\\');
        let code = octal.and_then(|digits| {
            let digits = std::str::from_utf8(digits).ok()?;
            u8::from_str_radix(digits, 8).ok()
        });
        bytes.push(code.unwrap_or(first));
        rest = if code.is_some() { &tail[3..] } else { tail };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
21 1 0:19 / / ro,noatime shared:1 - overlay elea ro,lowerdir+=/x\n\
40 21 0:30 / /etc rw shared:9 master:2 - overlay elea-etc rw,lowerdir+=/a,upperdir=/run/elea/sysroot/elea/generations/3/etc/upper,workdir=/w\n\
60 40 0:31 / /etc/a\\040b rw - tmpfs none rw\n\
55 61 0:33 / /etc rw - overlay elea-etc rw,upperdir=/e/generations/4/etc/upper\n\
61 40 0:32 / /etc rw - tmpfs x rw\n\
nonsense\n";

    #[test]
    fn mounts_are_read_and_stand_in_their_order() {
        let mounts = parse(TEXT);
        assert_eq!(mounts.len(), 5);
        assert_eq!(mounts[2].at, "/etc/a b");
        let stack = stack(&mounts, "/etc");
        let ids: Vec<u64> = stack.iter().map(|mount| mount.id).collect();
        assert_eq!(ids, [40, 61, 55]);
        let upper = stack[0].value("upperdir");
        assert_eq!(
            upper,
            Some("/run/elea/sysroot/elea/generations/3/etc/upper")
        );
        assert_eq!(stack[1].value("upperdir"), None);
        assert!(super::stack(&mounts, "/usr").is_empty());
    }

    #[test]
    fn the_kernels_own_reads() {
        let text = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        let mounts = parse(&text);
        assert_eq!(mounts.len(), text.lines().count());
        assert!(!stack(&mounts, "/proc").is_empty());
    }

    #[test]
    fn a_ring_of_parents_ends() {
        let text = "1 2 0:1 / /etc rw - a b c\n2 1 0:1 / /etc rw - a b c\n";
        assert!(stack(&parse(text), "/etc").is_empty());
    }
}
