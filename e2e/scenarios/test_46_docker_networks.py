"""Docker's networks on the VNet as people use them: beside others, by name, by Compose, filtered by Azure; and what is
refused. `--docker 29` has the newer engine.
"""

import re
from collections.abc import Iterator

import pytest
import yaml

from azurebox import docker_compose
from azurebox.client import Box
from azurebox.docker_compose import PROJECT, Compose
from azurebox.docker_host import CLIENT, DAEMON, ENGINE, IMAGE, PLUGIN, PORT, SERVER, DockerHost
from azurebox.facts import REPOSITORY
from azurebox.steps import StepError
from scenarios.harness.docker import (
    DRIVERS,
    NETWORK,
    ON_PREM,
    PATIENCE_S,
    PEER,
    has_none_assigned,
    on_nic,
    seen,
    started,
    two_hosts,
)
from scenarios.harness.vnet import deny, security_group

INNER = "inner"
FILE = "/etc/azure-cni/docker.toml"
MORE_THAN_A_POOL = 60
RANGE = ("--ip-range", "10.240.0.0/24", "--subnet", "10.240.0.0/22")
REFUSED = {
    ("network", "create", *DRIVERS, "--internal", "wanted"): "--internal is not possible",
    ("network", "create", *DRIVERS, *RANGE, "wanted"): "cannot use --ip-range",
    ("run", "--rm", "--network", NETWORK, "-p", "80:80", IMAGE, "/bin/sleep", "0"): "cannot publish port",
    ("network", "connect", "again", "here"): "the container is on the VNet already",
}


@pytest.fixture(scope="module")
def hosts(request: pytest.FixtureRequest) -> Iterator[tuple[DockerHost, DockerHost]]:
    with two_hosts(request.config.getoption("--docker")) as both:
        yield both


def restart_with(host: DockerHost, settings: str) -> None:
    """The plugin, with this docker.toml; where its pool is full it is not ready, and is not waited for."""
    host.write(FILE, settings)
    host.stop(PLUGIN)
    host.start_plugin()


def test_a_container_has_another_network_beside_the_vnet_and_leaves_it_while_it_runs(
    hosts: tuple[DockerHost, DockerHost],
) -> None:
    one, other = hosts
    b = started(other, "asks")
    one.docker("network", "create", INNER)
    inner = started(one, "both", network=INNER)
    started(one, "neighbour", network=INNER)
    for _ in range(2):
        one.docker("network", "connect", NETWORK, "both")
        a = one.address("both", network=NETWORK)
        assert seen(other, "asks", a) == b
        assert seen(one, "both", b) == a  # the default route is the other network's
        assert seen(one, "both", PEER, 80, "/whoami") == a
        assert seen(one, "both", ON_PREM, 80, "/whoami") == a
        assert seen(one, "neighbour", "both") == one.address("neighbour", network=INNER)  # by its name
        one.docker("network", "disconnect", NETWORK, "both")
        assert has_none_assigned(one)
        assert seen(one, "neighbour", inner) == one.address("neighbour", network=INNER)
    one.docker("rm", "-f", "both", "neighbour")
    one.docker("network", "rm", INNER)
    other.docker("rm", "-f", "asks")
    assert has_none_assigned(other)


def test_a_security_group_denies_a_container_by_its_address_and_not_its_neighbour(
    box: Box, hosts: tuple[DockerHost, DockerHost]
) -> None:
    one, other = hosts
    denied, allowed, b = started(one, "denied"), started(one, "allowed"), started(other, "asks")
    rule = deny("closed", 200, "Inbound", destinationAddressPrefix=denied, destinationPortRange=str(PORT))
    with security_group(box, "docker", [rule], nics=[f"{one.name}-nic"]):
        with pytest.raises(StepError):
            seen(other, "asks", denied)
        assert seen(other, "asks", allowed) == b
        assert seen(one, "allowed", denied) == allowed  # which never leaves the VM
    assert seen(other, "asks", denied) == b
    one.docker("rm", "-f", "denied", "allowed")
    other.docker("rm", "-f", "asks")


