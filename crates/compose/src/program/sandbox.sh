# The first process of a sandbox: root of the machine, in namespaces of its own. It makes a root folder that has
# nothing of the machine but its programs, goes there, and starts the command as root of a namespace of users, who
# owns the same numbers and has no say over the machine. $1 is the folder of the work, the rest is the command.
set -e
umask 022
hostname localhost
work=$1
shift

# Shows a path of the machine without letting it be changed.
lay() {
  mount --bind "$1" "$2"
  mount -o "remount,bind,ro,nosuid,$3" "$2"
}

root=$work/root
mkdir -p "$root"
mount -t tmpfs -o mode=0755,nosuid elea "$root"
cd "$root"
mkdir -p usr etc proc dev sys tmp run root mnt old var/tmp var/lib/dpkg
lay /usr usr nodev
for name in bin sbin lib lib32 lib64 libx32; do
  if test -L "/$name"; then
    ln -s "$(readlink "/$name")" "$name"
  elif test -d "/$name"; then
    mkdir "$name"
    lay "/$name" "$name" nodev
  fi
done
for name in alternatives perl; do
  if test -d "/etc/$name"; then
    mkdir "etc/$name"
    lay "/etc/$name" "etc/$name" nodev
  fi
done
if test -e /etc/ld.so.cache; then cp /etc/ld.so.cache etc/; fi
printf '%s\n' 'root:x:0:0:root:/root:/bin/sh' 'nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin' >etc/passwd
printf '%s\n' 'root:x:0:' 'nogroup:x:65534:' >etc/group
echo localhost >etc/hostname
echo '127.0.0.1 localhost' >etc/hosts
: >etc/resolv.conf
: >var/lib/dpkg/status
chmod 1777 tmp var/tmp

mount -t tmpfs -o mode=0755,nosuid,noexec elea dev
# Read-only, since the numbers of owners are the machine's: a mode that is changed would be changed there.
for name in null zero full random urandom; do
  : >"dev/$name"
  lay "/dev/$name" "dev/$name" noexec
done
ln -s /proc/self/fd dev/fd
mkdir dev/pts
mkdir -m 1777 dev/shm

mount -t proc -o nosuid,nodev,noexec proc proc
for name in acpi bus fs irq scsi sys sysrq-trigger tty; do
  if test -e "proc/$name"; then lay "proc/$name" "proc/$name" noexec; fi
done
for name in config.gz kallsyms kcore key-users keys kmsg latency_stats sched_debug timer_list vmallocinfo; do
  if test -e "proc/$name"; then lay dev/null "proc/$name" noexec; fi
done

mount --bind "$work" mnt
# A tree that is mounted already comes along.
if mountpoint -q "$work/tree"; then mount --bind "$work/tree" mnt/tree; fi
pivot_root . old
umount -l old
rmdir old
cd /
# Of the folder of the work, the tree alone can be written; the lines in between may make it, and mount into it.
apart() {
  if test -d /mnt/tree && ! mountpoint -q /mnt/tree; then mount --bind /mnt/tree /mnt/tree; fi
}
apart
@PREPARE@
apart
mount -o remount,bind,ro /mnt

mkfifo -m 0600 /run/ready /run/go
# Open on both sides: where there can be no namespace of users (in a chroot, by a setting), nobody would ever write.
exec 3<>/run/ready
(
  # Who asks all of us to end is to be answered by the command.
  trap : TERM
  status=0
  unshare --user --mount --propagation=private /bin/sh -c 'echo $$ >/run/ready; read -r _ </run/go; exec "$@"' sh "$@" 3>&- || status=$?
  echo >&3
  exit "$status"
) &
command=$!
read -r child <&3
if test -n "$child"; then
  echo '0 0 4294967295' >"/proc/$child/uid_map"
  echo '0 0 4294967295' >"/proc/$child/gid_map"
  echo >/run/go
fi
wait "$command"
