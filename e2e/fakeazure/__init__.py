"""A faithful Azure in one process: resource manager, managed and workload identity, instance metadata, wireserver.

    azure = FakeAzure(operation_duration_s=0.2, seed=1)
    azure.add_vnet(subnets={"nodes": "10.240.0.0/22"})
    vm = azure.add_vm("vm1", secondaries=3)
    azure.pin_caller("vm1")                                 # who asks IMDS from 127.0.0.1
    azure.faults.add(Throttled(), operation="nic.put", resource=vm.nic, seconds=30)
    async with azure.serve() as endpoints:                  # endpoints.arm, .imds, .wireserver, .ca_file
        ...

It obeys Azure's rules as far as they are documented or recorded. Each module lists what was chosen where Azure's
behaviour is not known. Left out: IPv6, and writes of other resources than NICs, subnets,
security groups, route tables, load balancers, public IP addresses, NAT gateways, VNets, resource groups
and virtual machines.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from fakeazure.clock import Clock, ManualClock, SystemClock
from fakeazure.effective import EffectiveAddress, EffectiveNetwork, EffectiveNic, EffectiveSubnet, EffectiveVNet
from fakeazure.faults import (
    Busy,
    FailOperation,
    Forbidden,
    LostReply,
    MetadataError,
    NoEffect,
    NoIPv6Block,
    OddBody,
    Page,
    Refuse,
    Relinked,
    Silent,
    SlowOperation,
    Stale,
    SubnetFull,
    Superseded,
    Throttled,
    TouchedMeanwhile,
)
from fakeazure.records import Vm

if TYPE_CHECKING:
    from fakeazure.fake import FakeAzure
    from fakeazure.server import Endpoints

_SERVING = {"FakeAzure": "fakeazure.fake", "Endpoints": "fakeazure.server"}
"""What needs a web server and certificates, by the module that has it: imported when somebody asks for it, because the
words of the command line (`admincli`) need neither and are typed often.
"""

__all__ = [
    "Busy",
    "Clock",
    "EffectiveAddress",
    "EffectiveNetwork",
    "EffectiveNic",
    "EffectiveSubnet",
    "EffectiveVNet",
    "Endpoints",
    "FailOperation",
    "FakeAzure",
    "Forbidden",
    "LostReply",
    "ManualClock",
    "MetadataError",
    "NoEffect",
    "NoIPv6Block",
    "OddBody",
    "Page",
    "Refuse",
    "Relinked",
    "Silent",
    "SlowOperation",
    "Stale",
    "SubnetFull",
    "Superseded",
    "SystemClock",
    "Throttled",
    "TouchedMeanwhile",
    "Vm",
]


def __getattr__(name: str) -> object:
    """What is in `_SERVING`."""
    if name not in _SERVING:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_SERVING[name]), name)
