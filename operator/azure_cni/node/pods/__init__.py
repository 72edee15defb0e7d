"""The sandboxes of one node: answers to the container runtime, and what others changed or forgot."""
