"""The annotations of the packaged chart are Artifact Hub's, and say what changelog, values and definitions say."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from azurebox.facts import REPOSITORY
from release import artifact_hub, changelog
from unit.chart.crds import POOLS, QUOTAS, schema
from unit.release.hub_schema import faults

CHART_DIRECTORY = REPOSITORY / "charts" / "azure-cni"
TEXT = (CHART_DIRECTORY / "Chart.yaml").read_text()
CHART = yaml.safe_load(TEXT)
VALUES = yaml.safe_load((CHART_DIRECTORY / "values.yaml").read_text())
SECTION = changelog.newest((REPOSITORY / "CHANGELOG.md").read_text())
KEY = {"fingerprint": "C874011F0AB405110D02105534365D9472D7468F", "url": "https://example.com/key.asc"}


def made(section: str = SECTION, **changed: Any) -> dict[str, str]:
    given: dict[str, Any] = {"chart": CHART, "values": VALUES, "definitions": [POOLS, QUOTAS]}
    return artifact_hub.hub_annotations(section=section, **given | changed)


def value(found: dict[str, str], name: str) -> Any:
    return yaml.safe_load(found[f"artifacthub.io/{name}"])


@pytest.mark.parametrize("key", [None, KEY])
def test_they_are_what_artifact_hub_reads(key: dict[str, str] | None):
    found = made(key=key)
    assert faults(found) == []
    assert ("artifacthub.io/signKey" in found) == bool(key)


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("changes", "- kind: new\n  description: a\n"),
        ("changes", "- kind: added\n"),
        ("images", "- image: a/b:1\n"),
        ("crds", "- kind: A\n"),
        ("signKey", "fingerprint: short\nurl: https://a\n"),
        ("operatorCapabilities", "All of them"),
        ("operator", "yes"),
        ("invented", "a"),
    ],
)
def test_what_it_would_not_read_is_found(name: str, wrong: str):
    (fault,) = faults(made() | {f"artifacthub.io/{name}": wrong})
    assert name in fault


def test_the_changes_are_the_changelogs_in_its_order():
    section = "### Added\n\nThings\n\n- One [link](a.md).\n\n### Security\n\n- Two.\n"
    found = made(section)
    assert value(found, "changes") == [
        {"kind": "added", "description": "One link."},
        {"kind": "security", "description": "Two."},
    ]
    assert found["artifacthub.io/containsSecurityUpdates"] == "true"
    assert made("### Fixed\n\n- a\n")["artifacthub.io/containsSecurityUpdates"] == "false"
    assert len(value(made(), "changes")) == len(changelog.entries(SECTION))


def test_the_image_is_the_one_that_the_chart_runs():
    assert [one["image"] for one in value(made(), "images")] == [f"azure-cni/azure-cni:{CHART['appVersion']}"]
    named = made(values={"image": {"repository": "example.com/a", "tag": "7"}})
    assert [one["image"] for one in value(named, "images")] == ["example.com/a:7"]


def test_its_links_are_the_places_that_the_chart_names():
    assert "artifacthub.io/links" not in made()
    named = CHART | {"home": "https://example.com/docs", "sources": ["https://example.com/git"]}
    found = made(chart=named)
    assert faults(found) == []
    assert value(found, "links") == [
        {"name": "documentation", "url": "https://example.com/docs"},
        {"name": "source", "url": "https://example.com/git"},
    ]


def test_each_definition_is_listed_with_an_example_of_its_fields():
    found = made()
    assert [one["name"] for one in value(found, "crds")] == ["nodeippools.azure-cni.io", "vnetquotas.azure-cni.io"]
    for definition, example in ((QUOTAS, 0), (POOLS, 1)):
        document = value(found, "crdsExamples")[example]
        spec = schema(definition)["properties"]["spec"]
        assert document["kind"] == definition["spec"]["names"]["kind"]
        assert document["spec"].keys() <= spec["properties"].keys()
        assert set(spec.get("required", ())) <= document["spec"].keys()


def test_chart_yaml_keeps_all_else():
    after = yaml.safe_load(artifact_hub.annotated(TEXT, made()))
    assert {name: one for name, one in after.items() if name != "annotations"} == CHART
    assert after["annotations"] == made()
