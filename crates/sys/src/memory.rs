//! How much memory may be taken.

use std::fs;
use std::path::Path;

/// Bytes of memory that can be taken without anything being swapped out or ended: what the kernel estimates, and what the
/// control groups of this process leave. None where neither says anything.
pub fn available() -> Option<u64> {
    let text = |path: &Path| fs::read_to_string(path).ok();
    let groups = text(Path::new("/proc/self/cgroup")).unwrap_or_default();
    let left = groups.lines().filter_map(|line| {
        let left = left(line, &text);
        left.into_iter().min()
    });
    let estimate = text(Path::new("/proc/meminfo")).and_then(|text| parse_available(&text));
    left.chain(estimate).min()
}

/// `MemAvailable` of `/proc/meminfo`, in bytes.
fn parse_available(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|l| l.strip_prefix("MemAvailable:"))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kilobytes.checked_mul(1024)
}

/// What a line of `/proc/self/cgroup` leaves, in the group and in those above it: `0::/a/b` of version 2,
/// `5:memory:/a/b` of version 1.
fn left(line: &str, text: &dyn Fn(&Path) -> Option<String>) -> Vec<u64> {
    let mut parts = line.splitn(3, ':').skip(1);
    let (Some(controllers), Some(group)) = (parts.next(), parts.next()) else {
        return Vec::new();
    };
    let (folder, limit, used) = match controllers {
        "" => ("/sys/fs/cgroup", "memory.max", "memory.current"),
        _ if controllers.split(',').any(|name| name == "memory") => (
            "/sys/fs/cgroup/memory",
            "memory.limit_in_bytes",
            "memory.usage_in_bytes",
        ),
        _ => return Vec::new(),
    };
    let groups = Path::new(group.trim_start_matches('/')).ancestors();
    let number = |path: &Path| text(path)?.trim().parse::<u64>().ok();
    let left = groups.filter_map(|group| {
        let group = Path::new(folder).join(group);
        let limit = number(&group.join(limit))?;
        Some(limit.saturating_sub(number(&group.join(used))?))
    });
    left.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tightest_group_counts() {
        let files = |path: &Path| {
            let text = match path.to_str()? {
                "/sys/fs/cgroup/a/b/memory.max" => "max\n",
                "/sys/fs/cgroup/a/memory.max" => "1000\n",
                "/sys/fs/cgroup/a/memory.current" => "300\n",
                "/sys/fs/cgroup/memory/x/memory.limit_in_bytes" => "50",
                "/sys/fs/cgroup/memory/x/memory.usage_in_bytes" => "60",
                _ => return None,
            };
            Some(text.to_owned())
        };
        assert_eq!(left("0::/a/b", &files), [700]);
        assert_eq!(left("7:cpu,memory:/x", &files), [0]);
        for line in ["7:cpu:/x", "0::/", "", "x"] {
            assert!(left(line, &files).is_empty(), "{line}");
        }
    }

    #[test]
    fn the_kernel_tells_kilobytes() {
        let text = "MemTotal:  9 kB\nMemAvailable:   2048 kB\nBuffers: 1 kB\n";
        assert_eq!(parse_available(text), Some(2 << 20));
        assert_eq!(parse_available("MemAvailable: x kB\n"), None);
        assert!(available().is_some_and(|bytes| bytes > 0));
    }
}
