"""nftables by its own program: the node's table is changed seldom, and `nft -f` is one transaction of the kernel."""

from __future__ import annotations

import subprocess
from typing import Any

import msgspec

from azure_cni.datapath.snat import TABLE
from azure_cni.errors import DatapathError

_TIMEOUT_S = 20.0


def load(ruleset: str) -> None:
    """Carry out a script, all of it or nothing."""
    done = _nft("-f", "-", script=ruleset)
    if done.returncode:
        raise DatapathError(f"cannot apply nftables table inet {TABLE}: {_complaint(done)}")


def contents() -> list[Any] | None:
    """What the node's table holds, without counters and handles; None where there is none.

    It means the same however it was worded: the same rules and elements compare equal, whichever nft loaded them.
    """
    done = _nft("--json", "--stateless", "list", "table", "inet", TABLE)
    if done.returncode == 0:
        return [_meaning(item) for item in _decoded(done.stdout) if "metainfo" not in item]
    if "No such file or directory" in done.stderr:
        return None
    raise DatapathError(f"cannot read nftables table inet {TABLE}: {_complaint(done)}")


def _decoded(text: str) -> list[dict[str, dict[str, Any]]]:
    try:
        return msgspec.json.decode(text)["nftables"]  # type: ignore[no-any-return]
    except (msgspec.DecodeError, TypeError, KeyError) as error:
        raise DatapathError(f"cannot read nftables table inet {TABLE}: nft wrote no JSON ({text[:100]!r})") from error


def _meaning(item: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """One chain, rule or set, without what differs from load to load, and from one nft to the next.

    A set's type is `ipv4_addr` or `typeof ip saddr`, as it was written or as that nft lists it: to the kernel it is the
    same, and another type has other elements.
    """
    ((kind, body),) = item.items()
    said = {key: value for key, value in body.items() if key != "handle" and (kind, key) != ("set", "type")}
    if "elem" in said:
        said["elem"] = sorted(said["elem"], key=msgspec.json.encode)
    return {kind: said}


def _nft(*arguments: str, script: str | None = None) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(  # noqa: S603 - fixed arguments; PATH is the image's
            ["nft", *arguments],  # noqa: S607
            input=script,
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_S,
            check=False,
        )
    except FileNotFoundError as error:
        raise DatapathError(
            "cannot use nftables: there is no program nft in PATH; install nftables (the project's image has it)"
        ) from error
    except subprocess.TimeoutExpired as error:
        raise DatapathError(f"cannot use nftables: nft gave no answer in {_TIMEOUT_S:.0f} s") from error


def _complaint(done: subprocess.CompletedProcess[str]) -> str:
    """The first line that nft wrote: the rest repeats the script with a pointer into it."""
    lines = done.stderr.strip().splitlines() or [f"nft ended with {done.returncode}"]
    return lines[0]
