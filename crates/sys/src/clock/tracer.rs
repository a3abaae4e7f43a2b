//! The process that traces a program and answers what it asks of the clock.
//!
//! It runs in a copy of a process that may have had threads, before any program is started there: it allocates nothing.
//! Of what it traces it remembers nothing either. What must outlast a call lies on the stack of who calls.

use super::start::hide_vdso;
use libc::{c_int, c_long, pid_t};
use std::io;
use std::sync::atomic::{AtomicI32, Ordering};

/// A register, or a word of memory.
pub(super) type Word = u64;
type Registers = libc::user_regs_struct;

/// Which process of the two this is.
pub(super) enum Side {
    /// The one that becomes the program, and is traced.
    Program,
    /// The one that traces this process.
    Tracer(pid_t),
}

/// Events of all that the program starts; whoever is traced ends with the tracer.
const OPTIONS: c_int = libc::PTRACE_O_EXITKILL
    | libc::PTRACE_O_TRACECLONE
    | libc::PTRACE_O_TRACEEXEC
    | libc::PTRACE_O_TRACEFORK
    | libc::PTRACE_O_TRACESECCOMP
    | libc::PTRACE_O_TRACESYSGOOD
    | libc::PTRACE_O_TRACEVFORK;
/// How the end of a call stops, by `PTRACE_O_TRACESYSGOOD`.
const CALL_ENDS: c_int = libc::SIGTRAP | 0x80;
/// Signals that a terminal sends to the program too, and that are no reason to end before it.
const PASSED_BY: [c_int; 7] = [
    libc::SIGHUP,
    libc::SIGINT,
    libc::SIGPIPE,
    libc::SIGQUIT,
    libc::SIGTSTP,
    libc::SIGTTIN,
    libc::SIGTTOU,
];

/// Who gets our SIGTERM.
static PROGRAM: AtomicI32 = AtomicI32::new(0);

/// Makes a process that is traced by this one.
pub(super) fn fork() -> io::Result<Side> {
    let mut ends = [0; 2];
    // SAFETY: the kernel writes two numbers there.
    checked(unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC) })?;
    let [here, there] = ends;
    // SAFETY: both sides allocate nothing and take no lock until they start a program or end.
    let program = checked(unsafe { libc::fork() })?;
    let mut byte = 0_u8;
    if program == 0 {
        // SAFETY: the end is ours, and the kernel writes one byte. No byte comes from a tracer that failed.
        let read = unsafe {
            libc::close(there);
            libc::read(here, (&raw mut byte).cast(), 1)
        };
        return match read {
            1 => Ok(Side::Program),
            _ => Err(io::Error::from_raw_os_error(libc::ECHILD)),
        };
    }
    let process = Process(program);
    if !process.trace(libc::PTRACE_SEIZE.into(), 0, OPTIONS as Word) {
        let error = io::Error::last_os_error();
        // SAFETY: a child of ours, of which nobody knows yet, ends.
        unsafe {
            libc::kill(program, libc::SIGKILL);
            libc::waitpid(program, std::ptr::null_mut(), libc::__WALL);
        }
        return Err(error);
    }
    // SAFETY: the kernel reads one byte.
    unsafe { libc::write(there, (&raw const byte).cast(), 1) };
    Ok(Side::Tracer(program))
}

/// Traces to the end, and ends in the same way.
pub(super) fn run(program: pid_t, ahead: i64) -> ! {
    PROGRAM.store(program, Ordering::Relaxed);
    let pass = pass_on as extern "C" fn(c_int);
    // SAFETY: these change this process alone, which never comes back to what it is a copy of: what that has open is
    // closed here, for others wait for the ends of pipes.
    unsafe {
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
        libc::signal(libc::SIGCHLD, libc::SIG_DFL);
        libc::signal(libc::SIGTERM, pass as libc::sighandler_t);
        for signal in PASSED_BY {
            libc::signal(signal, libc::SIG_IGN);
        }
        // Before Linux 5.9, and where a container forbids what it does not know, one by one.
        if libc::syscall(libc::SYS_close_range, 0, c_long::from(u32::MAX), 0) != 0 {
            for number in 0..1 << 16 {
                libc::close(number);
            }
        }
    }
    loop {
        let mut status = 0;
        // SAFETY: the kernel writes one number.
        let process = unsafe { libc::waitpid(-1, &raw mut status, libc::__WALL) };
        if process < 0 {
            if io::Error::last_os_error().kind() != io::ErrorKind::Interrupted {
                end(c_int::MAX);
            }
        } else if libc::WIFSTOPPED(status) {
            Process(process).go_on(status, ahead);
        } else if process == program {
            end(status);
        }
    }
}

