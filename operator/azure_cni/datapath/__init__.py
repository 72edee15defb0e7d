"""What the kernel should look like, as data: names, one sandbox, the node's table. Pure."""
