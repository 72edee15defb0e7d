"""Which versions of the CNI specification a plugin of the node speaks: the plugin itself says so (VERSION).

The program is run in the agent's container. Who can replace it gains nothing by that: the runtime runs the same file
on the node for each pod, as root and with every capability.
"""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path
from typing import Final

import msgspec

from azure_cni.api.reading import NOT_JSON
from azure_cni.cni.versions import NEWEST
from azure_cni.errors import AzureCniError

PATIENCE_S: Final = 5.0
"""VERSION reads nothing but its input; a reference plugin answers in milliseconds."""


class _Answer(msgspec.Struct):
    supportedVersions: frozenset[str]  # noqa: N815  # the specification's spelling


async def spoken_versions(program: Path, *, patience_s: float = PATIENCE_S) -> frozenset[str]:
    """What the plugin answers to VERSION. AzureCniError when it cannot be run here, or does not answer in time."""
    try:
        process = await asyncio.create_subprocess_exec(
            program,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            env={"CNI_COMMAND": "VERSION"},
        )
        try:
            async with asyncio.timeout(patience_s):
                output, _ = await process.communicate(msgspec.json.encode({"cniVersion": NEWEST}))
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
    except TimeoutError:
        raise AzureCniError(f"cannot ask {program} for its versions: no answer within {patience_s:.0f} s") from None
    except OSError as error:
        raise AzureCniError(f"cannot ask {program} for its versions: {error.strerror}") from error
    try:
        return msgspec.json.decode(output, type=_Answer).supportedVersions
    except NOT_JSON as error:
        raise AzureCniError(f"cannot ask {program} for its versions: it answers {output[:80]!r} ({error})") from error
