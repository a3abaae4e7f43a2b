//! Ctrl-C and SIGTERM: the first asks the work to end cleanly, the second ends it at once.

use signal_hook::consts::{SIGINT, SIGTERM};
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

static SIGNAL: OnceLock<Arc<AtomicUsize>> = OnceLock::new();

/// Begins to watch; the flag becomes true at the first signal.
pub(crate) fn watch() -> Arc<AtomicBool> {
    let flag = Arc::new(AtomicBool::new(false));
    let which = Arc::clone(SIGNAL.get_or_init(Arc::default));
    for signal in [SIGINT, SIGTERM] {
        // The order matters: the first signal finds the flag unset. Where a handler cannot be
        // had, the kernel's own action (to end at once) stays.
        let number = usize::try_from(signal).unwrap_or_default();
        let _ = signal_hook::flag::register_conditional_default(signal, Arc::clone(&flag));
        let _ = signal_hook::flag::register(signal, Arc::clone(&flag));
        let _ = signal_hook::flag::register_usize(signal, Arc::clone(&which), number);
    }
    flag
}

/// Ends by the signal that asked for it, if one did, so that a shell's loop ends too.
pub(crate) fn pass_on() {
    let number = SIGNAL.get().map_or(0, |s| s.load(Ordering::Relaxed));
    if number != 0
        && let Ok(signal) = i32::try_from(number)
    {
        let _ = signal_hook::low_level::emulate_default_handler(signal);
    }
}
