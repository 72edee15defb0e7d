"""What makes a root directory the image: the build runs it, the product never does."""
