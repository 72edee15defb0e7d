"""The `azure-cni` command."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections.abc import Iterator

import click

from azure_cni import __version__
from azure_cni.entrypoints import logs
from azure_cni.errors import AzureCniError


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="azure-cni")
def main() -> None:
    """Virtual network addresses of Azure for every Kubernetes pod."""


@main.command()
def agent() -> None:
    """Run the agent of this node (the DaemonSet's process). Settings come from AZURE_CNI_* variables."""
    from azure_cni.entrypoints import settings
    from azure_cni.entrypoints.agent import Agent

    with _failures_told():
        chosen = settings.read(os.environ)
        logs.set_up(level=chosen.log_level, style=chosen.log_format)
        asyncio.run(Agent(chosen).run())


@main.command()
def controller() -> None:
    """Run a controller of the cluster (the Deployment's process). Settings come from AZURE_CNI_* variables."""
    from azure_cni.entrypoints import controller_settings
    from azure_cni.entrypoints.controller import Controller

    with _failures_told():
        chosen = controller_settings.read(os.environ)
        logs.set_up(level=chosen.log_level, style=chosen.log_format)
        asyncio.run(Controller(chosen).run())


@contextlib.contextmanager
def _failures_told() -> Iterator[None]:
    """What we raise on purpose is a sentence for people; everything else is a fault, and shows where it is."""
    try:
        yield
    except* AzureCniError as errors:
        for error in errors.exceptions:
            click.echo(f"azure-cni: {error}", err=True)
        sys.exit(1)
