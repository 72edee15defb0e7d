"""Mistakes seeded on the box: `azure-cni check` finds each, and the command that it names mends it."""

import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from azurebox.client import Box
from azurebox.controlplane import in_shell, people_environment
from azurebox.facts import REPOSITORY
from azurebox.steps import StepError
from scenarios.harness.azure_seeds import a_login_of_azure
from scenarios.harness.cloud import Cloud
from scenarios.harness.commandline import ask
from scenarios.harness.node import Node
from scenarios.harness.product import Product
from scenarios.harness.seeds import MISTAKES, Mistake
from scenarios.harness.stage import Stage

FOUND_S = 180.0
"""Filters of others are examined once a minute."""
MENDED_S = 180.0
COMMAND_S = 300.0


@pytest.fixture(scope="module")
def seedbed(
    box: Box, product: Product, cloud: Cloud, nodes: list[Node], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stage]:
    product.await_ready()
    with a_login_of_azure(box, tmp_path_factory.mktemp("login")):
        yield Stage(box, product, cloud, nodes)


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with `az`, which a person has and the box has not."""
    directory = tmp_path_factory.mktemp("programs")
    program = directory / "az"
    program.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m scenarios.harness.az "$@"\n')
    program.chmod(0o755)
    return directory


@pytest.mark.parametrize("mistake", MISTAKES, ids=[mistake.name for mistake in MISTAKES])
def test_a_mistake_is_found_and_the_command_that_is_named_mends_it(
    mistake: Mistake, seedbed: Stage, programs: Path, figure: Callable[[str], None]
) -> None:
    words = ("check", *(["--pre"] if mistake.pre else []), *(["--azure"] if mistake.azure else []))
    assert not _named(mistake.code, words)
    with mistake.seeded(seedbed):
        found = seedbed.box.wait_for(lambda: _named(mistake.code, words), FOUND_S, f"{mistake.code}", poll_s=1.0)
        command, node = found[0]["command"], found[0].get("node", "")
        where = f"on {node}: " if node else ""
        figure(f"{mistake.code}: {found[0]['message']} -> {where}{command}")
        assert f"{where}{command}" in ask(*words).printed
        _carry_out(command, node, stage=seedbed, programs=programs)
        seedbed.node.read_now()
        seedbed.box.wait_for(lambda: not _named(mistake.code, words), MENDED_S, f"{mistake.code} to end", poll_s=1.0)


def _named(code: str, words: tuple[str, ...]) -> list[dict[str, Any]]:
    """What `check` says by that code, if it is not good. StepError where it could not look."""
    answer = ask(*words, "-o", "json")
    if not answer.printed:
        raise StepError("check did not answer", output=answer.complaint)
    checks = answer.document["checks"]
    if unknown := [one for one in checks if one["result"] == "unknown"]:
        raise StepError("check could not look", output=str(unknown))
    return [one for one in checks if one["code"] == code and one["result"] != "good"]


def _carry_out(command: str, node: str, *, stage: Stage, programs: Path) -> None:
    """As a person would who copies it: in a shell of that node as root, or beside kubectl, helm and az."""
    if node:
        (named,) = [one for one in stage.nodes if one.name == node]
        named.run("sh", "-c", command)
        return
    environment = people_environment()
    environment["PATH"] = f"{programs}:{environment['PATH']}"
    done = subprocess.run(
        in_shell(command),
        env=environment,
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=COMMAND_S,
        check=False,
    )
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
