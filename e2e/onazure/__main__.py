"""`python -m onazure`."""

import sys

from onazure.cli import main

sys.exit(main())
