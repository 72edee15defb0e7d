"""The image as one file: the same whenever it is packed, and what differs between two is named."""

from __future__ import annotations

import io
import os
import tarfile
import time
from pathlib import Path

from azurebox import image_export
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
