"""In which pod subnets a node may have the controller act: those that people chose for it, and no others of its VM.

An operation claims the subnet that the node's pool is in (`IdentityClaim.pod_subnet`), and the NIC that the VM has
there is the one that is read and written. Which it shall be is for people to say: in the spec of the node's pool, or in
the chart's rules, by the labels of its Node. No agent may write either. By its own word alone an agent could have
addresses put on any NIC of its VM, in a subnet that was never meant for pods.

Where pods run, a pool stays where it was when people choose another subnet, so what was chosen before still counts: the
controller's last result has the subnet in which it found the NIC, and no agent may write that either. Between two
choices a node may claim both, so this controller remembers which it has served.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from azure_cni.api.nic_wishes import wanted_subnet
from azure_cni.api.node_ip_pool import NodeIPPool
from azure_cni.api.operation_result_codec import read_pod_subnet
from azure_cni.cluster.node_allowance import Spent
from azure_cni.cluster.operation_calls import insist
from azure_cni.cluster.ports import Nodes
from azure_cni.errors import ConfigInvalid
from azure_cni.model.identity import PRIMARY_NIC, IdentityClaim, is_same
from azure_cni.model.nic import SubnetID
from azure_cni.model.pod_subnets import PodSubnetRule, subnet_for
from azure_cni.quota.operation_checks import refuse_unchosen


class PodSubnetClaims:
    """`rules` are the chart's `pool.subnets`."""

    def __init__(self, *, nodes: Nodes, rules: Sequence[PodSubnetRule] = ()) -> None:
        self._nodes = nodes
        self._rules = rules

    async def check(self, claim: IdentityClaim, pool: NodeIPPool, spent: Spent) -> None:
        """AccessDenied if nobody chose the subnet for this node. `spent` remembers those that somebody did."""
        subnet = claim.pod_subnet
        if subnet == PRIMARY_NIC or _was_chosen(subnet, pool, spent):
            return
        spec = _of_spec(pool)
        ruled = PRIMARY_NIC if spec or not self._rules else subnet_for(self._rules, await self._labels(pool.name))
        refuse_unchosen(subnet, spec=spec, ruled=ruled, node=pool.name)
        spent.pod_subnets.add(subnet.lower())

    async def _labels(self, name: str) -> Mapping[str, str]:
        return await insist(lambda: self._nodes.labels(name), pool=name) or {}


def _was_chosen(subnet: SubnetID, pool: NodeIPPool, spent: Spent) -> bool:
    """Before: this controller has served it, or the one before found the NIC there."""
    return subnet.lower() in spent.pod_subnets or is_same(subnet, read_pod_subnet(pool))


def _of_spec(pool: NodeIPPool) -> SubnetID:
    """PRIMARY_NIC where the spec names none, or none that can be used: its agent leaves that aside, too."""
    try:
        return wanted_subnet(pool) or PRIMARY_NIC
    except ConfigInvalid:
        return PRIMARY_NIC
