"""With whose address a pod's traffic leaves the VNet: what annotations say, and who may say it. Pure.

Inside the VNet a pod always has its own address. What leaves the VNet takes the primary address of the node, unless the
annotation `azure-cni.io/egress: pod` on the pod, or on its namespace, keeps the pod's own: a firewall, a NAT gateway or
a peer beyond a gateway then sees which pod it was. The pod's annotation wins over the namespace's.

An address of its own lets a pod through wherever rules name addresses of nodes, or keeps it out, so the administrator
names the namespaces that may use it. Anybody who may create pods can write annotations.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from azure_cni.model.attachments import EVERY_NAMESPACE
from azure_cni.model.text import legible

EGRESS: Final = "azure-cni.io/egress"
"""Annotation of pods and namespaces."""

LONGEST: Final = 64
"""Characters of an annotation's value that are kept; Kubernetes allows a pod 256 KiB of annotations."""


class Egress(StrEnum):
    """Whose address traffic has that leaves the VNet."""

    NODE = "node"
    POD = "pod"


INVALID: Final = "EgressInvalid"
NOT_ALLOWED: Final = "EgressNotAllowed"
HOST_NETWORK: Final = "EgressHostNetwork"
"""Reasons of the events on pods whose annotation has no effect."""


@dataclass(frozen=True, slots=True)
class EgressChoice:
    """What a pod gets. `refusal` and `message` say why that is not what its annotation says; "" where it is."""

    egress: Egress
    refusal: str = ""
    message: str = ""


@dataclass(frozen=True, slots=True)
class EgressNamespaces:
    """The namespaces whose pods may leave the VNet with their own address."""

    names: frozenset[str] = frozenset()

    @classmethod
    def of(cls, names: Iterable[str]) -> EgressNamespaces:
        """Names as the administrator wrote them, `*` for all."""
        return cls(frozenset(name for name in names if name))

    def __bool__(self) -> bool:
        return bool(self.names)

    def include(self, namespace: str) -> bool:
        """Whether pods of this namespace may."""
        return namespace in self.names or EVERY_NAMESPACE in self.names


def choose(*, pod: str, namespace: str, name: str, allowed: EgressNamespaces) -> EgressChoice:
    """What a pod in the namespace `name` gets; `pod` and `namespace` are the annotation's values, "" for none."""
    value, whose = (pod, "the pod") if pod else (namespace, f"the namespace {name}")
    if not value or value == Egress.NODE:
        return EgressChoice(Egress.NODE)
    if value != Egress.POD:
        return EgressChoice(
            Egress.NODE,
            INVALID,
            f'the annotation {EGRESS} of {whose} is "{legible(value)}", and must be "pod" or "node": what this pod '
            "sends out of the VNet has the node's address",
        )
    if not allowed.include(name):
        return EgressChoice(
            Egress.NODE,
            NOT_ALLOWED,
            f'the annotation {EGRESS} of {whose} is "pod", but pods of the namespace {name} may not leave the VNet '
            f"with their own address: what this pod sends out of it has the node's. An administrator can allow it: add "
            f"{name} to the value podNetworking.egress.namespaces of the chart azure-cni",
        )
    return EgressChoice(Egress.POD)


def on_node_network(*, pod: str) -> EgressChoice:
    """What a pod gets that is on its node's network; `pod` is the value of its own annotation."""
    if pod != Egress.POD:
        return choose(pod=pod, namespace="", name="", allowed=EgressNamespaces())
    return EgressChoice(
        Egress.NODE,
        HOST_NETWORK,
        f'the annotation {EGRESS} of the pod is "pod", but it is on its node\'s network (hostNetwork: true) and has no '
        "address of its own: what it sends out of the VNet has the node's; remove hostNetwork or the annotation",
    )
