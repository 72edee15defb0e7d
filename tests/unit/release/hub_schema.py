"""What Artifact Hub's documentation says each annotation of a chart must be, as far as ours use it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import yaml

KINDS = {"added", "changed", "deprecated", "removed", "fixed", "security"}
CAPABILITIES = {"Basic Install", "Seamless Upgrades", "Full Lifecycle", "Deep Insights", "Auto Pilot"}
CATEGORIES = {
    "ai-machine-learning", "database", "integration-delivery", "monitoring-logging", "networking", "security",
    "storage", "streaming-messaging", "skip-prediction",
}  # fmt: skip


def _is_list_of(required: set[str], allowed: set[str]) -> Callable[[Any], bool]:
    def check(value: Any) -> bool:
        return isinstance(value, list) and all(
            isinstance(one, dict) and required <= one.keys() <= required | allowed for one in value
        )

    return check


def _is_change(value: Any) -> bool:
    return _is_list_of({"kind", "description"}, {"links"})(value) and all(one["kind"] in KINDS for one in value)


def _is_key(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and value.keys() == {"fingerprint", "url"}
        and bool(re.fullmatch("[0-9A-F]{40}", str(value["fingerprint"])))
        and str(value["url"]).startswith("https://")
    )


def _is_flag(value: Any) -> bool:
    return value is True or value is False


RULES: Mapping[str, Callable[[Any], bool]] = {
    "category": CATEGORIES.__contains__,
    "changes": _is_change,
    "containsSecurityUpdates": _is_flag,
    "crds": _is_list_of({"kind", "version", "name", "displayName", "description"}, set()),
    "crdsExamples": _is_list_of({"apiVersion", "kind", "metadata", "spec"}, set()),
    "images": _is_list_of({"name", "image"}, {"platforms", "whitelisted"}),
    "license": lambda value: value == "Apache-2.0",
    "links": _is_list_of({"name", "url"}, set()),
    "operator": _is_flag,
    "operatorCapabilities": CAPABILITIES.__contains__,
    "prerelease": _is_flag,
    "signKey": _is_key,
}


def faults(annotations: Mapping[str, str]) -> list[str]:
    """What Artifact Hub would not read, each with its name."""
    found = []
    for name, text in annotations.items():
        rule = RULES.get(name.removeprefix("artifacthub.io/"))
        if not isinstance(text, str):
            found.append(f"{name} is no text")
        elif rule is None:
            found.append(f"{name} is no annotation of Artifact Hub")
        elif text in {"yes", "no"} or not rule(yaml.safe_load(text)):
            found.append(f"{name} is {text[:100]!r}")
    return found
