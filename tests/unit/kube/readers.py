"""Readers of an API server in processes of their own, whose memory is measured."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

from fakes.kubeapi import TOKEN

OPERATOR = Path(__file__).parents[3] / "operator"


async def grown_mib(program: str, url: str, count: int) -> int:
    """By how many MiB the program's memory grew at most, as it prints itself; its arguments: URL, token, count."""
    reader = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        program,
        url,
        TOKEN,
        str(count),
        env=os.environ | {"PYTHONPATH": str(OPERATOR)},
        stdout=subprocess.PIPE,
    )
    output, _ = await reader.communicate()
    assert reader.returncode == 0
    return int(output)
