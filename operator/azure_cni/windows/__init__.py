"""The node's data plane on Windows: HNS, which networks containers there, by its API HCN. Not tried on Windows yet."""
