"""What tests of the NIC's port have in common: where some of them run, and what they compare of a view."""

from __future__ import annotations

import pytest

from azure_cni.model.attachments import AttachedResource
from azure_cni.model.nic import ConfigName, NicView

BY_ADDRESS = pytest.mark.parametrize("world", ["memory", "azure"], indirect=True)
"""Takes configurations by their addresses: an instance's model has none."""


def addresses(view: NicView) -> list[str]:
    return sorted(str(config.address) for config in view.secondaries)


def attached(view: NicView) -> dict[str, set[AttachedResource]]:
    return {config.name: set(config.attached) for config in view.configs if config.attached}


def ours(view: NicView) -> list[ConfigName]:
    return [config.name for config in view.configs if config.ours]
