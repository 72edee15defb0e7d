"""Attested documents in words, for tests of who is served: who signed them is for the adapter to find out."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from azure_cni.errors import NotAttested
from fakes.machines import identity_of


def attesting(vm: str) -> Callable[[str], Awaitable[str]]:
    """The metadata service of that VM: gives its document with any nonce."""

    async def document(nonce: str) -> str:
        return written(vm, nonce)

    return document


def written(vm: str, nonce: str) -> str:
    """The document of that VM with that nonce."""
    return f"{nonce} {identity_of(vm).vm_id}"


class FakeAttestations:
    """Implements `azure_cni.cluster.ports.Attestations`."""

    def __init__(self) -> None:
        self.verified: list[str] = []
        """The documents that proved something."""

    async def verify(self, document: str, *, nonce: str, vm_id: str) -> None:
        """Raise NotAttested, in the words of the adapter."""
        said, _, vm = document.partition(" ")
        if not nonce or said != nonce:
            raise NotAttested("the attested document answers another nonce than the controller's")
        if vm != vm_id:
            raise NotAttested(f"the attested document is of VM {vm}, and the node claims {vm_id}")
        self.verified.append(document)
