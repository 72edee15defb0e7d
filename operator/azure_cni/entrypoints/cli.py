"""The `azure-cni` command: the processes of the cluster, and the commands for people.

It is also the kubectl plugin `kubectl azure-cni` (`kubectl-azure_cni` on the path). A command's module is loaded when
the command runs, or when its help is printed: neither pays for the other's libraries.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import os
import sys
import time
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Final

import click

from azure_cni import __version__
from azure_cni.errors import AzureCniError

FOR_PEOPLE: Final = {
    "status": "cluster_commands",
    "check": "cluster_commands",
    "why": "why",
    "who": "address_commands",
    "addresses": "address_commands",
    "plan": "address_commands",
    "writes": "writes",
    "trace": "trace",
    "test": "network_test",
    "forecast": "forecast",
    "pause": "pause_commands",
    "resume": "pause_commands",
    "report": "report",
    "completion": "completion",
    "introspect": "introspect",
}
"""Commands, and their modules in `azure_cni.commands`."""
OBJECTS_BETWEEN_COLLECTIONS: Final = 100_000
"""Python's is 700: hundreds of times while a client's modules are loaded, a tenth of a command's CPU time."""


class LazyGroup(click.Group):
    """Commands of its own, and those for people, which come first in its help."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """In the order of the help."""
        return [*FOR_PEOPLE, *super().list_commands(ctx)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Loads its module."""
        module = FOR_PEOPLE.get(cmd_name)
        if module is None:
            return super().get_command(ctx, cmd_name)
        gc.set_threshold(OBJECTS_BETWEEN_COLLECTIONS)
        atexit.register(gc.freeze)  # Python's last collection looks at all that is loaded: a sixth of the CPU time
        found: click.Command = getattr(import_module(f"azure_cni.commands.{module}"), cmd_name)
        return found


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="azure-cni")
def main() -> None:
    """Virtual network addresses of Azure for every Kubernetes pod."""


def complete_for_kubectl() -> None:
    """The program `kubectl_complete-azure_cni`."""
    from azure_cni.commands.completion import complete_for_kubectl

    complete_for_kubectl(main)


@main.command()
def agent() -> None:
    """Run the agent of this node (the DaemonSet's process). Settings come from AZURE_CNI_* variables."""
    with _errors_reported():
        with loading_for_good():
            from azure_cni.entrypoints import settings
            from azure_cni.entrypoints.agent import run_agent
            from azure_cni.entrypoints.agent_platform import this_system
            from azure_cni.entrypoints.logs import set_up_logs
            from azure_cni.entrypoints.running import run_process

        chosen = settings.read(os.environ, system=this_system())
        set_up_logs(level=chosen.log_level, style=chosen.log_format)
        run_process(run_agent(chosen))


@main.command()
def controller() -> None:
    """Run a controller of the cluster (the Deployment's process). Settings come from AZURE_CNI_* variables."""
    with _errors_reported():
        with loading_for_good():
            from azure_cni.entrypoints import controller_settings
            from azure_cni.entrypoints.controller import Controller
            from azure_cni.entrypoints.logs import set_up_logs
            from azure_cni.entrypoints.running import run_process

        chosen = controller_settings.read(os.environ)
        set_up_logs(level=chosen.log_level, style=chosen.log_format)
        run_process(Controller(chosen).run())


@main.group(invoke_without_command=True, short_help="Give Docker's containers addresses of the VNet.")
@click.option(
    "--config",
    "config",
    type=click.Path(path_type=Path),
    default=Path("/etc/azure-cni/docker.toml"),
    show_default=True,
    help="The settings.",
)
@click.option("--check-config", is_flag=True, help="Say whether the settings are right, and start nothing.")
@click.pass_context
def docker(context: click.Context, config: Path, *, check_config: bool) -> None:
    """Give Docker's containers addresses of the VNet, on a VM without Kubernetes (a network and IPAM plugin)."""
    with _errors_reported():
        from azure_cni.entrypoints import docker_settings

        chosen = docker_settings.read_file(config)
        context.obj = chosen.socket
        if check_config:
            found = "the settings are right" if config.exists() else "there is no such file; the defaults are used"
            click.echo(f"{config}: {found}")
        elif context.invoked_subcommand is None:
            with loading_for_good():
                from azure_cni.entrypoints.docker_plugin import run_docker
                from azure_cni.entrypoints.logs import set_up_logs
                from azure_cni.entrypoints.running import run_process

            set_up_logs(level=chosen.log_level, style=chosen.log_format)
            run_process(run_docker(chosen))


@docker.command()
@click.option("--wait", "wait_s", default=0.0, show_default=True, help="Seconds to wait until a container can start.")
@click.pass_obj
def status(path: Path, wait_s: float) -> None:
    """Show the pool of this VM, its conditions, and who has which address. Exits with 1 if no container can start."""
    with _errors_reported():
        from azure_cni.docker import plugin_status
        from azure_cni.entrypoints.docker_socket import await_status

        shown = await_status(path, wait_s=wait_s)
    for line in plugin_status.lines(shown):
        click.echo(line)
    sys.exit(0 if shown.get("ready") else 1)


@docker.command()
@click.argument("address")
@click.option("--at", metavar="TIME", help="Who had it then: 2026-11-28T06:19:00Z, UTC where no zone is named.")
@click.pass_obj
def who(path: Path, address: str, at: str | None) -> None:
    """Say which container has ADDRESS and who had it before, by this VM's audit trail. Exits with 3 if nobody knows."""
    with _errors_reported():
        from azure_cni.diagnose.holders import parse_address, parse_time
        from azure_cni.docker import address_history
        from azure_cni.entrypoints.docker_socket import fetch_status, fetch_trail

        wanted, moment = parse_address(address), parse_time(at, now_s=time.time()) if at is not None else ""
        found = address_history.find(wanted, fetch_status(path), fetch_trail(path, wanted), at=moment)
    for line in address_history.lines(found):
        click.echo(line)
    sys.exit(3 if found.unknown else 0)


@contextlib.contextmanager
def loading_for_good() -> Iterator[None]:
    """Load what a process needs for as long as it lives. The collector of reference cycles does not look at it: not
    again and again while it is loaded, nor ever after, when that would hold up a pod's ADD for 40 ms.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


@contextlib.contextmanager
def _errors_reported() -> Iterator[None]:
    """Print our own errors as one sentence. Anything else is a fault, and its traceback shows where."""
    try:
        yield
    except* AzureCniError as errors:
        for error in errors.exceptions:
            click.echo(f"azure-cni: {error}", err=True)
        sys.exit(1)
    except* ModuleNotFoundError as missing:
        click.echo(
            f"azure-cni: cannot start: {missing.exceptions[0]}; the one-file command line runs no agent, controller or "
            "plugin: use the image, or a Python environment with azure-cni and all that it depends on",
            err=True,
        )
        sys.exit(1)
