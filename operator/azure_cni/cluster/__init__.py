"""Use cases of the cluster: grants, the write budget, reclaiming; with ports for what they need of the world."""
