"""The unit of the Debian package, hardened as it is, under systemd itself: boot, death, settings, scripts, journal."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from datapath.docker_vm import PRIMARY
from datapath.namespaces import NEEDS_ROOT, Namespaces
from datapath.systemd_host import INTERPRETER, NEEDS_SYSTEMD, UNIT, SystemdHost
from datapath.test_docker_process import ONE, Plugin

pytestmark = [*NEEDS_ROOT, NEEDS_SYSTEMD]

SOCKET = "/run/docker/plugins/azure-cni.sock"
SETTINGS = "/etc/azure-cni/docker.toml"
DOCKER = """
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/usr/bin/azure-cni docker status
"""
"""In the place of Docker: it has started if a container could at that moment."""
PORT = 8080
REACH = f"import socket; socket.create_connection(('{PRIMARY}', {PORT}), timeout=30).close()"


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SystemdHost]:
    """One for all tests here: each leaves the unit running."""
    with Namespaces() as namespaces:
        booted = SystemdHost(namespaces, tmp_path_factory.mktemp("host"), units={"docker.service": DOCKER})
        try:
            yield booted
        finally:
            booted.end()


@pytest.fixture
def running(host: SystemdHost) -> SystemdHost:
    host.until(UNIT, "ActiveState", "active")
    return host


def script(host: SystemdHost, name: str, *arguments: str, check: bool = True) -> str:
    """One of the package's, as dpkg runs it."""
    return host.run(f"azure-cni-{name}", *arguments, check=check)


def start_container(host: SystemdHost, name: str) -> None:
    """What Docker does, with a namespace that it makes after the unit has started."""
    plugin = Plugin(host.path(SOCKET))
    pool = plugin.call("IpamDriver.RequestPool", AddressSpace="azure-cni")
    data = {"AddressSpace": "azure-cni", "Pool": pool["Pool"], "Gateway": "169.254.1.1/32"}
    plugin.call("NetworkDriver.CreateNetwork", NetworkID="net1", IPv4Data=[data], Options={})
    given = plugin.call("IpamDriver.RequestAddress", PoolID=pool["PoolID"])["Address"]
    plugin.call("NetworkDriver.CreateEndpoint", **ONE, Interface={"Address": given})
    host.run("ip", "netns", "add", name)
    joined: dict[str, Any] = plugin.call("NetworkDriver.Join", **ONE, SandboxKey=f"/run/netns/{name}")
    host.run("ip", "link", "set", joined["InterfaceName"]["SrcName"], "netns", name, "name", "eth0")
    for command in (
        ("address", "add", given, "dev", "eth0"),
        ("link", "set", "eth0", "up"),
        ("route", "add", f"{joined['Gateway']}/32", "dev", "eth0", "scope", "link"),
        ("route", "add", "default", "via", joined["Gateway"]),
    ):
        host.run("ip", "-netns", name, *command)


def end_container(host: SystemdHost, name: str) -> None:
    plugin, address = (
        Plugin(host.path(SOCKET)),
        host.run("ip", "-netns", name, "-brief", "-4", "address", "show", "eth0"),
    )
    plugin.call("NetworkDriver.Leave", **ONE)
    plugin.call("NetworkDriver.DeleteEndpoint", **ONE)
    released = address.split()[-1].partition("/")[0]
    plugin.call("IpamDriver.ReleaseAddress", PoolID="azure-cni/0.0.0.0/0", Address=released)
    host.run("ip", "netns", "delete", name)


def reaches_the_vm(host: SystemdHost, name: str) -> bool:
    with host.node.listen(PRIMARY, PORT):
        return host.run("ip", "netns", "exec", name, str(INTERPRETER), "-c", REACH) == ""


def priorities(host: SystemdHost, words: str) -> set[str]:
    """Of the lines of the journal that have these words."""
    lines = host.run("journalctl", "--unit", UNIT, "--output", "json").splitlines()
    return {one["PRIORITY"] for one in map(json.loads, lines) if words in one["MESSAGE"]}


def test_docker_starts_at_boot_once_a_container_can(running: SystemdHost) -> None:
    running.until("docker.service", "ActiveState", "active")
    assert running.shown("docker.service", "Result") == "success"


