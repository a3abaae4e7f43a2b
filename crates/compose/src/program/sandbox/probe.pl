#!/usr/bin/perl
# Tries every way out of a sandbox and prints a line for each: "open NAME" or "closed NAME". Arguments: a folder of the
# machine with `secret` and `socket`, the port of a server on 127.0.0.1, the name of an abstract socket, the number of
# a process, MAJOR:MINOR of the machine's disk, then the names of the only probes to run (none: all).
use strict;
use warnings;
no warnings 'once';
use Socket;
use Fcntl;
use POSIX ();

my ($bait, $port, $abstract, $pid, $disk, @only) = @ARGV;
my ($major, $minor) = split /:/, $disk;
my %call = (
    ptrace => 101, syslog => 103, mknod => 133, settimeofday => 164, mount => 165, umount => 166, swapon => 167,
    reboot => 169, sethostname => 170, init_module => 175, add_key => 248, keyctl => 250, unshare => 272,
    perf_event_open => 298, open_by_handle_at => 304, finit_module => 313, bpf => 321, io_uring_setup => 425,
);
$| = 1;

sub call { my ($name, @words) = @_; return syscall($call{$name}, @words) != -1 }

sub probe {
    my ($name, $code) = @_;
    return if @only && !grep { $_ eq $name } @only;
    my $child = fork // die;
    if (!$child) {
        alarm 20;
        POSIX::_exit(eval { $code->() } ? 10 : 0);
    }
    waitpid $child, 0;
    print $? == 10 << 8 ? "open" : "closed", " $name\n";
}

