"""nftables by its own program: the node's table is changed seldom, and `nft -f` is one transaction of the kernel."""

from __future__ import annotations

import subprocess

from azure_cni.datapath.snat import TABLE
from azure_cni.errors import DatapathError

_TIMEOUT_S = 20.0


def load(ruleset: str) -> None:
    """Carry out a script, all of it or nothing."""
    done = _nft("-f", "-", script=ruleset)
    if done.returncode:
        raise DatapathError(f"cannot apply nftables table inet {TABLE}: {_complaint(done)}")


def listing() -> str | None:
    """The node's table as nft prints it, without counters; None where there is none."""
    done = _nft("--stateless", "list", "table", "inet", TABLE)
    if done.returncode == 0:
        return done.stdout
    if "No such file or directory" in done.stderr:
        return None
    raise DatapathError(f"cannot read nftables table inet {TABLE}: {_complaint(done)}")


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
