"""The scripts of the Debian package, on a node with containers: what they refuse, and what they take away."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from azure_cni.linux.docker_firewall import DockerFirewall
from azure_cni.model.identity import ModeName
from datapath.namespaces import NEEDS_ROOT, OUR_RULE
from datapath.node_site import TABLE, A, B, Site
from debian_package.build import FILES

pytestmark = NEEDS_ROOT
TRANSPARENT = pytest.mark.parametrize("mode", [ModeName.TRANSPARENT], indirect=True)
"""The only mode without Kubernetes."""

CUT_OFF = "AZURE_CNI_CUT_OFF=yes"
HIDDEN = (
    "for place in /run /etc/cni /opt/cni /usr/lib/cni /var/lib; do [ ! -d $place ] || mount -t tmpfs none $place; done; exec env"
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


@TRANSPARENT
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


@TRANSPARENT
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


@TRANSPARENT
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


@TRANSPARENT
async def test_a_purge_after_the_removal_cuts_off_nobody_who_serves_the_vm_since(site: Site) -> None:
    await with_containers(site)
    before = state(site)
    said = run(site, "postrm", "purge")
    assert "another process serves azure-cni on this VM" in said
    assert state(site) == before


@TRANSPARENT
async def test_a_removal_beside_somebody_who_serves_the_vm_takes_nothing_from_it(site: Site) -> None:
    await with_containers(site)
    before = state(site)
    with listening(site, "/run/azure-cni/cni.sock"):
        assert "another process serves azure-cni on this VM" in run(site, "postrm", "remove")
    assert state(site) == before
    run(site, "postrm", "remove")
    assert state(site) != before


@TRANSPARENT
async def test_a_bridge_of_azures_plugin_and_an_administrators_rule_stay(site: Site) -> None:
    site.node.ip("rule", "delete", "pref", "90")
    site.node.ip(*"rule add pref 90 from 10.9.0.0/24 lookup 77".split())
    site.node.ip("link", "add", "azure0", "type", "bridge")
    before = state(site)
    site.node.ip("rule", "add", "pref", *OUR_RULE.split())
    for action in ("remove", "remove", "purge"):
        run(site, "postrm", action)
    assert state(site) == before


@contextlib.contextmanager
def listening(site: Site, path: str) -> Iterator[None]:
    """Somebody in the node's network listens there, at a path that is theirs alone."""
    script = f"""import os, socket, sys
os.makedirs(os.path.dirname("{path}"), exist_ok=True)
listener = socket.socket(socket.AF_UNIX)
listener.bind("{path}")
listener.listen()
print("listens", flush=True)
sys.stdin.read()"""
    hidden = "mount -t tmpfs none /run; exec"
    inside = ["unshare", "--mount", "sh", "-ec", f'{hidden} "$0" -c "$1"', sys.executable, script]
    with subprocess.Popen(
        ["nsenter", f"--net={site.node.path}", *inside], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == b"listens\n"
            yield
        finally:
            process.stdin.close()
