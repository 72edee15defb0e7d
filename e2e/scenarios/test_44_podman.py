"""podman without Kubernetes: Debian's 4.3 with its CNI backend, from the pool that also serves Docker."""

from collections.abc import Iterator

import pytest

from azurebox.client import Box
from azurebox.docker_host import IMAGE, PLUGIN, PORT, SERVER
from azurebox.podman_host import NETWORK, PodmanHost
from azurebox.steps import StepError

PEER, ON_PREM = "10.241.0.4", "192.168.50.10"
SERVES = SERVER[1:]
PATIENCE_S = 120.0


@pytest.fixture(scope="module")
def host() -> Iterator[PodmanHost]:
    one = PodmanHost("azbox-docker3")
    try:
        one.start()
        yield one
    finally:
        one.remove()


def on_nic(box: Box, host: PodmanHost) -> set[str]:
    """The secondary addresses of its NIC in Azure."""
    shown = box.azure("GET", f"/nics/{host.name}-nic")["properties"]["ipConfigurations"]
    return {str(it["properties"]["privateIPAddress"]) for it in shown if not it["properties"]["primary"]}


def seen(host: PodmanHost, container: str, address: str, port: int = 80, path: str = "/whoami") -> str:
    """What the server at that address says to a container."""
    request = f"printf 'GET {path} HTTP/1.0\\r\\n\\r\\n' | /bin/nc -w 5 {address} {port}"
    return host.podman("exec", container, "/bin/sh", "-c", request)


def has_none(host: PodmanHost) -> bool:
    """No container has an address, and no link of one is left."""
    return ", 0 assigned, " in host.plugin.status() and "acni" not in host.plugin.run("ip", "link")


def test_containers_have_addresses_of_the_nic_and_keep_their_network_while_the_plugin_is_away(
    box: Box, host: PodmanHost
) -> None:
    host.run_container("web", command=SERVES)
    first = host.address("web")
    assert first in on_nic(box, host)
    for server in (PEER, ON_PREM):
        assert first in seen(host, "web", server)
    host.plugin.stop(PLUGIN)
    assert first in seen(host, "web", PEER)
    with pytest.raises(StepError, match="cannot reach the azure-cni agent"):
        host.podman("run", "--rm", "--network", NETWORK, f"localhost/{IMAGE}", "/bin/sleep", "0")
    host.podman("stop", "-t", "0", "web")  # nobody hears of it: it is done later
    host.plugin.start_plugin()
    box.wait_for(lambda: has_none(host), PATIENCE_S, "the address to be returned")
    host.podman("start", "web")
    again = host.address("web")
    assert again in on_nic(box, host)
    assert again in seen(host, "web", PEER)
    host.podman("rm", "-f", "-t", "0", "web")
    assert has_none(host)


def test_a_pod_has_one_address_for_its_containers(box: Box, host: PodmanHost) -> None:
    host.podman("pod", "create", "--name", "shop", "--network", NETWORK, f"--cgroup-parent=/{host.name}")
    for name, command in (("front", SERVES), ("asks", ("/bin/sleep", "600"))):
        host.podman("run", "-d", "--pod", "shop", "--name", name, f"localhost/{IMAGE}", *command)
    assert ", 1 assigned, " in host.plugin.status()
    assert "127.0.0.1" in seen(host, "asks", "127.0.0.1", PORT, "/cgi-bin/whoami")
    said = seen(host, "asks", PEER)
    assert any(address in said for address in on_nic(box, host))
    host.podman("pod", "rm", "-f", "-t", "0", "shop")
    assert has_none(host)


def test_what_is_asked_for_is_had_or_refused_in_words(box: Box, host: PodmanHost) -> None:
    wanted = max(on_nic(box, host))
    host.run_container("named", "--ip", wanted, command=SERVES)
    assert host.address("named") == wanted
    host.podman("restart", "-t", "0", "named")
    assert host.address("named") == wanted
    for options, words in (
        (("--ip", wanted), f"cannot assign {wanted}: it is assigned to container named"),
        (("--ip", "10.240.3.250"), "this VM's NIC does not hold it for containers"),
        (("--mac-address", "02:00:00:00:00:09"), "cannot use the MAC"),
        (("-p", "8080:8080"), "cannot publish"),
    ):
        with pytest.raises(StepError, match=words):
            host.podman("run", "--rm", "--network", NETWORK, *options, f"localhost/{IMAGE}", "/bin/sleep", "0")
    host.podman("rm", "-f", "-t", "0", "named")
    assert has_none(host)
