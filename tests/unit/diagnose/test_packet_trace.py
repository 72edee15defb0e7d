"""What `trace` decides, by a table of cases, and what holds for any table. The kernel's word on the same: datapath."""

from __future__ import annotations

from ipaddress import IPv4Address

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from azure_cni.api.trace_reports import ForwardingReport, TableReport
from azure_cni.diagnose.packet_trace import FarEnd, HopResult, PacketSource, PacketTrace, trace_packet

A, B, NIC_ONLY, PRIMARY = "10.240.0.36", "10.240.0.37", "10.240.0.99", "10.240.0.4"
PEER, CONFIGURED, OUTSIDE = "10.241.0.9", "192.168.50.1", "203.0.113.9"
WIRESERVER, METADATA, LINK_LOCAL = "168.63.129.16", "169.254.169.254", "169.254.7.7"
TABLE = TableReport(
    mode="transparent",
    uplink="eth0",
    primary=PRIMARY,
    pool=[A, B, NIC_ONLY],
    routable=["10.240.0.0/16", "10.241.0.0/16", "192.168.50.0/24"],
    vnet=["10.240.0.0/16"],
    peered=["10.241.0.0/16"],
    configured=["192.168.50.0/24"],
    wireserver=WIRESERVER,
    metadata=METADATA,
    link_local="169.254.0.0/16",
)
POD = PacketSource(A, "vm1", "/nics/vm1-nic", ("acni0",))
PASSES, REFUSED = HopResult.PASSES, HopResult.REFUSED


def out(destination: str, interface: str = "eth0") -> ForwardingReport:
    return ForwardingReport(destination, "forward", interface, "10.240.0.1", 254)


def said(found: PacketTrace, hop: str) -> str:
    return next((one.message for one in found.hops if one.hop == hop), "")


@pytest.mark.parametrize(
    ("table", "way", "port", "result", "seen_as", "words"),
    [
        (TABLE, out(OUTSIDE), 443, PASSES, PRIMARY, "the node's, 10.240.0.4: the destination is outside the VNet"),
        (TABLE, out("10.240.9.9"), 0, PASSES, A, "the destination is in the VNet"),
        (TABLE, out(PEER), 0, PASSES, A, "the destination is in a peered VNet"),
        (TABLE, out(CONFIGURED), 0, PASSES, A, "the destination is in routablePrefixes"),
        (replace(TABLE, public=[A]), out(OUTSIDE), 0, PASSES, A, "it has a public IP address in Azure"),
        (replace(TABLE, own_egress=[A]), out(OUTSIDE), 0, PASSES, A, "the annotation azure-cni.io/egress"),
        (replace(TABLE, pool=[B]), out(OUTSIDE), 0, PASSES, A, "not in the node's pool any more"),
        (replace(TABLE, way_out="wg0"), out(OUTSIDE, "wg0"), 0, PASSES, "", "that of wg0"),
        (replace(TABLE, way_out="wg0"), out(PEER, "wg0"), 0, PASSES, A, "the destination is in a peered VNet"),
        (
            replace(TABLE, uplink="eth1", node_nic="eth0"),
            out(OUTSIDE, "eth1"),
            0,
            PASSES,
            A,
            "the NIC of the pods' own",
        ),
        (
            replace(TABLE, uplink="eth1", node_nic="eth0"),
            out(WIRESERVER),
            53,
            PASSES,
            PRIMARY,
            "Azure's platform answers",
        ),
        (replace(TABLE, uplink="eth1", node_nic="eth0"), out(PEER), 0, PASSES, PRIMARY, "in a peered VNet"),
        (replace(TABLE, uplink="eth1", node_nic="eth0"), out(B), 0, REFUSED, "", "no pod has"),
        (TABLE, out(OUTSIDE, "tun0"), 0, PASSES, A, "tun0 is not the NIC"),
        (TABLE, out(WIRESERVER), 53, PASSES, PRIMARY, "DNS is what pods reach of 168.63.129.16"),
        (TABLE, out(WIRESERVER), 80, REFUSED, "", "pods reach only the DNS, port 53"),
        (TABLE, out(WIRESERVER), 0, REFUSED, "", "pods reach only the DNS, port 53"),
        (TABLE, out(METADATA), 80, REFUSED, "", "imds.allowPods: false"),
        (replace(TABLE, imds_allowed=True), out(METADATA), 80, PASSES, PRIMARY, "imds.allowPods: true"),
        (replace(TABLE, imds_allowed=True), out(LINK_LOCAL), 0, REFUSED, "", "no link-local address"),
        (TABLE, out(NIC_ONLY), 0, REFUSED, "", "no pod has"),
        (TABLE, ForwardingReport(B, "forward", "acni1", table=254, pod="pod d/b"), 0, PASSES, A, "to pod d/b of this"),
        (TABLE, ForwardingReport(METADATA, "local", "lo", table=255), 80, PASSES, A, "an address of the node itself"),
        (TABLE, ForwardingReport(OUTSIDE, "refuse", why="No route to host"), 0, REFUSED, "", "No route to host"),
        (TABLE, ForwardingReport("127.0.0.1", "refuse", why="martian"), 0, PASSES, "127.0.0.1", "is the pod itself"),
        (TABLE, ForwardingReport(A, "refuse", why="martian"), 0, PASSES, A, "is the pod itself"),
    ],
)
def test_cases(table: TableReport, way: ForwardingReport, port: int, result: HopResult, seen_as: str, words: str):
    found = trace_packet(POD, table, way, FarEnd(), port=port)
    assert (found.result, found.seen_as) == (result, seen_as)
    assert words in " ".join(hop.message for hop in found.hops)


