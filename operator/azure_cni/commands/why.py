"""`why`: why has this pod no address or no traffic, and what has to be done?"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from azure_cni.commands import reads
from azure_cni.commands.access import ClusterAccess
from azure_cni.commands.flags import cluster_command, namespace_flags
from azure_cni.commands.output import BAD, GOOD, ExitCode, Form, emit, facts, progress
from azure_cni.commands.reads import PodReading
from azure_cni.diagnose.evidence import ClusterEvidence, PodFacts
from azure_cni.diagnose.pod_diagnosis import PodDiagnosis, explain_pod
from azure_cni.diagnose.pod_features import may_wait
from azure_cni.errors import ConfigInvalid, KubeDenied, KubeError, KubeNotFound
from azure_cni.model.text import counted

if TYPE_CHECKING:
    from rich.console import Console


@click.command(short_help="Say why a pod has no address or no traffic.")
@click.argument("pod", required=False)
@namespace_flags
@click.option("-A", "--all-namespaces", "everywhere", is_flag=True, help="All pods that wait, in all namespaces.")
@cluster_command
def why(access: ClusterAccess, form: Form, *, pod: str | None, namespace: str | None, everywhere: bool) -> ExitCode:
    """Say why POD has no address or no traffic: the cause, since when, what comes next, and who must do what.

    POD is a name or NAMESPACE/NAME. Without it: all pods of the namespace that wait for an address, or for a load
    balancer pool or public IP address that they ask for. Exits with 1 if something is wrong with one of them.
    """
    namespace = namespace or access.namespace
    evidence = reads.read_cluster(access)
    if pod is not None:
        if everywhere:
            raise ConfigInvalid("cannot use -A with the name of a pod: say in which namespace it is, with -n")
        namespace, _, name = pod.partition("/") if "/" in pod else (namespace, "", pod)
        answers = _explained(access, evidence, [reads.read_pod(access, namespace, name)])
    else:
        waiting = [one for one in evidence.pods if (everywhere or one.namespace == namespace) and may_wait(one)]
        if not evidence.knows("pods"):
            raise KubeDenied(f"cannot say which pods wait: {'; '.join(evidence.unread)}; name one: azure-cni why POD")
        with progress(f"asking about {counted(len(waiting), 'pod')}"):
            found = reads.at_once(lambda one: _read_listed(access, one), waiting)
            answers = _explained(access, evidence, [one for one in found if one is not None])
        answers = [one for one in answers if not (one.healthy and one.addresses)]
    emit(answers, form, _show_diagnoses)
    return ExitCode.WELL if all(one.healthy for one in answers) else ExitCode.WRONG


def _read_listed(access: ClusterAccess, pod: PodFacts) -> PodReading | None:
    """None for one that was deleted after it was listed."""
    try:
        return reads.read_pod(access, pod.namespace, pod.name)
    except KubeNotFound:
        return None


def _explained(access: ClusterAccess, evidence: ClusterEvidence, pods: Sequence[PodReading]) -> list[PodDiagnosis]:
    """In the pods' order. Each agent is asked once, however many of its node's pods wait: an answer is a process there,
    in the memory that the agent has.
    """
    by_node = defaultdict[str, list[PodReading]](list)
    for one in pods:
        by_node[one.pod.node].append(one)
    found = [
        diagnosis
        for diagnoses in reads.at_once(lambda on_node: _explain_node(access, evidence, on_node), by_node.values())
        for diagnosis in diagnoses
    ]
    order = {one.pod.full_name: place for place, one in enumerate(pods)}
    return sorted(found, key=lambda one: order[one.pod])


def _explain_node(access: ClusterAccess, evidence: ClusterEvidence, pods: Sequence[PodReading]) -> list[PodDiagnosis]:
    """Pods of one node, with its agent's own answer where it may be asked; without it the objects say enough."""
    node, report = pods[0].pod.node, None
    agent = evidence.agent(node)
    asked = any(not one.pod.addresses or one.pod.asks or one.pod.egress for one in pods)
    if agent is not None and agent.ready and asked:
        try:
            report = reads.ask_agent(access, agent)
        except KubeError:
            report = None
    return [
        explain_pod(one.pod, evidence, one.events, now_s=time.time(), report=report, unread=one.unread) for one in pods
    ]


def _show_diagnoses(console: Console, answers: list[PodDiagnosis]) -> None:
    if not answers:
        console.print(f"{GOOD} no pod waits for an address, or for what it asks to have attached", style="green")
    for number, one in enumerate(answers):
        if number:
            console.print()
        console.print(f"{GOOD if one.healthy else BAD} {one.pod}: {one.cause}", style="green" if one.healthy else "red")
        console.print(
            facts(
                [
                    ("node", one.node),
                    ("means", one.meaning),
                    ("since", one.since),
                    ("said", one.message),
                    ("next", one.next_step),
                    ("who", f"{one.actor}: {one.do}"),
                    ("do", one.command),
                    ("more", one.page),
                    *(("note", note) for note in one.notes),
                ]
            )
        )
