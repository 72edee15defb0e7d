"""The command `e2e/box`: parses arguments, calls the parts, and turns a StepError into a message and a status."""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

from azurebox import (
    azure,
    clusterdns,
    docker_host,
    emulation,
    host,
    image_export,
    lifecycle,
    processes,
    release,
    status,
    tools,
)
from azurebox.controlplane import command_line, people, people_environment
from azurebox.fabric.topology import PLACES
from azurebox.facts import AZURE_SOCKET, DEFAULT_NODES, MAX_INSTANCES, MAX_NODES, PREFIX, REPOSITORY, RUN
from azurebox.guest import Guest
from azurebox.machine import NETNS, Machine
from azurebox.node import RUNTIMES
from azurebox.steps import StepError, log_tail, step
from fakeazure import admincli

_BUILT = {
    "go": "the Go tool chain that builds the box",
    "gofmt": "the formatter of that tool chain",
    "cosign": "cosign, which signs releases and checks signatures",
    "actionlint": "the linter of the workflows in .github",
}
_TRIED = {
    "scenarios": "up, install, and the scenarios of e2e/scenarios; passes arguments to pytest",
    "soak": "up, install, and pods that come and go while faults happen; passes arguments on",
    "policy": "up, install, and Kubernetes' specs for NetworkPolicy and cyclonus' cases; passes arguments on",
    "bench": "measure against the reference plugins (tests/bench); passes arguments on",
}
DESCRIPTION = "Azure in a box: a real Kubernetes cluster on this machine, with a faithful fake of Azure."


