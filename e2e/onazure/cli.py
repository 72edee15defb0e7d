"""The command line of `e2e/on-azure`."""

import argparse
import secrets
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from onazure.arm import Arm
from onazure.errors import OnAzureError
from onazure.group import Interrupted, removal
from onazure.lab import Lab
from onazure.login import Login, run_az
from onazure.machine_questions import MACHINE, SCALE_SET
from onazure.page import TABLE
from onazure.questions import AS_TAKEN, NETWORK, Question
from onazure.report import Result, as_json, as_markdown, redactor
from onazure.run import ask_all, stages

INTERRUPTED: Final = 130
FREE: Final = "Azure charges nothing for any of these."
PAID: Final = """\
Azure charges for {count} VM of size {size} with a disk of 30 GB, for as long as it is there: for the usual size some
two cents of a US dollar an hour each, by the list prices of 2025 (https://azure.microsoft.com/pricing/calculator). For
the rest it charges nothing."""
COSTS: Final = """\
It asks {count} questions in subscription "{name}" ({cloud}), region {location}, within {minutes:.0f} minutes or so.
It makes one resource group, {group}, with two virtual networks and {things} in it, and nothing
anywhere else. {charge} In a region in which the subscription has no virtual network
yet, Azure itself adds its Network Watcher (group NetworkWatcherRG), which costs nothing by itself either.
At the end, also when it is interrupted, it removes the group. If it cannot, for instance because its shell was killed:
  {removal}
It writes {report}.json and {report}.md, without subscription and tenant, for an issue of azure-cni."""


def arguments(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="e2e/on-azure", description="Ask Azure what only Azure can answer (docs/on-azure.md)."
    )
    parser.add_argument("--subscription", default="", help="ID or name; by default the one that az is set to")
    parser.add_argument("--location", default="eastus", help="region (default: eastus)")
    group = f"azure-cni-on-azure-{secrets.token_hex(4)}"
    parser.add_argument("--group", default=group, help="name of the resource group, which must not be there yet")
    parser.add_argument("--vm", action="store_true", help="make a VM, too, and ask what needs one")
    parser.add_argument("--scale-set", action="store_true", help="make a Uniform scale set of one VM, too, likewise")
    parser.add_argument("--size", default="Standard_B1s", help="of a VM (default: Standard_B1s)")
    parser.add_argument("--only", default="", help="keys of questions, with commas between")
    parser.add_argument("--report", default="on-azure", help="where the report goes, without .json and .md")
    parser.add_argument("--patience", type=float, default=15.0, help="minutes that one question waits for a change")
    parser.add_argument("--watch", type=float, default=150.0, help="seconds to watch the metadata service for a change")
    parser.add_argument("--lead", type=float, default=60.0, help="seconds within which a command has begun on the VM")
    parser.add_argument("--yes", action="store_true", help="do not ask before it starts")
    parser.add_argument(
        "--table", action="store_true", help="print the questions as docs/on-azure.md has them, and end"
    )
    given = parser.parse_args(words)
    known = [one.key for one in _questions(given)]
    unknown = sorted(set(filter(None, given.only.split(","))) - set(known))
    if unknown:
        more = {"--vm": MACHINE, "--scale-set": SCALE_SET}
        others = "".join(f"; with {word} {', '.join(one.key for one in those)}" for word, those in more.items())
        parser.error(f"no question {', '.join(unknown)}; there are {', '.join(known)}{others}")
    return given


def _questions(given: argparse.Namespace) -> list[Question]:
    """Those that can be asked with what may be made."""
    return [*NETWORK, *(MACHINE if given.vm else ()), *(SCALE_SET if given.scale_set else ())]


def main(words: Sequence[str] | None = None) -> int:
    """0: every question has an answer; 1: some have not; 2: nothing could be asked; 130: interrupted."""
    given = arguments(words)
    if given.table:
        print(TABLE, end="")
        return 0
    try:
        return _run(given)
    except Interrupted as error:
        print(f"interrupted ({error})", file=sys.stderr)
        return INTERRUPTED
    except OnAzureError as error:
        print(error, file=sys.stderr)
        return 2


def _run(given: argparse.Namespace) -> int:
    login = Login.of(run_az, given.subscription)
    wanted = [one for one in _questions(given) if not given.only or one.key in given.only.split(",")]
    machines = ["one VM"] * given.vm + ["one scale set of one VM"] * given.scale_set
    facts = {
        "cloud": login.cloud,
        "region": given.location,
        "date": datetime.now(UTC).date().isoformat(),
    }
    print(
        COSTS.format(
            count=len(wanted),
            name=login.subscription_name,
            cloud=login.cloud,
            location=given.location,
            minutes=5 + given.patience + 20 * given.vm + 15 * given.scale_set,
            things=", ".join(["a dozen network interfaces", *machines]),
            charge=PAID.format(count=len(machines), size=given.size) if machines else FREE,
            group=given.group,
            removal=removal(given.group, login.subscription),
            report=given.report,
        )
    )
    if not given.yes and not _agreed():
        print("nothing was made")
        return 2
    arm = Arm(login, f"/subscriptions/{login.subscription}/resourceGroups/{given.group}")
    lab = Lab(arm, given.location, patience_s=60 * given.patience)
    asked = stages(lab, size=given.size, watch_s=given.watch, lead_s=given.lead)
    results: list[Result] = []
    try:
        ask_all(lab, asked, wanted, results)
    finally:
        redact = redactor({login.subscription: "SUBSCRIPTION", login.tenant: "TENANT", given.group: "GROUP"})
        _write(Path(f"{given.report}.json"), as_json(facts, results, arm.calls, redact))
        _write(Path(f"{given.report}.md"), as_markdown(facts, results, redact))
    answered = sum(bool(one.answer) for one in results)
    other = sum(one.answer not in {"", AS_TAKEN} for one in results)
    print(f"{answered} of {len(results)} questions answered, {other} otherwise than azure-cni takes it")
    return int(answered < len(results))


def _agreed() -> bool:
    try:
        return input("Go on? [y/N] ").strip().lower() in {"y", "yes"}
    except EOFError:
        return False


def _write(path: Path, text: str) -> None:
    path.write_text(text)
    print(f"wrote {path}")
