"""Networks and pools: what can be had, and why not; what is remembered."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network
from typing import Any

import pytest

from azure_cni.datapath.transparent import GATEWAY as GATEWAY_OF_PODS
from azure_cni.docker.docker_networks import (
    ANY_POOL,
    GATEWAY,
    DockerNetworks,
    pool_for,
    pool_id,
    pool_of,
    require_gateway,
    require_possible,
)
from azure_cni.docker.plugin_codec import LOCAL_SPACE, SWARM_SPACE, CreateNetwork, IpamData, RequestPool
from azure_cni.errors import ConfigInvalid
from fakes.docker import FakeStateFile

PRIMARY = IPv4Address("10.240.0.4")


def network(name: str = "net1", *, options: dict[str, Any] | None = None, **data: Any) -> CreateNetwork:
    given = {"address_space": LOCAL_SPACE, "pool": "0.0.0.0/0", "gateway": "169.254.1.1/32"} | data
    return CreateNetwork(name, options=options, ipv4_data=[IpamData(**given)])


def test_the_gateway_is_that_of_every_pod() -> None:
    assert GATEWAY == GATEWAY_OF_PODS


@pytest.mark.parametrize("primary", [PRIMARY, None])
@pytest.mark.parametrize("pool", ["10.240.0.0/16", "10.240.0.0/22", "0.0.0.0/0"])
def test_a_pool_is_all_in_its_id(pool: str, primary: IPv4Address | None) -> None:
    found = pool_for(RequestPool(LOCAL_SPACE, pool), primary=primary)
    assert pool_of(pool_id(found)) == found == IPv4Network(pool)
    assert pool_for(RequestPool(LOCAL_SPACE), primary=primary) == ANY_POOL


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        (RequestPool(SWARM_SPACE), "cannot serve a swarm"),
        (RequestPool(LOCAL_SPACE, "fd00::/64", v6=True), "leave --ipv6 out"),
        (RequestPool(LOCAL_SPACE, "10.240.0.0/16", "10.240.0.128/25"), "cannot use --ip-range 10.240.0.128/25"),
        (RequestPool(LOCAL_SPACE, "10.240.0.4/16"), "has host bits set"),
        (RequestPool(LOCAL_SPACE, "here"), "it must be an IPv4 prefix"),
        (RequestPool(LOCAL_SPACE, "10.9.0.0/16"), "its primary address is 10.240.0.4"),
    ],
)
def test_a_pool_that_cannot_be_had(request_: RequestPool, words: str) -> None:
    with pytest.raises(ConfigInvalid, match=words):
        pool_for(request_, primary=PRIMARY)


@pytest.mark.parametrize("named", ["", "10.0.0.0/8", "azure-cni/", "azure-cni/10.0.0.1/8", "other/10.0.0.0/8"])
def test_a_pool_that_nobody_gave(named: str) -> None:
    with pytest.raises(ConfigInvalid, match="gave no pool of this name"):
        pool_of(named)


def test_no_other_gateway() -> None:
    require_gateway("")
    require_gateway("169.254.1.1")
    with pytest.raises(ConfigInvalid, match="leave --gateway out"):
        require_gateway("10.240.0.1")


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        (network(options={"com.docker.network.internal": True}), "--internal is not possible"),
        (network(options={"com.docker.network.enable_ipv6": True}), "IPv4 only"),
        (network(options={"com.docker.network.enable_ipv4": False}), "IPv4 only"),
        (network(options={"com.docker.network.generic": {"parent": "eth0"}}), r"no options \(-o\), and parent"),
        (network(address_space="LocalDefault", pool="172.18.0.0/16"), "--ipam-driver azure-cni"),
        (network(aux_addresses={"router": "10.240.0.9/32"}), "--aux-address is not possible"),
        (network(pool="all"), "is no IPv4 prefix"),
        (CreateNetwork("net1"), "must have one IPv4 pool, and has 0"),
        (CreateNetwork("net1", ipv4_data=[IpamData(), IpamData()]), "and has 2"),
    ],
)
def test_a_network_that_cannot_be_had(wanted: CreateNetwork, words: str) -> None:
    with pytest.raises(ConfigInvalid, match=words):
        require_possible(wanted)
    with pytest.raises(ConfigInvalid):
        DockerNetworks(FakeStateFile()).add(wanted)


def test_networks_outlive_the_process() -> None:
    file = FakeStateFile()
    networks = DockerNetworks(file)
    networks.add(network())
    networks.add(network("net2", options={"com.docker.network.enable_ipv4": True, "com.docker.network.generic": {}}))
    networks.add(network())
    networks.remove("net2")
    networks.remove("never-seen")
    again = DockerNetworks(file)
    assert again.ids == ("net1",)
    again.require("net1")
    with pytest.raises(ConfigInvalid, match="docker network rm NAME"):
        again.require("net2")


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"networks": {"net1": "all"}}', b'{"networks": 7}', b"\xff"])
def test_a_damaged_list_is_not_guessed(content: bytes) -> None:
    with pytest.raises(
        ConfigInvalid, match=r"cannot read the list of Docker networks in /var/lib/azure-cni/docker-networks\.json: "
    ):
        DockerNetworks(FakeStateFile(content))


@pytest.mark.parametrize(
    "content",
    [
        b'{"networks": {"net1": "0.0.0.0/0"}, "version": 2}',
        b'{"version": 2, "networks": [{"id": "net1", "pools": ["0.0.0.0/0"]}]}',
        b'{"version": 2}',
    ],
)
def test_a_list_that_a_newer_release_wrote_is_not_read_by_halves(content: bytes) -> None:
    """Nor called damaged, whatever its shape: who removed it would lose networks that the newer release can read."""
    with pytest.raises(ConfigInvalid, match=r"a newer azure-cni wrote it \(version 2, known here 1\)"):
        DockerNetworks(FakeStateFile(content))
