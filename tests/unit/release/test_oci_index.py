"""The images for both processors as one: whoever reads the layout finds each of them, whole, by its processor."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest

from release import oci_index
from release.versions import ReleaseError

AT = 1_700_000_000
MANIFEST = "application/vnd.oci.image.manifest.v1+json"


def digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def image(path: Path, architecture: str, *, shared: bytes = b"shared", count: int = 1) -> Path:
    """A tar of a layout as buildah and `e2e/box image` make one, with directories."""
    config = json.dumps({"architecture": architecture, "os": "linux"}).encode()
    layers = (architecture.encode(), shared)
    described = {"config": {"digest": digest(config)}, "layers": [{"digest": digest(one)} for one in layers]}
    manifest = json.dumps(described).encode()
    entry = {"mediaType": MANIFEST, "digest": digest(manifest), "size": len(manifest), "annotations": {"ref": "x"}}
    blobs = {f"blobs/{digest(one).replace(':', '/')}": one for one in (config, manifest, *layers)}
    with tarfile.open(path, "w") as archive:
        directory = tarfile.TarInfo("blobs")
        directory.type = tarfile.DIRTYPE
        archive.addfile(directory)
        index = json.dumps({"manifests": [entry] * count}).encode()
        for name, content in (blobs | {"index.json": index, "oci-layout": b"{}"}).items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def read(archive: Path) -> dict[str, bytes]:
    with tarfile.open(archive) as whole:
        assert {(one.mtime, one.mode, one.uid) for one in whole} == {(AT, 0o644, 0)}
        assert whole.getnames() == sorted(whole.getnames())
        return {one.name: file.read() for one in whole if (file := whole.extractfile(one))}


def document(files: dict[str, bytes], described: dict[str, Any]) -> dict[str, Any]:
    """What a descriptor names; its digest and its size are right."""
    content = files[f"blobs/{described['digest'].replace(':', '/')}"]
    assert digest(content) == described["digest"]
    assert described.get("size") in {None, len(content)}
    found: dict[str, Any] = json.loads(content)
    return found


def test_each_image_is_found_by_its_processor_with_all_its_layers(tmp_path: Path):
    sources = [image(tmp_path / f"{name}.tar", name) for name in ("amd64", "arm64")]
    made = oci_index.join(sources, tmp_path / "both.tar", at=AT)
    files = read(tmp_path / "both.tar")
    (entry,) = json.loads(files["index.json"])["manifests"]
    assert (entry["digest"], entry["mediaType"]) == (made, oci_index.INDEX)
    index = document(files, entry)
    assert index["mediaType"] == entry["mediaType"]
    assert [one["platform"] for one in index["manifests"]] == [
        {"architecture": "amd64", "os": "linux"},
        {"architecture": "arm64", "os": "linux"},
    ]
    for one in index["manifests"]:
        manifest = document(files, one)
        assert document(files, manifest["config"])["architecture"] == one["platform"]["architecture"]
        layers = [files[f"blobs/{layer['digest'].replace(':', '/')}"] for layer in manifest["layers"]]
        assert layers == [one["platform"]["architecture"].encode(), b"shared"]
    assert json.loads(files["oci-layout"]) == {"imageLayoutVersion": "1.0.0"}
    assert oci_index.digests(tmp_path / "both.tar")[0] == made


def test_it_is_the_same_for_the_same_images_and_another_for_others(tmp_path: Path):
    made = []
    for name, shared in (("a", b"shared"), ("b", b"shared"), ("c", b"other")):
        (tmp_path / name).mkdir()
        sources = [image(tmp_path / name / f"{kind}.tar", kind, shared=shared) for kind in ("amd64", "arm64")]
        oci_index.join(sources, tmp_path / f"{name}.tar", at=AT)
        made.append((tmp_path / f"{name}.tar").read_bytes())
    assert made[0] == made[1] != made[2]


def test_two_images_for_one_processor_are_refused(tmp_path: Path):
    sources = [image(tmp_path / "1.tar", "arm64"), image(tmp_path / "2.tar", "arm64", shared=b"other")]
    with pytest.raises(ReleaseError, match=r"2\.tar: there are two images for .*arm64"):
        oci_index.join(sources, tmp_path / "both.tar", at=AT)
    assert not (tmp_path / "both.tar").exists()


@pytest.mark.parametrize("count", [0, 2])
def test_a_layout_without_one_image_is_refused(tmp_path: Path, count: int):
    with pytest.raises(ReleaseError, match=r"odd\.tar: it is no layout with one image"):
        oci_index.join([image(tmp_path / "odd.tar", "amd64", count=count)], tmp_path / "both.tar", at=AT)
