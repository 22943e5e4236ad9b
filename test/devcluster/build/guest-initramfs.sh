#!/bin/busybox sh
# First process of the guest: loads the drivers of the disk, mounts the disk, copies this
# boot's configuration from the initramfs to it, and switches to it.
B=/bin/busybox
$B mount -t proc p /proc
$B mount -t sysfs s /sys
$B mount -t devtmpfs d /dev
for m in $($B cat /mods/order); do $B insmod /mods/$m; done
for i in 1 2 3 4 5 6 7 8 9 10; do [ -b /dev/vda ] && break; $B sleep 0.1; done
$B mount -t ext4 /dev/vda /new
$B mkdir -p /new/etc/osc
$B cp -r /osc/. /new/etc/osc/
. /osc/env
$B umount /proc
$B umount /sys
$B mount --move /dev /new/dev
exec $B switch_root /new /init
