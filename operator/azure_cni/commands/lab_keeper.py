"""Makes what `azure-cni test` needs in a cluster, waits for it, and removes it whatever happens.

Everything has the label of its run, and only what has it is removed: an object whose creation was not answered is
found by it, and one of the same name that somebody else made stays.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

from azure_cni.api.reading import metadata_of, spec_of, text
from azure_cni.commands.access import ClusterAccess
from azure_cni.diagnose.evidence import NodeFacts, condition_of
from azure_cni.diagnose.network_checks import LabPod
from azure_cni.diagnose.network_lab import (
    RUN,
    SERVICE,
    TEST,
    is_made_by_test,
    namespace_object,
    placed,
    pod_object,
    run_of,
    service_object,
)
from azure_cni.diagnose.object_parsing import parse_pod
from azure_cni.errors import KubeConflict, KubeDenied, KubeError, KubeNotFound
from azure_cni.model.text import counted

NAMESPACES: Final = "/api/v1/namespaces"
CLEAN: Final = "azure-cni test --clean"
LOOK_AGAIN_S: Final = 1.0
REMOVAL_S: Final = 60.0
"""For which an API server that is away is tried again."""
ALL_OF_TEST: Final = f"app.kubernetes.io/name={TEST}"


class LabKeeper:
    """Of one run in one namespace: its own, or one that an administrator has prepared."""

    def __init__(self, access: ClusterAccess, namespace: str, run: str) -> None:
        self._access = access
        self.namespace, self.run = namespace, run
        self._path = f"{NAMESPACES}/{namespace}"
        self._touched = False
        """Something may be there that has to go."""

    def make(self, nodes: Sequence[NodeFacts], *, image: str, until_s: float) -> None:
        """Namespace, Service and pods. KubeError where that cannot be, or another test is at work there."""
        self._make_namespace(until_s)
        self._touched = True
        self._access.create_object(f"{self._path}/services", service_object(self.run))
        for role, node in placed(nodes).items():
            self._insist(f"{self._path}/pods", pod_object(role, node, self.run, image=image), until_s)

    def _make_namespace(self, until_s: float) -> None:
        """One that is just being removed is waited for."""
        self._touched = True
        while True:
            try:
                self._access.create_object(NAMESPACES, namespace_object(self.namespace, self.run))
            except (KubeConflict, KubeDenied) as error:
                there = self._present(error)
            else:
                return
            if there is None or (metadata_of(there).get("deletionTimestamp") and time.monotonic() < until_s):
                time.sleep(LOOK_AGAIN_S)
                continue
            self._touched = False
            if is_made_by_test(there) or self._left():
                raise KubeConflict(
                    f"cannot test in namespace {self.namespace}: another test runs there, or one was interrupted. "
                    f"{CLEAN} -n {self.namespace} removes what it left"
                )
            return

    def _present(self, refusal: KubeError) -> Mapping[str, Any] | None:
        """The namespace, where it is there already; None where it has gone since. Else the refusal is raised."""
        try:
            return self._access.read_object(self._path)
        except KubeNotFound:
            if isinstance(refusal, KubeDenied):
                raise KubeDenied(
                    f"{refusal}; have an administrator make namespace {self.namespace} and bind the chart's "
                    f"ClusterRole {TEST} in it (docs/command-line.md#who-may-use-it)"
                ) from refusal
            return None

    def _insist(self, path: str, body: Mapping[str, Any], until_s: float) -> None:
        """The service account of a new namespace is made a moment after it."""
        while True:
            try:
                self._access.create_object(path, body)
            except KubeDenied as error:
                if "serviceaccount" not in str(error) or time.monotonic() >= until_s:
                    raise
                time.sleep(LOOK_AGAIN_S)
            else:
                return

    def await_pods(self, *, until_s: float) -> tuple[dict[str, LabPod], list[str]]:
        """The pods that are ready, by role, and the names of those that are not in time."""
        while True:
            bodies = self._listed("pods", f"{RUN}={self.run}")
            ready = [one for one in bodies if condition_of(one.get("status") or {}, "Ready").get("status") == "True"]
            if (bodies and len(ready) == len(bodies)) or time.monotonic() >= until_s:
                made = {one.role: one for one in map(_lab_pod, ready)}
                return made, sorted({text(metadata_of(one).get("name")) for one in bodies} - made.keys())
            time.sleep(LOOK_AGAIN_S)

    def service_address(self) -> str:
        """Of the Service in the cluster."""
        return text(spec_of(self._access.read_object(f"{self._path}/services/{SERVICE}")).get("clusterIP"))

    def remove(self) -> str:
        """All of this run; why it could not be, "" where it is being removed."""
        return self._removed(run=self.run) if self._touched else ""

    def remove_all(self) -> str:
        """All of every run in this namespace."""
        return self._removed(run="")

    def _removed(self, *, run: str) -> str:
        until_s = time.monotonic() + REMOVAL_S
        while True:
            try:
                self._remove(run)
            except KubeDenied as error:
                return self._stays(error)
            except KubeError as error:
                if time.monotonic() >= until_s:
                    return self._stays(error)
                time.sleep(LOOK_AGAIN_S)
            else:
                return ""

    def _stays(self, error: KubeError) -> str:
        return f"not all was removed: {error}; later: {CLEAN} -n {self.namespace}"

    def _remove(self, run: str) -> None:
        """The namespace where it is the test's, else what is in it. `run`: of this one only."""
        try:
            there = self._access.read_object(self._path)
        except KubeNotFound:
            return
        if is_made_by_test(there) and run in {"", run_of(there)}:
            self._delete(self._path)
            return
        selector = f"{RUN}={run}" if run else ALL_OF_TEST
        for kind in ("pods", "services"):
            for one in self._listed(kind, selector):
                self._delete(f"{self._path}/{kind}/{text(metadata_of(one).get('name'))}")

    def _delete(self, path: str) -> None:
        try:
            self._access.delete_object(path)
        except (KubeNotFound, KubeConflict):  # gone, or going
            return

    def _left(self) -> str:
        """What an earlier run left in a namespace that was prepared."""
        found = self._listed("pods", ALL_OF_TEST)
        return counted(len(found), "pod") if found else ""

    def _listed(self, kind: str, selector: str) -> Sequence[Mapping[str, Any]]:
        return self._access.list_objects(f"{self._path}/{kind}", labelSelector=selector)


def _lab_pod(body: Mapping[str, Any]) -> LabPod:
    pod = parse_pod(body)
    return LabPod(pod.name, pod.name, pod.node, pod.addresses[0] if pod.addresses else "")
