//! Threads whose end is waited for.

use std::panic::resume_unwind;
use std::thread::{self, JoinHandle, Scope, ScopedJoinHandle};

/// Waits for a thread; its panic is the caller's.
pub fn join<T>(started: JoinHandle<T>) -> T {
    started.join().unwrap_or_else(|panic| resume_unwind(panic))
}

/// The same of a thread in a scope.
pub fn join_scoped<T>(started: ScopedJoinHandle<'_, T>) -> T {
    started.join().unwrap_or_else(|panic| resume_unwind(panic))
}

/// What a function makes of each, all at once, a thread for each: it is meant for a few.
pub fn each<I: Send, T: Send>(items: Vec<I>, make: impl Fn(I) -> T + Sync) -> Vec<T> {
    let make = &make;
    thread::scope(|scope: &Scope<'_, '_>| {
        let start = |item| scope.spawn(move || make(item));
        let started: Vec<_> = items.into_iter().map(start).collect();
        started.into_iter().map(join_scoped).collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_made_in_its_place_and_a_panic_goes_on() {
        assert_eq!(each(vec![3, 1, 2], |n| n * 2), [6, 2, 4]);
        assert_eq!(join(thread::spawn(|| 7)), 7);
        let all = || each(vec![1], |_| -> u8 { panic!("on purpose") });
        assert!(std::panic::catch_unwind(all).is_err());
    }
}
