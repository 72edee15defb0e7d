"""Signatures with gpg, which helm verifies; those with cosign are in tests/contract/test_signed_release.py."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from release import sign
from release.versions import ReleaseError
from unit.chart.helm import helm

pytestmark = pytest.mark.skipif(shutil.which("gpg") is None, reason="no gpg here")

MAIL = "releases@example.com"
CHART = """\
apiVersion: v2
name: azure-cni
version: 1.2.3
annotations:
  a/b: |
    - one
keywords:
- at-the-margin
"""


@pytest.fixture(scope="module")
def keyring(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A key of its own, and what helm reads of it; gpg's agent ends with it."""
    home = tmp_path_factory.mktemp("gpg")
    home.chmod(0o700)
    before = os.environ.get("GNUPGHOME")
    os.environ["GNUPGHOME"] = str(home)
    gpg = ("gpg", "--batch", "--pinentry-mode", "loopback", "--passphrase", "")
    subprocess.run([*gpg, "--quick-generate-key", MAIL, "rsa2048", "sign", "never"], check=True, capture_output=True)
    ring = home / "keyring.gpg"
    ring.write_bytes(subprocess.run(["gpg", "--export", MAIL], check=True, capture_output=True).stdout)
    yield ring
    subprocess.run(["gpgconf", "--kill", "all"], check=False)
    if before is None:
        del os.environ["GNUPGHOME"]
    else:
        os.environ["GNUPGHOME"] = before


@pytest.fixture
def chart(tmp_path: Path) -> Path:
    path = tmp_path / "azure-cni-1.2.3.tgz"
    with tarfile.open(path, "w:gz") as package:
        for name, text in (("azure-cni/Chart.yaml", CHART), ("azure-cni/charts/a/Chart.yaml", "name: a\n")):
            entry = tarfile.TarInfo(name)
            entry.size = len(text)
            package.addfile(entry, io.BytesIO(text.encode()))
    return path


def verified(chart: Path, keyring: Path) -> subprocess.CompletedProcess[str]:
    command = [helm(), "verify", "--keyring", keyring, chart]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_helm_verifies_the_signature(chart: Path, keyring: Path):
    assert sign.sign_chart(chart, MAIL) == chart.with_name("azure-cni-1.2.3.tgz.prov")
    done = verified(chart, keyring)
    assert (done.returncode, done.stderr) == (0, "")
    assert f"Signed by: {MAIL}" in done.stdout
    assert "Chart Hash Verified: sha256:" in done.stdout


def test_helm_refuses_another_package_and_another_text(chart: Path, keyring: Path):
    signature = sign.sign_chart(chart, MAIL)
    with chart.open("ab") as file:
        file.write(b"x")
    assert "sha256 sum does not match" in verified(chart, keyring).stderr
    signature.write_text(signature.read_text().replace("1.2.3", "1.2.4"))
    assert verified(chart, keyring).returncode != 0


def test_what_cannot_be_signed_is_said(chart: Path, keyring: Path, tmp_path: Path):
    with pytest.raises(ReleaseError, match=r"cannot sign azure-cni-1\.2\.3\.tgz: gpg says: .*nobody@example\.com"):
        sign.sign_chart(chart, "nobody@example.com")
    shutil.copy(chart, tmp_path / "azure-cni-1.2.4.tgz")
    with pytest.raises(ReleaseError, match="has 2 packages of it, and must have one"):
        sign.chart_of(tmp_path)
    with pytest.raises(ReleaseError, match=r"SHA256SUMS cannot be read: .*; make release writes it"):
        sign.check(tmp_path)
    with pytest.raises(SystemExit, match="neither --key nor --gpg"):
        sign.main([str(tmp_path)])