def test_what_cannot_be_is_refused_in_words_and_leaves_nothing(hosts: tuple[DockerHost, DockerHost]) -> None:
    one, _ = hosts
    started(one, "here")
    one.docker("network", "create", *DRIVERS, "again")
    for command, said in REFUSED.items():
        with pytest.raises(StepError, match=re.escape(said)):
            one.docker(*command)
    assert ", 1 assigned, " in one.status()
    one.docker("rm", "-f", "here")
    one.docker("network", "rm", "again")
    assert has_none_assigned(one)
    assert set(one.docker("network", "ls", "--filter", "driver=azure-cni", "--format", "{{.Name}}").split()) == {
        NETWORK
    }


def test_a_growth_over_the_vnets_limit_is_refused_with_the_numbers_and_made_when_there_is_room(
    hosts: tuple[DockerHost, DockerHost],
) -> None:
    one, _ = hosts
    settings = one.run("cat", FILE)
    start = f"{ENGINE}{CLIENT} run -d --name full$number --network {NETWORK} {IMAGE} /bin/sleep 3600"
    try:
        restart_with(one, f"{settings}\n[quota]\nlimit = 20\n")  # the nodes' pools are more than that
        with pytest.raises(StepError, match=r"may have 20 \(quota\.limit\), \d+ are in use; free some, or raise quota"):
            one.run("sh", "-ec", f"for number in $(seq {MORE_THAN_A_POOL}); do {start}; done")
        with pytest.raises(StepError):  # no container can start
            one.status()
    finally:
        restart_with(one, settings)
    one.docker("run", "-d", "--name", "again", "--network", NETWORK, *SERVER)
    one.run("sh", "-c", f"{ENGINE}{CLIENT} rm -f $({ENGINE}{CLIENT} ps -aq)")
    assert has_none_assigned(one)


def test_a_socket_of_the_plugin_that_is_taken_away_comes_back(hosts: tuple[DockerHost, DockerHost]) -> None:
    one, _ = hosts
    one.run("rm", "-r", "/run/docker/plugins")
    started(one, "after")  # Docker tries again for half a minute
    one.docker("rm", "-f", "after")
    assert has_none_assigned(one)


def test_a_container_runs_on_while_a_daemon_with_live_restore_is_killed_and_replaced(
    box: Box, hosts: tuple[DockerHost, DockerHost]
) -> None:
    one, other = hosts
    one.stop(DAEMON)
    one.start_daemon("--live-restore")
    a, b = started(one, "lives"), started(other, "asks")
    one.stop(DAEMON)
    assert seen(other, "asks", a) == b
    one.start_daemon("--live-restore")
    assert one.address("lives", network=NETWORK) == a
    assert seen(other, "asks", a) == b
    assert ", 1 assigned, " in one.status()
    one.docker("rm", "-f", "lives")
    other.docker("rm", "-f", "asks")
    box.wait_for(lambda: has_none_assigned(one), PATIENCE_S, "the address to be returned")
    one.stop(DAEMON)
    one.start_daemon()


@pytest.mark.parametrize("version", docker_compose.VERSIONS)
def test_services_of_the_documented_compose_file_have_addresses_and_find_one_another_by_name(
    box: Box, hosts: tuple[DockerHost, DockerHost], version: str
) -> None:
    one, _ = hosts
    if (one.version, version) == ("29", "1.29"):
        pytest.skip("Debian's Compose 1.29 speaks an older API than this engine")
    compose = Compose(one, version)
    shown = re.search(r"```yaml\n(services:.*?)```", (REPOSITORY / "docs/docker.md").read_text(), re.DOTALL)
    assert shown is not None
    file = yaml.safe_load(shown[1])
    server = {"image": IMAGE, "command": list(SERVER[1:]), "networks": file["services"]["web"]["networks"]}
    file["services"] = {"web": server, "asks": server}
    compose.run(file, "up", "-d")
    network = f"{PROJECT}_vnet"
    web, asks = (one.address(compose.container(name), network=network) for name in ("web", "asks"))
    assert {web, asks} <= on_nic(box, one)
    assert seen(one, compose.container("asks"), "web") == asks
    compose.run(file, "up", "-d", "--force-recreate")
    assert seen(one, compose.container("asks"), "web") in on_nic(box, one)
    compose.run(file, "down")
    assert has_none_assigned(one)
    assert network not in one.docker("network", "ls")
