"""Docker containers on the VNet: libnetwork's network and IPAM drivers, over a node without Kubernetes."""
