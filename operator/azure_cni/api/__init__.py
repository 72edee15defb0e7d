"""The objects as types: who a node is, what its NIC holds, its pool's spec, status and conditions. Pure."""
