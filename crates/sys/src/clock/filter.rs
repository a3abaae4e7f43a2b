//! Which calls stop for the tracer.

use crate::confine::{ARCHITECTURE, EQUAL, KIND, LOAD, NUMBER, RETURN, step};

/// Jumps if one of the bits is set.
const HAS: u16 = 0x45;

/// Flags of calls that wait: until a time, not for a while. The same bit for sleeps and for timers of both kinds.
const UNTIL: u32 = libc::TIMER_ABSTIME.unsigned_abs();
/// A wait of `futex(2)` that ends at a time of day.
const BY_DAY: u32 = libc::FUTEX_CLOCK_REALTIME.unsigned_abs();

/// The clocks that tell the time of day.
const DAY: [u32; 3] = [
    libc::CLOCK_REALTIME.unsigned_abs(),
    libc::CLOCK_REALTIME_COARSE.unsigned_abs(),
    libc::CLOCK_TAI.unsigned_abs(),
];

/// When a call stops.
enum When {
    Always,
    /// Its first argument is one of [`DAY`].
    OfDay,
    /// Its second argument has this bit.
    With(u32),
    /// The same, and its fourth argument is no null pointer.
    WithTime(u32),
}

const CALLS: [(libc::c_long, When); 9] = [
    (libc::SYS_clock_gettime, When::OfDay),
    (libc::SYS_gettimeofday, When::Always),
    (libc::SYS_time, When::Always),
    (libc::SYS_clock_nanosleep, When::With(UNTIL)),
    (libc::SYS_futex, When::WithTime(BY_DAY)),
    (libc::SYS_timer_settime, When::With(UNTIL)),
    (libc::SYS_timerfd_settime, When::With(UNTIL)),
    (libc::SYS_mq_timedsend, When::Always),
    (libc::SYS_mq_timedreceive, When::Always),
];

/// Where `struct seccomp_data` has the halves of an argument, in bytes.
const fn low(argument: u32) -> u32 {
    16 + 8 * argument
}

const fn high(argument: u32) -> u32 {
    low(argument) + 4
}

/// The filter. Calls of 32 bits pass.
pub(super) fn filter() -> Vec<libc::sock_filter> {
    let allow = || step(RETURN, 0, 0, libc::SECCOMP_RET_ALLOW);
    let stop = || step(RETURN, 0, 0, libc::SECCOMP_RET_TRACE);
    let mut steps = vec![
        step(LOAD, 0, 0, KIND),
        step(EQUAL, 1, 0, ARCHITECTURE),
        allow(),
        step(LOAD, 0, 0, NUMBER),
    ];
    for (call, when) in &CALLS {
        let mut body = match when {
            When::Always => Vec::new(),
            When::OfDay => {
                let [first, second, third] = DAY;
                vec![
                    step(LOAD, 0, 0, low(0)),
                    step(EQUAL, 3, 0, first),
                    step(EQUAL, 2, 0, second),
                    step(EQUAL, 1, 0, third),
                    allow(),
                ]
            }
            When::With(bit) => vec![step(LOAD, 0, 0, low(1)), step(HAS, 1, 0, *bit), allow()],
            When::WithTime(bit) => vec![
                step(LOAD, 0, 0, low(1)),
                step(HAS, 0, 4, *bit),
                step(LOAD, 0, 0, low(3)),
                step(EQUAL, 0, 3, 0),
                step(LOAD, 0, 0, high(3)),
                step(EQUAL, 0, 1, 0),
                allow(),
            ],
        };
        body.push(stop());
        let over = u8::try_from(body.len()).unwrap_or(u8::MAX);
        let call = u32::try_from(*call).unwrap_or(u32::MAX);
        steps.push(step(EQUAL, 0, over, call));
        steps.append(&mut body);
    }
    steps.push(allow());
    steps
}
