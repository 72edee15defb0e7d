#!/bin/sh
# The first process of a VM: it makes the VM's own view of the file system out of the host's and then reaps orphans.
# It runs in new mount, uts and pid namespaces, with nothing shared yet; usage: machine_boot.sh NAME DISK TOOLS
#
#   /etc        the host's, with the VM's changes laid over it
#   /opt /var   the VM's own, from its disk
#   /run /tmp   the VM's own, empty at boot
#   /sys /proc  of the VM's network and pid namespaces; the cgroups stay the host's
set -eu
name=$1 disk=$2 tools=$3

hostname "$name"
mkdir -p "$disk/etc" "$disk/etc.work" "$disk/opt/azbox/bin" "$disk/opt/cni/bin" \
  "$disk/var/lib" "$disk/var/log" "$disk/var/cache" "$disk/var/tmp"
ln -sfn /run "$disk/var/run"

mount -t overlay -o "lowerdir=/etc,upperdir=$disk/etc,workdir=$disk/etc.work" overlay /etc
if [ ! -e "$disk/etc/hostname" ]; then # the first boot: a machine that knows nothing of a cluster on the host
  rm -rf /etc/cni /etc/kubernetes /etc/containerd /etc/prometheus
fi
mount --bind "$tools" "$disk/opt/azbox/bin"
mount --rbind "$disk/opt" /opt
mount --bind "$disk/var" /var
mount -t tmpfs -o mode=1777 tmp /tmp

# A fresh sysfs shows the interfaces of this network namespace; the cgroup mounts move over to it.
mount -t tmpfs -o mode=755 run /run
mkdir /run/cgroup
mount --rbind /sys/fs/cgroup /run/cgroup
mount -t sysfs sysfs /sys
mount --move /run/cgroup /sys/fs/cgroup
rmdir /run/cgroup
mount -t proc proc /proc

# Pods' mounts travel between host and container as on a normal machine, where everything is shared.
mount --make-rshared /
mkdir -p /run/netns /run/lock /run/azure-cni /etc/cni/net.d /etc/kubernetes

# /etc/resolv.conf may be a link into the host's /run, which is not there any more: put the file where it points.
resolver=$(readlink -m /etc/resolv.conf)
mkdir -p "$(dirname "$resolver")"
echo 'nameserver 168.63.129.16' >"$resolver"
echo "$name" >/etc/hostname
printf '127.0.0.1 localhost\n127.0.1.1 %s\n' "$name" >/etc/hosts

touch /run/booted
while :; do sleep 3600; done # a shell that waits for any child is all the init that is needed
