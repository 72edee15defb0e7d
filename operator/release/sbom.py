"""Lists of contents (SBOM) in the two formats that tools read: SPDX 2.3 and CycloneDX 1.6.

Each is the same for the same contents: its time is the release's, and its identifier a hash of what it says.
"""

from __future__ import annotations

import hashlib
import json
import re
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final

from release.components import Component

TOOL: Final = "azure-cni-release"
LICENCE: Final = "Apache-2.0"
NAMESPACE: Final = "https://azure-cni.io/sbom"


def spdx(subject: Component, parts: Sequence[Component], *, at: int) -> str:
    """As SPDX 2.3, in JSON. `at`: seconds since 1970."""
    described = _spdx_package("SPDXRef-Subject", subject) | {"licenseDeclared": LICENCE}
    listed = [_spdx_package(f"SPDXRef-Package-{_word(part.purl)}", part) for part in parts]
    document: dict[str, Any] = {
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": "SPDXRef-DOCUMENT",
        "name": f"{subject.name}-{subject.version}",
        "documentNamespace": f"{NAMESPACE}/{subject.name}-{subject.version}-{_identifier(subject, parts)}",
        "creationInfo": {"created": _time(at), "creators": [f"Tool: {TOOL}"]},
        "packages": [described, *listed],
        "relationships": [
            _related("SPDXRef-DOCUMENT", "DESCRIBES", "SPDXRef-Subject"),
            *(_related("SPDXRef-Subject", "CONTAINS", package["SPDXID"]) for package in listed),
        ],
    }
    return _text(document)


def cyclonedx(subject: Component, parts: Sequence[Component], *, at: int, kind: str) -> str:
    """As CycloneDX 1.6, in JSON. `kind`: CycloneDX's word for the subject, container or application."""
    document: dict[str, Any] = {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{_identifier(subject, parts)}",
        "version": 1,
        "metadata": {
            "timestamp": _time(at),
            "tools": {"components": [{"type": "application", "name": TOOL}]},
            "component": _cyclonedx_component(subject, kind) | {"licenses": [{"license": {"id": LICENCE}}]},
        },
        "components": [_cyclonedx_component(part, _kind(part)) for part in parts],
        "dependencies": [
            {"ref": subject.purl, "dependsOn": [part.purl for part in parts]},
            *({"ref": part.purl} for part in parts),
        ],
    }
    return _text(document)


def _spdx_package(identifier: str, component: Component) -> dict[str, Any]:
    reference = {
        "referenceCategory": "PACKAGE-MANAGER",
        "referenceType": "purl",
        "referenceLocator": component.purl,
    }
    return {
        "SPDXID": identifier,
        "name": component.name,
        "versionInfo": component.version,
        "downloadLocation": "NOASSERTION",
        "filesAnalyzed": False,
        "externalRefs": [reference],
    }


def _cyclonedx_component(component: Component, kind: str) -> dict[str, Any]:
    return {
        "type": kind,
        "bom-ref": component.purl,
        "name": component.name,
        "version": component.version,
        "purl": component.purl,
    }


def _kind(part: Component) -> str:
    return "container" if part.purl.startswith("pkg:oci/") else "library"


def _related(one: str, how: str, other: str) -> dict[str, str]:
    return {"spdxElementId": one, "relationshipType": how, "relatedSpdxElement": other}


def _identifier(subject: Component, parts: Sequence[Component]) -> uuid.UUID:
    said = "\n".join(component.purl for component in (subject, *parts))
    return uuid.UUID(bytes=hashlib.sha256(said.encode()).digest()[:16], version=4)


def _word(text: str) -> str:
    """As SPDX wants its identifiers, of letters, digits, dots and dashes; no two alike."""
    return (
        f"{re.sub(r'[^A-Za-z0-9.]+', '-', text.removeprefix('pkg:'))}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"
    )


def _time(at: int) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _text(document: dict[str, Any]) -> str:
    return json.dumps(document, indent=1, ensure_ascii=False) + "\n"
