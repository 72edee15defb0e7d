"""What Docker's lists say of endpoints: as its engines write them, and written otherwise."""

from __future__ import annotations

import json
from random import Random
from typing import Any

import pytest

from azure_cni.docker.engine_view import EngineView, read_containers, read_networks, read_places, viewed
from azure_cni.errors import DecodeFailed
from fakes.docker_engine import ODD_ANSWERS
from property.mutations import mutated, mutated_bytes

# Of Docker 20.10.24, `curl --unix-socket /run/docker.sock`, shortened; 29 adds fields and leaves none of these out.
RUNNING: dict[str, Any] = {
    "Id": "c1" * 32,
    "Names": ["/web"],
    "Image": "azbox/busybox:1",
    "Labels": {},
    "State": "running",
    "HostConfig": {"NetworkMode": "vnet"},
    "NetworkSettings": {
        "Networks": {
            "vnet": {
                "IPAMConfig": None,
                "Links": None,
                "Aliases": None,
                "NetworkID": "net1",
                "EndpointID": "ep1",
                "Gateway": "169.254.1.1",
                "IPAddress": "10.240.0.5",
                "DriverOpts": None,
            }
        }
    },
    "Mounts": [],
}
STARTING = RUNNING | {
    "Id": "c2" * 32,
    "Names": ["/web/alias", "/db"],
    "State": "created",
    "NetworkSettings": {"Networks": {"vnet": {"NetworkID": "", "EndpointID": ""}}},
}
ON_NO_NETWORK = RUNNING | {"Id": "c3" * 32, "Names": None, "NetworkSettings": {"Networks": None}}
NETWORK: dict[str, Any] = {
    "Name": "vnet",
    "Id": "net1",
    "Driver": "azure-cni",
    "Containers": {
        "c1" * 32: {
            "Name": "web",
            "EndpointID": "ep1",
            "MacAddress": "02:00:00:00:00:01",
            "IPv4Address": "10.240.0.5/32",
        },
        "ep-ep2": {"Name": "db", "EndpointID": "ep2", "MacAddress": "", "IPv4Address": "10.240.0.6/32"},
        "ep-ep9": {"Name": "removed-long-ago", "EndpointID": "ep9", "MacAddress": "", "IPv4Address": "10.240.0.9/32"},
    },
}


def view(containers: list[Any], network: dict[str, Any] = NETWORK) -> EngineView:
    places = read_places(json.dumps(network).encode(), "net1")
    networks = read_networks(json.dumps([network]).encode())
    return viewed(read_containers(json.dumps(containers).encode()), networks, [places])


def test_an_endpoint_is_a_containers_by_its_settings_or_by_the_network() -> None:
    seen = view([RUNNING, STARTING, ON_NO_NETWORK])
    assert seen.containers == {"ep1": "web", "ep2": "db"}
    assert (seen.networks, seen.count) == ({"net1": "vnet"}, 3)


def test_one_that_has_joined_and_does_not_run_yet_is_the_containers() -> None:
    """Its volume hangs: the settings name no endpoint for as long."""
    waiting = RUNNING | {"Names": ["/renamed"], "NetworkSettings": {"Networks": {}}}
    assert view([waiting]).containers == {"ep1": "renamed"}


def test_an_endpoint_whose_container_is_gone_is_nobodys() -> None:
    assert view([ON_NO_NETWORK]).containers == {}
    assert view([]).containers == {}


def test_a_container_without_a_name_goes_by_its_id() -> None:
    assert view([RUNNING | {"Names": []}]).containers["ep1"] == "c1" * 32
    assert view([RUNNING | {"Names": ["/" + "\n" * 500]}]).containers["ep1"] == "?" * 128 + "..."


@pytest.mark.parametrize("answer", ODD_ANSWERS)
def test_what_is_no_list_is_refused_as_a_whole(answer: bytes) -> None:
    with pytest.raises(DecodeFailed, match=r"^cannot read Docker's answer to GET /containers/json\?all=1: "):
        read_containers(answer)


def test_an_answer_about_another_network_is_refused() -> None:
    with pytest.raises(DecodeFailed, match=r"it is about net2$"):
        read_places(json.dumps(NETWORK | {"Id": "net2"}).encode(), "net1")


def test_any_document_is_a_list_or_refused() -> None:
    chance = Random(7)
    good, refused = 0, 0
    for _ in range(2000):
        content = json.dumps(mutated([RUNNING, STARTING], chance)).encode()
        try:
            listed = read_containers(mutated_bytes(content, chance) if chance.random() < 0.3 else content)
        except DecodeFailed:
            refused += 1
            continue
        assert all(isinstance(name, str) and name.isprintable() for name in listed.names.values())
        good += 1
    assert min(good, refused) > 100
