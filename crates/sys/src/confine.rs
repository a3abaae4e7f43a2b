//! What a program that is started may not ask of the kernel.

use std::io;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

/// Calls that name spaces do not tame: keys belong to users, not to name spaces; the log, BPF, counters of events and
/// rings are the whole machine's.
const REFUSED: [libc::c_long; 11] = [
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_keyctl,
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_syslog,
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_open_by_handle_at,
];

/// Calls that give files and processes to others: who is root of a name space with one user alone has
/// nobody to give them to.
#[cfg(target_arch = "x86_64")]
const GIVING: [libc::c_long; 11] = [
    libc::SYS_chown,
    libc::SYS_lchown,
    libc::SYS_fchown,
    libc::SYS_fchownat,
    libc::SYS_setuid,
    libc::SYS_setgid,
    libc::SYS_setreuid,
    libc::SYS_setregid,
    libc::SYS_setresuid,
    libc::SYS_setresgid,
    libc::SYS_setgroups,
];
#[cfg(target_arch = "aarch64")]
const GIVING: [libc::c_long; 9] = [
    libc::SYS_fchown,
    libc::SYS_fchownat,
    libc::SYS_setuid,
    libc::SYS_setgid,
    libc::SYS_setreuid,
    libc::SYS_setregid,
    libc::SYS_setresuid,
    libc::SYS_setresgid,
    libc::SYS_setgroups,
];

/// Calls that wait for the disk.
const WAITING: [libc::c_long; 5] = [
    libc::SYS_fsync,
    libc::SYS_fdatasync,
    libc::SYS_sync,
    libc::SYS_syncfs,
    libc::SYS_sync_file_range,
];

/// `AUDIT_ARCH_*` of calls that are looked at; those of other kinds (32 bits) do not exist for the program.
#[cfg(target_arch = "x86_64")]
pub(crate) const ARCHITECTURE: u32 = 0xC000_003E;
#[cfg(target_arch = "aarch64")]
pub(crate) const ARCHITECTURE: u32 = 0xC000_00B7;

/// Where `struct seccomp_data` has the number of the call and its architecture, in bytes.
pub(crate) const NUMBER: u32 = 0;
pub(crate) const KIND: u32 = 4;
/// Numbers from here on are those of x32.
const X32: u32 = 0x4000_0000;

pub(crate) const LOAD: u16 = 0x20;
pub(crate) const EQUAL: u16 = 0x15;
const AT_LEAST: u16 = 0x35;
pub(crate) const RETURN: u16 = 0x06;

/// Makes calls that reach past name spaces fail for a program and all that it starts, as if the kernel had
/// none of them (`ENOSYS`). It gets no privileges by any program that it starts, unless the caller is root.
pub fn refuse_calls(command: &mut Command) {
    let refuse = libc::SECCOMP_RET_ERRNO | libc::ENOSYS.unsigned_abs();
    before_start(command, filter(&REFUSED, refuse, refuse));
}

/// Lets a program, and all that it starts, believe that it gave files and itself to others, while nothing
/// is done: for those that are root of a name space with one user alone, where the kernel would refuse it.
pub fn pretend_owners(command: &mut Command) {
    // No error is success.
    let refuse = libc::SECCOMP_RET_ERRNO | libc::ENOSYS.unsigned_abs();
    before_start(command, filter(&GIVING, libc::SECCOMP_RET_ERRNO, refuse));
}

/// Lets a program, and all that it starts, wait for no disk: for those that make what is temporary, or is synced as a
/// whole when they are done.
pub fn pretend_synced(command: &mut Command) {
    let refuse = libc::SECCOMP_RET_ERRNO | libc::ENOSYS.unsigned_abs();
    before_start(command, filter(&WAITING, libc::SECCOMP_RET_ERRNO, refuse));
}

fn before_start(command: &mut Command, filter: Vec<libc::sock_filter>) {
    // SAFETY: between fork and exec the closure allocates nothing and takes no lock.
    unsafe { command.pre_exec(move || install(&filter)) };
}

