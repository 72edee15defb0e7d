"""Use cases of the cluster: grants, the write budget, reclaiming; and the ports that they need."""