/// Safe in a handler: it sends a signal, to all that the program leads if it leads them.
extern "C" fn pass_on(signal: c_int) {
    let program = PROGRAM.load(Ordering::Relaxed);
    // SAFETY: the number is of a child that was not waited for: it is still that child's.
    unsafe {
        if libc::kill(-program, signal) != 0 {
            libc::kill(program, signal);
        }
    }
}

/// Ends as the program did.
fn end(status: c_int) -> ! {
    // SAFETY: this process alone is changed, and ends without running what is to run at the end of what it is a copy
    // of. The memory of it is not to be written to the disk.
    unsafe {
        if libc::WIFSIGNALED(status) {
            let signal = libc::WTERMSIG(status);
            let none = libc::rlimit {
                rlim_cur: 0,
                rlim_max: 0,
            };
            libc::setrlimit(libc::RLIMIT_CORE, &raw const none);
            libc::signal(signal, libc::SIG_DFL);
            libc::raise(signal);
        }
        libc::_exit(if libc::WIFEXITED(status) {
            libc::WEXITSTATUS(status)
        } else {
            255
        })
    }
}

fn checked(result: c_int) -> io::Result<c_int> {
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(result)
}

/// A process, or a thread of one, that is traced by this one. It may end at any moment: whatever fails is passed over.
#[derive(Clone, Copy)]
pub(super) struct Process(pid_t);

impl Process {
    /// Does what a stop is for, and lets it run.
    fn go_on(self, status: c_int, ahead: i64) {
        let signal = libc::WSTOPSIG(status);
        let (mut how, mut with) = (libc::PTRACE_CONT, 0);
        match status >> 16 {
            libc::PTRACE_EVENT_EXEC => hide_vdso(self),
            // To its end, where it stops again.
            libc::PTRACE_EVENT_SECCOMP if self.asks(ahead) == Some(Asked::ToWait) => {
                how = libc::PTRACE_SYSCALL;
            }
            // A new one; or one that was stopped by a signal, and is to stay so until another lets it run.
            libc::PTRACE_EVENT_STOP if signal != libc::SIGTRAP => how = libc::PTRACE_LISTEN,
            0 if signal == CALL_ENDS => {
                let _ = self.waited();
            }
            0 => with = signal as Word,
            _ => {}
        }
        self.trace(how.into(), 0, with);
    }

    fn trace(self, request: c_long, address: Word, data: Word) -> bool {
        // SAFETY: with the requests of this file the kernel reads no memory of ours, but writes and reads the registers
        // that `data` is the address of.
        let result = unsafe { libc::syscall(libc::SYS_ptrace, request, self.0, address, data) };
        result >= 0
    }

    pub(super) fn registers(self) -> Option<Registers> {
        // SAFETY: it is made of numbers, of which zero is one.
        let mut registers: Registers = unsafe { std::mem::zeroed() };
        let place = (&raw mut registers) as Word;
        let has = self.trace(libc::PTRACE_GETREGS.into(), 0, place);
        // The selector of code of 64 bits.
        (has && registers.cs == 0x33).then_some(registers)
    }

    fn set(self, registers: &Registers) -> Option<()> {
        let place = std::ptr::from_ref(registers) as Word;
        let done = self.trace(libc::PTRACE_SETREGS.into(), 0, place);
        done.then_some(())
    }

    /// Reads its memory; gives the bytes that could be read.
    pub(super) fn read(self, at: Word, into: &mut [u8]) -> usize {
        let (here, there) = (
            place(into.as_mut_ptr() as Word, into.len()),
            place(at, into.len()),
        );
        // SAFETY: the kernel writes into `into`, no more than it holds.
        let count =
            unsafe { libc::process_vm_readv(self.0, &raw const here, 1, &raw const there, 1, 0) };
        usize::try_from(count).unwrap_or(0)
    }

    /// Writes its memory, all or none.
    pub(super) fn write(self, at: Word, bytes: &[u8]) -> Option<()> {
        let (here, there) = (
            place(bytes.as_ptr() as Word, bytes.len()),
            place(at, bytes.len()),
        );
        // SAFETY: the kernel reads `bytes`, no more than there are.
        let count =
            unsafe { libc::process_vm_writev(self.0, &raw const here, 1, &raw const there, 1, 0) };
        (usize::try_from(count).ok()? == bytes.len()).then_some(())
    }
}

fn place(at: Word, length: usize) -> libc::iovec {
    libc::iovec {
        iov_base: at as *mut libc::c_void,
        iov_len: length,
    }
}

/// What a call is for.
#[derive(Debug, PartialEq, Eq)]
enum Asked {
    /// It has its answer, and is not made.
    TheTime,
    /// It is made, with another time.
    ToWait,
}

