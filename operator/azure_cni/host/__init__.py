"""The adapter to the node's files: the ledger's store, the CNI binary and its conflist."""
