"""The kernel: network namespaces, netlink, nftables, sysctls, clocks."""
