"""A small image for two processors, pushed to a registry by its HTTP API."""

from __future__ import annotations

import gzip
import hashlib
import http.client
import io
import json
import tarfile
from typing import Any

LONG_S = 300
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"


def push(registry: str, name: str, *, content: bytes = b"small") -> str:
    """An index of two images, with one file of this content in each; the index's digest, sha256:..."""
    described = []
    for architecture in ("amd64", "arm64"):
        manifest = _push_one(registry, name, architecture, content + architecture.encode())
        platform = {"architecture": architecture, "os": "linux"}
        described.append(_descriptor(MANIFEST, manifest) | {"platform": platform})
    index = _json({"schemaVersion": 2, "mediaType": INDEX, "manifests": described})
    _put_manifest(registry, name, INDEX, index)
    return _digest(index)


def _push_one(registry: str, name: str, architecture: str, content: bytes) -> bytes:
    """The manifest of an image for one processor."""
    unpacked = io.BytesIO()
    with tarfile.open(fileobj=unpacked, mode="w") as layer:
        entry = tarfile.TarInfo("file")
        entry.size = len(content)
        layer.addfile(entry, io.BytesIO(content))
    packed = gzip.compress(unpacked.getvalue(), mtime=0)
    config = _json(
        {
            "architecture": architecture,
            "os": "linux",
            "config": {},
            "rootfs": {"type": "layers", "diff_ids": [_digest(unpacked.getvalue())]},
        }
    )
    manifest = _json(
        {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": _descriptor("application/vnd.oci.image.config.v1+json", config),
            "layers": [_descriptor("application/vnd.oci.image.layer.v1.tar+gzip", packed)],
        }
    )
    for blob in (packed, config):
        place = _ask(registry, "POST", f"/v2/{name}/blobs/uploads/").removeprefix(f"http://{registry}")
        _ask(registry, "PUT", f"{place}{'&' if '?' in place else '?'}digest={_digest(blob)}", blob)
    _put_manifest(registry, name, MANIFEST, manifest)
    return manifest


def _put_manifest(registry: str, name: str, kind: str, content: bytes) -> None:
    _ask(registry, "PUT", f"/v2/{name}/manifests/{_digest(content)}", content, {"Content-Type": kind})


def _ask(registry: str, verb: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None) -> str:
    """The answer's Location."""
    connection = http.client.HTTPConnection(registry, timeout=LONG_S)
    try:
        connection.request(verb, path, body, headers or {"Content-Type": "application/octet-stream"})
        answer = connection.getresponse()
        said = answer.read()
        assert answer.status < 300, f"{verb} {path}: {answer.status} {said!r}"
        return answer.headers.get("Location", "")
    finally:
        connection.close()


def _digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def _descriptor(kind: str, content: bytes) -> dict[str, Any]:
    return {"mediaType": kind, "digest": _digest(content), "size": len(content)}


def _json(document: dict[str, Any]) -> bytes:
    return json.dumps(document).encode()
