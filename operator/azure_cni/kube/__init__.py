"""The adapter to the Kubernetes API: the few calls that kopf does not make."""
