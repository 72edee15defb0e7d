"""What is cheap to build is built twice, from two folders, the files of which have two times: the bits are the same."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import tarfile
import time
import tomllib
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

from azurebox.facts import REPOSITORY
from release import artifacts, contents
from release.versions import ReleaseError
from unit.chart.helm import helm
from unit.release.hub_schema import faults

AT = 1_700_000_000
HOUR_S = 3600


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The sources twice, at paths of different lengths, the second copy's files a day older and in another umask."""
    listed = subprocess.run(["git", "-C", REPOSITORY, "ls-files", "-z"], capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("these sources are no git repository")
    made = []
    for name, age_s, mode in (("one", 0, 0o644), ("a/much/longer/path", 24 * HOUR_S, 0o664)):
        folder = tmp_path_factory.mktemp("sources") / name
        for path in filter(None, listed.stdout.split("\0")):
            if (REPOSITORY / path).is_file() and not path.startswith(("tests/", "docs/")):
                (folder / path).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(REPOSITORY / path, folder / path)
                (folder / path).chmod((REPOSITORY / path).stat().st_mode & 0o111 | mode)
                os.utime(folder / path, (time.time() - age_s,) * 2)
        (folder / ".venv").symlink_to(REPOSITORY / ".venv")
        made.append(folder)
    return made


def twice(folders: list[Path], step: Callable[[Path, Path], None]) -> dict[str, bytes]:
    """Files by name, after both folders made the same of them."""
    results = []
    for folder in folders:
        target = folder / "out"
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir()
        step(folder, target)
        results.append({path.name: path.read_bytes() for path in target.iterdir()})
    assert results[0].keys() == results[1].keys()
    assert [name for name, content in results[0].items() if results[1][name] != content] == []
    return results[0]


def test_the_wheel(folders: list[Path]):
    try:
        made = twice(folders, lambda source, target: artifacts.wheel(source, target, AT, offline=True))
    except ReleaseError as error:
        if "hatchling" not in str(error):
            raise
        pytest.skip("the wheel's build system is not in uv's cache: `make wheel` fetches it")
    ((name, content),) = made.items()
    with zipfile.ZipFile(io.BytesIO(content)) as wheel:
        assert {entry.date_time for entry in wheel.infolist()} == {(2023, 11, 14, 22, 13, 20)}
    assert name.endswith(".whl")


def test_the_command_line_in_one_file(folders: list[Path]):
    made = twice(folders, lambda source, target: artifacts.zipapp(source, target, AT))
    with zipfile.ZipFile(io.BytesIO(made["azure-cni"])) as whole:
        names = {name.rpartition("/")[2] for name in whole.namelist()}
    assert names.isdisjoint({"RECORD", "INSTALLER", "direct_url.json", "REQUESTED"})
    assert "METADATA" in names


def test_the_cni_binaries_and_the_lists_of_contents(folders: list[Path]):
    def step(source: Path, target: Path) -> None:
        artifacts.plugin(source, target, AT, "9.8.7")
        contents.lists(source, target, AT, "9.8.7")

    everything = twice(folders, step)
    made = {name: content for name, content in everything.items() if name.startswith("azure-cni-plugin-")}
    assert sorted(made) == ["azure-cni-plugin-linux-amd64", "azure-cni-plugin-linux-arm64"]
    listed = {part["name"]: part["version"] for part in json.loads(everything["image.cdx.json"])["components"]}
    needed = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["dependencies"]
    assert {Requirement(one).name for one in needed} <= listed.keys()
    assert listed["github.com/containernetworking/cni"].startswith("v1.")
    assert len([name for name in everything if name.endswith((".spdx.json", ".cdx.json"))]) == 6
    for name, content in made.items():
        assert b"9.8.7" in content
        assert str(folders[0]).encode() not in content, name


def test_the_chart_which_helm_accepts(folders: list[Path], tmp_path: Path):
    ((name, content),) = twice(folders, lambda source, target: artifacts.chart(source, target, AT)).items()
    with tarfile.open(fileobj=io.BytesIO(content)) as chart:
        assert {(entry.mtime, entry.mode, entry.uid) for entry in chart} == {(AT, 0o644, 0)}
    (tmp_path / name).write_bytes(content)
    shown = subprocess.run([helm(), "show", "chart", tmp_path / name], capture_output=True, text=True, check=False)
    assert (shown.returncode, "name: azure-cni\n" in shown.stdout) == (0, True)
    rendered = subprocess.run(
        [helm(), "template", "x", tmp_path / name, "--kube-version", "1.36.3"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    directly = subprocess.run(
        [helm(), "template", "x", REPOSITORY / "charts/azure-cni", "--kube-version", "1.36.3"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (rendered.returncode, rendered.stdout) == (0, directly.stdout)


def test_the_chart_names_the_key_that_signs_it_where_the_sources_do(folders: list[Path], tmp_path: Path):
    key = folders[0] / artifacts.SIGN_KEY
    key.write_text(f"fingerprint: {'C8' * 20}\nurl: https://example.com/key.asc\n")
    try:
        artifacts.chart(folders[0], tmp_path, AT)
    finally:
        key.unlink()
    (packed,) = tmp_path.iterdir()
    with tarfile.open(packed) as chart:
        file = chart.extractfile("azure-cni/Chart.yaml")
        assert file
        annotations = yaml.safe_load(file.read())["annotations"]
    assert faults(annotations) == []
    assert yaml.safe_load(annotations["artifacthub.io/signKey"])["fingerprint"] == "C8" * 20


def test_a_chart_as_helm_makes_it_at_two_times_is_one():
    """Helm stamps each file with the time of the day."""

    def packed(at: int, names: list[str]) -> bytes:
        whole = io.BytesIO()
        with tarfile.open(fileobj=whole, mode="w:gz") as archive:
            for one in names:
                entry = tarfile.TarInfo(one)
                entry.size, entry.mtime, entry.uname = 1, at, str(at)
                archive.addfile(entry, io.BytesIO(b"x"))
        return whole.getvalue()

    first, second = packed(1, ["a/b", "a/c"]), packed(2, ["a/c", "a/b"])
    assert first != second
    assert artifacts.timeless(first, AT) == artifacts.timeless(second, AT)
