"""Numbers in the chart's values: written out in full, and within the same bounds wherever they are checked."""

import json
from typing import Any

import pytest
import yaml

from azure_cni.entrypoints import controller_settings
from azure_cni.errors import ConfigInvalid
from unit.chart.crds import QUOTA_SPEC
from unit.chart.helm import CHART, template

SCHEMA: dict[str, Any] = json.loads((CHART / "values.schema.json").read_text())
BIG = 7_000_000
QUOTA = {
    "limit": "QUOTA_LIMIT",
    "perNodeLimit": "QUOTA_PER_NODE",
    "writesPerMinute": "QUOTA_WRITES_PER_MINUTE",
    "reserved": "QUOTA_RESERVED",
}
"""What the controller calls them."""


def numbers(schema: dict[str, Any], value: int) -> tuple[dict[str, Any], int]:
    """Values with another big number for every number that the schema knows, and how many there are."""
    values: dict[str, Any] = {}
    count = 0
    for name, part in schema["properties"].items():
        if part.get("type") == "integer":
            values[name], more = value + count, 1
        elif "properties" in part:
            values[name], more = numbers(part, value + count)
        else:
            more = 0
        count += more
    return values, count


@pytest.mark.parametrize("size", [0, BIG])
def test_each_is_written_out_in_full(size: int):
    """In a values file, the chart's own among them, numbers are fractions to Helm, and big ones have an exponent."""
    values, count = numbers(SCHEMA, BIG)
    values["pool"] |= {"size": size, "maxFree": 3 * BIG}
    values["quota"] |= {"reserved": BIG}
    values["metrics"]["serviceMonitor"] = {"enabled": True}
    text = template(file=yaml.safe_dump(values), unchecked=True)
    assert count > 10
    assert [line for line in text.splitlines() if "e+" in line] == []
    assert f'"{values["quota"]["writesPerMinute"]}"' in text


@pytest.mark.parametrize("name", QUOTA)
def test_the_quota_has_the_same_bounds_everywhere(name: str):
    """What the values accept and the object or the controller refuses, fails when nobody looks any more."""
    bounds = {key: SCHEMA["properties"]["quota"]["properties"][name][key] for key in ("minimum", "maximum")}
    assert {key: QUOTA_SPEC["properties"][name][key] for key in bounds} == bounds

    def start(value: int) -> None:
        controller_settings.read({
            "AZURE_CNI_POD_NAME": "p", "AZURE_CNI_NAMESPACE": "n", "AZURE_CNI_METRICS_BIND": "loopback",
            f"AZURE_CNI_{QUOTA[name]}": str(value),
        })  # fmt: skip

    start(bounds["minimum"])
    start(bounds["maximum"])
    for value in (bounds["minimum"] - 1, bounds["maximum"] + 1):
        with pytest.raises(ConfigInvalid):
            start(value)
