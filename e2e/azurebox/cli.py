"""The command `e2e/box`: reads arguments, calls the parts, and turns a StepError into words and a status."""

import argparse
import fcntl
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import NoReturn

from azurebox import azure, host, lifecycle, processes, release, status, tools
from azurebox.controlplane import people, people_environment
from azurebox.facts import AZURE_SOCKET, CACHE, DEFAULT_NODES, MAX_NODES, REPOSITORY, RUN
from azurebox.machine import Machine
from azurebox.node import RUNTIMES
from azurebox.steps import StepError, log_tail, step
from fakes.azure import admincli

DESCRIPTION = "Azure in a box: a real Kubernetes cluster on this machine, with a faithful fake of Azure."


def main(arguments: Sequence[str]) -> int:
    """Run one command of the box; its exit status."""
    # What follows these belongs to another program: argparse must not look at it.
    passed_on: dict[str, Callable[[list[str]], int]] = {
        "kubectl": lambda rest: _people("kubectl", rest),
        "helm": _helm,
        "go": lambda rest: _go("go", rest),
        "gofmt": lambda rest: _go("gofmt", rest),
        "install": _install,
        "exec": _exec,
        "azure": _azure,
        "demo": _demo,
        "scenarios": _scenarios,
        "bench": _bench,
    }
    try:
        if arguments and arguments[0] in passed_on:
            return passed_on[arguments[0]](list(arguments[1:]))
        options = _parser().parse_args(arguments)
        return int(options.run(options) or 0)
    except StepError as error:
        print(f"\n{error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\ninterrupted; run the same command again to go on, or e2e/box down", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="e2e/box", description=DESCRIPTION)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    up = commands.add_parser("up", help="bring up a control plane and nodes; goes on from any half-finished state")
    up.add_argument("--nodes", type=_nodes, default=DEFAULT_NODES, help=f"1 to {MAX_NODES}, default {DEFAULT_NODES}")
    up.add_argument("--runtime", choices=RUNTIMES, help=f"the nodes' container runtime, default {RUNTIMES[0]}")
    up.set_defaults(run=_up)
    commands.add_parser("install", help="build the image, load it, and helm install; takes helm's arguments")
    commands.add_parser("kubectl", help="kubectl, as the cluster's administrator")
    commands.add_parser("helm", help="helm, as the cluster's administrator; without a box: what needs no cluster")
    commands.add_parser("go", help="the Go tool chain that builds what the box needs")
    commands.add_parser("gofmt", help="its formatter")
    commands.add_parser("exec", help="exec VM [--] COMMAND...: run a command inside a VM")
    commands.add_parser(
        "azure", help="look at the fake Azure and change it: azure nics, azure fault...; alone: all words"
    )
    commands.add_parser("demo", help="up, install, and a tour of what azure-cni does; takes helm's arguments")
    commands.add_parser("scenarios", help="up, install, and the scenarios of e2e/scenarios; takes pytest's arguments")
    commands.add_parser("bench", help="ADD and DEL beside the reference plugins (tests/bench); takes its arguments")
    packages = commands.add_parser("packages", help="install the Debian packages that box and tests need, if missing")
    packages.set_defaults(run=_packages)
    commands.add_parser("tools", help="build Kubernetes, helm and what else is missing").set_defaults(run=_tools)
    commands.add_parser("status", help="what runs, and how it is").set_defaults(run=_status)
    logs = commands.add_parser("logs", help="the log of a VM's services or of one component; without a name: which")
    logs.add_argument("name", nargs="?")
    logs.add_argument("-f", "--follow", action="store_true")
    logs.set_defaults(run=_logs)
    for verb in ("stop", "start"):
        service = commands.add_parser(verb, help=f"{verb} one service, such as azbox-cp-kube-apiserver")
        service.add_argument("name")
        service.set_defaults(run=_stop if verb == "stop" else _start)
    reboot = commands.add_parser("reboot", help="pull a node's plug and boot it again; its disk stays")
    reboot.add_argument("vm")
    reboot.set_defaults(run=_reboot)
    remove = commands.add_parser("remove", help="take a node out of the cluster and delete its VM")
    remove.add_argument("vm")
    remove.add_argument("--keep-nic", action="store_true", help="its NIC lives on, with its addresses")
    remove.set_defaults(run=_remove)
    commands.add_parser("down", help="end and remove everything").set_defaults(run=_down)
    return parser


