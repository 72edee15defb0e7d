"""`az` and `docker` for a page that runs on the box: `python -m scenarios.harness.stand_ins az ...`.

`az` knows the commands below, by the names that azure-cli 2.91.0 gives their arguments, and what they do it does in
the fake Azure. `docker build` wants a Dockerfile: the box has built the image from the same one. `docker push` gives it
to the nodes by the name that it was built by. Anything else is refused, as a mistake of the page would be.
"""

import json
import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from azurebox import azure, lifecycle
from azurebox.facts import RESOURCE_GROUP, SUBSCRIPTION
from azurebox.steps import StepError, capture

STATE: Final = "AZBOX_STAND_INS"
"""Environment: a directory for what they keep."""
IMAGE: Final = "AZBOX_IMAGE"
"""Environment: the image that the box has built."""
ROLES, BUILT = "roles.json", "built"

Arguments = Mapping[str, str]
Ask = Callable[..., Any]
"""A request to the fake Azure's side door: method, path, body."""
FLAGS: Final = {"-g": "--resource-group", "-n": "--name", "-o": "--output"}
ANY: Final = frozenset({"--query", "--output"})
COMMANDS: Final[Mapping[str, frozenset[str]]] = {
    "account show": frozenset(),
    "identity create": frozenset({"--resource-group", "--name"}),
    "identity show": frozenset({"--resource-group", "--name"}),
    "role definition create": frozenset({"--role-definition"}),
    "role assignment create": frozenset({"--role", "--assignee-object-id", "--assignee-principal-type", "--scope"}),
    "vm list": frozenset({"--resource-group"}),
    "vm identity assign": frozenset({"--resource-group", "--name", "--identities"}),
}
"""Each needs all of its arguments here, and may have `--query` and `--output` as well."""


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
    if len(rest) % 2 or len(given) != len(rest) // 2 or not wanted <= given.keys() <= wanted | ANY:
        raise StepError(f"az {command}: wants {' '.join(sorted(wanted))}", output=" ".join(rest))
    if given.get("--resource-group", RESOURCE_GROUP) != RESOURCE_GROUP:
        raise StepError(f"az {command}: there is no resource group {given['--resource-group']}")
    return command, given


def az(words: Sequence[str], *, ask: Ask = azure.request) -> str:
    """Carry one command out; what it prints. Raises StepError."""
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
    _kept(ROLES).write_text(json.dumps({**_roles(), role["Name"]: role["Actions"]}))
    return role


def _assign_role(given: Arguments, ask: Ask) -> Any:
    actions = _roles().get(given["--role"])
    if actions is None:
        raise StepError(f"az role assignment create: Role '{given['--role']}' doesn't exist.")
    asked = {"principal": given["--assignee-object-id"], "scope": given["--scope"], "actions": actions}
    return ask("POST", "/assignments", asked)


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


def docker(words: Sequence[str]) -> str:
    """`build -t NAME DIRECTORY` and `push NAME`. Raises StepError."""
    match list(words):
        case ["build", "-t", name, directory] if (Path(directory) / "Dockerfile").exists():
            _kept(BUILT).write_text(name)
            return f"naming to {name}"
        case ["push", name] if _kept(BUILT).exists() and _kept(BUILT).read_text() == name:
            for machine in lifecycle.node_machines():
                tag = ["ctr", "--namespace=k8s.io", "images", "tag", "--force", os.environ[IMAGE], name]
                capture(machine.enter(tag), what=f"give {name} to {machine.name}")
            return f"The push refers to repository [{name}]"
    raise StepError(f"docker {' '.join(words)}: the stand-in cannot do that")


def _kept(name: str) -> Path:
    return Path(os.environ[STATE]) / name


def _roles() -> dict[str, list[str]]:
    found: dict[str, list[str]] = json.loads(_kept(ROLES).read_text()) if _kept(ROLES).exists() else {}
    return found


def main(words: Sequence[str]) -> int:
    """The command line; its exit status."""
    try:
        print({"az": az, "docker": docker}[words[0]](words[1:]))
    except StepError as error:
        print(f"ERROR: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