sub can_read { my ($path) = @_; open(my $file, '<', $path) or return 0; my $n = read $file, my $text, 1; return $n // 0 }
sub can_write { my ($path) = @_; return sysopen(my $file, $path, O_WRONLY | O_CREAT) }
sub unix { my ($name) = @_; socket(my $s, PF_UNIX, SOCK_STREAM, 0) or return 0; return connect $s, pack('S a*', PF_UNIX, $name) }
sub sees_machine { return can_read("$bait/secret") || unix("$bait/socket\0") }
sub mounts { my ($type, $source) = @_; mkdir '/mnt-of-probe'; return call('mount', $source, '/mnt-of-probe', $type, 0, 0) }

# The root folder of the outermost mount, by the classic way out of chroot.
sub escape {
    opendir my $root, '/' or die;
    mkdir '/inner';
    chroot '/inner' or die;
    chdir $root or die;
    chdir '..' for 1 .. 64;
    chroot '.' or die;
}

# The network.
my $address = sockaddr_in($port, inet_aton('127.0.0.1'));
probe 'tcp', sub { socket(my $s, PF_INET, SOCK_STREAM, 0) or return 0; connect $s, $address };
probe 'tcp-outside', sub { socket(my $s, PF_INET, SOCK_STREAM, 0) or return 0; $s->blocking(0); connect $s, sockaddr_in(9, inet_aton('192.0.2.1')); $!{EINPROGRESS} };
probe 'udp', sub { socket(my $s, PF_INET, SOCK_DGRAM, 0) or return 0; send $s, 'x', 0, $address };
probe 'raw', sub { socket my $s, PF_INET, SOCK_RAW, 1 };
probe 'packet', sub { socket my $s, 17, SOCK_RAW, 0x300 };
probe 'dns', sub { gethostbyname 'example.org' };
probe 'abstract', sub { unix("\0$abstract") };
probe 'interface-up', sub { socket(my $s, PF_INET, SOCK_DGRAM, 0) or return 0; ioctl $s, 0x8914, pack('a16 s x22', 'lo', 1) };

# Paths.
probe 'path', sub { can_read("$bait/secret") };
probe 'socket', sub { unix("$bait/socket\0") };
for my $of (qw(root cwd)) {
    probe "proc-$of", sub { grep { can_read("$_$bait/secret") } glob "/proc/[0-9]*/$of" };
}
probe 'proc-1-root', sub { opendir my $root, '/proc/1/root' };
probe 'chroot', sub { escape(); sees_machine() || can_read('/etc/shadow') || -e '/sys/kernel' || -e '/home' };
probe 'chroot-unmount', sub { escape(); chdir '/'; call('umount', $_, 2) for '/mnt/tree', '/mnt', '/usr', '/'; sees_machine() };
probe 'chroot-pivot', sub {
    call('unshare', 0x20000);
    escape();
    call('mount', 'x', '/tmp', 'tmpfs', 0, 0) or return 0;
    mkdir '/tmp/old';
    syscall(155, '/tmp', '/tmp/old');
    chdir '/';
    sees_machine() || can_read("/old$bait/secret");
};
probe 'usr', sub { escape(); call('mount', 0, '/usr', 0, 0x1020, 0); can_write('/usr/of-probe') };
probe 'packages', sub { escape(); call('mount', 0, '/mnt', 0, 0x1020, 0); can_write('/mnt/packages/of-probe') || can_write('/mnt/packages/probe.deb') || can_write('/mnt/log') };
probe 'handle', sub { call('open_by_handle_at', -1, "\0" x 64, 0) || !$!{ENOSYS} };
probe 'sysfs', sub { call('unshare', 0x40000000); mounts('sysfs', 'x') };
probe 'new-proc', sub { call('unshare', 0x20000000); (fork // die) ? (wait, $? != 0) : POSIX::_exit(mounts('proc', 'x') ? 1 : 0) };

# Devices.
probe 'mknod-disk', sub { my $n = ($major << 8) | ($minor & 255); call('mknod', '/disk', 060600, $n) };
probe 'mknod-memory', sub { call('mknod', '/mem', 020600, (1 << 8) | 1) };
probe 'mknod-zero', sub { call('mknod', '/zero', 020600, (1 << 8) | 5) };
probe "device-$_", sub { can_read("/dev/$_") } for qw(sda vda nvme0n1 mem kmsg tty);
probe 'device-chmod', sub { escape(); chmod 0600, '/dev/null' };
probe 'devtmpfs', sub { mounts('devtmpfs', 'x') };
probe 'mount-disk', sub { call('mknod', '/disk', 060600, ($major << 8) | ($minor & 255)); mounts('ext4', '/disk') };

# The kernel.
probe 'clock', sub { call('settimeofday', pack('q q', time, 0), 0) };
probe 'hostname', sub { call('sethostname', 'probe', 5) };
probe 'module', sub { call('init_module', "x", 1, "") || !($!{EPERM} || $!{ENOSYS}) };
probe 'module-file', sub { call('finit_module', -1, "", 0) || !($!{EPERM} || $!{ENOSYS}) };
probe 'reboot', sub { call('reboot', 0xfee1dead, 672274793, 0, 0) };
probe 'swap', sub { call('swapon', '/disk', 0) || !$!{EPERM} };
probe 'key', sub { call('add_key', 'user', 'of-probe', 'x', 1, -3) };
probe 'keyring', sub { call('keyctl', 0, -3, 0) };
probe 'bpf', sub { call('bpf', 0, "\0" x 128, 128) || !$!{ENOSYS} };
probe 'ring', sub { call('io_uring_setup', 1, "\0" x 256) || !$!{ENOSYS} };
probe 'log', sub { call('syslog', 3, my $text = "\0" x 4096, 4096) };
probe 'sysctl', sub { call('mount', 0, '/proc/sys', 0, 0x1020, 0); call('umount', '/proc/sys', 2); can_write('/proc/sys/kernel/core_pattern') };
probe 'sysrq', sub { can_write('/proc/sysrq-trigger') };
probe 'kcore', sub { can_read('/proc/kcore') };

# Processes.
probe 'kill', sub { kill 0, $pid };
probe 'see', sub { grep { open my $f, '<', "$_/cmdline"; defined $f && (<$f> // '') =~ /elea-bait/ } glob '/proc/[0-9]*' };
probe 'trace', sub { call('ptrace', 0x4206, 1, 0, 0) };
probe 'memory', sub { sysopen(my $m, '/proc/1/mem', O_RDONLY) || can_read('/proc/1/environ') };
