#!/bin/busybox sh
# Runs in the VM as process 1: the gadgets' tests, then the probe, with all that a kernel offers, without its types, and
# locked down. In each of these, it also captures five pings: ten packets. Lines that begin with "vm: " are for the test.
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
look() {
	echo "vm: $1 $(/osc-tracer probe -o json 2>&1)"
	rm -f report
	mkfifo hold
	/osc-tracer capture <hold >packets 2>report &
	exec 3>hold
	until grep -q interfaces report; do sleep 0.1; done
	for n in 1 2 3 4 5; do ping -c 1 127.0.0.1 >/dev/null; done
	exec 3>&-
	wait
	rm hold
	echo "vm: captured-$1 $(tail -n 1 report)"
}
/gadget.test -test.v 2>&1
echo "vm: tests $?"
look all
mount -t tmpfs none /sys/kernel/btf
look without-types
umount /sys/kernel/btf
echo confidentiality >/sys/kernel/security/lockdown
look locked-down
poweroff -f
