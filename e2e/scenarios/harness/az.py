"""`az` for the box: `python -m scenarios.harness.az role assignment create ...`, carried out by the fake Azure.

It knows the commands below, and those of `az_network`, which azure-cni and its documentation name, by the names that
azure-cli 2.91.0 gives their arguments. Anything else is refused, as a mistake of whoever names it would be.
"""

import json
import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from azurebox import azure
from azurebox.facts import REPOSITORY, RESOURCE_GROUP, SUBSCRIPTION
from azurebox.steps import StepError
from scenarios.harness import az_network

ROLES: Final = "AZBOX_ROLES"
"""Environment: the file with the roles that were created; not set: those of the documentation exist."""

Arguments = Mapping[str, str]
Ask = Callable[..., Any]
"""A request to the fake Azure's side door: method, path, body."""
FLAGS: Final = {"-g": "--resource-group", "-n": "--name", "-o": "--output"}
ANY: Final = frozenset({"--query", "--output"})
COMMANDS: Final[Mapping[str, Sequence[frozenset[str]]]] = {
    "account show": [frozenset()],
    "identity create": [frozenset({"--resource-group", "--name"})],
    "identity show": [frozenset({"--resource-group", "--name"})],
    "role definition create": [frozenset({"--role-definition"})],
    "role assignment create": [
        frozenset({"--role", "--assignee", "--scope"}),
        frozenset({"--role", "--assignee-object-id", "--assignee-principal-type", "--scope"}),
    ],
    "vm list": [frozenset({"--resource-group"})],
    "vm identity assign": [frozenset({"--resource-group", "--name", "--identities"})],
}
"""Each needs all arguments of one of its sets, and may have `--query` and `--output` as well."""


def parsed(words: Sequence[str]) -> tuple[str, Arguments]:
    """The command and its arguments by their long names.

    Raises:
        StepError: there is no such command, an argument is unknown or missing, or the group is not the cluster's.

    """
    command = next((one for one in COMMANDS if list(words[: len(one.split())]) == one.split()), None)
    if command is None:
        raise StepError(f"az {' '.join(words)}: the stand-in has no such command", advice=", ".join(COMMANDS))
    rest = list(words[len(command.split()) :])
    given = {FLAGS.get(name, name): value for name, value in zip(rest[::2], rest[1::2], strict=False)}
    wanted = COMMANDS[command]
    if len(rest) % 2 or len(given) != len(rest) // 2 or given.keys() - ANY not in wanted:
        choices = ", or ".join(" ".join(sorted(one)) for one in wanted)
        raise StepError(f"az {command}: wants {choices}", output=" ".join(rest))
    if given.get("--resource-group", RESOURCE_GROUP) != RESOURCE_GROUP:
        raise StepError(f"az {command}: there is no resource group {given['--resource-group']}")
    return command, given


def carry_out(words: Sequence[str], *, ask: Ask = azure.request) -> str:
    """Do what one command says; what it prints. Raises StepError."""
    if words[:1] == ["network"]:
        az_network.carry_out(words[1:])
        return ""
    command, given = parsed(words)
    document = _DOES[command](given, ask)
    if given.get("--output") == "none":
        return ""
    if "--query" not in given:
        return json.dumps(document, indent=2)
    if given.get("--output") != "tsv":
        raise StepError(f"az {command}: the stand-in has --query for --output tsv alone")
    query = given["--query"]
    if listed := re.fullmatch(r"\[\]\.(\w+)", query):
        return "\n".join(one[listed[1]] for one in document)
    return str(document[query])


def _show_account(_: Arguments, __: Ask) -> Any:
    return {"id": SUBSCRIPTION, "isDefault": True, "state": "Enabled"}


def _create_identity(given: Arguments, ask: Ask) -> Any:
    return ask("PUT", f"/identities/{given['--name']}")


def _show_identity(given: Arguments, ask: Ask) -> Any:
    return ask("GET", f"/identities/{given['--name']}")


def _define_role(given: Arguments, _: Ask) -> Any:
    written = given["--role-definition"]
    role = json.loads(Path(written[1:]).read_text() if written.startswith("@") else written)
    if role["AssignableScopes"] != [f"/subscriptions/{SUBSCRIPTION}"]:
        raise StepError(f"az role definition create: {role['AssignableScopes']} is not the subscription {SUBSCRIPTION}")
    Path(os.environ[ROLES]).write_text(json.dumps({**_roles(), role["Name"]: role["Actions"]}))
    return role


def _assign_role(given: Arguments, ask: Ask) -> Any:
    actions = _roles().get(given["--role"])
    if actions is None:
        raise StepError(f"az role assignment create: Role '{given['--role']}' doesn't exist.")
    if "--assignee" in given:  # a VM's own identity, whose permissions the fake Azure keeps without a scope
        return ask("PUT", "/permissions", {"actions": actions, "principal": given["--assignee"]})
    asked = {"principal": given["--assignee-object-id"], "scope": given["--scope"], "actions": actions}
    return ask("POST", "/assignments", asked)


def _roles() -> dict[str, list[str]]:
    """The actions of each role that exists."""
    if ROLES not in os.environ:
        documented = (json.loads(file.read_text()) for file in REPOSITORY.glob("docs/azure-role*.json"))
        return {role["Name"]: role["Actions"] for role in documented}
    file = Path(os.environ[ROLES])
    created: dict[str, list[str]] = json.loads(file.read_text()) if file.exists() else {}
    return created


def _list_vms(_: Arguments, ask: Ask) -> Any:
    return ask("GET", "/vms")


def _assign_identity(given: Arguments, ask: Ask) -> Any:
    return ask("POST", f"/vms/{given['--name']}/identities", {"identity": given["--identities"]})


_DOES: Final[Mapping[str, Callable[[Arguments, Ask], Any]]] = {
    "account show": _show_account,
    "identity create": _create_identity,
    "identity show": _show_identity,
    "role definition create": _define_role,
    "role assignment create": _assign_role,
    "vm list": _list_vms,
    "vm identity assign": _assign_identity,
}


def main(words: Sequence[str]) -> int:
    """The command line; its exit status."""
    try:
        print(carry_out(words))
    except StepError as error:
        print(f"ERROR: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
