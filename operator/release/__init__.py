"""What makes a release, in one folder: `make release` runs it, the product never does. `make.py` is the command."""
