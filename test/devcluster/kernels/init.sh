#!/bin/busybox sh
# Runs in the VM as process 1: the gadgets' tests, then the probe, with all that a kernel offers, without its types, and
# locked down. Lines that begin with "vm: " are for the test.
/bin/busybox --install -s /bin
export PATH=/bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t cgroup2 cgroup /sys/fs/cgroup
mount -t securityfs security /sys/kernel/security
mount -t devtmpfs dev /dev
mount -t tmpfs tmp /tmp
ip link set lo up
cd /tmp
/gadget.test -test.v 2>&1
echo "vm: tests $?"
echo "vm: all $(/osc-tracer probe -o json 2>&1)"
mount -t tmpfs none /sys/kernel/btf
echo "vm: without-types $(/osc-tracer probe -o json 2>&1)"
umount /sys/kernel/btf
echo confidentiality >/sys/kernel/security/lockdown
echo "vm: locked-down $(/osc-tracer probe -o json 2>&1)"
poweroff -f
