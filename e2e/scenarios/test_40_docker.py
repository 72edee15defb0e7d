"""Docker without Kubernetes, beside the cluster: containers on two VMs, with addresses of the VNet."""

import json
from collections.abc import Iterator

import pytest

from azurebox.client import Box
from azurebox.docker_host import DAEMON, IMAGE, PLUGIN, PORT, SERVER, DockerHost
from azurebox.steps import StepError

NETWORK, FIXED = "vnet", "fixed"
PEER, ON_PREM, INTERNET, IMDS = "10.241.0.4", "192.168.50.10", "203.0.113.10", "169.254.169.254"
DRIVERS = ("-d", "azure-cni", "--ipam-driver", "azure-cni")
PATIENCE_S = 180.0


@pytest.fixture(scope="module")
def hosts() -> Iterator[tuple[DockerHost, DockerHost]]:
    one, other = DockerHost("azbox-docker1"), DockerHost("azbox-docker2")
    try:
        for host in (one, other):
            host.start()
            host.docker("network", "create", *DRIVERS, NETWORK)
        yield one, other
    finally:
        for host in (one, other):
            host.remove()


def on_nic(box: Box, host: DockerHost) -> set[str]:
    """The addresses of its NIC in Azure, the primary included."""
    shown = box.azure("GET", f"/nics/{host.name}-nic")
    return {config["properties"]["privateIPAddress"] for config in shown["properties"]["ipConfigurations"]}


def primary(box: Box, host: DockerHost) -> str:
    shown = box.azure("GET", f"/nics/{host.name}-nic")["properties"]["ipConfigurations"]
    return next(str(it["properties"]["privateIPAddress"]) for it in shown if it["properties"]["primary"])


def started(host: DockerHost, name: str, *options: str, network: str = NETWORK) -> str:
    """A server in a container; its address."""
    host.docker("run", "-d", "--name", name, "--network", network, *options, *SERVER)
    return host.address(name, network=network)


def seen(host: DockerHost, container: str, address: str, port: int = PORT, path: str = "/cgi-bin/whoami") -> str:
    """Whom the server at that address sees when a container asks it; StepError when nobody answers."""
    request = f"printf 'GET {path} HTTP/1.0\\r\\n\\r\\n' | /bin/nc -w 5 {address} {port}"
    said = host.docker("exec", container, "/bin/sh", "-c", request).strip()
    if not said:
        raise StepError(f"{address}:{port} took the connection and said nothing")
    last = said.splitlines()[-1]
    return str(json.loads(last)["caller"]) if last.startswith("{") else last


def has_none_assigned(host: DockerHost) -> bool:
    """No container has an address, and no link of one is left."""
    return ", 0 assigned, " in host.status() and "acni" not in host.run("ip", "link")


def test_containers_on_two_vms_are_seen_with_their_own_addresses(
    box: Box, hosts: tuple[DockerHost, DockerHost]
) -> None:
    one, other = hosts
    a, b = started(one, "web"), started(other, "asks")
    assert a in on_nic(box, one)
    assert b in on_nic(box, other)
    assert seen(one, "web", b) == a
    assert seen(other, "asks", a) == b
    assert seen(other, "asks", PEER, 80, "/whoami") == b
    assert seen(other, "asks", ON_PREM, 80, "/whoami") == b
    assert seen(other, "asks", INTERNET, 80, "/whoami") != b  # but the way out of its VM
    with pytest.raises(StepError):
        seen(other, "asks", IMDS, 80, "/metadata/instance")
    assert "ready" in one.status()
    for host, name in ((one, "web"), (other, "asks")):
        host.docker("rm", "-f", name)
        assert has_none_assigned(host)


def test_a_container_keeps_its_network_while_the_plugin_is_away(hosts: tuple[DockerHost, DockerHost]) -> None:
    one, other = hosts
    a, b = started(one, "web"), started(other, "asks")
    one.stop(PLUGIN)
    assert seen(other, "asks", a) == b
    with pytest.raises(StepError):
        one.docker("run", "--rm", "--network", NETWORK, IMAGE, "/bin/sleep", "0")
    one.start_plugin()
    assert [line.split()[:2] for line in one.status().splitlines() if line.startswith(a)] == [[a, "joined"]]
    assert seen(other, "asks", a) == b
    one.docker("run", "--rm", "--network", NETWORK, IMAGE, "/bin/sleep", "0")
    for host, name in ((one, "web"), (other, "asks")):
        host.docker("rm", "-f", name)
    assert has_none_assigned(one)


def test_a_container_that_names_its_address_has_it_again(box: Box, hosts: tuple[DockerHost, DockerHost]) -> None:
    one, _ = hosts
    one.docker("network", "create", *DRIVERS, "--subnet", "10.240.0.0/22", FIXED)
    wanted = max(on_nic(box, one) - {primary(box, one)})
    assert started(one, "named", "--ip", wanted, network=FIXED) == wanted
    one.docker("restart", "-t", "0", "named")
    assert one.address("named", network=FIXED) == wanted
    with pytest.raises(StepError, match="does not hold it for containers"):
        one.docker("run", "--rm", "--network", FIXED, "--ip", "10.240.3.250", IMAGE, "/bin/sleep", "0")
    one.docker("rm", "-f", "named")
    one.docker("network", "rm", FIXED)


def test_many_containers_come_and_go_and_the_counts_are_as_before(
    box: Box, hosts: tuple[DockerHost, DockerHost]
) -> None:
    one, _ = hosts
    names = [f"many{number}" for number in range(12)]
    addresses = {started(one, name) for name in names}
    assert len(addresses) == len(names)
    assert addresses <= on_nic(box, one)
    one.docker("rm", "-f", *names)
    assert has_none_assigned(one)
    box.wait_for(lambda: ", 0 cooling, " in one.status(), PATIENCE_S, "addresses to be free")


def test_containers_that_restart_always_survive_dockerd_and_the_vm(
    box: Box, hosts: tuple[DockerHost, DockerHost]
) -> None:
    one, other = hosts
    b = started(other, "asks")
    started(one, "always", "--restart", "always")
    one.docker("run", "-d", "--name", "once", "--network", NETWORK, *SERVER)

    def comes_back() -> bool:
        address = one.address("always", network=NETWORK)
        return bool(address) and seen(other, "asks", address) == b

    for reboots in (False, True):
        if reboots:
            one.reboot()
        else:
            one.stop(DAEMON)
            one.start_daemon()
        box.wait_for(comes_back, PATIENCE_S, "the container to be back on the VNet")
        box.wait_for(lambda: ", 1 assigned, " in one.status(), PATIENCE_S, "one address to be assigned")
    for host, names in ((one, ("always", "once")), (other, ("asks",))):
        host.docker("rm", "-f", *names)
        assert has_none_assigned(host)
