"""One image for several processors, of one image for each: an OCI image index with all of them, in one layout.

Registries' tools push such a layout whole, and a runtime takes from the index the image for its own processor. Written
here and not by a tool, so that it is the same for the same images.
"""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from release.versions import ReleaseError

INDEX: Final = "application/vnd.oci.image.index.v1+json"
LAYOUT: Final = "oci-layout"
ENTRY: Final = "index.json"


def join(images: Sequence[Path], target: Path, *, at: int) -> str:
    """Write a tar of an OCI layout with all of these, each a tar of a layout of one image; the index's digest.

    Raises:
        ReleaseError: a file has not one image, or two are for the same processor.

    """
    blobs: dict[str, bytes] = {}
    listed: list[dict[str, Any]] = []
    for image in images:
        files = _files(image)
        described = _described(image, files)
        if twin := next((one for one in listed if one["platform"] == described["platform"]), None):
            raise ReleaseError(f"cannot make an index with {image}: there are two images for {twin['platform']}")
        listed.append(described)
        blobs |= {name: content for name, content in files.items() if name.startswith("blobs/")}
    index = _json({"schemaVersion": 2, "mediaType": INDEX, "manifests": listed})
    digest = hashlib.sha256(index).hexdigest()
    blobs[f"blobs/sha256/{digest}"] = index
    named = {"org.opencontainers.image.ref.name": "azure-cni"}
    entry = {"mediaType": INDEX, "digest": f"sha256:{digest}", "size": len(index), "annotations": named}
    blobs[ENTRY] = _json({"schemaVersion": 2, "mediaType": INDEX, "manifests": [entry]})
    blobs[LAYOUT] = _json({"imageLayoutVersion": "1.0.0"})
    _write(target, blobs, at=at)
    return f"sha256:{digest}"


def digests(archive: Path) -> list[str]:
    """Of a tar that `join` wrote: the digest of the index, then that of each image in it.

    Raises:
        ReleaseError: there is no such index.

    """
    try:
        files = _files(archive)
        (entry,) = json.loads(files[ENTRY])["manifests"]
        index = json.loads(files[_place(entry["digest"])])
        return [entry["digest"], *(one["digest"] for one in index["manifests"])]
    except (OSError, tarfile.TarError, KeyError, TypeError, ValueError) as error:
        raise ReleaseError(f"cannot read {archive}: it is no layout with an index of images: {error!r}") from error


def _described(image: Path, files: dict[str, bytes]) -> dict[str, Any]:
    """The descriptor of the one image in a layout, with the processor that its configuration names."""
    try:
        (entry,) = json.loads(files[ENTRY])["manifests"]
        manifest = json.loads(files[_place(entry["digest"])])
        config = json.loads(files[_place(manifest["config"]["digest"])])
        platform = {name: config[name] for name in ("architecture", "os", "variant") if name in config}
        return {name: entry[name] for name in ("mediaType", "digest", "size")} | {"platform": platform}
    except (KeyError, TypeError, ValueError) as error:
        raise ReleaseError(f"cannot read {image}: it is no layout with one image: {error!r}") from error


def _place(digest: str) -> str:
    return f"blobs/{digest.replace(':', '/')}"


def _files(archive: Path) -> dict[str, bytes]:
    with tarfile.open(archive) as layout:
        return {member.name: file.read() for member in layout if (file := layout.extractfile(member))}


def _write(target: Path, files: dict[str, bytes], *, at: int) -> None:
    """In order of their names, of one time and owner."""
    with tarfile.open(target, "w", format=tarfile.USTAR_FORMAT) as archive:
        for name, content in sorted(files.items()):
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode, entry.mtime = len(content), 0o644, at
            archive.addfile(entry, io.BytesIO(content))


def _json(document: dict[str, Any]) -> bytes:
    return json.dumps(document).encode()
