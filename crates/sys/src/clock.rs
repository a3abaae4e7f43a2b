//! Another time of day for a program and all that it starts.
//!
//! The kernel has one clock for all processes: a namespace of time moves only those that count from the start of the
//! machine. A library in the program's way (`LD_PRELOAD`) would have to be among its files, and static programs pass it
//! by. So the program is traced: the few calls that ask for the time of day, or wait for one, stop by a filter
//! (`filter`) and are answered by the tracer (`tracer`). A C library asks the kernel's page in the process (the vDSO)
//! instead, unless it is told of none; so it is told of none at each start of a program (`start`).
//!
//! What the kernel notes by itself stays the machine's: the times of files above all.

#[cfg(target_arch = "x86_64")]
mod filter;
#[cfg(target_arch = "x86_64")]
mod start;
#[cfg(target_arch = "x86_64")]
mod tracer;

use std::process::Command;
use std::time::Duration;

/// Lets a program, and all that it starts, see a time of day that is so much later; other clocks stay as they are. It is
/// traced, so it cannot be by another, and gets no privileges by a program that it starts, unless the caller is root.
///
/// The process that the caller sees is the tracer: it passes SIGTERM on (to the program's group of processes, if it has one of its own), ends as the program does, and takes along what
/// is left of it then, or when the caller ends.
///
/// Only on x86-64: elsewhere the program sees the machine's clock.
#[cfg(target_arch = "x86_64")]
pub fn ahead(command: &mut Command, by: Duration) {
    use std::os::unix::process::CommandExt as _;
    let filter = filter::filter();
    let by = i64::try_from(by.as_secs()).unwrap_or(i64::MAX);
    let split = move || -> std::io::Result<()> {
        match tracer::fork()? {
            tracer::Side::Program => crate::confine::install(&filter),
            tracer::Side::Tracer(program) => tracer::run(program, by),
        }
    };
    // SAFETY: between fork and exec the closure allocates nothing and takes no lock, on either side.
    unsafe { command.pre_exec(split) };
}

/// Does nothing here.
#[cfg(not(target_arch = "x86_64"))]
pub fn ahead(_: &mut Command, _: Duration) {}

#[cfg(all(test, target_arch = "x86_64"))]
mod tests;
