"""What the scenarios are written with: the cluster as it really is, the product, the fake Azure, and test pods."""
