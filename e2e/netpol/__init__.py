"""NetworkPolicies in the box's cluster, by kube-network-policies: Kubernetes' specs for them, and cyclonus' cases."""
