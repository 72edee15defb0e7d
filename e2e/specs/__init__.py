"""Kubernetes' own specs for the network, against azure-cni on the box."""
