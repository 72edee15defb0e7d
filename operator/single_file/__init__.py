"""The command line as one file: `build` makes it, and `start` is what runs in it."""
