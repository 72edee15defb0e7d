"""What all tests share: the settings of hypothesis.

A run that fails is to be made again by the same command, and how fast the machine is decides nothing. So examples are
the same in each run, and none has a deadline. `--hypothesis-profile=search` looks for others, at random.
"""

from __future__ import annotations

from hypothesis import HealthCheck, settings

STEADY, SEARCH = "steady", "search"
TIMED = (HealthCheck.too_slow,)
"""What hypothesis measures by the clock."""

settings.register_profile(STEADY, derandomize=True, deadline=None, suppress_health_check=TIMED)
settings.register_profile(SEARCH, deadline=None, suppress_health_check=TIMED, max_examples=1000, print_blob=True)
settings.load_profile(STEADY)
