"""What `azure-cni why` has to say of one cause: the case, and the answer held against it."""

import re
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from azurebox.client import Box
from azurebox.steps import StepError
from scenarios.harness.cloud import Cloud
from scenarios.harness.commandline import ask, ask_until, follow
from scenarios.harness.node import Node
from scenarios.harness.pods import NAMESPACE
from scenarios.harness.product import Product
from scenarios.test_09_quota import Quota

SAID_S = 90.0
WELL_S = 180.0
CLOCKS_S = 2.0
"""Kubernetes' times are whole seconds."""
NOBODY, OWNER = "nobody", "the pod's owner"
CLUSTER, AZURE = "the cluster's administrator", "the administrator of the Azure subscription"
DESCRIBE = "kubectl describe nodeippool NODE"
LOGS = (
    "kubectl -n kube-system logs --since=10m $(kubectl -n kube-system get pods -o name -l app.kubernetes.io/"
    "name=azure-cni,app.kubernetes.io/component=agent --field-selector spec.nodeName=NODE)"
)
READ_NOW = 'kubectl annotate nodeippool NODE --overwrite azure-cni.io/read-now="$(date +%s)"'
TIME = r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ"
NEXT_TRY = rf"the agent's next try \(grow\) is at {TIME}, after \d+ tr(y|ies)"
KUBELET = r"the kubelet tries the pod again every 10 to 15 s"


@dataclass(frozen=True, slots=True)
class Scene:
    """What a case works with: the node that it is about, and the other one. `begun_s`: when, seconds since 1970."""

    box: Box
    cloud: Cloud
    product: Product
    quota: Quota
    node: Node
    other: Node
    begun_s: float

    def asked(self, pod: str, case: "Case", names: Mapping[str, str] | None = None) -> dict[str, Any]:
        """The answer about a pod, once it names the cause in the words of the case; it is printed.

        The first answer with that cause may be of a moment before: the pool's older spec, or a recall that only the
        controller has written yet.
        """

        def answered() -> dict[str, Any] | None:
            answer = ask("why", f"{NAMESPACE}/{pod}", "-o", "json")
            if not answer.printed:
                raise StepError("no answer", output=answer.complaint)
            (found,) = answer.document
            said = filled(case.said, {"NODE": found["node"] or self.node.name, "POD": pod, **(names or {})})
            if (found["cause"], found["actor"]) != (case.shown, case.actor) or said not in found["message"]:
                raise StepError("not yet", output=shown(found))
            assert answer.code == (0 if found["healthy"] else 1)
            return dict(found)

        found = self.box.wait_for(answered, SAID_S, f"why to say {case.shown} of {pod}", poll_s=0.5)
        print(shown(found))
        return found

    def well(self, pod: str) -> None:
        """Wait until nothing is wrong with a pod."""
        named = f"{NAMESPACE}/{pod}"
        ask_until(self.box, lambda answers: answers[0]["cause"] == "Addressed", "why", named, within_s=WELL_S)


Trouble = Callable[[Scene], AbstractContextManager[Any]]
NOTHING: Mapping[str, Any] = {}


@dataclass(frozen=True, slots=True)
class Case:
    """One cause, and what is to be said of it. In texts NODE, QUOTA, POD and COUNT are those of the case.

    `trouble` lasts while the answer is asked for. `spec` is what the pool is to be meanwhile; without it, one address
    more than the line has. `mends`: the command of the answer mends it, while all that `trouble` began still lasts;
    else that ends, and then the command is run.
    """

    cause: str
    trouble: Trouble
    actor: str
    command: str
    said: str
    then: str = NEXT_TRY
    spec: Mapping[str, Any] = field(default_factory=lambda: {"size": "COUNT"})
    mends: bool = False
    editor: str = "false"
    pasted: bool = True
    """The command may be run on the box."""
    named: str = ""
    """The code of the answer where it is another: that of the condition."""
    dated: bool = False
    """`since` is of this cause alone, from a condition, the pause or the pod's event; Ready may be False for longer."""

    @property
    def shown(self) -> str:
        """The code in the answer."""
        return self.named or self.cause


