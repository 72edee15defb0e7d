"""What a runtime asks for, by each of the places that CNI's conventions have for it."""

from __future__ import annotations

from ipaddress import IPv4Address
from typing import Any

import pytest

from azure_cni.cni.config import parse
from azure_cni.cni.requested import asked_beside, requested_address
from azure_cni.datapath.interface import NO_OPTIONS, PodOptions, PublishedPort, Resolver
from azure_cni.errors import ConfigInvalid, EnvironmentInvalid

CONFIG = {"cniVersion": "1.0.0", "name": "azure-cni", "type": "azure-cni"}
WANTED = IPv4Address("10.240.0.36")


def asked(environment: dict[str, str] | None = None, /, **config: Any) -> IPv4Address | None:
    return requested_address(parse(CONFIG | config), environment or {})


@pytest.mark.parametrize("text", ["10.240.0.36", "10.240.0.36/22"])
@pytest.mark.parametrize("place", ["runtimeConfig", "args", "CNI_ARGS"])
def test_each_place_is_read_with_and_without_a_prefix(place: str, text: str) -> None:
    if place == "CNI_ARGS":
        assert asked({"IP": text, "IgnoreUnknown": "1"}) == WANTED
    else:
        ips = {"ips": [text]}
        assert asked(**{place: ips if place == "runtimeConfig" else {"cni": ips}}) == WANTED


def test_one_address_may_be_named_in_several_places() -> None:
    assert asked({"IP": "10.240.0.36"}, runtimeConfig={"ips": ["10.240.0.36/22"]}) == WANTED


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"runtimeConfig": {"ips": [], "mac": ""}},
        {"runtimeConfig": {"ips": None, "portMappings": []}},
        {"args": {"cni": {"ips": []}}},
        {"args": {"cni": "prose", "ips": ["10.240.0.36"]}},
        {"args": {"labels": []}},
    ],
)
def test_nothing_asked_for_is_no_address(config: dict[str, Any]) -> None:
    assert asked({"IP": "", "MAC": "", "K8S_POD_NAME": "web"}, **config) is None


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"runtimeConfig": {"ips": ["10.240.0.36", "10.240.0.37"]}}, "a container has one address"),
        ({"args": {"cni": {"ips": ["10.240.0.36"]}}, "runtimeConfig": {"ips": ["10.240.0.37"]}}, "one address; name"),
        ({"runtimeConfig": {"ips": ["fd00::5"]}}, r"cannot use 'fd00::5' \(runtimeConfig.ips\): it is no IPv4 address"),
        ({"runtimeConfig": {"ips": ["10.240.0.361"]}}, "no IPv4 address"),
        ({"runtimeConfig": {"ips": [7]}}, r"cannot use 7 \(runtimeConfig.ips\)"),
        ({"runtimeConfig": {"ips": "10.240.0.36"}}, "not a list of addresses"),
        ({"args": {"cni": {"ips": ["\n"]}}}, r"cannot use '\\n' \(args.cni.ips\)"),
        (
            {"runtimeConfig": {"mac": "02:00:00:00:00:01"}},
            r"cannot use the MAC '02:00:00:00:00:01' \(runtimeConfig.mac\)",
        ),
        ({"args": {"cni": {"mac": "02:00:00:00:00:01"}}}, "has no effect; leave it out"),
    ],
)
def test_what_cannot_be_had_is_refused_and_never_passed_over(config: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigInvalid, match=words):
        asked(**config)


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ({"IP": "10.240.0.36,10.240.0.37"}, r"cannot use 10.240.0.36, 10.240.0.37 \(IP= in CNI_ARGS\)"),
        ({"IP": "web"}, r"cannot use 'web' \(IP= in CNI_ARGS\)"),
        ({"MAC": "02:00:00:00:00:01"}, r"\(MAC= in CNI_ARGS\)"),
    ],
)
def test_what_is_wrong_in_the_environment_is_an_error_of_the_environment(args: dict[str, str], words: str) -> None:
    with pytest.raises(EnvironmentInvalid, match=words):
        asked(args)


