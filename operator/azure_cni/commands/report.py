"""`report`: an archive for a bug report, without credentials and without the names of tenants' pods.

All texts are read first, because a name that one of them has must be replaced in all. What could not be read, was cut,
or did not fit, stands in the archive's `contents.json` and in the answer.
"""

from __future__ import annotations

import io
import os
import re
import tarfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click
import msgspec

from azure_cni import __version__
from azure_cni.commands import program_reads, reads
from azure_cni.commands.access import ClusterAccess
from azure_cni.commands.flags import cluster_command
from azure_cni.commands.gathering import Gathered, gather, redactor_for
from azure_cni.commands.output import DOUBTFUL, GOOD, ExitCode, Form, emit, progress, table
from azure_cni.diagnose.redaction import Redactor
from azure_cni.errors import ConfigInvalid, KubeDenied
from azure_cni.model.text import legible

if TYPE_CHECKING:
    from rich.console import Console

ARCHIVE_BYTES: Final = 64 << 20
"""Of all files together, unpacked."""
FILE_NAME: Final = re.compile(r"(?:[a-z]+/)?[A-Za-z0-9][A-Za-z0-9.-]*")
"""Of a file in the archive, in at most one folder: whoever unpacks it gets nothing elsewhere."""


class ReportFile(msgspec.Struct, frozen=True, rename="camel"):
    """One file of the archive. `cut`: its older part is left out."""

    name: str
    size: int
    what: str
    cut: bool = False


class ReportAnswer(msgspec.Struct, frozen=True, rename="camel"):
    """The answer to `report`, and its `contents.json`. `replaced`: how many names, by kind, have other words now."""

    archive: str
    version: str
    time: str
    files: list[ReportFile]
    replaced: dict[str, int]
    left_out: list[str]
    unread: list[str]


@click.command(short_help="Write an archive for a bug report.")
@click.option("-f", "--file", "path", metavar="FILE", type=click.Path(path_type=Path), help="Where to write it.")
@click.option(
    "--node",
    "nodes",
    metavar="NODE",
    multiple=True,
    help="Ask the agents of these nodes, and read their logs; repeatable.",
)
@cluster_command
def report(access: ClusterAccess, form: Form, *, path: Path | None, nodes: tuple[str, ...]) -> ExitCode:
    """Write an archive (tar.gz) for a bug report: pools, quotas, events, what agents say, and azure-cni's own logs.

    Names of pods and namespaces, GUIDs and credentials are replaced; names of nodes and Azure resources, and addresses,
    stay. It has at most 20 nodes, those with something wrong first, and 64 MiB unpacked. Agents and logs need the right
    to create pods/exec and to get pods/log in azure-cni's namespace. Exits with 3 if something could not be read.
    """
    now_s = time.time()
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now_s))
    target = path or Path(f"azure-cni-report-{stamp}.tar.gz")
    if target.exists():
        raise ConfigInvalid(f"cannot write {target}: it exists; name another file with -f")
    evidence = program_reads.with_programs(access, reads.read_cluster(access, settings=True))
    if not evidence.knows("pods"):
        why = evidence.missing["pods"]
        raise KubeDenied(f"cannot make a report: the names of pods to leave out are not known, because {why}")
    with progress("reading the cluster, agents and logs"):
        found = gather(access, evidence, nodes)
    redactor = redactor_for(evidence, found)
    written = _archive(found, redactor, target, stamp=stamp, now_s=now_s)
    emit(written, form, _show_report)
    return ExitCode.NO_ANSWER if written.unread else ExitCode.WELL


def _archive(found: Gathered, redactor: Redactor, target: Path, *, stamp: str, now_s: float) -> ReportAnswer:
    """Write it, for nobody else's eyes. What does not fit any more is left out, and named."""
    files: list[ReportFile] = []
    contents: dict[str, bytes] = {}
    made = {name: (redactor.value(document), what) for name, (document, what) in found.documents.items()}
    texts = {name: (_json(document), what) for name, (document, what) in made.items()}
    texts |= {name: (redactor.text(log).encode(), what) for name, (log, what) in found.logs.items()}
    left_out, room = list(found.left_out), ARCHIVE_BYTES
    for name, (body, what) in texts.items():
        if not FILE_NAME.fullmatch(name):
            left_out.append(f"{legible(name)}: that is no name for a file of the archive")
            continue
        if len(body) > room:
            left_out.append(f"{name}: the archive is full")
            continue
        room -= len(body)
        contents[name] = body
        files.append(ReportFile(name, len(body), what, name in found.cut))
    unread = [redactor.text(words) for words in found.unread]
    answer = ReportAnswer(str(target), __version__, stamp, files, redactor.replaced, left_out, unread)
    shown = msgspec.structs.replace(answer, archive=target.name)  # a path may have a person's name in it
    contents = {"contents.json": _json(msgspec.to_builtins(shown)), **contents}
    folder = f"azure-cni-report-{stamp}"
    try:
        with (
            open(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file,  # noqa: PTH123
            tarfile.open(fileobj=file, mode="w:gz") as archive,
        ):
            for name, body in contents.items():
                entry = tarfile.TarInfo(f"{folder}/{name}")
                entry.size, entry.mtime, entry.mode = len(body), int(now_s), 0o644
                archive.addfile(entry, io.BytesIO(body))
    except OSError as error:
        raise ConfigInvalid(f"cannot write {target}: {error}") from error
    return answer


def _json(document: Any) -> bytes:
    return msgspec.json.format(msgspec.json.encode(document), indent=2)


def _show_report(console: Console, answer: ReportAnswer) -> None:
    rows = [
        (one.name, str(one.size), f"{one.what}{'; its older part is left out' if one.cut else ''}")
        for one in answer.files
    ]
    console.print(table(("FILE", "BYTES", "WHAT"), rows))
    replaced = ", ".join(f"{count} {kind}" for kind, count in answer.replaced.items())
    console.print(f"\n{GOOD} written to {answer.archive}", style="green")
    console.print(
        f"names replaced: {replaced}. Addresses and the names of nodes and Azure resources are in it: read it before "
        "you send it"
    )
    for words in (*answer.left_out, *answer.unread):
        console.print(f"{DOUBTFUL} {words}", style="yellow")
