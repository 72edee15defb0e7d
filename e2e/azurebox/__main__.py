"""`python -m azurebox`: the command line of the box."""

import sys

from azurebox.cli import main

sys.exit(main(sys.argv[1:]))
