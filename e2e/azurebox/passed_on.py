"""The commands of `e2e/box` whose arguments belong to another program: kubectl, helm, pytest and the like.

Some become that program, some run it after they have made what it needs. argparse sees none of these arguments.
"""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import NoReturn

from azurebox import azure, clusterdns, docker_host, host, lifecycle, release, tools
from azurebox.controlplane import command_line, people, people_environment
from azurebox.fabric.topology import PLACES
from azurebox.facts import AZURE_SOCKET, DEFAULT_NODES, PREFIX, REPOSITORY
from azurebox.machine import NETNS, Machine
from azurebox.steps import StepError
from fakeazure import admincli


def _asks_for_help(rest: Sequence[str]) -> bool:
    """Whoever asks what a command takes wants no cluster for the answer."""
    return not {"-h", "--help"}.isdisjoint(rest)


def _install(rest: list[str]) -> int:
    if _asks_for_help(rest):
        return _helm(["upgrade", "--help"])
    print("azure in a box: install", flush=True)
    with lifecycle.alone():
        release.install(rest)
    return 0


def _demo(rest: list[str]) -> int:
    from azurebox import demo

    if _asks_for_help(rest):
        return _helm(["upgrade", "--help"])
    return demo.run(rest, alone=lifecycle.alone)


def _scenarios(rest: list[str]) -> int:
    directory = str(REPOSITORY / "e2e" / "scenarios")
    if _asks_for_help(rest):
        _become("pytest", [directory, "--help"])
    _stage(rest)
    _become("pytest", [directory, f"--mode={release.mode()}", "--durations=25", "--durations-min=15", *rest])


def _soak(rest: list[str]) -> int:
    if not _asks_for_help(rest):
        _stage(rest)
        rest = [f"--mode={release.mode()}", *rest]
    _become("soak", rest)


def _policy(rest: list[str]) -> int:
    if not _asks_for_help(rest):
        _stage(rest)
    _become("netpol", rest)


def _specs(rest: list[str]) -> int:
    if not _asks_for_help(rest):
        _stage(rest, dual_stack=("--set=ipFamilies={IPv4,IPv6}",))
    _become("specs", rest)


def _stage(rest: list[str], *, dual_stack: Sequence[str] = ()) -> None:
    """Nodes that nothing else uses, with azure-cni in the mode that `rest` names; helm's arguments for a dual box."""
    with lifecycle.alone():
        print("azure in a box: up", flush=True)
        lifecycle.up(DEFAULT_NODES)
        clusterdns.withdraw()  # addresses are counted
        for left in docker_host.all_hosts():
            left.remove()
    chosen = argparse.ArgumentParser(add_help=False)
    chosen.add_argument("--mode", choices=release.MODES)
    options, _ = chosen.parse_known_args(rest)
    if options.mode is not None:
        release.remember_mode(options.mode)
    _install([*dual_stack] if lifecycle.DUAL_STACK.exists() else [])


def _bench(rest: list[str]) -> int:
    host.require_root()
    host.ensure_packages()
    os.environ["PYTHONPATH"] += f"{os.pathsep}{REPOSITORY / 'tests'}"  # the one part of the command that is kept there
    _become("bench", rest)


def _become(module: str, rest: list[str]) -> NoReturn:
    """Become that Python module. As its parent, this process would kill it during its cleanup after Ctrl-C."""
    sys.stdout.flush()
    os.chdir(REPOSITORY)
    os.execv(sys.executable, [sys.executable, "-m", module, *rest])


def _people(command: list[str]) -> int:
    lifecycle.require_up()
    return subprocess.run(command, env=people_environment(), check=False).returncode


def _helm(rest: list[str]) -> int:
    if lifecycle.whole():
        return _people(people("helm", *rest))
    tools.ensure_tools([tools.HELM])
    return subprocess.run([tools.path("helm"), *rest], check=False).returncode


def _tool(module: tools.Module, program: str, rest: list[str]) -> int:
    tools.ensure_tools([module])
    return subprocess.run([tools.path(program), *rest], check=False).returncode


def _go(program: str, rest: list[str]) -> int:
    path, environment = tools.go_command(program)
    return subprocess.run([path, *rest], env=environment, check=False).returncode


def _exec(rest: list[str]) -> int:
    command = rest[2:] if rest[1:2] == ["--"] else rest[1:]
    if not command:
        raise StepError("cannot exec: usage is e2e/box exec VM -- COMMAND...")
    if rest[0] in {f"{PREFIX}{place.name}" for place in PLACES}:  # these have a network of their own, and no disk
        lifecycle.require_up()
        return subprocess.run(["nsenter", f"--net={NETNS / rest[0]}", "--", *command], check=False).returncode
    return Machine(rest[0]).interact(command)


def _azure(rest: list[str]) -> int:
    """Words for people, as in `azure nics`; or a request of the admin API, as in `azure GET /nics`."""
    raw = rest and (rest[0].isupper() or rest[0].startswith("/"))
    if not raw:
        return admincli.main(rest or ["--help"], AZURE_SOCKET)
    method, path, *body = rest if rest[0].isupper() else ["GET", *rest]
    try:
        document = json.loads(body[0]) if body else None
    except ValueError as error:
        raise StepError(f"cannot read {body[0]!r} as JSON: {error}") from None
    print(json.dumps(azure.request(method, path, document), indent=2))
    return 0


COMMANDS: dict[str, Callable[[list[str]], int]] = {
    "kubectl": lambda rest: _people(people("kubectl", *rest)),
    "azure-cni": lambda rest: _people(command_line(*rest)),
    "helm": _helm,
    "cosign": lambda rest: _tool(tools.COSIGN, "cosign", rest),
    "actionlint": lambda rest: _tool(tools.ACTIONLINT, "actionlint", rest),
    "go": lambda rest: _go("go", rest),
    "gofmt": lambda rest: _go("gofmt", rest),
    "install": _install,
    "exec": _exec,
    "azure": _azure,
    "demo": _demo,
    "scenarios": _scenarios,
    "soak": _soak,
    "policy": _policy,
    "specs": _specs,
    "bench": _bench,
}
"""By the word that calls it."""
