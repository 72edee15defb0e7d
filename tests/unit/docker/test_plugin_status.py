"""The status as people see it."""

from __future__ import annotations

from ipaddress import IPv4Address

import pytest

from azure_cni.api.node_ip_pool import parse
from azure_cni.docker.container_endpoints import DELETED, REQUESTED
from azure_cni.docker.engine_view import EngineReport, EngineView
from azure_cni.docker.plugin_status import document, lines
from azure_cni.ipam.address_state import Holder, Sandbox, Slot, State
from azure_cni.ipam.ledger import Ledger
from azure_cni.model.nic import ConfigName
from azure_cni.node.state import NodeState

POOL = parse(
    {
        "metadata": {"name": "vm1"},
        "status": {
            "nicID": "/nics/vm1-nic",
            "primaryIP": "10.240.0.4",
            "conditions": [{"type": "Ready", "status": "True", "reason": "PodsCanStart", "message": "one is free"}],
        },
    }
)


def slot(last: int, network: str = "", *, netns: str = "") -> Slot:
    sandbox = Sandbox(network, f"endpoint{last}abcdefgh", "eth")
    holder = Holder(sandbox, netns) if network else None
    state = State.ASSIGNED if network else State.FREE
    return Slot(IPv4Address(f"10.240.0.{last}"), ConfigName(f"c{last}"), state, 0.0, holder)


def test_every_stage_of_an_endpoint_is_shown() -> None:
    slots = (slot(5), slot(6, REQUESTED), slot(7, "net1"), slot(8, "net1", netns="/s"), slot(9, DELETED, netns="/s"))
    engine = EngineReport(EngineView({"endpoint8abcdefgh": "web"}, count=12), age_s=7.4)
    shown = document(POOL, Ledger(slots), NodeState(), networks=("net1",), unready="", engine=engine)
    assert [one["state"] for one in shown["endpoints"]] == ["requested", "created", "joined", "deleted"]
    assert list(lines(shown)) == [
        "vm1: ready",
        "  NIC: /nics/vm1-nic",
        "  VNet: not known yet",
        "  primary address: 10.240.0.4",
        "  Docker: 12 containers, listed 7 s ago",
        "  addresses: 5 allocated, 4 assigned, 1 free, 0 cooling, 0 granted, 0 target",
        "",
        "CONDITION  STATUS  REASON        MESSAGE",
        "Ready      True    PodsCanStart  one is free",
        "",
        "ADDRESS     STATE      NETWORK  ENDPOINT      CONTAINER",
        "10.240.0.6  requested  -        endpoint6abc  -",
        "10.240.0.7  created    net1     endpoint7abc  -",
        "10.240.0.8  joined     net1     endpoint8abc  web",
        "10.240.0.9  deleted    -        endpoint9abc  -",
    ]


def test_what_is_not_ready_says_why() -> None:
    shown = document(parse({}), Ledger(), NodeState(), networks=(), unready="Azure is silent")
    assert (shown["ready"], next(lines(shown))) == (False, "this VM: not ready: Azure is silent")


@pytest.mark.parametrize(
    ("engine", "line"),
    [
        (None, []),
        (EngineReport(), ["  Docker: its containers cannot be listed: not asked yet"]),
        (
            EngineReport(EngineView(count=3), 70.0, "cannot ask Docker: it hangs"),
            ["  Docker: its containers cannot be listed: cannot ask Docker: it hangs"],
        ),
        (EngineReport(EngineView(count=1)), ["  Docker: 1 container, listed 0 s ago"]),
    ],
)
def test_whether_docker_lists_its_containers_is_said(engine: EngineReport | None, line: list[str]) -> None:
    shown = document(POOL, Ledger(), NodeState(), networks=(), unready="", engine=engine)
    assert [said for said in lines(shown) if "Docker" in said] == line


@pytest.mark.parametrize(
    "odd", [{}, {"addresses": [], "conditions": 7, "endpoints": [1]}, {"node": 3, "docker": {"containers": []}}]
)
def test_any_document_has_lines(odd: dict[str, object]) -> None:
    assert list(lines(odd))
