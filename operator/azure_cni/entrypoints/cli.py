"""The `azure-cni` command."""

from __future__ import annotations

import asyncio
import os
import sys

import click

from azure_cni import __version__
from azure_cni.entrypoints import logs, settings
from azure_cni.errors import AzureCniError


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="azure-cni")
def main() -> None:
    """Virtual network addresses of Azure for every Kubernetes pod."""


@main.command()
def agent() -> None:
    """Run the agent of this node (the DaemonSet's process). Settings come from AZURE_CNI_* variables."""
    from azure_cni.entrypoints.agent import Agent

    try:
        chosen = settings.read(os.environ)
        logs.set_up(level=chosen.log_level, style=chosen.log_format)
        asyncio.run(Agent(chosen).run())
    except* AzureCniError as errors:
        for error in errors.exceptions:
            click.echo(f"azure-cni: {error}", err=True)
        sys.exit(1)
