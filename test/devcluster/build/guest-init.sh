#!/bin/sh
# PID 1 of the guest that stands for the Kata VM: a separate node with its own kernel.
# The initramfs sets $GUEST, $GATEWAY and $NODE.
export PATH=/bin:/sbin
mount -t proc p /proc
mount -t sysfs s /sys
mount -t tmpfs t /run
mount -t tmpfs t /tmp
mkdir -p /dev/pts /dev/shm
mount -t devpts d /dev/pts
mount -t tmpfs t /dev/shm
mount -t cgroup2 c /sys/fs/cgroup
mount -t bpf b /sys/fs/bpf
for m in virtio_net overlay bridge br_netfilter veth; do modprobe $m; done
echo 1 > /proc/sys/net/ipv4/ip_forward
hostname $NODE
ip link set lo up
ip addr add $GUEST/16 dev eth0
ip link set eth0 up
ip route add default via $GATEWAY
echo "$GUEST $NODE" > /etc/hosts
for c in $(cat /sys/fs/cgroup/cgroup.controllers); do echo +$c > /sys/fs/cgroup/cgroup.subtree_control; done
containerd -c /etc/osc/containerd.toml > /var/log/containerd.log 2>&1 &
kubelet --config=/etc/osc/kubelet.yaml --kubeconfig=/etc/osc/kubelet.conf --hostname-override=$NODE \
	--node-ip=$GUEST --node-labels=osc-debug.dev/sandbox=vm \
	--register-with-taints=osc-debug.dev/sandbox=vm:NoSchedule > /dev/console 2>&1 &
while sleep 60; do :; done
