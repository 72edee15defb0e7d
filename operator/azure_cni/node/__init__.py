"""The use cases of one node: reconcile its pool, and serve its sandboxes. Knows the world only through ports."""
