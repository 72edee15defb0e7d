"""The rules of one VNet: what its ledger may say, who gets how much and when, and how it is put into words. Pure."""