def test_containers_outlive_a_killed_and_a_stopped_plugin(running: SystemdHost) -> None:
    """All that a container needs passes the hardening: links, nftables, Docker's iptables, a new namespace."""
    running.run("iptables", "--policy", "FORWARD", "DROP")
    start_container(running, "one")
    assert running.run("iptables", "--list-rules", "FORWARD").count("--comment azure-cni") == 2
    assert reaches_the_vm(running, "one")
    killed = running.shown(UNIT, "MainPID")
    running.run("kill", "-9", killed)
    running.until(UNIT, "NRestarts", "1")
    running.until(UNIT, "ActiveState", "active")
    assert Plugin(running.path(SOCKET)).call("NetworkDriver.EndpointOperInfo", **ONE)
    running.run("systemctl", "stop", UNIT)
    assert [running.shown(UNIT, name) for name in ("Result", "ExecMainStatus")] == ["success", "0"]
    assert not running.path(SOCKET).exists()
    assert reaches_the_vm(running, "one")
    running.run("systemctl", "start", UNIT)
    assert Plugin(running.path(SOCKET)).call("NetworkDriver.EndpointOperInfo", **ONE)
    assert running.shown("docker.service", "ActiveState") == "active"
    end_container(running, "one")


def test_wrong_settings_are_said_and_the_unit_starts_once_they_are_right(running: SystemdHost) -> None:
    settings = running.path(SETTINGS)
    right = settings.read_text()
    settings.write_text(right + "[pool]\nmax = 300\n")
    running.run("systemctl", "restart", UNIT, check=False)
    assert running.shown(UNIT, "ActiveState") != "active"
    assert "pool.max is 300: write a whole number from 1 to 250" in running.run("journalctl", "--unit", UNIT)
    settings.write_text(right)
    running.until(UNIT, "ActiveState", "active")


def test_lines_of_the_journal_have_a_priority(running: SystemdHost) -> None:
    assert priorities(running, "serving docker") == {"6"}
    assert priorities(running, "docker's containers cannot be listed") == {"4"}


def test_the_scripts_of_the_package_act_by_the_unit(running: SystemdHost) -> None:
    """An upgrade restarts it, unless somebody has disabled it; a removal stops it, unless containers need it."""
    before = running.shown(UNIT, "MainPID")
    script(running, "prerm", "upgrade", "0.2.0-1")
    assert running.shown(UNIT, "MainPID") == before
    script(running, "postinst", "configure", "0.1.0-1")
    running.until(UNIT, "ActiveState", "active")
    running.wait(lambda: running.shown(UNIT, "MainPID") not in {"0", before})
    start_container(running, "two")
    refused = script(running, "prerm", "remove", check=False)
    assert "cannot remove the package: containers here have addresses of the VNet" in refused
    assert running.shown(UNIT, "ActiveState") == "active"
    running.run("ip", "netns", "delete", "two")
    running.wait(lambda: "acni" not in running.run("ip", "-oneline", "link"))
    running.run("systemctl", "disable", "--now", UNIT)
    script(running, "postinst", "configure", "0.1.0-1")
    assert running.shown(UNIT, "ActiveState") == "inactive"
    running.run("systemctl", "enable", "--now", UNIT)
    script(running, "prerm", "remove")
    assert running.shown(UNIT, "ActiveState") == "inactive"
    assert running.path("/run/azure-cni/ledger.sqlite").exists()
    script(running, "postrm", "remove")
    assert not running.path("/run/azure-cni").exists()
    assert "azure_cni" not in running.run("nft", "list", "tables")
    running.run("systemctl", "enable", "--now", UNIT)


def test_it_runs_with_two_capabilities_that_are_roots_and_one_for_iptables(running: SystemdHost) -> None:
    status = running.path(f"/proc/{running.shown(UNIT, 'MainPID')}/status").read_text()
    bounding = next(int(line.split()[1], 16) for line in status.splitlines() if line.startswith("CapBnd:"))
    assert bounding == sum(1 << number for number in (12, 13, 21))  # NET_ADMIN, NET_RAW, SYS_ADMIN
    assert "NoNewPrivs:\t1" in status
    assert "Seccomp:\t2" in status
