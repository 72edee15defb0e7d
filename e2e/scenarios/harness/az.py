"""`az` for the box: the few commands of Azure's command line that azure-cni names, carried out by the fake Azure.

It takes only the words that az takes (`az role assignment create --help`): a command that az would refuse fails here.
"""

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from typing import Any

from azurebox import azure
from azurebox.facts import REPOSITORY

ROLES = {json.loads(file.read_text())["Name"]: file for file in REPOSITORY.glob("docs/azure-role*.json")}


def main(words: Sequence[str], *, ask: Callable[..., Any] = azure.request) -> None:
    """Carry out one command; argparse ends the process where it is none. `ask`: the fake Azure's side door."""
    parser = argparse.ArgumentParser(prog="az", allow_abbrev=False)
    group = parser.add_subparsers(required=True).add_parser("role").add_subparsers(required=True)
    create = group.add_parser("assignment").add_subparsers(required=True).add_parser("create", allow_abbrev=False)
    create.add_argument("--assignee", required=True)
    create.add_argument("--role", required=True, choices=ROLES)
    create.add_argument("--scope", required=True)
    asked = parser.parse_args(words)
    actions = json.loads(ROLES[asked.role].read_text())["Actions"]
    ask("PUT", "/permissions", {"actions": actions, "principal": asked.assignee})


if __name__ == "__main__":
    main(sys.argv[1:])
