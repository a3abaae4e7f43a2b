//! The command line of QEMU.

/// The program.
pub(super) const PROGRAM: &str = "qemu-system-x86_64";

/// How the guest's processor is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Accelerator {
    /// The hardware's virtualisation where it can be had, else translation.
    #[default]
    Auto,
    /// The hardware's virtualisation.
    Kvm,
    /// Translation by QEMU: about ten times slower, and everywhere.
    Tcg,
}

/// What the machine is made of.
#[derive(Debug, Clone, Default)]
pub struct Hardware {
    /// Its memory in bytes; none for what the image needs and one GiB more.
    pub memory: Option<u64>,
    /// Its processors.
    pub processors: u32,
    /// How they are made.
    pub accelerator: Accelerator,
    /// Ports of this machine's loopback that lead to ports of the guest: TCP.
    pub ports: Vec<(u16, u16)>,
    /// More words for QEMU.
    pub more: Vec<String>,
}

impl Hardware {
    /// The words behind the program's name. The console is this terminal, where Ctrl-A X ends the machine; a restart
    /// ends it too.
    pub(super) fn words(
        &self,
        kernel: &str,
        initramfs: &str,
        arguments: &str,
        size: u64,
    ) -> Vec<String> {
        // The initramfs is there twice until it is unpacked.
        let memory = self.memory.unwrap_or_else(|| (3 * size) + (1 << 30)) >> 20;
        let mut words: Vec<String> = Vec::new();
        let mut add = |text: &str| words.extend(text.split(' ').map(str::to_owned));
        add("-nodefaults -no-user-config -display none -no-reboot");
        add("-serial mon:stdio");
        add(match self.accelerator {
            Accelerator::Auto => "-machine q35 -accel kvm -accel tcg -cpu max",
            Accelerator::Kvm => "-machine q35 -accel kvm -cpu host",
            Accelerator::Tcg => "-machine q35 -accel tcg -cpu max",
        });
        add(&format!("-m {memory} -smp {}", self.processors));
        add("-device virtio-rng-pci");
        let ports = self.ports.iter();
        let ports = ports.map(|(here, there)| format!(",hostfwd=tcp:127.0.0.1:{here}-:{there}"));
        add(&format!("-netdev user,id=net{}", ports.collect::<String>()));
        add("-device virtio-net-pci,netdev=net,romfile=");
        for (key, value) in [
            ("-kernel", kernel),
            ("-initrd", initramfs),
            ("-append", arguments),
        ] {
            words.extend([key.to_owned(), value.to_owned()]);
        }
        words.extend(self.more.iter().cloned());
        words
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_is_there() {
        let hardware = Hardware {
            processors: 2,
            accelerator: Accelerator::Tcg,
            ports: vec![(2222, 22), (8080, 80)],
            more: vec!["-s".into()],
            ..Hardware::default()
        };
        let words = hardware.words("k", "i", "a b=\"c d\"", 100 << 20).join(" ");
        for part in [
            "-accel tcg",
            "-m 1324 -smp 2",
            "user,id=net,hostfwd=tcp:127.0.0.1:2222-:22,hostfwd=tcp:127.0.0.1:8080-:80",
            "-kernel k -initrd i -append a b=\"c d\" -s",
        ] {
            assert!(words.contains(part), "{part}: {words}");
        }
    }
}
