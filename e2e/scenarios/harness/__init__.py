"""What the scenarios are told with: the cluster as it really is, the product, the fake Azure, and test pods."""
