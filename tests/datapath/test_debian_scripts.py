"""The scripts of the Debian package, on a node with containers: what they refuse, and what they take away."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
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
PLACES = "/run /etc/cni /opt/cni /usr/lib/cni /var/lib"
HIDDEN = f"for place in {PLACES}; do [ ! -d $place ] || mount -t tmpfs none $place; done; exec env"
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


class Systemd:
    """In the place of systemd's programs and debhelper's: what they were asked for. Its unit may be enabled.

    `active`: the exit codes of `is-active`.
    """

    def __init__(self, directory: Path, *, enabled: bool, active: Mapping[str, int] | None = None) -> None:
        self._directory = directory
        self._asked = directory / "asked"
        for name, lines in {
            "systemctl": [
                'case "$*" in',
                f"*is-enabled*) exit {0 if enabled else 1} ;;",
                *(f"*'is-active {unit}') exit {code} ;;" for unit, code in (active or {}).items()),
                "esac",
            ],
            "deb-systemd-invoke": [],
            "deb-systemd-helper": ["exit 0"],
            "azure-cni": ["exit 0"],
        }.items():
            program = directory / name
            program.write_text("\n".join(["#!/bin/sh", *lines, f'echo "{name} $*" >> {self._asked}', ""]))
            program.chmod(0o755)

    def asked(self, site: Site, script: str, *arguments: str) -> list[str]:
        """What becomes of the unit."""
        self._asked.unlink(missing_ok=True)
        prepared = f"{HIDDEN.removesuffix('exec env')}mkdir -p /run/systemd/system; "
        nobodys_policy = "[ ! -e /usr/sbin/policy-rc.d ] || mount --bind /bin/true /usr/sbin/policy-rc.d; "
        command = f"PATH={self._directory}:$PATH exec sh {FILES / script} {' '.join(arguments)}"
        site.node.run("unshare", "--mount", "sh", "-ec", prepared + nobodys_policy + command)
        lines = self._asked.read_text().splitlines() if self._asked.exists() else []
        found = [re.search(r" (start|stop|restart|try-restart) azure-cni-docker.service$", line) for line in lines]
        return [line[1] for line in found if line]


@pytest.mark.parametrize("enabled", [True, False])
async def test_a_unit_that_is_disabled_is_not_started(site: Site, tmp_path: Path, *, enabled: bool) -> None:
    systemd = Systemd(tmp_path, enabled=enabled)
    begun = ["start"] if enabled else []
    for action in (["configure"], ["abort-remove"], ["abort-upgrade", "0.1.0-1"]):
        assert systemd.asked(site, "postinst", *action) == begun, action


@pytest.mark.parametrize("enabled", [True, False])
async def test_an_upgrade_restarts_the_plugin_and_does_not_stop_it_before(
    site: Site, tmp_path: Path, *, enabled: bool
) -> None:
    systemd = Systemd(tmp_path, enabled=enabled)
    assert systemd.asked(site, "prerm", "upgrade", "0.2.0-1") == []
    assert systemd.asked(site, "postinst", "configure", "0.1.0-1") == ["restart" if enabled else "try-restart"]
    assert systemd.asked(site, "prerm", "remove") == ["stop"]


@pytest.mark.parametrize(("socket", "service", "asked"), [(0, 0, True), (0, 3, False), (3, 3, True)])
async def test_a_docker_that_would_only_start_to_answer_is_not_asked(
    site: Site, tmp_path: Path, *, socket: int, service: int, asked: bool
) -> None:
    """`systemctl stop docker` leaves its socket, at which systemd starts it for whoever connects."""
    systemd = Systemd(tmp_path, enabled=True, active={"docker.socket": socket, "docker.service": service})
    docker, called = tmp_path / "docker", tmp_path / "called"
    docker.write_text(f"#!/bin/sh\ntouch {called}\n")
    docker.chmod(0o755)
    assert systemd.asked(site, "prerm", "remove") == ["stop"]
    assert called.exists() is asked


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
async def test_a_removed_package_leaves_nothing_of_a_second_nic(site: Site) -> None:
    site.node.batch("link add eth1 type veth peer name vm2", "address add 10.240.8.4/24 dev eth1", "link set eth1 up")
    site.node.ip("rule", "delete", "pref", "90")
    before = _rules_and_routes(site)
    await site.machine.datapath.apply_node(TABLE)
    assert "lookup 1633906282" in site.node.run("ip", "rule")
    run(site, "postrm", "remove")
    assert _rules_and_routes(site) == before


def _rules_and_routes(site: Site) -> tuple[str, str]:
    """Of IPv4: the kernel adds routes of IPv6 for itself, a second or two after a link comes up."""
    return site.node.run("ip", "rule"), site.node.run("ip", "-4", "route", "show", "table", "all")


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
    site.node.ip("rule", "add", "pref", "90", "from", "10.9.0.0/24", "lookup", "77")
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