def test_what_azure_decides_is_said_with_the_command_that_shows_it():
    found = trace_packet(POD, TABLE, out(OUTSIDE), FarEnd())
    (azure,) = [hop for hop in found.hops if hop.hop == "azure"]
    assert azure.result is HopResult.UNKNOWN
    assert "az network nic list-effective-nsg --ids /nics/vm1-nic" in azure.command
    assert "az network nic show-effective-route-table --ids /nics/vm1-nic" in azure.command
    near = trace_packet(POD, TABLE, ForwardingReport(B, "forward", "acni1", pod="pod d/b"), FarEnd())
    assert "no security group" in said(near, "azure")


def test_a_bridge_is_named_and_so_is_who_is_at_the_far_end():
    bridged = PacketSource(A, "vm1", interfaces=("acni0", "azure0"))
    found = trace_packet(bridged, replace(TABLE, mode="bridge"), out("10.240.9.9"), FarEnd("pod d/c on node vm2"))
    assert "by acni0, a port of azure0, mode bridge" in said(found, "pod")
    assert said(found, "far end") == f"pod d/c on node vm2, which sees {A}"


addresses = st.one_of(
    st.sampled_from([A, B, NIC_ONLY, PRIMARY, PEER, CONFIGURED, OUTSIDE, WIRESERVER, METADATA, LINK_LOCAL]),
    st.integers(0, 2**32 - 1).map(lambda number: str(IPv4Address(number))),
)
ways = st.builds(
    ForwardingReport,
    destination=addresses,
    kind=st.sampled_from(["forward", "local", "refuse"]),
    interface=st.sampled_from(["eth0", "wg0", "acni1", ""]),
    pod=st.sampled_from(["", "pod d/b"]),
)
tables = st.builds(
    lambda pool, public, egress, way_out, imds: replace(
        TABLE, pool=pool, public=public, own_egress=egress, way_out=way_out, imds_allowed=imds
    ),
    *(st.lists(st.sampled_from([A, B, NIC_ONLY]), unique=True) for _ in range(3)),
    st.sampled_from(["", "wg0"]),
    st.booleans(),
)


@given(tables, ways, st.sampled_from([0, 53, 80]))
def test_for_any_table(table: TableReport, way: ForwardingReport, port: int):
    found = trace_packet(POD, table, way, FarEnd(), port=port)
    stops = [hop for hop in found.hops if hop.result in {HopResult.REFUSED, HopResult.DROPPED}]
    assert bool(stops) == (found.result is not PASSES)
    assert found.hops[-1] in (stops or found.hops), "nothing is decided after a refusal"
    assert found.seen_as in {A, PRIMARY, way.destination, ""}
    if way.destination == WIRESERVER and way.kind == "forward" and port != 53:
        assert found.result is REFUSED
    if way.destination == METADATA and way.kind == "forward" and not table.imds_allowed:
        assert found.result is REFUSED
    if way.kind == "local" and way.destination != A:
        assert not stops