/// Sets a filter for this process and all that it starts. Safe between fork and exec.
pub(crate) fn install(filter: &[libc::sock_filter]) -> io::Result<()> {
    if !rustix::process::geteuid().is_root() {
        // SAFETY: a flag of this process is set; no memory is touched.
        let result = unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
        if result != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    let program = libc::sock_fprog {
        len: u16::try_from(filter.len()).unwrap_or(u16::MAX),
        filter: filter.as_ptr().cast_mut(),
    };
    // SAFETY: `program` names `filter`, which outlives the call; the kernel copies it.
    let result = unsafe {
        libc::prctl(
            libc::PR_SET_SECCOMP,
            libc::SECCOMP_MODE_FILTER,
            &raw const program,
        )
    };
    if result == 0 {
        return Ok(());
    }
    Err(io::Error::last_os_error())
}

/// A filter with an `answer` to these calls, and one to calls of other kinds.
fn filter(calls: &[libc::c_long], answer: u32, strange: u32) -> Vec<libc::sock_filter> {
    let count = u8::try_from(calls.len()).unwrap_or(u8::MAX);
    let mut steps = vec![
        step(LOAD, 0, 0, KIND),
        // To the last step: over the next two, all calls, the permission and the answer.
        step(EQUAL, 0, count + 4, ARCHITECTURE),
        step(LOAD, 0, 0, NUMBER),
        step(AT_LEAST, count + 2, 0, X32),
    ];
    for (number, call) in (0..count).zip(calls) {
        let call = u32::try_from(*call).unwrap_or(u32::MAX);
        steps.push(step(EQUAL, count - number, 0, call));
    }
    steps.push(step(RETURN, 0, 0, libc::SECCOMP_RET_ALLOW));
    steps.push(step(RETURN, 0, 0, answer));
    steps.push(step(RETURN, 0, 0, strange));
    steps
}

/// A step of a filter; `if_so` and `if_not` are how many steps are passed over then.
pub(crate) const fn step(code: u16, if_so: u8, if_not: u8, k: u32) -> libc::sock_filter {
    libc::sock_filter {
        code,
        jt: if_so,
        jf: if_not,
        k,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt as _;

    #[test]
    fn owners_are_pretended_and_modes_are_not() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        std::fs::write(&file, "").unwrap();
        let before = std::fs::metadata(&file).unwrap();
        let script = "chown 12:34 \"$1\" && chmod 0600 \"$1\" && echo done";
        let mut command = Command::new("sh");
        command.args(["-c", script, "sh"]).arg(&file);
        pretend_owners(&mut command);
        assert_eq!(command.output().unwrap().stdout, b"done\n");
        let after = std::fs::metadata(&file).unwrap();
        assert_eq!((after.uid(), after.gid()), (before.uid(), before.gid()));
        assert_eq!(after.mode() & 0o777, 0o600);
    }

    #[test]
    fn nothing_waits_for_the_disk() {
        // A pipe cannot be synced, but nobody asks the kernel.
        let mut command = Command::new("sh");
        command.args([
            "-c",
            "true | dd conv=fsync of=/dev/stdout status=none | cat",
        ]);
        let real = command.output().unwrap();
        assert!(!real.stderr.is_empty(), "{real:?}");
        pretend_synced(&mut command);
        let pretended = command.output().unwrap();
        assert!(pretended.stderr.is_empty(), "{pretended:?}");
    }

    #[test]
    fn calls_are_refused_and_others_work() {
        // keyctl(KEYCTL_GET_KEYRING_ID, KEY_SPEC_SESSION_KEYRING, 0), and getpid.
        let script = format!(
            "print syscall({}, 0, -3, 0) < 0 && $!{{ENOSYS}} ? 'refused' : 'open'; print ' ', syscall({}) == $$;",
            libc::SYS_keyctl,
            libc::SYS_getpid
        );
        let mut command = Command::new("perl");
        command.args(["-e", &script]);
        let Ok(free) = command.output() else {
            println!("skipped: no perl");
            return;
        };
        assert_eq!(String::from_utf8_lossy(&free.stdout), "open 1");
        refuse_calls(&mut command);
        let tame = command.output().unwrap();
        assert_eq!(String::from_utf8_lossy(&tame.stdout), "refused 1");
    }
}
