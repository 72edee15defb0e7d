"""What makes the Debian package of `azure-cni docker`: `make deb` runs it, the product never does."""
