//! A boot that cannot go on: the reason is kept, and the machine starts anew. Never a prompt.

use crate::boot::Boot;
use crate::disk::{generation, make_folder};
use crate::{console, tries};
use elea_sys::durable;
use rustix::system::RebootCommand;
use std::path::Path;
use std::time::Duration;

/// How long the reason stands on the console before the machine starts anew.
const PAUSE: Duration = Duration::from_secs(4);
/// The same for an entry that is not counted, which may fail for ever.
const LONG_PAUSE: Duration = Duration::from_secs(15);

/// Says and keeps why the boot ends, then ends it.
pub(crate) fn end(boot: Option<&Boot>, reason: &str) -> ! {
    console::error(reason);
    let kept = boot.is_some_and(|boot| keep(boot, reason));
    let counted = boot.is_some_and(|boot| boot.loader.counted);
    let panics = std::fs::read_to_string("/proc/sys/kernel/panic")
        .is_ok_and(|seconds| seconds.trim().parse::<i32>().is_ok_and(|s| s != 0));
    if !kept && counted && panics {
        // No disk to write to: a panic's record in the firmware is the only evidence. It is
        // bounded, since the entry's counter is.
        console::error("ending by a panic, so that the firmware keeps these lines");
        std::process::exit(1);
    }
    restart(if counted { PAUSE } else { LONG_PAUSE })
}

/// Starts the machine anew after a pause.
pub(crate) fn restart(pause: Duration) -> ! {
    console::error(&format!("the machine starts anew in {} s", pause.as_secs()));
    std::thread::sleep(pause);
    stop(RebootCommand::Restart)
}

/// Writes everything out and stops or restarts the machine.
pub(crate) fn stop(command: RebootCommand) -> ! {
    rustix::fs::sync();
    let _ = rustix::system::reboot(command);
    // Only without the right to: the panic of an ended init restarts the machine too.
    std::process::exit(1)
}

/// Keeps the reason beside the generation; says whether it is durable.
fn keep(boot: &Boot, reason: &str) -> bool {
    if boot.disk.is_none() {
        return false;
    }
    let folder = generation(boot.request.target.number).join("evidence");
    let text = format!(
        "time: {}\nboot: {}\nkernel: {}\ncommand line: {}\nreason: {reason}\n\n{}",
        tries::now(),
        boot.id,
        rustix::system::uname().release().to_string_lossy(),
        boot.request.line,
        console::kernel_log()
    );
    let path = folder.join(format!("initrd-{}.txt", boot.id));
    let written = make_folder(&folder).and_then(|()| write(&path, &text));
    if let Err(e) = &written {
        console::error(&format!("the reason could not be kept: {e}"));
    }
    written.is_ok()
}

fn write(path: &Path, text: &str) -> Result<(), elea_sys::PathError> {
    durable::write_private(path, text.as_bytes())
}
