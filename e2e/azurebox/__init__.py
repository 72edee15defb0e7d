"""Azure in a box: a real Kubernetes cluster on one machine, whose VMs are namespaces and whose Azure is a fake."""
