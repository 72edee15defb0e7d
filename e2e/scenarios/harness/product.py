"""The installed product: its values, its agents, and how to take them away for a while."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import yaml

from azurebox import release
from azurebox.client import Box
from azurebox.earlier import Release
from azurebox.facts import AGNHOST
from scenarios.harness.node import Node

NAMESPACE = release.NAMESPACE
DAEMON_SET = "daemonset/azure-cni-agent"
CONTROLLERS = "deployment/azure-cni-controller"
LEASE = "azure-cni-controller"
ROLLOUT_S = 180

QUICK = {
    "agent.coolingSeconds": 2,
    "agent.shrinkDelaySeconds": 2,
    "agent.updateStrategy.rollingUpdate.maxUnavailable": "100%",
}
"""What takes minutes by default takes seconds, so that a scenario can wait for it."""


class Product:
    """azure-cni as helm installed it on the box."""

    def __init__(self, box: Box, *, nic_writer: str = "agent", mode: str = release.MODES[0]) -> None:
        self._box = box
        self.mode = mode
        self.nic_writer = nic_writer
        image = json.loads(box.helm("get", "values", release.NAME, "-n", NAMESPACE, "-o", "json"))["image"]
        self._image = {
            "image.repository": image["repository"], "image.tag": image["tag"], "helmTest.image": AGNHOST,
        }  # fmt: skip
        self._values: Mapping[str, object] | None = None

    @property
    def image(self) -> str:
        """The image that the box has built, as its nodes know it."""
        return f"{self._image['image.repository']}:{self._image['image.tag']}"

    def use(self, values: Mapping[str, object]) -> None:
        """Have it run with the box's values and these; nothing is done when it does already."""
        if values != self._values:
            self.install(values)

    def install(self, values: Mapping[str, object]) -> None:
        """Run helm upgrade --install, and wait until every agent is ready."""
        self._values = None
        self.helm_upgrade(values)
        self.await_ready()
        self._values = dict(values)

    def helm_upgrade(self, values: Mapping[str, object], *, of: Release | None = None) -> str:
        """The bare command, with the chart and image of the newest version or `of` another; whose image every node has.

        Raises:
            StepError: helm refuses; carries its words.

        """
        image = {"image.repository": of.repository, "image.tag": of.tag} if of else self._image
        sets = [f"--set-string={key}={value}" for key, value in image.items()]
        sets += [f"--set=nicWriter={self.nic_writer}", f"--set=mode={self.mode}"]
        sets += [f"--set={key}={value}" for key, value in values.items()]
        said = self._box.helm(
            "upgrade",
            "--install",
            release.NAME,
            str(of.chart if of else release.CHART),
            "-n",
            NAMESPACE,
            f"--values={release.VALUES}",
            *sets,
        )
        self._values = None
        return said

    def helm_rollback(self) -> str:
        """Run helm rollback, to what was installed before the last upgrade."""
        self._values = None
        return self._box.helm("rollback", release.NAME, "-n", NAMESPACE)

    def images(self, component: str) -> set[str]:
        """The images of the agents ("agent") or controllers ("controller") that there are, also of those that end."""
        return {pod["spec"]["containers"][0]["image"] for pod in self._pods(component)}

    def uninstall(self) -> str:
        """Run helm uninstall, and wait until the agents are gone."""
        self._values = None
        said = self._box.helm("uninstall", release.NAME, "-n", NAMESPACE)
        self._box.wait_for(lambda: not self._agents(), ROLLOUT_S, "the agents to be gone")
        return said

    def shipped(self) -> list[dict[str, Any]]:
        """All objects of the release, as helm sent them."""
        manifest = self._box.helm("get", "manifest", release.NAME, "-n", NAMESPACE)
        return [document for document in yaml.safe_load_all(manifest) if document]

    def found(self, objects: Sequence[Mapping[str, Any]]) -> list[str]:
        """Which of these objects the cluster has."""
        listed = json.dumps({"apiVersion": "v1", "kind": "List", "items": objects})
        return self._box.kubectl("get", "--ignore-not-found", "-o", "name", "-f", "-", input=listed).split()

    def await_ready(self) -> None:
        """Wait until the newest agents run on every node, nodes and agents say Ready, and no older pod is left."""
        self._box.kubectl("rollout", "status", "-n", NAMESPACE, DAEMON_SET, f"--timeout={ROLLOUT_S}s")
        self._box.wait_for(release.nodes_ready, ROLLOUT_S, "nodes and agents to be ready")
        # A Deployment has rolled out while its last pods of before still end.
        self._box.wait_for(lambda: not self._ending(), ROLLOUT_S, "the agents and controllers of before to be gone")

    def agent(self, node: Node) -> dict[str, Any]:
        """The agent's pod on a node; StepError while there is none."""
        found = [pod for pod in self._agents() if pod["spec"].get("nodeName") == node.name]
        return self._box.wait_for(lambda: found, 0, f"an agent on {node.name}")[0]

    def controller(self) -> dict[str, Any]:
        """The pod of a controller that runs, and goes on."""
        ready = [pod for pod in self._pods("controller") if pod["status"]["phase"] == "Running" and not _ends(pod)]
        return self._box.wait_for(lambda: ready, 0, "a controller that runs")[0]

    def leader(self) -> dict[str, Any]:
        """The pod of the controller that works."""

        def leading() -> dict[str, Any] | None:
            holder = self._box.kubectl_json("get", "lease", "-n", NAMESPACE, LEASE)["spec"].get("holderIdentity") or ""
            pods = (pod for pod in self._pods("controller") if holder.startswith(pod["metadata"]["name"]))
            return next((pod for pod in pods if not _ends(pod)), None)

        return self._box.wait_for(leading, ROLLOUT_S, "a controller to lead")

    def restart(self, node: Node) -> None:
        """Delete the agent of a node, and wait until another runs; whether it gets ready is the caller's to know."""
        old = self.agent(node)["metadata"]
        self._box.kubectl("delete", "pod", "-n", NAMESPACE, old["name"])

        def another() -> bool:
            pod = self.agent(node)
            return bool(pod["metadata"]["uid"] != old["uid"] and pod["status"]["phase"] == "Running")

        self._box.wait_for(another, ROLLOUT_S, f"another agent on {node.name}")

    def processes(self, node: Node) -> list[int]:
        """Process ids (the VM's) of the agent's container on a node; the sandbox's own pause process is none of it."""
        return _processes(node, self.agent(node))

    def controller_processes(self, node: Node) -> list[int]:
        """The same of the controller on a node; none where none runs."""
        return [
            pid
            for pod in self._pods("controller")
            if (pod["spec"].get("nodeName"), pod["status"]["phase"]) == (node.name, "Running")
            for pid in _processes(node, pod)
        ]

    def restarts(self) -> dict[str, int]:
        """How often each agent and controller was started again, by the pod's name."""
        pods = (*self._agents(), *self._pods("controller"))
        return {
            pod["metadata"]["name"]: sum(one["restartCount"] for one in pod["status"].get("containerStatuses", ()))
            for pod in pods
        }

    @contextmanager
    def away(self) -> Iterator[None]:
        """No agent runs anywhere while the block runs."""
        self._select({"scenarios/nowhere": "true"})
        try:
            self._box.wait_for(lambda: not self._agents(), ROLLOUT_S, "the agents to be gone")
            yield
        finally:
            self._select({"scenarios/nowhere": None})
            self.await_ready()

    @contextmanager
    def without_controllers(self) -> Iterator[None]:
        """No controller works while the block runs; afterwards as many as before."""
        replicas = self._box.kubectl_json("get", "-n", NAMESPACE, CONTROLLERS)["spec"]["replicas"]
        scale = ("scale", "-n", NAMESPACE, CONTROLLERS)
        self._box.kubectl(*scale, "--replicas=0")
        try:
            self._box.wait_for(lambda: not self._pods("controller"), ROLLOUT_S, "the controllers to be gone")
            yield
        finally:
            self._box.kubectl(*scale, f"--replicas={replicas}")
            self._box.kubectl("rollout", "status", "-n", NAMESPACE, CONTROLLERS, f"--timeout={ROLLOUT_S}s")

    def _select(self, labels: Mapping[str, str | None]) -> None:
        patch = {"spec": {"template": {"spec": {"nodeSelector": labels}}}}
        self._box.kubectl("patch", "-n", NAMESPACE, DAEMON_SET, "-p", json.dumps(patch))

    def _ending(self) -> list[str]:
        return [pod["metadata"]["name"] for pod in (*self._agents(), *self._pods("controller")) if _ends(pod)]

    def _agents(self) -> list[dict[str, Any]]:
        return self._pods("agent")

    def _pods(self, component: str) -> list[dict[str, Any]]:
        selector = f"app.kubernetes.io/name=azure-cni,app.kubernetes.io/component={component}"
        items: list[dict[str, Any]] = self._box.kubectl_json("get", "pods", "-n", NAMESPACE, "-l", selector)["items"]
        return items


def _ends(pod: Mapping[str, Any]) -> bool:
    return "deletionTimestamp" in pod["metadata"]


def _processes(node: Node, pod: Mapping[str, Any]) -> list[int]:
    container = pod["status"]["containerStatuses"][0]["containerID"].rpartition("/")[2]
    return [
        int(pid)
        for pid in node.run(
            "sh", "-c", f"cat $(find /sys/fs/cgroup -path '*{container}/cgroup.procs' | head -1)"
        ).split()
    ]
