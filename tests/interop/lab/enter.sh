#!/bin/sh
# First process of a room: fresh mount, PID, UTS and IPC namespaces around a stack of layers.
# All that it mounts is private to the room and goes when the room's last process goes.
#
#   ROOM_LOWER   read-only layers, as overlayfs wants them (top:...:bottom)
#   ROOM_UPPER   directory that keeps the changes, with upper/ and work/ inside; empty: they live in memory
#   ROOM_POINT   an empty directory to mount on
#   ROOM_NAME    host name of the room
#   ROOM_RESOLV  resolv.conf of the room
#   ROOM_HOSTS   hosts file of the room
#   ROOM_FILES   trees laid over the root, one a line
#   ROOM_SHARE   outer:inner directory to share, or empty
#   $@           what to run inside
set -eu
umask 022

mount -t tmpfs -o mode=755 room "$ROOM_POINT"
changes=${ROOM_UPPER:-$ROOM_POINT}
root=$ROOM_POINT/root
mkdir -p "$root" "$changes/upper" "$changes/work"
mount -t overlay -o "lowerdir=$ROOM_LOWER,upperdir=$changes/upper,workdir=$changes/work" room "$root"

mount -t proc proc "$root/proc"
mount -t tmpfs -o mode=755 run "$root/run"
mkdir -m 1777 "$root/run/lock"
mount -t tmpfs -o mode=1777 shm "$root/dev/shm"
hostname "$ROOM_NAME"
echo "$ROOM_NAME" > "$root/etc/hostname"
echo "$ROOM_NAME" > "$root/etc/mailname"
cat "$ROOM_RESOLV" > "$root/etc/resolv.conf"
cat "$ROOM_HOSTS" > "$root/etc/hosts"

echo "$ROOM_FILES" | while read -r tree; do
    # Whoever owns the checkout, root owns the files of a server.
    [ -z "$tree" ] || tar -C "$tree" --owner=0 --group=0 --mode=go-w -cf - . | tar -C "$root" -xf - --no-overwrite-dir
done
if [ -n "$ROOM_SHARE" ]; then
    mount --bind "${ROOM_SHARE%%:*}" "$root${ROOM_SHARE#*:}"
fi
exec chroot "$root" "$@"
