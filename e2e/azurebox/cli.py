"""The command `e2e/box`: parses arguments, calls the parts, and turns a StepError into a message and a status."""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from azurebox import (
    clusterdns,
    docker_host,
    emulation,
    host,
    image_export,
    lifecycle,
    passed_on,
    processes,
    release,
    status,
    tools,
)
from azurebox.facts import DEFAULT_NODES, MAX_INSTANCES, MAX_NODES, REPOSITORY, RUN
from azurebox.guest import Guest
from azurebox.node import RUNTIMES
from azurebox.steps import StepError, log_tail, step

_BUILT = {
    "go": "the Go tool chain that builds the box",
    "gofmt": "the formatter of that tool chain",
    "cosign": "cosign, which signs releases and checks signatures",
    "actionlint": "the linter of the workflows in .github",
}
_TRIED = {
    "scenarios": "up, install, and the scenarios of e2e/scenarios; passes arguments to pytest",
    "soak": "up, install, and pods that come and go while faults happen; passes arguments on",
    "specs": "up, install, and Kubernetes' own specs for the network; passes arguments on",
    "policy": "up, install, and Kubernetes' specs for NetworkPolicy and cyclonus' cases; passes arguments on",
    "bench": "measure against the reference plugins (tests/bench); passes arguments on",
}
DESCRIPTION = "Azure in a box: a real Kubernetes cluster on this machine, with a faithful fake of Azure."


def main(arguments: Sequence[str]) -> int:
    """Run one command of the box; its exit status."""
    try:
        if arguments and arguments[0] in passed_on.COMMANDS:
            return passed_on.COMMANDS[arguments[0]](list(arguments[1:]))
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


def _demo_docker(options: argparse.Namespace) -> int:
    from azurebox import demo

    host.require_root()
    return demo.run_docker(options.docker, alone=lifecycle.alone)


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
