"""docs/verify.md, command by command, on a release that is signed with keys of this test, and a registry on loopback.

cosign is built from source, which takes minutes: `e2e/box cosign version` does it once, and `make e2e-full` runs this.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from azurebox import tools
from contract.oci_push import push
from release import artifacts, components, contents, provenance, sbom, sign
from release.components import Component
from release.versions import ReleaseError
from unit.chart.helm import REPOSITORY, helm
from unit.documentation.markdown import blocks

pytestmark = [
    pytest.mark.skipif(
        not tools.path("cosign").exists(), reason="cosign is not built: `e2e/box cosign version` builds it"
    ),
    pytest.mark.skipif(shutil.which("gpg") is None, reason="no gpg here"),
]

AT = 1_700_000_000
VERSION = "9.8.7"
MAIL = "releases@example.com"
LONG_S = 300
COMMANDS = [block.text for block in blocks((REPOSITORY / "docs" / "verify.md").read_text()) if block.text][:5]


@pytest.fixture(scope="module")
def registry() -> Iterator[str]:
    """A registry in memory, on a free port of loopback; its address."""
    tools.ensure_tools((tools.REGISTRY,))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    process = subprocess.Popen([tools.path("registry"), address])
    try:
        deadline = time.monotonic() + LONG_S
        while True:
            try:
                socket.create_connection(("127.0.0.1", int(address.rpartition(":")[2])), timeout=1).close()
                break
            except OSError:
                assert process.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.05)
        yield address
    finally:
        process.terminate()
        process.wait()


class Release:
    """A folder as `make release` and `make sign` leave it, the keys of who made it, and the image in the registry."""

    def __init__(self, folder: Path, home: Path, registry: str) -> None:
        self.folder, self.home, self.registry = folder, home, registry
        self.image = f"{registry}/azure-cni@{push(registry, 'azure-cni')}"
        self.programs = home / "bin"
        self.programs.mkdir()
        for name, place in (("cosign", tools.path("cosign")), ("helm", helm())):
            (self.programs / name).symlink_to(place)

    def run(self, command: str, *, check: bool = True) -> subprocess.CompletedProcess[str]:
        """In a shell, in the folder."""
        environment = os.environ | {
            "PATH": f"{self.programs}:{os.environ['PATH']}",
            "COSIGN_PASSWORD": "",
            "GNUPGHOME": str(self.home),
            "DOCKER_CONFIG": str(self.home),
            "HOME": str(self.home),
        }
        done = subprocess.run(
            ["bash", "-eu", "-o", "pipefail", "-c", command],
            cwd=self.folder, env=environment, capture_output=True, text=True, timeout=LONG_S, check=False,
        )  # fmt: skip
        assert not check or done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        return done

    def page(self, number: int, *, check: bool = True, image: str = "") -> subprocess.CompletedProcess[str]:
        """A command of the page, from 1 on."""
        command = COMMANDS[number - 1].replace("REGISTRY/azure-cni@DIGEST", image or self.image)
        command = command.replace("VERSION.tgz", f"{VERSION}.tgz")
        return self.run(command.replace("cosign verify ", "cosign verify --allow-http-registry ").replace(
            "cosign verify-attestation ", "cosign verify-attestation --allow-http-registry "
        ), check=check)  # fmt: skip


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory, registry: str) -> Iterator[Release]:
    folder, home = tmp_path_factory.mktemp("release"), tmp_path_factory.mktemp("home")
    home.chmod(0o700)
    made = Release(folder, home, registry)
    artifacts.chart(REPOSITORY, folder, AT)
    for chart in folder.glob("*.tgz"):
        chart.rename(folder / f"azure-cni-{VERSION}.tgz")
    parts = components.python_packages((REPOSITORY / "requirements" / "agent.txt").read_text(), python="3.13")
    subject = Component("azure-cni-image", VERSION, f"pkg:oci/azure-cni@{VERSION}")
    (folder / "image.spdx.json").write_text(sbom.spdx(subject, parts, at=AT))
    (folder / "image.cdx.json").write_text(sbom.cyclonedx(subject, parts, at=AT, kind="container"))
    statement = provenance.statement(artifacts.sums(folder), REPOSITORY, version=VERSION, commit="abc", tools={})
    (folder / contents.STATEMENT).write_text(provenance.text(statement))
    artifacts.write_sums(folder)
    made.run("cosign generate-key-pair")
    (folder / "cosign.key").rename(home / "cosign.key")
    made.run(
        f"gpg --batch --pinentry-mode loopback --passphrase '' --quick-generate-key {MAIL} rsa2048 sign never"
        f" && gpg --export {MAIL} > keyring.gpg"
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COSIGN_PASSWORD", "")
        patch.setenv("GNUPGHOME", str(home))
        patch.setenv("DOCKER_CONFIG", str(home))
        key = str(home / "cosign.key")
        sign.sign_sums(folder, key)
        sign.sign_image(folder, key, made.image, plain_http=True)
        sign.sign_chart(sign.chart_of(folder), MAIL)
    yield made
    made.run("gpgconf --kill all")


@pytest.mark.parametrize("number", [1, 2, 3, 5])
def test_what_was_released_passes_each_command(release: Release, number: int):
    release.page(number)


def test_the_list_of_contents_that_is_attached_has_each_pinned_package(release: Release):
    statement = json.loads(release.page(4).stdout)
    listed = {one["name"] for one in statement["predicate"]["packages"]}
    lock = (REPOSITORY / "requirements" / "agent.txt").read_text()
    assert {one.name for one in components.python_packages(lock, python="3.13")} <= listed
    digest = release.image.rpartition("sha256:")[2]
    assert statement["subject"][0]["digest"] == {"sha256": digest}


@pytest.mark.parametrize("kind", ["cyclonedx", "slsaprovenance1"])
def test_the_other_attachments_are_there_too(release: Release, kind: str):
    words = f"cosign verify-attestation --allow-http-registry --key cosign.pub --insecure-ignore-tlog --type {kind}"
    payload = json.loads(release.run(f"{words} {release.image}").stdout.splitlines()[0])["payload"]
    predicate = json.loads(base64.b64decode(payload))["predicate"]
    assert ("components" in predicate) == (kind == "cyclonedx")
    assert ("buildDefinition" in predicate) == (kind == "slsaprovenance1")


def test_a_file_that_was_changed_fails_and_so_does_a_list_that_was_changed_with_it(release: Release, tmp_path: Path):
    shutil.copytree(release.folder, tmp_path / "changed")
    changed = Release.__new__(Release)
    vars(changed).update(vars(release) | {"folder": tmp_path / "changed"})
    with (changed.folder / f"azure-cni-{VERSION}.tgz").open("ab") as file:
        file.write(b"x")
    second, fifth = changed.page(2, check=False), changed.page(5, check=False)
    assert (second.returncode, f"azure-cni-{VERSION}.tgz: FAILED" in second.stdout) == (1, True)
    assert (fifth.returncode != 0, "sha256 sum does not match" in fifth.stderr) == (True, True)
    changed.page(1)
    (changed.folder / artifacts.SUMS).unlink()
    for added in (f"azure-cni-{VERSION}.tgz.prov", sign.BUNDLE):
        shutil.copy(changed.folder / added, tmp_path / added)
        (changed.folder / added).unlink()
    artifacts.write_sums(changed.folder)
    shutil.copy(tmp_path / sign.BUNDLE, changed.folder / sign.BUNDLE)
    changed.page(2)
    first = changed.page(1, check=False)
    assert (first.returncode, "invalid signature" in first.stderr) == (1, True)


def test_an_image_that_nobody_signed_and_one_of_another_key_fail(release: Release):
    unsigned = f"{release.registry}/other@{push(release.registry, 'other', content=b'other')}"
    for number, words in ((3, "no signatures found"), (4, "no matching attestations")):
        done = release.page(number, check=False, image=unsigned)
        assert (done.returncode != 0, words in done.stderr) == (True, True)
    release.run("mkdir -p ../other-key && cd ../other-key && rm -f cosign.* && cosign generate-key-pair")
    words = "cosign verify --allow-http-registry --insecure-ignore-tlog --key ../other-key/cosign.pub"
    done = release.run(f"{words} {release.image}", check=False)
    assert (done.returncode != 0, "accepted signatures do not match threshold" in done.stderr) == (True, True)


def test_the_chart_goes_to_a_registry_and_back_with_its_signature(release: Release, tmp_path: Path):
    chart = f"azure-cni-{VERSION}.tgz"
    version = yaml.safe_load(release.run(f"helm show chart {chart}").stdout)["version"]
    release.run(f"helm push {chart} oci://{release.registry}/charts --plain-http")
    pulled = f"helm pull oci://{release.registry}/charts/azure-cni --version {version} --plain-http -d {tmp_path}"
    release.run(pulled)
    assert (tmp_path / f"azure-cni-{version}.tgz").read_bytes() == (release.folder / chart).read_bytes()


def test_a_tag_is_not_signed():
    with pytest.raises(ReleaseError, match="what a tag names may change"):
        sign.sign_image(REPOSITORY, "key", "127.0.0.1:1/azure-cni:1")
