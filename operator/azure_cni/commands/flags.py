"""Flags that commands have in common, named as kubectl's; and how a command ends."""

from __future__ import annotations

import errno
import functools
import io
import math
import os
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final, TypeVar

import click

from azure_cni.commands.access import SYSTEM_NAMESPACE, ClusterAccess, KubernetesAccess, is_in_pod
from azure_cni.commands.output import ExitCode, Form, one_line
from azure_cni.errors import AzureCniError, RequestError

INSTALLED: Final = "docs/command-line.md#install"
F = TypeVar("F", bound=Callable[..., Any])


class Amount(click.ParamType[float]):
    """How much of something, seconds or days: a number that is not negative, and has an end."""

    def __init__(self, unit: str) -> None:
        self.name = unit

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """What the person wrote; `nan` and `inf` are floats to Python, and would wait for ever or not at all."""
        try:
            amount = float(value)
        except ValueError:
            amount = math.nan
        if not math.isfinite(amount) or amount < 0:
            self.fail(f"{value!r} is no number of {self.name} from 0 on", param, ctx)
        return amount


SECONDS: Final = Amount("seconds")


def cluster_command(work: Callable[..., ExitCode]) -> Callable[..., None]:
    """A command that asks a cluster: its common flags, and its errors in words.

    `work` gets `access`, `form` and the flags of its own, and returns the exit code. A test passes an access of its own
    as the context's object. With a flag `files` that is set no cluster is looked for, and `access` is None.
    """

    @click.option("--context", metavar="NAME", help="The context of the kubeconfig.")
    @click.option("--kubeconfig", metavar="FILE", type=click.Path(), help="The kubeconfig; else KUBECONFIG.")
    @click.option(
        "--system-namespace",
        metavar="NAME",
        default=SYSTEM_NAMESPACE,
        show_default=True,
        help="The namespace of azure-cni's agents and controller.",
    )
    @click.option(
        "-o",
        "--output",
        "form",
        type=click.Choice([form.value for form in Form]),
        default=Form.TABLE.value,
        show_default=True,
        help="The form.",
    )
    @click.pass_context
    def run(
        ctx: click.Context,
        /,
        context: str | None,
        kubeconfig: str | None,
        system_namespace: str,
        form: str,
        **own: Any,
    ) -> None:
        _prepare_streams()
        try:
            offline = bool(own.get("files"))
            access = None if offline else ctx.obj or open_access(kubeconfig, context)
            if access is not None:
                access.system_namespace = system_namespace
            code = work(access=access, form=Form(form), **own)
        except ModuleNotFoundError as error:
            code = _failed(f"{error}; install azure-cni with its extra `client`: {INSTALLED}", ExitCode.USAGE)
        except RequestError as error:
            code = _failed(str(error), ExitCode.USAGE)
        except AzureCniError as error:
            code = _failed(str(error), ExitCode.NO_ANSWER)
        except KeyboardInterrupt:  # not 1, which is an answer
            code = _failed("interrupted", ExitCode.NO_ANSWER)
        except OSError as error:
            code = _unprinted(error)
        ctx.exit(code)

    return functools.update_wrapper(run, work)


def open_access(kubeconfig: str | None, context: str | None) -> ClusterAccess:
    """A kubeconfig's cluster; in a pod of the project's image its own. ConfigInvalid where there is none."""
    if kubeconfig is None and context is None and is_in_pod() and find_spec("kubernetes") is None:
        from azure_cni.commands.pod_access import PodAccess
        from azure_cni.kube.client import KubeEndpoint

        return PodAccess(KubeEndpoint.in_cluster(os.environ))
    return KubernetesAccess(kubeconfig=kubeconfig, context=context)


def _prepare_streams() -> None:
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # started with it closed: the exit code says it all
            setattr(sys, name, Path(os.devnull).open("w"))  # noqa: SIM115  # for as long as the process lives
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a locale without the signs of tables


def namespace_flags(work: F) -> F:
    """`-n`: the namespace; without it that of the context."""
    option = click.option("-n", "--namespace", metavar="NAME", help="The namespace; else the context's.")
    return option(work)


def _unprinted(error: OSError) -> ExitCode:
    """The answer could not be written. Python tries what is left once more when it ends, and must not fail again."""
    if error.errno not in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO}:
        raise error
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)
    return _failed(f"cannot write the answer: {error.strerror}", ExitCode.NO_ANSWER)


def _failed(words: str, code: ExitCode) -> ExitCode:
    click.echo(f"azure-cni: {one_line(words)}", err=True)
    return code