def shown(answer: Mapping[str, Any]) -> str:
    """An answer in lines, as a terminal has it."""
    rows = ("meaning", "since", "message", "nextStep", "actor", "do", "command", "page")
    notes = [f"  note      {note}" for note in answer["notes"]]
    return "\n".join(
        [f"{answer['pod']}: {answer['cause']}", *(f"  {row:9} {answer.get(row, '')}" for row in rows), *notes]
    )


def judge(answer: Mapping[str, Any], case: Case, names: Mapping[str, str], *, begun_s: float) -> None:
    """Hold an answer against the case. `begun_s`: the earliest time that it may name, seconds since 1970."""
    assert answer["actor"] == case.actor
    assert answer["command"].startswith(filled(case.command, names)), answer["command"]
    assert filled(case.said, names) in answer["message"]
    assert re.search(case.then, answer["nextStep"]), answer["nextStep"]
    assert answer["meaning"]
    assert answer["do"]
    assert answer["page"].startswith("docs/operations.md#")
    assert begun_s - CLOCKS_S <= seconds_of(answer["since"]) <= time.time() + CLOCKS_S, answer["since"]
    for at in re.findall(TIME, answer["nextStep"]):
        assert begun_s - CLOCKS_S <= seconds_of(at) <= time.time() + 1800, answer["nextStep"]


def filled(text: str, names: Mapping[str, str]) -> str:
    """A text of a case with its names."""
    for name, value in names.items():
        text = text.replace(name, value)
    return text


def seconds_of(at: str) -> float:
    """Since 1970."""
    return datetime.strptime(at, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC).timestamp()


@dataclass(frozen=True, slots=True)
class Patient:
    """A pod that something is wrong with: what ends that, and what waits until the pod is well."""

    pod: str
    mend: Callable[[], object]
    well: Callable[[], object]


def treat(scene: Scene, case: Case) -> None:
    """Ask about the patient of a case, mend what is wrong, and wait until it is well."""
    with case.trouble(scene) as patient:
        why = scene.asked(patient.pod, case)
        names = {"NODE": why["node"] or scene.node.name, "POD": patient.pod}
        judge(why, case, names, begun_s=scene.begun_s)
        if case.pasted:
            follow(why["command"])
        patient.mend()
        patient.well()


NOT_CAUSED: Mapping[str, str] = {
    "AddressesTaken": "a race of two pods for one address: nothing outside the agent can hold it open",
    "AgentStarting": "an agent that cannot read who it is says why (AzureUnreachable) after its first try",
    "AttachmentRefused": "the fake Azure refuses no attachment for a reason that has no word of its own",
    "AzureFailed": "the base of the kinds of failures: Azure gives no answer that is of none of them",
    "ConflistEdited": "the agent has written it again before a pod can be asked about (test_05_bad_input)",
    "InternalError": "a fault of azure-cni: one that were known would be mended",
    "KubernetesConflict": "a race for an object, which is run again at once",
    "KubernetesFailed": "the base of the kinds of failures: the API server gives no answer that is of none of them",
    "KubernetesInvalid": "its definition is older than the agent: an upgrade that nobody can make on the box",
    "KubernetesNotFound": "without the definition there are no pools, quotas and ledgers: no cluster to go on with",
    "KubernetesUnreachable": "without the API server there is nobody to ask, and no kubelet learns of a pod",
    "NicChanged": "a VM of the box cannot change its primary NIC; an agent puts right what somebody else writes",
    "NicForeign": "a Node that names another VM, which its kubelet would not register again",
    "NicMissing": "test_50_pod_subnet, on a node whose pods start all the same: a VM without a pool is not to be had",
    "NicUnknown": "Azure has no such name, and an agent puts right what somebody else writes",
    "NodeNotReady": "while an agent runs its pool says why; it is the word of a runtime that has no conflist yet",
    "NoPool": "an agent makes its pool within seconds, and one that may not says so (KubernetesDenied)",
    "NotAttested": "with nicWriter controller only, a run that leaves these scenarios out",
    "Starting": "it lasts ten seconds, on a machine of any speed",
}
"""Causes that no scenario brings about, and why; unit tests have them."""
