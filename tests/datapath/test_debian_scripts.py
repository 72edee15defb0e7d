"""The scripts of the Debian package, on a node with containers: what they refuse, and what they take away."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from azure_cni.linux.docker_firewall import DockerFirewall
from datapath.namespaces import IN_EACH_MODE
from datapath.node_site import TABLE, A, B, Site
from debian_package.build import FILES

pytestmark = IN_EACH_MODE

CUT_OFF = "AZURE_CNI_CUT_OFF=yes"
HIDDEN = (
    "for place in /run /etc/cni /opt/cni /usr/lib/cni; do [ ! -d $place ] || mount -t tmpfs none $place; done; exec env"
)
"""Of this machine: its systemd, its Docker, what lies in /run, and its CNI plugins."""


def run(site: Site, script: str, action: str, *environment: str) -> str:
    """A script as dpkg runs it, in the node's network; AssertionError when it fails."""
    command = " ".join((HIDDEN, *environment, "sh", str(FILES / script), action))
    return site.node.run("unshare", "--mount", "sh", "-ec", command)


def state(site: Site) -> list[str]:
    commands = (
        ("nft", "list", "ruleset"), ("ip", "rule"), ("ip", "route"), ("ip", "-o", "link"), ("ip", "neigh"),
        ("iptables", "-S", "FORWARD"),
    )  # fmt: skip
    shown = [site.node.run(*command) for command in commands]
    return [re.sub(r"^\d+: | qlen \d+", "", one, flags=re.MULTILINE) for one in shown]


async def with_containers(site: Site) -> None:
    await site.machine.datapath.apply_node(TABLE)
    for address in (A, B):
        await site.machine.pod(address)
    await DockerFirewall(("nsenter", f"--net={site.node.path}", "iptables")).admit("eth0")


async def test_a_package_whose_containers_run_stays_unless_somebody_wants_them_cut_off(site: Site) -> None:
    site.node.run("iptables", "-P", "FORWARD", "DROP")
    await with_containers(site)
    before = state(site)
    with pytest.raises(AssertionError, match="containers here have addresses of the VNet") as refused:
        run(site, "prerm", "remove")
    assert "(links acni...: 2)" in str(refused.value)
    assert "docker network disconnect" in str(refused.value)
    run(site, "prerm", "upgrade")
    run(site, "prerm", "remove", CUT_OFF)
    assert state(site) == before


async def test_a_package_whose_networks_docker_still_has_stays(site: Site, tmp_path: Path) -> None:
    docker = tmp_path / "docker"
    docker.write_text("#!/bin/sh\necho \"$*\" | grep -q 'network ls --filter driver=azure-cni' && echo vnet\n")
    docker.chmod(0o755)
    path = f"PATH={tmp_path}:{os.environ['PATH']}"
    with pytest.raises(AssertionError, match="docker network rm vnet"):
        run(site, "prerm", "remove", path)
    run(site, "prerm", "remove", path, CUT_OFF)
    docker.write_text("#!/bin/sh\necho 'Cannot connect to the Docker daemon' >&2; exit 1\n")
    run(site, "prerm", "remove", path)


async def test_a_removed_package_leaves_nothing_in_the_kernel(site: Site) -> None:
    site.node.run("iptables", "-P", "FORWARD", "DROP")
    site.node.run("iptables", "-A", "FORWARD", "-o", "docker0", "-j", "ACCEPT")
    site.node.ip("rule", "delete", "pref", "90")
    before = state(site)
    await with_containers(site)
    assert state(site) != before
    run(site, "postrm", "upgrade")
    assert state(site) != before
    run(site, "postrm", "remove")
    assert state(site) == before
    run(site, "postrm", "remove")
