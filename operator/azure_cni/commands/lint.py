"""`check -f`: what is wrong in files, for CI, without a cluster: values of the chart, manifests, a conflist.

A file may have several documents, of several sorts. Each is judged by the rules that the product itself has for it, and
each values file alone, over the chart's defaults. One thing goes from file to file: values decide which versions of the
custom resources the API server serves (`crds.storedVersion`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec

from azure_cni.api.reading import mapping, text
from azure_cni.cni import config
from azure_cni.commands.chart_files import ChartFiles, read_chart
from azure_cni.commands.located_yaml import LocatedDocument, merged_values, parse_located
from azure_cni.commands.output import BAD, DOUBTFUL, GOOD, ExitCode, Form, emit
from azure_cni.diagnose.manifest_rules import Fault, is_ours, manifest_faults, unserved_version
from azure_cni.diagnose.schemas import violations
from azure_cni.errors import AzureCniError, ConfigInvalid
from azure_cni.model.text import counted

if TYPE_CHECKING:
    from rich.console import Console

_NAMED: Final = re.compile(r"[A-Za-z]\w*(?:\.\w+)*")


class FileFault(msgspec.Struct, frozen=True, rename="camel"):
    """One fault. `path`: keys from the document's top, joined by dots; "" where the file cannot be read at all."""

    file: str
    line: int
    path: str
    message: str


class FileChecks(msgspec.Struct, frozen=True, rename="camel"):
    """The answer to `check -f`. `checked`: what each file was taken for. `unchecked`: rules that were not applied."""

    chart: str
    checked: list[str]
    faults: list[FileFault]
    unchecked: list[str]


def lint_files(files: tuple[Path, ...], form: Form, *, chart: Path | None) -> ExitCode:
    """Exits with 1 for faults, else with 3 where a rule could not be applied."""
    read = [(file, _documents(file)) for file in files]
    found = read_chart(chart)
    lint = _Lint(found, _stored_versions(found, [one for _, documents in read for one in documents]))
    for file, documents in read:
        lint.judge(file, documents)
    answer = lint.answer()
    emit(answer, form, _show_faults)
    if answer.faults:
        return ExitCode.WRONG
    return ExitCode.NO_ANSWER if answer.unchecked else ExitCode.WELL