@pytest.mark.parametrize(
    ("config", "found"),
    [
        ({}, None),
        ({"runtimeConfig": {"dns": {}}}, None),
        ({"runtimeConfig": {"dns": {"servers": ["10.0.0.10", "fd00::a"]}}}, Resolver(("10.0.0.10", "fd00::a"))),
        (
            {"runtimeConfig": {"dns": {"servers": None, "searches": ["svc.cluster.local"], "options": ["ndots:5"]}}},
            Resolver((), ("svc.cluster.local",), ("ndots:5",)),
        ),
        ({"dns": {"nameservers": ["10.0.0.2"], "search": ["a"]}}, Resolver(("10.0.0.2",), ("a",))),
        (
            {"dns": {"nameservers": ["10.0.0.2"]}, "runtimeConfig": {"dns": {"servers": ["10.0.0.10"]}}},
            Resolver(("10.0.0.10",)),
        ),
    ],
)
def test_a_resolver_is_the_runtimes_choice_before_the_networks(config: dict[str, Any], found: Resolver | None) -> None:
    assert asked_beside(parse(CONFIG | config), ["dns"]) == PodOptions(resolver=found)
    assert asked_beside(parse(CONFIG | config), []) == NO_OPTIONS


@pytest.mark.parametrize(
    "dns", ["10.0.0.10", ["10.0.0.10"], {"servers": "10.0.0.10"}, {"servers": ["kube-dns"]}, {"searches": [7]}, 7]
)
def test_what_is_no_resolver_is_refused(dns: Any) -> None:
    with pytest.raises(ConfigInvalid, match=r"cannot use runtimeConfig\.dns: "):
        asked_beside(parse(CONFIG | {"runtimeConfig": {"dns": dns}}), ["dns"])
    assert asked_beside(parse(CONFIG | {"runtimeConfig": {"dns": dns}}), []) == NO_OPTIONS


def publishing(*ports: Any) -> Any:
    return parse(CONFIG | {"runtimeConfig": {"portMappings": list(ports)}})


def test_ports_are_published_where_that_is_asked_of_the_plugin() -> None:
    config = publishing(
        {"hostPort": 8080, "containerPort": 80, "protocol": "tcp", "hostIP": ""},
        {"hostPort": 53, "containerPort": 5353, "protocol": "udp", "hostIP": "10.240.0.4"},
        {"hostPort": 0, "containerPort": 81},
        {"hostPort": 82, "containerPort": 82, "hostIP": "0.0.0.0"},
    )
    assert asked_beside(config, ["portMappings"]).ports == (
        PublishedPort(6, 8080, 80),
        PublishedPort(17, 53, 5353, IPv4Address("10.240.0.4")),
        PublishedPort(6, 82, 82),
    )


@pytest.mark.parametrize("published", [{"hostPort": 80}, {"hostPort": 80, "containerPort": 80}, 7])
def test_ports_that_nobody_publishes_are_refused(published: Any) -> None:
    with pytest.raises(ConfigInvalid, match="is reached there at every port that it listens on"):
        asked_beside(publishing(published), ["dns"])


@pytest.mark.parametrize(
    "port",
    [
        {"hostPort": 80},
        {"hostPort": 80, "containerPort": 0},
        {"hostPort": 65536, "containerPort": 80},
        {"hostPort": 80, "containerPort": 80, "protocol": "sctp"},
        {"hostPort": 80, "containerPort": 80, "hostIP": "fd00::4"},
        {"hostPort": "80", "containerPort": 80},
        "80:80",
    ],
)
def test_what_is_no_port_is_refused(port: Any) -> None:
    with pytest.raises(ConfigInvalid, match=r"cannot use runtimeConfig\.portMappings: "):
        asked_beside(publishing(port), ["portMappings"])
