"""The use cases of one node: reconcile its pool, and serve its sandboxes. Everything outside is behind ports."""
