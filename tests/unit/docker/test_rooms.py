"""What the processes load: nothing of Docker for Kubernetes' sake, and the other way round."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    ("process", "barred"),
    [
        ("azure_cni.entrypoints.agent", ("azure_cni.docker", "azure_cni.linux.docker_firewall", "tomllib")),
        ("azure_cni.entrypoints.controller", ("azure_cni.docker", "tomllib")),
        ("azure_cni.entrypoints.cli", ("azure_cni.docker", "aiohttp", "kopf")),
        ("azure_cni.entrypoints.docker_plugin", ("kopf", "azure.core", "azure_cni.watch", "azure_cni.cluster")),
    ],
)
def test_a_process_loads_only_what_is_its_own(process: str, barred: tuple[str, ...]) -> None:
    program = f"import sys, {process}; print([name for name in {barred!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True, timeout=60)
    assert done.stdout == "[]\n"
