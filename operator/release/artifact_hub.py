"""The annotations by which Artifact Hub shows a chart: made from the changelog, the values and the definitions.

They are in the packaged chart only; in the repository there would be a second copy of the changelog. The format is
Artifact Hub's: https://artifacthub.io/docs/topics/annotations/helm/
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

import yaml

from release import changelog

KINDS: Final = ("added", "changed", "deprecated", "removed", "fixed", "security")
CAPABILITY: Final = "Deep Insights"
"""Of Artifact Hub's five levels the fourth: metrics, alerts and a dashboard come with the chart."""
PLATFORMS: Final = ("linux/amd64", "linux/arm64")
PREFIX: Final = "artifacthub.io"
EXAMPLES: Final = (
    {
        "apiVersion": "azure-cni.io/v1alpha1",
        "kind": "VNetQuota",
        "metadata": {"name": "vnet-of-the-nodes"},
        "spec": {
            "vnetID": "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/GROUP"
            "/providers/Microsoft.Network/virtualNetworks/VNET",
            "limit": 16000,
        },
    },
    {
        "apiVersion": "azure-cni.io/v1alpha1",
        "kind": "NodeIPPool",
        "metadata": {"name": "name-of-a-node"},
        "spec": {"minFree": 8},
    },
)


def hub_annotations(
    *,
    section: str,
    chart: Mapping[str, Any],
    values: Mapping[str, Any],
    definitions: Iterable[Mapping[str, Any]],
    key: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """The annotations of Chart.yaml. `section`: of the changelog. `key`: fingerprint and URL of who signs."""
    changes = [{"kind": kind, "description": words} for kind, words in changelog.entries(section)]
    image = f"{values['image']['repository']}:{values['image']['tag'] or chart['appVersion']}"
    found: dict[str, Any] = {
        "changes": changes,
        "images": [{"name": "azure-cni", "image": image, "platforms": list(PLATFORMS)}],
        "crds": [_definition(one) for one in definitions],
        "crdsExamples": list(EXAMPLES),
        "links": [{"name": name, "url": url} for name, url in links(chart)],
    }
    plain = {
        "license": "Apache-2.0",
        "category": "networking",
        "operator": "true",
        "operatorCapabilities": CAPABILITY,
        "prerelease": "false",
        "containsSecurityUpdates": str(any(one["kind"] == "security" for one in changes)).lower(),
    }
    found |= {"signKey": dict(key)} if key else {}
    written = {name: yaml.safe_dump(value, sort_keys=False, width=1 << 16) for name, value in found.items() if value}
    return {f"{PREFIX}/{name}": value for name, value in sorted((plain | written).items())}


def links(chart: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
    """What Chart.yaml names as the project's places."""
    if home := chart.get("home"):
        yield "documentation", str(home)
    for source in chart.get("sources", ()):
        yield "source", str(source)


def annotated(text: str, added: Mapping[str, str]) -> str:
    """Chart.yaml with these annotations, all else as it is."""
    return f"{text.rstrip()}\n{yaml.safe_dump({'annotations': dict(added)}, sort_keys=False, width=1 << 16)}"


def _definition(document: Mapping[str, Any]) -> dict[str, str]:
    spec = document["spec"]
    version = next(one for one in spec["versions"] if one["storage"])
    described = version["schema"]["openAPIV3Schema"].get("description", spec["names"]["kind"])
    return {
        "kind": spec["names"]["kind"],
        "version": version["name"],
        "name": document["metadata"]["name"],
        "displayName": spec["names"]["kind"],
        "description": " ".join(str(described).split()),
    }
