"""The page that newcomers follow: its commands as they would be run, without a cluster; and how a page is read.

`e2e/scenarios/test_47_getting_started.py` runs them on the box.
"""

import json
import os
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from azure_cni import __version__
from azurebox.facts import RESOURCE_GROUP
from azurebox.steps import StepError
from scenarios.harness import az, page, registry
from unit.chart.helm import REPOSITORY, template

GETTING_STARTED = REPOSITORY / "docs" / "getting-started.md"
PROGRAMS = ("az", "azure-cni", "docker", "helm", "kubectl", "make")
GUID = "00000000-0000-0000-0000-000000000001"
RECORDER = f"""#!/bin/sh
printf '%s\\0' {{name}} "$@" '' >> {{file}}
if [ "$1 $2" = 'vm list' ]; then printf 'vm1\\nvm2\\n'; else echo {GUID}; fi
"""
PAGE = """Text.

```console
NAME=theirs
echo $NAME
```

```console
$ echo one \\
    two
one two
$ printf 'NODE  vm1  10.0.0.4\\nrest\\n'
NODE   vm7   10.240.0.5
...
```

```yaml
$ echo no command
```
"""


@pytest.fixture(scope="module")
def typed(tmp_path_factory: pytest.TempPathFactory) -> list[list[str]]:
    """What the page runs: program and arguments, as the shell hands them over."""
    directory = tmp_path_factory.mktemp("programs")
    file = directory / "typed"
    for name in PROGRAMS:
        program = directory / name
        program.write_text(RECORDER.format(file=file, name=name))
        program.chmod(0o755)
    names = {"REGISTRY": "r.example/x", "GROUP": RESOURCE_GROUP}
    text = page.with_names(GETTING_STARTED.read_text(), names).replace("export PATH=$PWD/dist:$PATH", "true")
    environment = os.environ | {"PATH": f"{directory}:{os.environ['PATH']}"}
    page.run(text, environment=environment, directory=REPOSITORY, within_s=300.0)
    return [words.split("\0") for words in file.read_text().removesuffix("\0\0").split("\0\0")]


def of(typed: list[list[str]], program: str) -> Iterator[list[str]]:
    return (words for name, *words in typed if name == program)


def test_what_it_asks_of_azure_is_known_by_those_names(typed: list[list[str]]):
    asked = [az.parsed(words) for words in of(typed, "az")]
    assert {command for command, _ in asked} == set(az.COMMANDS)
    assert [given["--name"] for command, given in asked if command == "vm identity assign"] == ["vm1", "vm2"]


def test_the_role_is_the_documented_one_for_this_subscription(typed: list[list[str]]):
    (given,) = [given for command, given in map(az.parsed, of(typed, "az")) if command == "role definition create"]
    documented = json.loads((REPOSITORY / "docs" / "azure-role.json").read_text())
    assert json.loads(given["--role-definition"]) == documented | {"AssignableScopes": [f"/subscriptions/{GUID}"]}


def test_the_chart_takes_its_values(typed: list[list[str]]):
    ((install, name, chart, *options),) = of(typed, "helm")
    assert (install, name, chart) == ("install", "azure-cni", "charts/azure-cni")
    values = [value for flag, value in pairwise(options) if flag == "--set"]
    rendered = template(*values)
    assert f"r.example/x/azure-cni:{__version__}" in rendered
    assert GUID in rendered


def test_the_image_that_is_pushed_is_the_one_that_the_chart_wants(typed: list[list[str]]):
    assert list(of(typed, "docker")) == [
        ["build", "-t", f"r.example/x/azure-cni:{__version__}", "."],
        ["push", f"r.example/x/azure-cni:{__version__}"],
    ]


def test_commands_are_found_with_what_they_print():
    first, second, third = page.commands(PAGE)
    assert (first.text, first.shown, first.line) == ("NAME=theirs\necho $NAME", (), 4)
    assert (second.text, second.shown, second.line) == ("echo one \\\n    two", ("one two",), 9)
    assert third.shown == ("NODE   vm7   10.240.0.5", "...")


def test_they_run_in_one_shell_and_what_they_print_is_kept_apart(tmp_path: Path):
    ran = page.run(page.with_names(PAGE, {"NAME": "mine"}), environment=os.environ, directory=tmp_path, within_s=300.0)
    assert [one.printed.split() for one in ran] == [["mine"], ["one", "two"], ["NODE", "vm1", "10.0.0.4", "rest"]]
    assert [page.missing(one.command.shown, one.printed) for one in ran] == [[], [], []]


def test_the_first_that_fails_ends_it_and_is_named(tmp_path: Path):
    text = "```console\n$ true\n$ echo said; false\n$ touch never\n```\n"
    with pytest.raises(StepError, match=r"line 3 of the page ended with status 1: echo said; false") as failed:
        page.run(text, environment=os.environ, directory=tmp_path, within_s=300.0)
    assert failed.value.output == "said"
    assert not (tmp_path / "never").exists()


def test_a_page_that_lacks_a_name_is_refused():
    with pytest.raises(StepError, match="it sets no OTHER"):
        page.with_names(PAGE, {"OTHER": "x"})


@pytest.mark.parametrize(
    ("shown", "printed", "lost"),
    [
        (["vm1   True   16"], "azbox-vm2 True 32", []),
        (["vm1   True   16"], "azbox-vm2 False 32", ["vm1   True   16"]),
        (["√ all is well"], "all is well", ["√ all is well"]),
        (["...", "b", "", "..."], "a\nb\nc", []),
        (["b", "a"], "a\nb", ["a"]),
        (["built (7 MiB, ..."], "built (9 MiB, for that machine)", []),
        (["a line"], "a line and more", ["a line"]),
    ],
)
def test_what_was_printed_is_held_against_what_is_shown(shown: list[str], printed: str, lost: list[str]):
    assert page.missing(shown, printed) == lost


@pytest.mark.parametrize(
    "words",
    [
        "vm delete --resource-group azbox",
        "identity create --resource-group azbox",
        "identity create --resource-group azbox --name a --colour red",
        "identity create --resource-group other --name a",
        "identity create --resource-group azbox --name",
        "identity create --resource-group azbox --resource-group azbox --name a",
        "role assignment create --role r --scope s",
        "role assignment create --role r --scope s --assignee a --assignee-object-id a",
    ],
)
def test_the_stand_in_for_az_refuses_what_az_would(words: str):
    with pytest.raises(StepError):
        az.parsed(words.split())


def test_short_names_are_those_of_az():
    assert az.parsed(["vm", "list", "-g", "azbox", "--query", "[].name", "-o", "tsv"]) == (
        "vm list",
        {"--resource-group": "azbox", "--query": "[].name", "--output": "tsv"},
    )


@pytest.mark.parametrize(
    "words", ["build -t r.example/a:1 ..", "build .", "push --all-tags r.example/a", "run r.example/a:1", ""]
)
def test_the_stand_in_for_docker_refuses_what_the_page_does_not_need(words: str):
    with pytest.raises(StepError, match="the stand-in cannot do that"):
        registry.docker(words.split(), built="localhost/built:1")
