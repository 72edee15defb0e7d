"""The fixed facts of the box: names, addresses and places.

Every name carries the prefix `azbox-`, so that a real cluster on the same machine is never touched, and every
address exists only inside network namespaces that the box itself makes.
"""

import os
from ipaddress import IPv4Address, IPv4Network, IPv6Network
from pathlib import Path

PREFIX = "azbox-"
CONTROL_PLANE = "azbox-cp"
FABRIC_NETNS = "azbox-fabric"
DEFAULT_NODES = 2
MAX_NODES = 16  # a bound on what one machine is asked to carry
SCALE_SET = "azbox-set"  # in Uniform mode; there from its first instance on
MAX_INSTANCES = 8

SUBSCRIPTION = "00000000-0000-0000-0000-00000000b0c5"
RESOURCE_GROUP = "azbox"

SERVICE_CIDR = IPv4Network("10.96.0.0/16")
SERVICE_CIDR6 = IPv6Network("fd00:96::/108")  # of a box with both families
KUBERNETES_SERVICE = IPv4Address("10.96.0.1")  # the first of the service CIDR, by the API server's own rule
CLUSTER_DNS = IPv4Address("10.96.0.10")  # the tenth, as kubeadm has it
CLOUD_DNS = IPv4Address("168.63.129.16")  # Azure's resolver, at the same address in every VNet

REPOSITORY = Path(__file__).resolve().parents[2]
RUN = Path("/run/azbox")  # what lives as long as the box: process records, sockets, credentials of people
DISKS = Path("/var/lib/azbox")  # what VMs keep on disk
LOGS = DISKS / "log"  # of what runs; logs of builds are in the cache
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "azure-cni-box"
AZURE_SOCKET = RUN / "azure.sock"  # the fake Azure's side door, for people and tests
BOX_SOCKET = RUN / "box.sock"  # the cloud's door for the box itself
AZURE_CA = RUN / "ca.pem"  # who signs the fake Azure's certificates
ATTESTATION_CA = RUN / "attestation-ca.pem"  # who signs its metadata service's attested documents
KUBECONFIG = RUN / "admin.kubeconfig"
AGNHOST = "localhost/azbox/agnhost:1"  # the image of test pods, which each node has


def node_name(number: int) -> str:
    """Name of the node `number`, counted from 1: its VM, its Kubernetes node and its network namespace."""
    return f"{PREFIX}vm{number}"


def instance_name(number: int) -> str:
    """Name of the instance `number` of the scale set, counted from 0: what its computer is called in Azure, its node
    and its network namespace. (Azure counts in base 36, which is the same below ten.)
    """
    return f"{SCALE_SET}{number:06}"


def instance_number(vm: str) -> int | None:
    """The number of an instance, by its name; None for a VM of its own."""
    number = vm.removeprefix(SCALE_SET)
    return int(number) if number != vm and number.isdigit() else None


def vm_id(vm: str) -> str:
    """Azure's resource id of a VM of the box."""
    compute = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/{RESOURCE_GROUP}/providers/Microsoft.Compute"
    number = instance_number(vm)
    if number is None:
        return f"{compute}/virtualMachines/{vm}"
    return f"{compute}/virtualMachineScaleSets/{SCALE_SET}/virtualMachines/{number}"


def nic_name(vm: str) -> str:
    """By which name the fake Azure knows the primary NIC of a VM of the box."""
    number = instance_number(vm)
    return f"{vm}-nic" if number is None else f"{SCALE_SET}_{number}/{SCALE_SET}-nic"
