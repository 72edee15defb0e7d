"""The kinds of machines that a run may mix: how each is made in the fake Azure, and by which names it is known there.

A shape is chosen by the node's place in the run, so that all processes agree about it. Whoever adds one writes a class
here, gives it a word in SHAPES, and says in `observer.Judge` which of Azure's limits it has that others have not.
"""

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from fakeazure import FakeAzure
    from fakeazure.records import Vm

GROUP = "azbox"
BLOCK = 16
"""Azure documentation: a NIC may have blocks of no other size, /28."""
SET = "nodes"
"""The scale set that all instances of a run are in."""


class Shape(Protocol):
    """A node is named by the run; `index` is its place, from 0."""

    replaced: bool
    """Another machine may come under the node's name: the fake's side door makes one."""
    step: int
    """How many addresses come with one ipConfiguration, and go with it."""
    windows: bool
    """Its pods are wired by the data plane for Windows."""
    dual: bool
    """Its pods get an address of each family."""

    def make(self, azure: "FakeAzure", node: str, index: int) -> "Vm":
        """A running machine with one NIC."""
        ...

    def vm(self, node: str, index: int) -> str:
        """The fake's name of the machine."""
        ...

    def nic(self, node: str, index: int) -> str:
        """Its NIC as the ledger writes it."""
        ...


class PlainVm:
    """A VM of its own, whose NIC is one, too; `step` is 16 where its pool consists of blocks."""

    replaced = True

    def __init__(self, step: int = 1, *, windows: bool = False, dual: bool = False) -> None:
        self.step = step
        self.windows = windows
        self.dual = dual

    def make(self, azure: "FakeAzure", node: str, index: int) -> "Vm":  # noqa: ARG002  # has no number
        return azure.add_vm(node, ipv6=self.dual)

    def vm(self, node: str, index: int) -> str:  # noqa: ARG002
        return node

    def nic(self, node: str, index: int) -> str:  # noqa: ARG002
        return f"{GROUP}/{node}-nic"


class UniformInstance:
    """An instance of a Uniform scale set: its NIC changes with its model, and goes with it."""

    replaced = False
    step = 1
    windows = False
    dual = False

    def make(self, azure: "FakeAzure", node: str, index: int) -> "Vm":  # noqa: ARG002
        if not azure.uniform.models:
            azure.uniform.add(SET, instances=0)
        return azure.uniform.start(SET, index)

    def vm(self, node: str, index: int) -> str:  # noqa: ARG002
        return f"{SET}_{index}"

    def nic(self, node: str, index: int) -> str:  # noqa: ARG002
        return f"{GROUP}/{SET}/{index}/{SET}-nic"


SHAPES: dict[str, Shape] = {
    "vm": PlainVm(),
    "uniform": UniformInstance(),
    "blocks": PlainVm(BLOCK),
    "windows": PlainVm(windows=True),
    "dual": PlainVm(dual=True),
}


def mixed(words: str) -> list[Shape]:
    """The shapes that nodes have by turns, from words with commas between; ValueError for a word that is none."""
    unknown = sorted(set(words.split(",")) - SHAPES.keys())
    if unknown:
        raise ValueError(f"cannot mix {', '.join(map(repr, unknown))}: the shapes of nodes are {', '.join(SHAPES)}")
    return [SHAPES[word] for word in words.split(",")]
