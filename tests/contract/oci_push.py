"""What whoever may write to a registry can do there, by its HTTP API: push images, and put signatures elsewhere.

The images are small ones for two processors, joined as a release's are.
"""

from __future__ import annotations

import gzip
import hashlib
import http.client
import io
import json
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from release import oci_index

LONG_S = 300
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
KINDS = f"{INDEX}, {MANIFEST}"


def image(target: Path, files: Mapping[str, str], *, at: int = 0) -> str:
    """Write a tar of a layout with an index of two images, each with these files and one of its own; its digest.

    `ARCHITECTURE` in a file is each image's.
    """
    parts = []
    for architecture in ("amd64", "arm64"):
        parts.append(target.with_suffix(f".{architecture}"))
        content = {name: text.replace("ARCHITECTURE", architecture) for name, text in files.items()}
        _write_one(parts[-1], architecture, content | {"architecture": architecture})
    digest = oci_index.join(parts, target, at=at)
    for part in parts:
        part.unlink()
    return digest


def push(registry: str, name: str, archive: Path) -> None:
    """All of a tar that `image` or a release wrote, as it is."""
    with tarfile.open(archive) as layout:
        blobs = {member.name: file.read() for member in layout if (file := layout.extractfile(member))}
    digests = oci_index.digests(archive)
    manifests = [blobs.pop(f"blobs/{digest.replace(':', '/')}") for digest in digests]
    for place, content in blobs.items():
        if place.startswith("blobs/"):
            _push_blob(registry, name, content)
    for content, kind in zip(reversed(manifests), [MANIFEST] * (len(manifests) - 1) + [INDEX], strict=True):
        put_manifest(registry, name, kind, content)


def put_manifest(registry: str, name: str, kind: str, content: bytes, *, tag: str = "") -> str:
    """A manifest by its digest or a tag; its digest."""
    digest = _digest(content)
    _ask(registry, "PUT", f"/v2/{name}/manifests/{tag or digest}", content, {"Content-Type": kind})
    return digest


def get_manifest(registry: str, name: str, reference: str) -> bytes:
    """A manifest, by its digest or a tag."""
    return _ask(registry, "GET", f"/v2/{name}/manifests/{reference}", headers={"Accept": KINDS})[0]


def put_signatures_of(registry: str, name: str, *, of: str, onto: str) -> int:
    """Have what is attached to one digest be attached to another, as far as who has no key can; how many that were.

    cosign finds what is attached by a tag that is the digest, in a registry that keeps no list of its own.
    """
    attached = json.loads(get_manifest(registry, name, of.replace(":", "-")))
    there = get_manifest(registry, name, onto)
    for entry in attached["manifests"]:
        manifest = json.loads(get_manifest(registry, name, entry["digest"]))
        manifest["subject"] = _descriptor(json.loads(there)["mediaType"], there)
        changed = _json(manifest)
        put_manifest(registry, name, MANIFEST, changed)
        entry |= {"digest": _digest(changed), "size": len(changed)}
    put_manifest(registry, name, INDEX, _json(attached), tag=onto.replace(":", "-"))
    return len(attached["manifests"])


def _write_one(target: Path, architecture: str, files: Mapping[str, str]) -> None:
    """A tar of a layout with one image, for one processor."""
    unpacked = _tar({name: text.encode() for name, text in files.items()})
    packed = gzip.compress(unpacked, mtime=0)
    rootfs = {"type": "layers", "diff_ids": [_digest(unpacked)]}
    config = _json({"architecture": architecture, "os": "linux", "config": {}, "rootfs": rootfs})
    manifest = _json(
        {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": _descriptor("application/vnd.oci.image.config.v1+json", config),
            "layers": [_descriptor("application/vnd.oci.image.layer.v1.tar+gzip", packed)],
        }
    )
    blobs = {f"blobs/{_digest(one).replace(':', '/')}": one for one in (packed, config, manifest)}
    index = _json({"schemaVersion": 2, "manifests": [_descriptor(MANIFEST, manifest)]})
    target.write_bytes(_tar(blobs | {"index.json": index}))


def _tar(files: Mapping[str, bytes]) -> bytes:
    whole = io.BytesIO()
    with tarfile.open(fileobj=whole, mode="w") as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return whole.getvalue()


def _push_blob(registry: str, name: str, content: bytes) -> None:
    place = _ask(registry, "POST", f"/v2/{name}/blobs/uploads/")[1].removeprefix(f"http://{registry}")
    _ask(registry, "PUT", f"{place}{'&' if '?' in place else '?'}digest={_digest(content)}", content)


def _ask(
    registry: str, verb: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None
) -> tuple[bytes, str]:
    """The answer and its Location."""
    connection = http.client.HTTPConnection(registry, timeout=LONG_S)
    try:
        connection.request(verb, path, body, headers or {"Content-Type": "application/octet-stream"})
        answer = connection.getresponse()
        said = answer.read()
        assert answer.status < 300, f"{verb} {path}: {answer.status} {said!r}"
        return said, answer.headers.get("Location", "")
    finally:
        connection.close()


def _digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def _descriptor(kind: str, content: bytes) -> dict[str, Any]:
    return {"mediaType": kind, "digest": _digest(content), "size": len(content)}


def _json(document: dict[str, Any]) -> bytes:
    return json.dumps(document).encode()
