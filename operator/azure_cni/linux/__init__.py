"""The adapter to the kernel: netlink, namespaces, nftables, sysctl. The only place that imports pyroute2."""
