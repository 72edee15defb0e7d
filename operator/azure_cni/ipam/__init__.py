"""What the addresses of one node are doing, and what to do next: limits, sizing, ledger, plan, backoff. Pure."""