/// Below the stack's end a function may keep this much, in bytes.
const RED_ZONE: Word = 128;
/// What is kept there during a call: the times of the call, and the pointer that it came with.
const TIMES: usize = 32;
const KEPT: usize = TIMES + 8;

impl Process {
    /// Answers a call. Where that cannot be done (the address is wrong), the kernel does what it does with such a call.
    fn asks(self, ahead: i64) -> Option<Asked> {
        let mut registers = self.registers()?;
        let (first, second) = (registers.rdi, registers.rsi);
        let result = match registers.orig_rax as c_long {
            libc::SYS_clock_gettime => {
                let now = now(first as libc::clockid_t, ahead)?;
                self.write(second, &pair(now.tv_sec, now.tv_nsec))?;
                0
            }
            libc::SYS_gettimeofday => {
                let now = now(libc::CLOCK_REALTIME, ahead)?;
                if first != 0 {
                    self.write(first, &pair(now.tv_sec, now.tv_nsec / 1000))?;
                }
                if second != 0 {
                    // The kernel's own zone, which nobody has set for decades.
                    self.write(second, &[0; 8])?;
                }
                0
            }
            libc::SYS_time => {
                let now = now(libc::CLOCK_REALTIME_COARSE, ahead)?;
                if first != 0 {
                    self.write(first, &now.tv_sec.to_ne_bytes())?;
                }
                now.tv_sec.cast_unsigned()
            }
            _ => return self.waits(registers, ahead),
        };
        // No call has this number: none is made.
        registers.orig_rax = Word::MAX;
        registers.rax = result;
        self.set(&registers)?;
        Some(Asked::TheTime)
    }

    /// Lets a call wait until the time of this machine that is meant. The times that it came with may be in use by
    /// other threads, so it gets others.
    fn waits(self, mut registers: Registers, ahead: i64) -> Option<Asked> {
        let (pointer, offset) = deadline(&mut registers)?;
        let mut kept = [0; KEPT];
        let size = offset + 16;
        if self.read(*pointer, &mut kept[..size]) != size {
            return None;
        }
        let seconds = i64::from_ne_bytes(*kept[offset..].first_chunk()?);
        if !is_day(seconds) {
            return None;
        }
        kept[offset..offset + 8].copy_from_slice(&seconds.saturating_sub(ahead).to_ne_bytes());
        kept[TIMES..].copy_from_slice(&pointer.to_ne_bytes());
        let place = place_of(registers.rsp);
        *deadline(&mut registers)?.0 = place;
        self.write(place, &kept)?;
        self.set(&registers)?;
        Some(Asked::ToWait)
    }

    /// Gives a call that waited its pointer back.
    fn waited(self) -> Option<()> {
        let mut registers = self.registers()?;
        let place = place_of(registers.rsp);
        let (pointer, _) = deadline(&mut registers)?;
        let mut before = [0; 8];
        if *pointer != place || self.read(place + TIMES as Word, &mut before) != before.len() {
            return None;
        }
        *pointer = Word::from_ne_bytes(before);
        self.set(&registers)
    }
}

/// Where times are kept during a call.
fn place_of(stack: Word) -> Word {
    stack.wrapping_sub(RED_ZONE + KEPT as Word)
}

/// The argument of a call that points to the time to wait for, and how far behind it that is.
fn deadline(registers: &mut Registers) -> Option<(&mut Word, usize)> {
    match registers.orig_rax as c_long {
        libc::SYS_clock_nanosleep => Some((&mut registers.rdx, 0)),
        libc::SYS_futex => Some((&mut registers.r10, 0)),
        libc::SYS_mq_timedsend | libc::SYS_mq_timedreceive => Some((&mut registers.r8, 0)),
        // Behind the time between two.
        libc::SYS_timer_settime | libc::SYS_timerfd_settime => Some((&mut registers.rdx, 16)),
        _ => None,
    }
}

/// Whether seconds are those of a time of day, and not since the start of a machine, which was not decades ago: the
/// arguments do not say by which clock a timer goes.
fn is_day(seconds: i64) -> bool {
    (1 << 30..1 << 36).contains(&seconds)
}

/// The time of day that the program sees.
fn now(clock: libc::clockid_t, ahead: i64) -> Option<libc::timespec> {
    let mut now = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the kernel writes one time.
    if unsafe { libc::clock_gettime(clock, &raw mut now) } != 0 {
        return None;
    }
    now.tv_sec = now.tv_sec.saturating_add(ahead);
    Some(now)
}

fn pair(seconds: i64, rest: i64) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&seconds.to_ne_bytes());
    bytes[8..].copy_from_slice(&rest.to_ne_bytes());
    bytes
}
