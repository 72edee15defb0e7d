"""The box as tests see it: `Box().kubectl("get", "pods")` and its like, against a box that is up."""

import json
import time
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from azurebox import azure, controlplane, lifecycle, processes, release
from azurebox.facts import instance_number
from azurebox.machine import Machine
from azurebox.node import load_image
from azurebox.steps import StepError

T = TypeVar("T")


class Box:
    """A box that is up.

    Raises:
        StepError: it is not up (on creation); any method, when what it runs fails, with what that said.

    """

    def __init__(self) -> None:
        lifecycle.require_up()

    @property
    def nodes(self) -> list[str]:
        """The names of the nodes, in order."""
        return [machine.name for machine in lifecycle.node_machines()]

    def kubectl(self, *args: str, input: str | None = None) -> str:  # noqa: A002  the word of subprocess
        """Run kubectl as the administrator; its output."""
        return controlplane.kubectl(*args, stdin=input)

    def kubectl_json(self, *args: str) -> Any:
        """Run kubectl with `-o json`; the document."""
        return json.loads(self.kubectl(*args, "-o", "json"))

    def apply(self, *documents: dict[str, Any]) -> str:
        """Apply documents."""
        return self.kubectl(
            "apply", "-f", "-", input=json.dumps({"apiVersion": "v1", "kind": "List", "items": documents})
        )

    def helm(self, *args: str) -> str:
        """Run helm as the administrator; its output."""
        return release.helm(*args)

    def exec(self, vm: str, cmd: Sequence[str]) -> str:
        """Run a command inside a VM; its output."""
        return Machine(vm).run(list(cmd))

    def azure(self, method: str, path: str, json: object = None) -> Any:
        """One request to the fake Azure's side door; the decoded reply."""
        return azure.request(method, path, json)

    def stop(self, service: str) -> None:
        """End a service, such as `azbox-cp-kube-apiserver` or `azbox-vm1-kubelet`, until `start`."""
        processes.halt(processes.require(service))

    def start(self, service: str) -> None:
        """Start a service that was stopped; containerd answers when this returns."""
        lifecycle.start(service)

    def revive(self) -> list[str]:
        """Start each service that has ended, as systemd does on a real machine; their names."""
        return lifecycle.revive()

    def reboot(self, vm: str) -> None:
        """Pull a node's plug and boot it again; its disk stays."""
        lifecycle.reboot(vm)

    def power_off(self, vm: str) -> None:
        """Pull a node's plug, as when its VM is deallocated."""
        lifecycle.power_off(vm)

    def power_on(self, vm: str) -> None:
        """Boot a node that was powered off."""
        lifecycle.power_on(vm)

    def replace(self, vm: str, *, like: str = "") -> None:
        """Another VM in the place of a node's, under its name, maybe with a disk made from another node's."""
        lifecycle.replace(vm, like=like)
        load_image(Machine(vm), release.installed_image())

    def add_node(self, *, instance: bool = False) -> str:
        """One node more, with the product's image in it as on the others; its name.

        With `instance` it is one of the Uniform scale set, else a VM of its own.
        """
        before = self.nodes
        instances = sum(instance_number(name) is not None for name in before)
        lifecycle.up(len(before) - instances + (not instance), instances=instances + instance)
        (name,) = set(self.nodes) - set(before)
        load_image(Machine(name), release.installed_image())
        return name

    def remove(self, vm: str, *, keep_nic: bool) -> None:
        """Take a node out of the cluster and delete its VM."""
        lifecycle.remove(vm, keep_nic=keep_nic)

    def wait_for(self, predicate: Callable[[], T | None], timeout_s: float, what: str, *, poll_s: float = 0.25) -> T:
        """Ask `predicate` until it answers something true, and return that; a StepError it raises counts as no.

        Raises:
            StepError: nothing true within `timeout_s`; says `what`, and the last error or answer.

        """
        deadline = time.monotonic() + timeout_s
        while True:
            try:
                answer = predicate()
                last = f"the last answer was {answer!r}"
            except StepError as error:
                answer, last = None, str(error)
            if answer:
                return answer
            if time.monotonic() > deadline:
                raise StepError(f"waited {timeout_s:.0f} s in vain for {what}", output=last)
            time.sleep(poll_s)
