"""`completion`: what makes a shell complete commands and flags, and what kubectl asks to complete its plugin.

kubectl runs `kubectl_complete-azure_cni` with the words so far (kubernetes/kubectl, `pkg/cmd/plugin_completion.go`). It
reads one proposal a line, then a number that says what the shell may add by itself.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from enum import StrEnum
from typing import Final

import click
from click.shell_completion import CompletionItem, ShellComplete, get_completion_class

PROGRAM: Final = "azure-cni"
VARIABLE: Final = "_AZURE_CNI_COMPLETE"
"""By which the shell's function asks; click makes it of the program's name."""
NO_FILES: Final = ":4"
"""cobra's ShellCompDirectiveNoFileComp."""
FILES: Final = ":0"
"""cobra's ShellCompDirectiveDefault."""


class Shell(StrEnum):
    """Those that can be told to complete."""

    BASH = "bash"
    ZSH = "zsh"
    FISH = "fish"


@click.command(short_help="Print what makes a shell complete commands.")
@click.argument("shell", type=click.Choice([shell.value for shell in Shell]))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print what makes SHELL complete commands and flags: source <(azure-cni completion bash).

    For fish: azure-cni completion fish | source. For kubectl azure-cni the program kubectl_complete-azure_cni, beside
    this one, is all that kubectl's own completion needs.
    """
    kind = get_completion_class(shell)
    if kind is None:
        raise click.UsageError(f"cannot complete for {shell}: click does not know it")
    click.echo(ShellComplete.source(kind(ctx.find_root().command, {}, PROGRAM, VARIABLE)))


def complete_for_kubectl(command: click.Command) -> None:
    """Answer kubectl: the words are arguments, the last one is what is begun, and may be empty."""
    for line in kubectl_proposals(command, sys.argv[1:]):
        click.echo(line)


def kubectl_proposals(command: click.Command, words: Sequence[str]) -> Iterator[str]:
    """The lines of the answer."""
    *before, begun = words or [""]
    found = ShellComplete(command, {}, PROGRAM, VARIABLE).get_completions(list(before), begun)
    proposals = [one for one in found if one.type == "plain"]
    yield from map(_proposal, proposals)
    yield FILES if len(found) > len(proposals) else NO_FILES


def _proposal(one: CompletionItem) -> str:
    """With what it is, on one line."""
    return f"{one.value}\t{' '.join(one.help.split())}" if one.help else str(one.value)