def main(arguments: Sequence[str]) -> int:
    """Run one command of the box; its exit status."""
    # What follows these belongs to another program: argparse must not look at it.
    passed_on: dict[str, Callable[[list[str]], int]] = {
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
        print("\ninterrupted; run the same command again to continue, or e2e/box down", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="e2e/box", description=DESCRIPTION)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    _add_up(commands.add_parser("up", help="start a control plane and nodes, or whatever is missing of them"))
    commands.add_parser("install", help="build and load the image, then helm install; passes arguments to helm")
    commands.add_parser("kubectl", help="kubectl, as the cluster's administrator")
    commands.add_parser("azure-cni", help="the product's command line, as the cluster's administrator")
    commands.add_parser(
        "helm", help="helm, as the cluster's administrator; with the box down, only what needs no cluster"
    )
    for name, words in _BUILT.items():
        commands.add_parser(name, help=words)
    commands.add_parser("exec", help="exec VM [--] COMMAND...: run a command inside a VM, or at a host beyond them")
    commands.add_parser(
        "azure", help="show and change the fake Azure: azure nics, azure fault...; without a word, list all words"
    )
    commands.add_parser("demo", help="up, install, and a tour of what azure-cni does; passes arguments to helm")
    tour = commands.add_parser(
        "demo-docker", help="up, install, two VMs with Docker, and a tour of what azure-cni does for containers"
    )
    tour.add_argument(
        "--docker",
        choices=docker_host.VERSIONS,
        default=docker_host.VERSIONS[0],
        help="which engine, default %(default)s",
    )
    tour.set_defaults(run=_demo_docker)
    for name, words in _TRIED.items():
        commands.add_parser(name, help=words)
    packages = commands.add_parser(
        "packages", help="install the Debian packages that the box and the tests need, if missing"
    )
    packages.set_defaults(run=_packages)
    _add_image(
        commands.add_parser("image", help="build the image from nothing kept, as a file that is always the same")
    )
    built = commands.add_parser("tools", help="build Kubernetes, helm and what else is missing")
    built.add_argument("names", nargs="*", metavar="NAME", help="only these, such as karpenter")
    built.set_defaults(run=_tools)
    commands.add_parser("status", help="list what runs, with its state and memory").set_defaults(run=_status)
    logs = commands.add_parser(
        "logs", help="print the log of one service, or of all services of a VM; without a name, list them"
    )
    logs.add_argument("name", nargs="?")
    logs.add_argument("-f", "--follow", action="store_true")
    logs.set_defaults(run=_logs)
    for verb in ("stop", "start"):
        service = commands.add_parser(verb, help=f"{verb} one service, such as azbox-cp-kube-apiserver")
        service.add_argument("name")
        service.set_defaults(run=_stop if verb == "stop" else _start)
    reboot = commands.add_parser("reboot", help="cut a node's power and boot it again; its disk stays")
    reboot.add_argument("vm")
    reboot.set_defaults(run=_reboot)
    remove = commands.add_parser("remove", help="remove a node from the cluster and delete its VM")
    remove.add_argument("vm")
    remove.add_argument("--keep-nic", action="store_true", help="keep its NIC, with its addresses")
    remove.set_defaults(run=_remove)
    guest = commands.add_parser("guest", help="make a plain VM in the VNet, no node; it says whom it sees calling")
    guest.add_argument("name", help="such as azbox-db")
    guest.add_argument("--subnet", default="", help="by name; the nodes' by default")
    guest.add_argument("--appliance", action="store_true", help="it forwards, and its NIC has IP forwarding")
    guest.add_argument("--remove", action="store_true", help="take it away")
    guest.set_defaults(run=_guest)
    commands.add_parser("down", help="stop and remove everything").set_defaults(run=_down)
    return parser


def _add_up(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--nodes", type=_nodes, default=DEFAULT_NODES, help=f"1 to {MAX_NODES}, default {DEFAULT_NODES}"
    )
    parser.add_argument(
        "--instances",
        type=_instances,
        default=0,
        help=f"further nodes that are instances of a Uniform scale set, 0 to {MAX_INSTANCES}, default 0",
    )
    parser.add_argument(
        "--mode", choices=release.MODES, help=f"in which the box's azure-cni wires pods, default {release.MODES[0]}"
    )
    parser.add_argument("--dual-stack", action="store_true", help="a box with IPv6, for ipFamilies [IPv4, IPv6]")
    parser.add_argument("--runtime", choices=RUNTIMES, help=f"the nodes' container runtime, default {RUNTIMES[0]}")
    parser.set_defaults(run=_up)


def _add_image(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", nargs="?", type=Path, help="dist/azure-cni-image.tar or -image-arm64.tar by default")
    parser.add_argument("--arm64", action="store_true", help="build it for arm64, whose programs QEMU runs meanwhile")
    parser.add_argument("--twice", action="store_true", help="build it from two folders instead, and compare")
    parser.set_defaults(run=_image)


def _nodes(text: str) -> int:
    number = int(text)
    if not 1 <= number <= MAX_NODES:
        raise argparse.ArgumentTypeError(f"{number} is not 1 to {MAX_NODES}")
    return number


def _instances(text: str) -> int:
    number = int(text)
    if not 0 <= number <= MAX_INSTANCES:
        raise argparse.ArgumentTypeError(f"{number} is not 0 to {MAX_INSTANCES}")
    return number


def _up(options: argparse.Namespace) -> None:
    print(f"azure in a box: up, {options.nodes + options.instances} nodes", flush=True)
    with lifecycle.alone():
        lifecycle.up(options.nodes, instances=options.instances, runtime=options.runtime, dual_stack=options.dual_stack)
        if options.mode is not None:
            release.remember_mode(options.mode)
        with step("cluster DNS"):
            clusterdns.apply()
    print("up. next: e2e/box install; e2e/box kubectl get nodes; e2e/box status", flush=True)


def _packages(_: argparse.Namespace) -> None:
    host.require_root()
    host.ensure_packages()


def _image(options: argparse.Namespace) -> None:
    host.require_root()
    host.ensure_packages(host.PACKAGES | (emulation.PACKAGES if options.arm64 else {}))
    default = REPOSITORY / "dist" / f"azure-cni-image{'-arm64' if options.arm64 else ''}.tar"
    at, file = image_export.commit_time(), options.file or default
    with image_export.bases(arm64=options.arm64):
        if options.twice:
            image_export.twice(at=at, arm64=options.arm64)
        else:
            file.parent.mkdir(parents=True, exist_ok=True)
            image_export.export(file, at=at, arm64=options.arm64)


def _tools(options: argparse.Namespace) -> None:
    unknown = [name for name in options.names if name not in tools.BY_NAME]
    if unknown:
        raise StepError(f"cannot build {', '.join(unknown)}", advice=f"the tools are {', '.join(tools.BY_NAME)}")
    tools.ensure_tools([tools.BY_NAME[name] for name in options.names] or tools.ALL)


def _down(_: argparse.Namespace) -> None:
    print("azure in a box: down", flush=True)
    with lifecycle.alone():
        lifecycle.down()


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


def _demo_docker(options: argparse.Namespace) -> int:
    from azurebox import demo

    host.require_root()
    return demo.run_docker(options.docker, alone=lifecycle.alone)


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


def _stage(rest: list[str]) -> None:
    """Nodes that nothing else uses, with azure-cni in the mode that `rest` names."""
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
    _install([])


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
    with lifecycle.alone(), step(f"reboot {options.vm}"):
        lifecycle.reboot(options.vm)


def _guest(options: argparse.Namespace) -> None:
    lifecycle.require_up()
    with lifecycle.alone():
        guest = Guest(options.name)
        if options.remove:
            guest.remove()
            print(f"{options.name}: gone")
            return
        address = guest.ensure(subnet=options.subnet, forwards=options.appliance)
        print(f"{options.name}: {address}, GET http://{address}/whoami")


def _remove(options: argparse.Namespace) -> None:
    lifecycle.require_up()
    with lifecycle.alone(), step(f"remove {options.vm}"):
        lifecycle.remove(options.vm, keep_nic=options.keep_nic)
