"""A faithful Azure in one process: resource manager, managed identity, instance metadata and wireserver."""
