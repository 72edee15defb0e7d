"""Docker's own firewall, which drops whatever a host forwards that is not Docker's (`-P FORWARD DROP`).

So on a host with Docker nothing would reach a container on the VNet, or leave it. Two rules at the end of the chain
admit it: what is for our links, and what leaves them by the NIC. They come after `DOCKER-USER`, so what an
administrator denies there stays denied, and after Docker's isolation of its bridges, which our containers do not reach.
The rules are made by the command that Docker itself uses, because nobody else knows which of the kernel's two tables
for them (iptables' own or nftables') it is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

from azure_cni.datapath.names import PREFIX
from azure_cni.errors import DatapathError
from azure_cni.model.text import legible

COMMENT: Final = "azure-cni"
DROPS: Final = "-P FORWARD DROP"
LOCK_WAIT_S: Final = 5
"""iptables has one lock for all programs; Docker holds it for milliseconds."""
_PATIENCE_S: Final = 15.0


def wanted(uplink: str) -> tuple[tuple[str, ...], ...]:
    """The rules, as arguments after `-A FORWARD`."""
    accept = ("-m", "comment", "--comment", COMMENT, "-j", "ACCEPT")
    return (("-o", f"{PREFIX}+", *accept), ("-i", f"{PREFIX}+", "-o", uplink, *accept))


def lacking(listing: str, uplink: str) -> tuple[tuple[str, ...], ...]:
    """Those of them that a chain, as `iptables -S FORWARD` shows it, needs; none where it does not drop."""
    lines = listing.splitlines()
    if DROPS not in lines:
        return ()
    return tuple(rule for rule in wanted(uplink) if f"-A FORWARD {' '.join(rule)}" not in lines)


class DockerFirewall:
    """Implements `azure_cni.docker.ports.Forwarding`. `command` runs iptables in the node's network namespace."""

    def __init__(self, command: Sequence[str] = ("iptables",)) -> None:
        self._command = tuple(command)
        self._one_at_a_time = asyncio.Lock()

    async def admit(self, uplink: str) -> bool:
        """Add the rules that are missing. Where there is no iptables, Docker cannot have used it either."""
        async with self._one_at_a_time:
            missing = lacking(await self._run("-S", "FORWARD") or "", uplink)
            for rule in missing:
                await self._run("-A", "FORWARD", *rule)
        return bool(missing)

    async def _run(self, *arguments: str) -> str | None:
        """What it printed; None where it is not installed. DatapathError when it fails."""
        command = (*self._command, "-w", str(LOCK_WAIT_S), *arguments)
        pipe = asyncio.subprocess.PIPE
        try:
            process = await asyncio.create_subprocess_exec(*command, stdout=pipe, stderr=pipe)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise _failed(arguments, error.strerror or str(error)) from error
        try:
            async with asyncio.timeout(_PATIENCE_S):
                output, complaint = await process.communicate()
        except TimeoutError as error:
            raise _failed(arguments, f"it has not ended within {_PATIENCE_S:g} s") from error
        finally:
            if process.returncode is None:
                process.kill()
        if process.returncode:
            raise _failed(arguments, legible(complaint.decode(errors="replace").strip()))
        return output.decode(errors="replace")


def _failed(arguments: Sequence[str], why: str) -> DatapathError:
    return DatapathError(
        f"cannot admit containers' traffic beside Docker's firewall: iptables {' '.join(arguments)}: {why}; try that "
        "command by hand"
    )
