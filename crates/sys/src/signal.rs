//! What a process does about signals, where `std` has no word for it.

/// Goes on when the terminal goes away; programs that are started do too. A change of the machine that is
/// halfway must not end with the connection of whoever asked for it.
pub fn ignore_hangup() {
    // SAFETY: SIG_IGN is no handler, so no code runs at the signal; the call only changes what the kernel does.
    unsafe {
        libc::signal(libc::SIGHUP, libc::SIG_IGN);
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn programs_inherit_it() {
        super::ignore_hangup();
        let script = "kill -HUP $$; echo on";
        let output = std::process::Command::new("sh")
            .args(["-c", script])
            .output()
            .unwrap();
        assert_eq!(output.stdout, b"on\n");
    }
}
