"""The mark of tests that make network namespaces. It loads everywhere, and `namespaces` on Linux alone."""

from __future__ import annotations

import os

import pytest

NEEDS_ROOT = [
    pytest.mark.root,
    pytest.mark.skipif(
        not hasattr(os, "geteuid") or os.geteuid() != 0, reason="needs root: makes network namespaces of its own"
    ),
]
