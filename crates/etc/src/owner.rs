//! Whose an entry of `/etc` is, where it is neither the person's nor the image's.

/// Whether a file is made from others or left by tools: neither shown nor carried, since the
/// new image brings its own or a tool makes it again.
///
/// `.updated` must stay the image's, or systemd runs its update services at every first boot;
/// a local `ld.so.cache` would hide the cache of every later image.
pub(crate) fn is_derived(path: &[u8]) -> bool {
    matches!(
        path,
        b".updated"
            | b".pwd.lock"
            | b"ld.so.cache"
            | b"passwd-"
            | b"group-"
            | b"shadow-"
            | b"gshadow-"
            | b"subuid-"
            | b"subgid-"
    )
}

/// Whether a file is the machine's identity: carried, and not shown as an edit.
pub(crate) fn is_machines(path: &[u8]) -> bool {
    matches!(path, b"machine-id" | b"adjtime") || path.starts_with(b"ssh/ssh_host_")
}
