"""Every cause for which a pod waits or has no traffic: what it means, who must act, and what to do.

The same causes have a row each in docs/operations.md, where more is said; a test holds the two together. What a cause
says about this case (the numbers, Azure's words) is in the messages of the objects, not here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from azure_cni.diagnose.component_settings import SYSTEM

PAGE: Final = "docs/operations.md"
WAITING: Final = "a-pod-stays-in-containercreating"
PENDING: Final = "a-pod-stays-pending"
TRAFFIC: Final = "a-pod-has-an-address-but-no-traffic"
AGENT: Final = "an-agent-does-not-become-ready-or-restarts"
CONTROLLER: Final = "no-controller-answers"
QUOTA: Final = "the-quota-of-a-vnet-is-exhausted"
HOST: Final = "something-on-the-host-undoes-what-pods-need"
ATTACHED: Final = "a-pod-is-not-in-its-load-balancer-pool"
LOST: Final = "which-pod-has-this-address-and-which-nic-is-it-on"


class Actor(StrEnum):
    """Who has to do something."""

    NOBODY = "nobody"
    OWNER = "the pod's owner"
    CLUSTER = "the cluster's administrator"
    AZURE = "the administrator of the Azure subscription"


@dataclass(frozen=True, slots=True)
class Cause:
    """One of them. `command` has NODE, POD, NAMESPACE, QUOTA, LIMIT, SETTING and SYSTEM in
    it, which `in_words` replaces.

    SYSTEM is the namespace of azure-cni itself.
    """

    meaning: str
    actor: Actor
    do: str
    command: str = ""
    section: str = WAITING

    @property
    def page(self) -> str:
        """Where the documentation has more."""
        return f"{PAGE}#{self.section}"


DESCRIBE: Final = "kubectl describe nodeippool NODE"
READ_NOW: Final = 'kubectl annotate nodeippool NODE --overwrite azure-cni.io/read-now="$(date +%s)"'
RAISE: Final = """kubectl patch vnetquota QUOTA --type=merge -p '{"spec":{"limit":LIMIT}}'"""
SCALE: Final = (
    "kubectl scale -n SYSTEM deployment -l app.kubernetes.io/name=azure-cni,app.kubernetes.io/component=controller "
    "--replicas=2"
)
RESTART: Final = "kubectl delete nodeippool NODE"
UNCHAIN: Final = "helm upgrade azure-cni charts/azure-cni -n SYSTEM --reset-then-reuse-values --set SETTING"
_UNCHAINED: Final = {"portmap": "cni.chainPortmap=false", "bandwidth": "cni.chainBandwidth=false"}
_MISSING_PLUGIN: Final = re.compile(r'the plugin (\S+) is missing|failed to find plugin "([^"]+)"')
_LOGS: Final = (
    "kubectl -n SYSTEM logs --since=10m $(kubectl -n SYSTEM get pods -o name "
    "-l app.kubernetes.io/name=azure-cni,app.kubernetes.io/component=agent --field-selector spec.nodeName=NODE)"
)
_AGENTS: Final = (
    "kubectl -n SYSTEM get pods -l app.kubernetes.io/name=azure-cni,app.kubernetes.io/component=agent "
    "--field-selector spec.nodeName=NODE -o wide"
)
_CONTROLLERS: Final = (
    "kubectl -n SYSTEM get pods -l app.kubernetes.io/name=azure-cni,app.kubernetes.io/component=controller -o wide"
)
_POD: Final = "kubectl describe pod -n NAMESPACE POD"
REDEFINE: Final = "kubectl apply --server-side --force-conflicts -f crds/"
_SPEC_LOST: Final = "note first what you have set in its spec, which is empty then"
_PASSES: Final = "wait; it passes without help"
_FAULT: Final = "report it, with the traceback that the agent's log has; it is tried again"


def _kubernetes(meaning: str, do: str) -> Cause:
    return Cause(meaning, Actor.CLUSTER, do, _AGENTS, AGENT)


CAUSES: Final[Mapping[str, Cause]] = MappingProxyType(
    {
        "PoolGrowing": Cause("Azure is adding addresses; a write of a NIC takes seconds to minutes", Actor.NOBODY,
                             "wait; if such bursts are common, raise pool.minFree", "azure-cni plan NODE"),
        "NodeAtLimit": Cause("the node holds as many addresses as it may, and all are taken", Actor.CLUSTER,
                             "raise the limit that the message names, or let fewer pods onto the node",
                             "kubectl edit nodeippool NODE"),
        "QuotaExceeded": Cause("all of the VNet's quota is granted", Actor.CLUSTER,
                               "raise spec.limit of the VNetQuota, or give addresses back", RAISE, QUOTA),
        "IdleRecalled": Cause("the VNet's quota or the subnet has no more; idle addresses of other nodes are taken "
                              "back for the pods that wait here", Actor.NOBODY,
                              "wait; it takes a write of each NIC that gives, and one of this node's",
                              "kubectl describe vnetquota QUOTA", QUOTA),
        "WriteBudget": Cause("other nodes' NICs are written first, or this node has had its answers of this minute, or "
                             "its instance of a scale set the writes that Azure allows it", Actor.NOBODY,
                             "wait; spec.writesPerMinute of the VNetQuota is the budget",
                             "kubectl get vnetquota QUOTA -o yaml"),
        "EntryRefused": Cause("the API server refuses this node's entry in the VNet's ledger", Actor.CLUSTER,
                              f"delete the pool: the agent makes it again, with a new entry; {_SPEC_LOST}", RESTART),
        "VNetUnconfirmed": Cause("Azure has not confirmed to the controller that the node's VNet exists", Actor.AZURE,
                                 "give the controller's identity Microsoft.Network/virtualNetworks/usages/read on the "
                                 "VNet, or create a VNetQuota for it by hand", DESCRIBE),
        "NicChanged": Cause("the node is on another NIC than before", Actor.AZURE,
                            "delete NICs that are no longer used; the controller asks Azure again each minute",
                            DESCRIBE),
        "NicUnknown": Cause("the pool names a NIC that cannot be one of Azure's", Actor.CLUSTER,
                            f"delete the pool: the agent makes it again; {_SPEC_LOST}", RESTART),
        "NicForeign": Cause("Azure shows the pool's NIC on another VM than the Node's spec.providerID names",
                            Actor.CLUSTER, "was the VM moved or recreated? delete the Node and restart its kubelet; if "
                            "not, treat the node as compromised", "kubectl get node NODE -o yaml"),
        "AwaitingGrant": Cause("the node asked the controller and has no answer", Actor.CLUSTER,
                               "see whether a controller runs", _CONTROLLERS, CONTROLLER),
        "SubnetFull": Cause("the subnet has no address left", Actor.AZURE,
                            "free some of its addresses, or enlarge it; then have the node try at once", READ_NOW),
        "Throttled": Cause("Azure asked to wait", Actor.NOBODY,
                           "wait; on many nodes at once, use fewer and larger steps (pool.batch, pool.minFree)",
                           DESCRIBE),
        "NicUpdating": Cause("another operation holds the NIC, or the outcome of the last write is not known yet",
                             Actor.NOBODY, "wait; if it lasts, Azure's activity log says who writes to the NIC",
                             DESCRIBE),
        "AccessDenied": Cause("a permission in Azure is missing; the message names it", Actor.AZURE,
                              "assign the role there (the pool's condition PermissionMissing has the command); then "
                              "have the node try at once",
                              READ_NOW, AGENT),
        "NotAttested": Cause("the node did not prove to the controller which VM it is", Actor.CLUSTER,
                             "read what is missing in the message", DESCRIBE, AGENT),
        "PoolPaused": Cause("somebody set spec.paused", Actor.CLUSTER, "ask them, and end the pause",
                            "azure-cni resume NODE"),
        "AddressesTaken": Cause("what became free went to other pods that wait", Actor.NOBODY, _PASSES),
        "AgentStarting": Cause("the agent has not read yet who this node is in Azure", Actor.NOBODY, _PASSES, DESCRIBE),
        "ChangedMeanwhile": Cause("somebody else changed the NIC; it is read and decided again", Actor.NOBODY, _PASSES,
                                  DESCRIBE),
        "OperationFailed": Cause("Azure accepted a write and did not carry it out", Actor.NOBODY, _PASSES, DESCRIBE),
        "OutcomeUnknown": Cause("Azure accepted a write, and its end could not be seen", Actor.NOBODY, _PASSES,
                                DESCRIBE, AGENT),
        "AzureUnreachable": Cause("Azure Resource Manager does not answer", Actor.CLUSTER,
                                  "look at DNS, routes and the proxy of the node", DESCRIBE, AGENT),
        "AzureFailed": Cause("Azure did not do what was asked", Actor.CLUSTER, "read the message", DESCRIBE, AGENT),
        "NotFound": Cause("the VM, NIC or VNet is not found, or hidden from this identity", Actor.AZURE,
                          "is the role assigned in the VNet's resource group too?", DESCRIBE, AGENT),
        "NicMissing": Cause("the VM has no NIC in the subnet that its pods shall be in, or theirs cannot be told",
                            Actor.AZURE, "the message has the commands", DESCRIBE),
        "RequestRefused": Cause("Azure refuses the NIC's document as it stands", Actor.AZURE,
                                "the message names the policy, lock or limit; change it, then have the node try at "
                                "once", READ_NOW),
        "LedgerFailed": Cause("the ledger's file cannot be read or written", Actor.CLUSTER,
                              "is /run of the node, or C: on Windows, full or read-only?", _LOGS, AGENT),
        "DatapathFailed": Cause("the node's kernel, or HNS on Windows, refused what pods need", Actor.CLUSTER,
                                "read what failed in the message", _LOGS, AGENT),
        "InternalError": Cause("a fault of azure-cni", Actor.CLUSTER, _FAULT, _LOGS, AGENT),
        "InvalidConfig": Cause("the numbers in the pool's spec contradict each other", Actor.CLUSTER,
                               "correct spec of the NodeIPPool", "kubectl edit nodeippool NODE",
                               "a-pool-does-not-grow"),
        "KubernetesFailed": _kubernetes("the API server did not do what was asked", "read the message"),
        "KubernetesUnreachable": _kubernetes("the API server does not answer the agent", "look at the node's network"),
        "KubernetesDenied": _kubernetes("the agent's account lacks a right", "helm upgrade puts the ClusterRole back"),
        "KubernetesConflict": _kubernetes("an object changed while it was written", _PASSES),
        "KubernetesNotFound": _kubernetes("an object or its definition is missing", REDEFINE),
        "KubernetesInvalid": _kubernetes("the API server refuses the object", REDEFINE),
        "PluginMissing": Cause("a plugin that the conflist names is missing on the node", Actor.CLUSTER,
                               "install it, or do without what it is for: portmap for pods with a hostPort, "
                               "bandwidth for pods with a limit of theirs", UNCHAIN, AGENT),
        "ConflistEdited": Cause("somebody edited the node's CNI configuration", Actor.NOBODY,
                                "wait a minute: the agent puts it right; if not, see its log", _LOGS),
        "NodeNotReady": Cause("the node cannot take a pod yet", Actor.NOBODY, "wait until the agent is ready",
                              DESCRIBE, AGENT),
        "AgentAway": Cause("no agent serves this node; pods that run keep running", Actor.CLUSTER,
                           "see why the agent's pod does not run", _AGENTS, AGENT),
        "NoPool": Cause("the node has no NodeIPPool: no agent has begun there", Actor.CLUSTER,
                        "see whether the agent's pod runs there", _AGENTS, AGENT),
        "Unschedulable": Cause("the scheduler has found no node for it", Actor.OWNER,
                               "read what the scheduler says", "kubectl describe pod -n NAMESPACE POD", PENDING),
        "NoFreeAddresses": Cause("nodes without a free address are closed to new pods", Actor.CLUSTER,
                                 "see why each of them is full", "azure-cni status", PENDING),
        "AddressesLost": Cause("another tool removed the pod's address from the NIC", Actor.OWNER,
                               "delete the pod: the new one gets an address that works",
                               "kubectl delete pod -n NAMESPACE POD", TRAFFIC),
        "AddressTwice": Cause("two pods have this address, and the NIC of one node only", Actor.OWNER,
                              "delete the pod whose NIC has not got it", "kubectl delete pod -n NAMESPACE POD", LOST),
        "HostConflict": Cause("something on the host is in the way of pods' traffic", Actor.CLUSTER,
                              "the message has the command that ends it", DESCRIBE, TRAFFIC),
        "AttachmentPending": Cause("what the pod asks to have attached to its address is not attached yet",
                                   Actor.NOBODY, "wait; the node writes its NIC at a pace, and Azure takes its time",
                                   "azure-cni plan NODE", ATTACHED),
        "AttachmentInvalid": Cause("an annotation of the pod cannot be used", Actor.OWNER,
                                   "correct it: it needs the full ID of a resource", _POD, ATTACHED),
        "AttachmentNotAllowed": Cause("the pod's namespace may not use the resource", Actor.CLUSTER,
                                      "list it in podNetworking.allowed of the chart for that namespace", _POD,
                                      ATTACHED),
        "AttachmentNotFound": Cause("Azure does not find the resource that the pod asks for", Actor.OWNER,
                                    "create it, or correct its ID", _POD, ATTACHED),
        "AttachmentDenied": Cause("a permission to join a resource is missing", Actor.AZURE,
                                  "assign the role there; the message, or the condition PermissionMissing, names both",
                                  DESCRIBE, ATTACHED),
        "AttachmentInUse": Cause("something else has the public IP address", Actor.OWNER,
                                 "end that, or name another one", _POD, ATTACHED),
        "AttachmentRefused": Cause("Azure refuses to attach the resource", Actor.AZURE,
                                   "Azure's words are in the log of the node's agent", _LOGS, ATTACHED),
        "AttachmentNotAsked": Cause("the pod's readiness gate waits for something to be attached, and it names nothing",
                                    Actor.OWNER, "remove the gate, or add an annotation", _POD, ATTACHED),
        "AttachmentHostNetwork": Cause("the pod is on its node's network, and has no address of its own", Actor.OWNER,
                                       "remove hostNetwork, or the readiness gate and the annotations", _POD,
                                       ATTACHED),
        "AttachmentImpossible": Cause("nothing can be attached to the address that the pod has", Actor.OWNER,
                                      "run it where the message says, or delete it for another address", _POD,
                                      ATTACHED),
        "NotOurs": Cause("nothing of azure-cni keeps the pod waiting", Actor.OWNER,
                         "look at volumes, secrets and images", "kubectl describe pod -n NAMESPACE POD"),
        "Starting": Cause("the pod was placed a moment ago", Actor.NOBODY, "ask again in a few seconds"),
        "HostNetwork": Cause("the pod uses the node's network and address", Actor.NOBODY, "nothing"),
        "Ended": Cause("the pod has ended and holds no address any more", Actor.NOBODY, "nothing",
                       "azure-cni who ADDRESS --at TIME"),
        "Addressed": Cause("the pod has its address, and nothing is known to be wrong with it", Actor.NOBODY,
                           "if traffic fails all the same, go through the checks of that page", "", TRAFFIC),
    }
)  # fmt: skip
"""By reason, as events and conditions have it."""

UNKNOWN: Final = Cause("a reason that this version of the command line does not know", Actor.CLUSTER,
                       "read the message", DESCRIBE)  # fmt: skip


def cause_of(reason: str) -> Cause:
    """What is known of a reason; reasons of newer agents are only passed on."""
    return CAUSES.get(reason, UNKNOWN)


def unchained(message: str) -> str:
    """The setting with which the plugin that a message misses is not called; "" where there is none."""
    found = _MISSING_PLUGIN.search(message)
    return _UNCHAINED.get(found[1] or found[2], "") if found else ""


def in_words(command: str, **names: str) -> str:
    """A command with the names of this case: `in_words(..., node="vm1")`. What is not known stays in capitals.

    azure-cni's own commands are told where it is installed, as `system`, unless that is where they look.
    """
    if command.startswith("azure-cni ") and names.get("system", SYSTEM) != SYSTEM:
        command += " --system-namespace SYSTEM"
    for name, value in names.items():
        if value:
            command = command.replace(name.upper(), value)
    return command
