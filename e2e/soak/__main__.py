"""`python -m soak`, which `e2e/box soak` becomes."""

import sys

from soak.cli import main

sys.exit(main(sys.argv[1:]))
