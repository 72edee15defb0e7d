"""Where a release comes from, as an in-toto statement with SLSA's predicate: the files, the commit, the tools.

It has no time at which somebody built: with the same tools, whoever builds again gets the same statement.
"""

from __future__ import annotations

import hashlib
import json
import platform
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

STATEMENT: Final = "https://in-toto.io/Statement/v1"
PREDICATE: Final = "https://slsa.dev/provenance/v1"
BUILD_TYPE: Final = "https://azure-cni.io/release/v1"
LOCKS: Final = (
    "requirements/agent.txt",
    "requirements/client.txt",
    "requirements/build.txt",
    "requirements/dev.txt",
    "operator/cni-plugin/go.sum",
    "e2e/azurebox/tools/helm/go.sum",
)
"""What pins all that a build fetches, and the tools that do it."""


def statement(
    subjects: Mapping[str, str], source: Path, *, version: str, commit: str, tools: Mapping[str, str], image: bool
) -> dict[str, Any]:
    """The statement about files, each name with its SHA-256. `image`: whether the image is one of them."""
    locks = [
        {"name": path, "digest": {"sha256": hashlib.sha256((source / path).read_bytes()).hexdigest()}} for path in LOCKS
    ]
    return {
        "_type": STATEMENT,
        "subject": [{"name": name, "digest": {"sha256": digest}} for name, digest in subjects.items()],
        "predicateType": PREDICATE,
        "predicate": predicate(
            f"make release VERSION={version}{' IMAGE=yes' if image else ''}",
            version=version,
            commit=commit,
            tools=tools,
            locks=locks,
        ),
    }


def predicate(
    command: str, *, version: str, commit: str, tools: Mapping[str, str], locks: list[dict[str, Any]]
) -> dict[str, Any]:
    """What is said of them; also what `cosign attest` wants."""
    return {
        "buildDefinition": {
            "buildType": BUILD_TYPE,
            "externalParameters": {"version": version, "command": command},
            "resolvedDependencies": [{"name": "sources", "digest": {"gitCommit": commit}}, *locks],
        },
        "runDetails": {
            "builder": {"id": f"{BUILD_TYPE}/make", "version": dict(tools)},
            "metadata": {"invocationId": commit},
        },
    }


def tools(go: str, helm: str) -> dict[str, str]:
    """What decides the bits beside the sources. `go` and `helm`: what they say of their versions."""
    return {
        "python": platform.python_version(),
        "zlib": zlib.ZLIB_RUNTIME_VERSION,
        "machine": platform.machine(),
        "go": go.strip(),
        "helm": helm.strip(),
    }


def text(document: Mapping[str, Any]) -> str:
    """As it stands in a file."""
    return json.dumps(document, indent=1) + "\n"
