"""A host's directories, and the installation there."""

from __future__ import annotations

from pathlib import Path

import pytest

from azure_cni.entrypoints.host_settings import HostSettings
from unit.entrypoints.installed import Host, of


@pytest.fixture
def host(tmp_path: Path) -> HostSettings:
    (tmp_path / "plugin").write_bytes(b"\x7fELF")
    return HostSettings(
        bin_dir=tmp_path / "bin",
        conf_dir=tmp_path / "net.d",
        conf_name="10-azure-cni.conflist",
        chained=(),
        spec_version="1.0.0",
        run_dir=tmp_path / "run",
        plugin=tmp_path / "plugin",
        sysctls=tmp_path / "sys",
        processes=None,
    )


@pytest.fixture
def installation(host: HostSettings) -> Host:
    return lambda node: of(node, host)