def _documents(file: Path) -> list[LocatedDocument]:
    """ConfigInvalid where the file cannot be read."""
    try:
        content = file.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise ConfigInvalid(f"cannot check {file}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigInvalid(f"cannot check {file}: {error}") from error
    return parse_located(content)


def _stored_versions(chart: ChartFiles | None, documents: list[LocatedDocument]) -> frozenset[str]:
    """`crds.storedVersion` by each of the values that are there, over the chart's default."""
    default = mapping(chart.defaults.get("crds")).get("storedVersion") if chart else None
    values = [one.value for one in documents if isinstance(one.value, Mapping) and _are_values(one.value)]
    return frozenset(text(mapping(one.get("crds")).get("storedVersion", default)) for one in values)


def _are_values(value: Mapping[str, Any]) -> bool:
    """Values of the chart are whatever is nothing else."""
    conflist = "plugins" in value and "cniVersion" in value
    manifest = "apiVersion" in value and "kind" in value
    return not (conflist or manifest or value.get("type") == config.PLUGIN)


class _Lint:
    """What was found so far."""

    def __init__(self, chart: ChartFiles | None, stored_versions: frozenset[str]) -> None:
        self._chart = chart
        self._definitions = chart.definitions if chart else {}
        self._stored_versions = stored_versions
        self._checked: list[str] = []
        self._faults: list[FileFault] = []
        self._unchecked: dict[str, None] = {}

    def answer(self) -> FileChecks:
        version = self._chart.version if self._chart else ""
        return FileChecks(version, self._checked, self._faults, list(self._unchecked))

    def judge(self, file: Path, documents: list[LocatedDocument]) -> None:
        sorts = [self._judge(file, document, alone=len(documents) == 1) for document in documents]
        self._checked.append(f"{file}: {', '.join(dict.fromkeys(sorts)) or 'empty'}")

    def _judge(self, file: Path, document: LocatedDocument, *, alone: bool) -> str:
        """What the document is, for people."""
        for line, message in document.faults:
            self._faults.append(FileFault(str(file), line, "", message))
        value = document.value
        if value is None:
            return "no YAML"
        if not isinstance(value, Mapping):
            self._add(file, document, [((), "it is neither an object nor values: its top is no mapping")])
            return "nothing of azure-cni's"
        if _are_values(value):
            return self._values(file, document, value, alone=alone)
        if "plugins" in value and "cniVersion" in value:
            return self._conflist(file, document, value)
        if "apiVersion" in value and "kind" in value:
            return self._manifest(file, document, value)
        self._add(file, document, _plugin_faults(value, ()))
        return "network configuration"

    def _manifest(self, file: Path, document: LocatedDocument, value: Mapping[str, Any]) -> str:
        if value["kind"] != "List":
            self._add(file, document, self._object_faults(value))
            return text(value["kind"])
        for place, one in _objects(value.get("items")):
            faults = self._object_faults(one)
            self._add(file, document, ((("items", place, *path), message) for path, message in faults))
        return "list of objects"

    def _object_faults(self, value: Mapping[str, Any]) -> Iterator[Fault]:
        if is_ours(value) and self._chart is None:
            self._unchecked["fields of NodeIPPools and VNetQuotas: no chart; name its directory with --chart"] = None
        yield from manifest_faults(value, self._definitions)
        unserved = unserved_version(value, self._definitions)
        if unserved and not self._stored_versions:
            needed = f"it does with crds.storedVersion: {unserved}; name the file of the values, too"
            self._unchecked[f"whether the API server serves version {unserved}: {needed}"] = None
        elif unserved and unserved not in self._stored_versions:
            remedy = f"set crds.storedVersion to {unserved}, or write {min(self._stored_versions)} here"
            yield ("apiVersion",), f"with these values the API server does not serve {unserved}: {remedy}"

    def _conflist(self, file: Path, document: LocatedDocument, value: Mapping[str, Any]) -> str:
        ours = [(place, one) for place, one in _objects(value["plugins"]) if one.get("type") == config.PLUGIN]
        shared = {key: value.get(key) for key in ("cniVersion", "name")}  # as the runtime hands them to each plugin
        for place, one in ours:
            self._add(file, document, _plugin_faults({**one, **shared}, ("plugins", place)))
        return "conflist" if ours else "conflist of other plugins"

    def _values(self, file: Path, document: LocatedDocument, value: Mapping[str, Any], *, alone: bool) -> str:
        if self._chart is None:
            self._unchecked[f"{file}: values, for there is no chart; name its directory with --chart"] = None
            return "values"
        before = len(self._faults)
        self._add(file, document, violations(self._chart.schema, merged_values(self._chart.defaults, value)))
        if len(self._faults) == before and not document.faults:
            self._templates(self._chart, file, document, alone=alone)
        return "values"

    def _templates(self, chart: ChartFiles, file: Path, document: LocatedDocument, *, alone: bool) -> None:
        """What the chart refuses although the schema allows it: helm says the first sentence."""
        if not alone:
            self._add(file, document, [((), "a values file must have one document: helm reads no other")])
        elif chart.helm is None:
            self._unchecked["rules of the chart that compare values: helm is not installed"] = None
        elif said := chart.refusal(file):
            self._add(file, document, [(_place_of(said, document), said)])

    def _add(self, file: Path, document: LocatedDocument, faults: Iterator[Fault] | list[Fault]) -> None:
        for path, message in faults:
            shown = ".".join(map(str, path))
            self._faults.append(FileFault(str(file), document.line_of(path), shown, message))


def _objects(entries: Any) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """Those of a list, each with its place."""
    listed = enumerate(entries if isinstance(entries, list) else [])
    return ((place, one) for place, one in listed if isinstance(one, Mapping))


def _plugin_faults(plugin: Mapping[str, Any], path: tuple[str | int, ...]) -> list[Fault]:
    try:
        config.parse(plugin)
    except AzureCniError as error:
        return [(path, str(error))]
    return []


def _place_of(sentence: str, document: LocatedDocument) -> tuple[str, ...]:
    """The value that a sentence of the chart is about: the first that it names and that the file has."""
    named = [tuple(word.split(".")) for word in _NAMED.findall(sentence)]
    return next((path for path in sorted(named, key=len, reverse=True) if path in document.lines), ())


def _show_faults(console: Console, answer: FileChecks) -> None:
    for one in answer.faults:
        where = f"{one.path}: " if one.path else ""
        console.print(f"{one.file}:{one.line}: {where}{one.message}", style="red")
    for words in answer.unchecked:
        console.print(f"{DOUBTFUL} not checked: {words}", style="yellow")
    for words in answer.checked:
        console.print(f"{GOOD if not answer.faults else ' '} {words}")
    if answer.faults:
        console.print(f"{BAD} {counted(len(answer.faults), 'fault')}", style="red")
