# Becomes process 1 of a machine: elea-initrd, and by it the image's own systemd, on the kernel that runs. It is to be
# process 1 of new namespaces already. $1 is a folder of the machine's own, $2 the program elea-initrd, $3 the physical root.
#
# Of the host it has the kernel, and no device. Systemd takes it for a container: it leaves the clock, the kernel's
# settings and modules as they are.
set -eu
top=$1 root=$1/root
mount --make-rprivate /
mkdir -p "$root"
mount -t tmpfs -o mode=0755 none "$root"
mkdir -p "$root/proc" "$root/sys" "$root/dev" "$root/run" "$root/memory" "$root/old"
cp "$2" "$root/init"
mount -t proc -o nosuid,nodev,noexec none "$root/proc"
mount --bind "$top/cmdline" "$root/proc/cmdline"
mount --bind "$root/proc/sys" "$root/proc/sys"
mount -o remount,bind,ro "$root/proc/sys"
mount -t sysfs -o nosuid,nodev,noexec none "$root/sys"
mount -t cgroup2 -o nosuid,nodev,noexec none "$root/sys/fs/cgroup"
mount -o remount,bind,ro "$root/sys"
mount -t tmpfs -o mode=0755,nosuid none "$root/dev"
for node in null:3 zero:5 full:7 random:8 urandom:9 console:3; do
    mknod -m 666 "$root/dev/${node%:*}" c 1 "${node#*:}"
done
mknod -m 666 "$root/dev/tty" c 5 0
ln -s pts/ptmx "$root/dev/ptmx"
mount --bind "$3" "$root/memory"
ip link set lo up
cd "$root"
pivot_root . old
cd /
unset $(compgen -e)
export container=elea PATH=/usr/bin
exec /init systemd.mask=console-getty.service
