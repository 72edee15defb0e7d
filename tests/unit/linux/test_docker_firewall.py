"""Docker's firewall: which rules it needs, and what is said when they cannot be made."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from azure_cni.errors import DatapathError
from azure_cni.linux.docker_firewall import DockerFirewall, lacking, wanted

OF_DOCKER = """-P FORWARD DROP
-A FORWARD -j DOCKER-USER
-A FORWARD -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A FORWARD -i docker0 -o docker0 -j ACCEPT
"""
OURS = """-A FORWARD -o acni+ -m comment --comment azure-cni -j ACCEPT
-A FORWARD -i acni+ -o eth0 -m comment --comment azure-cni -j ACCEPT
"""


@pytest.mark.parametrize(
    ("listing", "rules"),
    [
        ("", ()),
        ("-P FORWARD ACCEPT\n", ()),
        (OF_DOCKER, wanted("eth0")),
        (OF_DOCKER + OURS, ()),
        (OF_DOCKER + OURS.splitlines()[0], wanted("eth0")[1:]),
        (OF_DOCKER + OURS.replace("eth0", "eth1"), wanted("eth0")[1:]),
    ],
)
def test_which_rules_are_missing(listing: str, rules: Sequence[Sequence[str]]) -> None:
    assert lacking(listing, "eth0") == rules


async def test_without_iptables_docker_has_no_firewall() -> None:
    await DockerFirewall(("/nonexistent/iptables",)).admit("eth0")


async def test_a_failure_is_reported_with_the_command(tmp_path: Path) -> None:
    command = tmp_path / "iptables"
    command.write_text("#!/bin/sh\necho 'Fatal: no kernel support' >&2\nexit 3\n")
    command.chmod(0o755)
    with pytest.raises(DatapathError, match=r"iptables -S FORWARD: Fatal: no kernel support; try that command"):
        await DockerFirewall((str(command),)).admit("eth0")