def _nodes(text: str) -> int:
    number = int(text)
    if not 1 <= number <= MAX_NODES:
        raise argparse.ArgumentTypeError(f"{number} is not 1 to {MAX_NODES}")
    return number


@contextmanager
def _alone() -> Iterator[None]:
    """One command at a time changes the box."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StepError("cannot change the box: another command is at it", advice="wait for it to end") from None
        yield


def _up(options: argparse.Namespace) -> None:
    print(f"azure in a box: up, {options.nodes} nodes", flush=True)
    with _alone():
        lifecycle.up(options.nodes, runtime=options.runtime)
    print("up. what next: e2e/box install; e2e/box kubectl get nodes; e2e/box status", flush=True)


def _packages(_: argparse.Namespace) -> None:
    host.require_root()
    host.ensure_packages()


def _tools(_: argparse.Namespace) -> None:
    tools.ensure_tools()


def _down(_: argparse.Namespace) -> None:
    print("azure in a box: down", flush=True)
    with _alone():
        lifecycle.down()


def _install(rest: list[str]) -> int:
    print("azure in a box: install", flush=True)
    with _alone():
        release.install(rest)
    return 0


def _demo(rest: list[str]) -> int:
    from azurebox import demo

    return demo.run(rest, alone=_alone)


def _scenarios(rest: list[str]) -> int:
    with _alone():
        print("azure in a box: up", flush=True)
        lifecycle.up(DEFAULT_NODES)
    _install([])
    _become("pytest", [str(REPOSITORY / "e2e" / "scenarios"), *rest])


def _bench(rest: list[str]) -> int:
    host.require_root()
    host.ensure_packages()
    _become("bench", rest)


def _become(module: str, rest: list[str]) -> NoReturn:
    """Go on as that Python module. Not as its parent: after Ctrl-C that would kill it in its cleaning up."""
    sys.stdout.flush()
    os.chdir(REPOSITORY)
    os.execv(sys.executable, [sys.executable, "-m", module, *rest])


def _people(program: str, rest: list[str]) -> int:
    lifecycle.require_up()
    return subprocess.run(people(program, *rest), env=people_environment(), check=False).returncode


def _helm(rest: list[str]) -> int:
    if lifecycle.whole():
        return _people("helm", rest)
    tools.ensure_tools([tools.HELM])
    return subprocess.run([tools.path("helm"), *rest], check=False).returncode


def _go(program: str, rest: list[str]) -> int:
    path, environment = tools.go_command(program)
    return subprocess.run([path, *rest], env=environment, check=False).returncode


def _exec(rest: list[str]) -> int:
    command = rest[2:] if rest[1:2] == ["--"] else rest[1:]
    if not command:
        raise StepError("cannot exec: usage is e2e/box exec VM -- COMMAND...")
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


def _status(_: argparse.Namespace) -> int:
    print(status.report())
    return 0 if lifecycle.whole() else 3


def _logs(options: argparse.Namespace) -> None:
    records = [process for process in processes.all_records() if process.log.exists()]
    if not options.name:
        print("\n".join(process.name for process in records) or f"no log: nothing runs under {RUN}")
        return
    chosen = [p for p in records if p.name == options.name] or [p for p in records if options.name in p.name]
    if not chosen:
        raise StepError(f"no log of {options.name}", advice="e2e/box logs lists what there is")
    if options.follow:
        os.execvp("tail", ["tail", "-n", "25", "-F", *(str(process.log) for process in chosen)])
    for process in chosen:
        print(f"==> {process.log}\n{process.log.read_text() if len(chosen) == 1 else log_tail(process.log)}")


def _stop(options: argparse.Namespace) -> None:
    processes.halt(processes.require(options.name))


def _start(options: argparse.Namespace) -> None:
    processes.restart(processes.require(options.name))


def _reboot(options: argparse.Namespace) -> None:
    lifecycle.require_up()
    with _alone(), step(f"reboot {options.vm}"):
        lifecycle.reboot(options.vm)


def _remove(options: argparse.Namespace) -> None:
    lifecycle.require_up()
    with _alone(), step(f"remove {options.vm}"):
        lifecycle.remove(options.vm, keep_nic=options.keep_nic)
