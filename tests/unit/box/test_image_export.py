"""The image as one file: the same whenever it is packed, and what differs between two is named."""

from __future__ import annotations

import io
import os
import re
import tarfile
import time
from pathlib import Path

import pytest

from azurebox import image, image_export
from azurebox.facts import REPOSITORY

AT = 1_700_000_000


def layout(directory: Path, files: dict[str, bytes], *, mode: int = 0o644, mtime: int = AT) -> Path:
    """An OCI layout with one layer, as far as a comparison reads it."""
    blobs = directory / "blobs" / "sha256"
    blobs.mkdir(parents=True)
    whole = io.BytesIO()
    with tarfile.open(fileobj=whole, mode="w:gz") as layer:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode, entry.mtime = len(content), mode, mtime
            layer.addfile(entry, io.BytesIO(content))
    (blobs / "a").write_bytes(whole.getvalue())
    (blobs / "b").write_text("{}")
    return directory


def test_the_file_is_the_same_whatever_the_times_and_modes(tmp_path: Path):
    packed = []
    for number, name in enumerate(("one", "another/path")):
        (tmp_path / name / "blobs").mkdir(parents=True)
        for file in ("blobs/b", "blobs/a", "index.json"):
            (tmp_path / name / file).write_text(file)
            (tmp_path / name / file).chmod((0o600, 0o664)[number])
            os.utime(tmp_path / name / file, (number, number))
        image_export.pack(tmp_path / name, tmp_path / f"{number}.tar", at=AT)
        packed.append((tmp_path / f"{number}.tar").read_bytes())
    assert packed[0] == packed[1]
    with tarfile.open(fileobj=io.BytesIO(packed[0])) as archive:
        assert archive.getnames() == ["blobs", "blobs/a", "blobs/b", "index.json"]


def test_what_differs_is_named_and_nothing_else(tmp_path: Path):
    files = {"usr/a": b"1", "usr/b": b"2"}
    first = layout(tmp_path / "1", files)
    assert image_export.differences(first, layout(tmp_path / "2", dict(reversed(files.items())))) == []
    assert image_export.differences(first, layout(tmp_path / "3", files | {"usr/b": b"3", "c": b""})) == ["c", "usr/b"]
    assert image_export.differences(first, layout(tmp_path / "4", files, mode=0o755)) == ["usr/a", "usr/b"]
    assert image_export.differences(first, layout(tmp_path / "5", files, mtime=AT + 1)) == ["usr/a", "usr/b"]


def test_a_copy_of_the_sources_has_what_git_has_at_another_time(tmp_path: Path):
    image_export.copy_sources(tmp_path, age_s=image_export.DAY_S)
    copied, file = tmp_path / "Dockerfile", REPOSITORY / "Dockerfile"
    assert copied.read_bytes() == file.read_bytes()
    assert (tmp_path / "e2e" / "box").stat().st_mode & 0o111
    assert not (tmp_path / ".git").exists()
    assert time.time() - copied.stat().st_mtime > image_export.DAY_S / 2


def test_for_arm64_its_base_is_built_on_and_this_machines_bases_build(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(image, "base_reference", lambda architecture="": f"base-{architecture or 'here'}")
    monkeypatch.setattr(image, "go_reference", lambda: "go-here")
    arguments = set(image_export.platform_arguments(arm64=True))
    assert {"--platform=linux/arm64", "--build-arg=BASE_IMAGE=base-arm64"} < arguments
    assert {"--build-arg=BUILD_IMAGE=base-here", "--build-arg=GO_IMAGE=go-here"} < arguments
    here = image_export.platform_arguments(arm64=False)
    assert "--build-arg=BASE_IMAGE=base-here" in here
    assert not [one for one in here if "arm64" in one or "platform" in one.lower()]


FROM = re.compile(r"^FROM (?:--platform=\$\{(\w+)\} )?(\S+)(?: AS (\w+))?$", re.MULTILINE)


def test_each_stage_from_outside_names_its_platform_and_all_that_runs_in_the_image_has_its_own():
    """A stage that names none has, in buildah 1.28, the platform of the one before."""
    stages = FROM.findall((REPOSITORY / "Dockerfile").read_text())
    assert len(stages) == (REPOSITORY / "Dockerfile").read_text().count("\nFROM ")
    named = {name: (platform, source) for platform, source, name in stages}

    def platform_of(name: str) -> str:
        platform, source = named[name]
        return platform or platform_of(source)

    assert platform_of("") == platform_of("base") == platform_of("root") == "TARGETPLATFORM"
    built = {name for name in named if platform_of(name) == "BUILDPLATFORM"}
    assert built == {"cni", "packages", "stripped", "venv"}


def test_no_pin_depends_on_the_processor():
    """The builder's pip judges markers by its own, and takes wheels for the image's."""
    for name in ("agent.txt", "build.txt"):
        assert "platform_machine" not in (REPOSITORY / "requirements" / name).read_text()
