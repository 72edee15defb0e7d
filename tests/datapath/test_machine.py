"""The node of the tests itself."""

from __future__ import annotations

from datapath.left_behind import NAMESPACES, own_prefix
from datapath.machine import Machine
from datapath.namespaces import NEEDS_ROOT
from datapath.node_site import A, B

pytestmark = NEEDS_ROOT


def test_a_pod_has_one_namespace_however_often_it_is_asked_for(machine: Machine) -> None:
    """The kernel takes a tenth of a second to make one and to take it away, and nothing else of the kind meanwhile."""
    one, other = machine.spec(A), machine.spec(B)
    made = set(NAMESPACES.glob(f"{own_prefix()}*"))
    assert machine.spec(A) == one
    assert machine.gateway_mac(B) == other.host_mac
    assert machine.way_to(B) == other.host_ifname
    assert set(NAMESPACES.glob(f"{own_prefix()}*")) == made
