"""The binary and the agent are held to the same bytes: what it sends is read here, what it expects is made here."""

from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path

import msgspec
import pytest

from azure_cni.cni.config import SUPPORTED, parse
from azure_cni.cni.results import add_result
from azure_cni.cni.wire import Add, Check, Collect, Delete, Status, decode, version_of
from azure_cni.datapath.interface import Wiring
from azure_cni.datapath.transparent import VethSpec, wiring

TESTDATA = Path(__file__).parents[3] / "operator" / "cni-plugin" / "testdata"
KINDS = {"add": Add, "del": Delete, "check": Check, "gc": Collect, "status": Status}
CONTAINER = "4f1c9a2be07d35c86ab1f2d3e4c5b6a7980f1e2d3c4b5a69788796a5b4c3d2e1"
NETNS = "/var/run/netns/cni-6a1f0c2e-93b4-4d58-8f27-1c0e5b7a9d34"


def test_there_is_something_to_read():
    assert {path.name.split("-")[0] for path in (TESTDATA / "requests").glob("*.json")} == KINDS.keys()


@pytest.mark.parametrize("path", sorted((TESTDATA / "requests").glob("*.json")), ids=lambda path: path.stem)
def test_what_the_binary_sends_is_understood(path):
    body = path.read_bytes()
    verb, variant = path.stem.split("-")
    request = decode(verb, body)
    assert type(request) is KINDS[verb]
    assert version_of(body) == (variant if variant in SUPPORTED else "1.1.0")
    match request:
        case Add(holder=holder) | Check(holder=holder):
            assert (holder.sandbox.container_id, holder.sandbox.ifname, holder.netns) == (CONTAINER, "eth0", NETNS)
            assert (holder.pod_namespace, holder.pod_name) == ("default", "web-5d4f8")
            assert holder.pod_uid == "0d9c1f7e-5b2a-4c83-9e64-7f10a2b3c4d5"
        case Delete(sandbox=sandbox):
            assert sandbox == ("azure-cni", CONTAINER, "eth0")
        case Collect(network=network, valid=valid):
            assert (network, valid) == ("azure-cni", {("azure-cni", CONTAINER, "eth0")})
    if isinstance(request, Check):
        assert request.expected == (IPv4Address("10.240.0.20"),)


@pytest.mark.parametrize("version", SUPPORTED)
def test_what_the_binary_takes_for_a_result_is_what_we_make(version):
    ends = wiring(VethSpec(CONTAINER, "eth0", NETNS, (IPv4Address("10.240.0.20"),), 1500))
    (node,) = ends.node
    node, pod = replace(node, mac="aa:aa:0a:f0:00:14"), replace(ends.pod, mac="aa:bb:0a:f0:00:14")
    conf = parse({"cniVersion": version, "name": "azure-cni", "type": "azure-cni"})
    made = add_result(conf, wiring=Wiring((replace(node, name="acniec1ba087916"),), pod), netns=NETNS)
    expected = (TESTDATA / "replies" / f"200-add-{version}.json").read_bytes()
    assert msgspec.json.decode(expected) == made
