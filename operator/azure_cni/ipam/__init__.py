"""The state of one node's addresses, and what to do next: limits, sizing, ledger, plan, backoff. Pure."""
